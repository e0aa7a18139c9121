import threading
import time

import attrs
import pytest

from gpt_agent_fsm.local import ModelError, ModelRequest, ScriptedModel, ToolCall
from gpt_agent_fsm.local.models.script import model as script_module

SCRIPT = """
rules:
  - when: weather
    steps:
      - call:
          - {name: get_weather, arguments: {city: Oslo}}
      - say: "It is {outputs} now."
  - matches: "table for (?P<people>[0-9]+)( at (?P<time>[0-9]+))?"
    steps:
      - call: {name: book, arguments: {people: "{people}", notes: ["at {time}", 1], as: {text: "{message}"}}}
      - say: Done.
  - when: busy
    steps:
      - fail: {code: rate_limit_exceeded, message: Rate limit reached., times: 2}
      - fail: {code: server_error, message: "Broken by {message}.", times: 1}
      - say: Thank you for waiting.
  - when: broken json
    steps:
      - call: {name: odd, arguments: "{not json"}
      - fail: {code: invalid_prompt, message: I give up.}
  - when: slow
    say: Here I am.
    delay: 3600
otherwise:
  say: "You said: {message}, {unknown} and {}."
"""


@pytest.fixture
def model():
    return ScriptedModel.from_yaml(SCRIPT)


def asked(text, *outputs, attempt=1, calls=1, earlier=()):
    messages = [*earlier, {"role": "user", "content": text}]
    if outputs:
        messages += [{"role": "assistant", "content": "", "tool_calls": [{}]} for _ in range(calls)]
        messages += [{"role": "tool", "tool_call_id": "call_1", "content": output} for output in outputs]
    return ModelRequest("", messages, [], "gpt", attempt=attempt)


def test_a_rule_matches_regardless_of_upper_and_lower_case(model):
    assert model(asked("What WEATHER is it?")) == [ToolCall("get_weather", {"city": "Oslo"})]


def test_the_next_step_is_played_with_the_outputs_when_all_are_there(model):
    assert model(asked("weather", "12", "rain")) == "It is 12, rain now."


def test_turns_are_counted_from_the_users_last_message(model):
    earlier = asked("weather", "12").messages
    assert model(asked("weather", earlier=earlier)) == [ToolCall("get_weather", {"city": "Oslo"})]


def test_more_turns_than_steps_repeat_the_last_step(model):
    assert model(asked("weather", "1", calls=3)) == "It is 1 now."


def test_groups_and_the_message_are_filled_in_deep_inside_the_arguments(model):
    [call] = model(asked("a table for 4 at 8"))
    assert call.arguments == {"people": "4", "notes": ["at 8", 1], "as": {"text": "a table for 4 at 8"}}


def test_a_group_that_took_no_part_is_empty(model):
    [call] = model(asked("a table for 4"))
    assert call.arguments["notes"] == ["at ", 1]


def test_the_first_attempts_fail_in_turn_and_the_next_one_answers(model):
    seen = []
    for attempt in (1, 2, 3, 4, 5):
        try:
            seen.append(model(asked("busy", attempt=attempt)))
        except ModelError as error:
            seen.append((error.code, error.message))
    limited = ("rate_limit_exceeded", "Rate limit reached.")
    assert seen == [limited, limited, ("server_error", "Broken by busy."), *["Thank you for waiting."] * 2]


def test_arguments_given_as_text_are_sent_verbatim(model):
    assert model(asked("broken json")) == [ToolCall("odd", "{not json")]


@pytest.mark.parametrize(("given", "arguments"), [("", {}), ("arguments:", {}), ("arguments: ''", "")])
def test_omitted_arguments_count_as_empty(given, arguments):
    call = ScriptedModel.from_yaml(f"otherwise: [{{call: {{name: a, {given}}}}}, {{say: b}}]")(asked("x"))
    assert call == [ToolCall("a", arguments)]


def test_a_failure_without_times_never_ends(model):
    with pytest.raises(ModelError, match="I give up"):
        model(asked("broken json", "1", attempt=100))


def test_otherwise_is_played_if_no_rule_fits_and_unknown_braces_are_left_alone(model):
    assert model(asked("Hello")) == "You said: Hello, {unknown} and {}."


def test_without_otherwise_the_user_is_echoed():
    assert ScriptedModel()(asked("Hello")) == "You said: Hello"


def test_the_users_text_is_never_taken_for_a_placeholder():
    assert ScriptedModel(otherwise={"say": "{message}"})(asked("{outputs}")) == "{outputs}"


def test_a_delay_ends_at_once_when_nobody_waits_for_it(model):
    request = asked("slow")
    threading.Timer(0.02, request.cancelled.set).start()
    began = time.monotonic()
    model(request)
    assert time.monotonic() - began < 60


def test_a_delay_is_waited_for():
    request = asked("slow")
    began = time.monotonic()
    assert ScriptedModel(otherwise={"say": "now", "delay": 0.05})(request) == "now"
    assert time.monotonic() - began >= 0.05


def test_a_value_may_be_used_twice():
    wants_json = attrs.evolve(asked("x"), response_format={"type": "json_object"})
    assert ScriptedModel.from_yaml("otherwise: {say: {a: &a [1], b: *a}}")(wants_json) == {"a": [1], "b": [1]}


def test_a_script_is_read_from_a_path_and_from_the_name_of_a_file(tmp_path):
    path = tmp_path / "script.yaml"
    path.write_text("otherwise: {say: Grüße}", encoding="utf-8")
    assert ScriptedModel.from_yaml(path)(asked("x")) == "Grüße"
    assert ScriptedModel.from_yaml(str(path))(asked("x")) == "Grüße"
    assert ScriptedModel.from_yaml("otherwise: {say: text}")(asked("x")) == "text"
    with pytest.raises(FileNotFoundError):
        ScriptedModel.from_yaml(tmp_path / "missing.yaml")


def test_the_example_in_the_module_is_a_script_that_works():
    example = script_module.__doc__.split("```yaml")[1].split("```")[0]
    model = ScriptedModel.from_yaml(example)
    assert model(asked("table? Book a table for 3!")) == [ToolCall("book", {"people": "3"})]
    assert model(asked("weather", "12")) == "It is 12 now."


@pytest.mark.parametrize(
    ("number", "pieces"),
    [(1, ["Hello"]), (2, ["He", "llo"]), (3, ["H", "el", "lo"]), (5, list("Hello")), (9, list("Hello"))],
)
def test_a_text_is_said_in_the_number_of_pieces_that_the_script_asks_for(number, pieces):
    model = ScriptedModel(otherwise={"say": "{message}", "pieces": number})
    assert list(model(asked("Hello"))) == pieces


def test_delays_and_pauses_pass_on_the_clock_that_the_script_was_given():
    told = []
    script = "rules: [{when: x, say: abc, delay: 3600, pieces: 3, pause: 60}]"
    for piece in ScriptedModel.from_yaml(script, wait=told.append)(asked("x")):
        told.append(piece)
    assert told == [3600, "a", 60, "b", 60, "c"]


def test_a_pause_ends_at_once_when_nobody_waits_for_it():
    request = asked("x")
    pieces = ScriptedModel(otherwise={"say": "ab", "pieces": 2, "pause": 3600})(request)
    assert next(pieces) == "a"
    request.cancelled.set()
    assert list(pieces) == ["b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: [", "The script is not valid YAML: "),
        ("a: b: c", "mapping values are not allowed here, in line 1, column 5"),
        ("a: \x00", "special characters are not allowed"),
        ("- 1", "the script must be a mapping, but it is [1]"),
        ("", "the script must be a mapping, but it is empty or missing"),
        ("rulez: []", "the script has the unknown key 'rulez'; known are rules, otherwise"),
        ("rules: 7", "rules must be a list of rules, but it is 7"),
        ("rules: [x]", "rules[0] must be a mapping, but it is 'x'"),
        ("rules: [{say: a}]", "rules[0] needs one of 'when' and 'matches'"),
        ("rules: [{when: a, matches: b, say: c}]", "rules[0] needs one of 'when' and 'matches'"),
        ("rules: [{when: 7, say: c}]", "rules[0].when must be text, but it is 7"),
        ("rules: [{when: ' ', say: c}]", "rules[0].when must be text, but it is ' '"),
        ("otherwise: {say: a, think: [b, ' ']}", "otherwise.think[1] must be"),
        ("otherwise: {call: {name: ' '}}", "otherwise.call.name must be text, but it is ' '"),
        ("rules: [{when: , say: c}]", "rules[0].when must be text, but it is empty or missing"),
        ("rules: [{matches: '(', say: c}]", "rules[0].matches is not a valid regular expression"),
        ("rules: [{when: a}]", "rules[0] needs exactly one of 'say', 'refuse', 'call', 'approve' and 'fail'"),
        ("rules: [{when: a, say: b, steps: []}]", "rules[0] has 'steps', so 'say' belongs in one of them"),
        ("rules: [{when: a, delay: 1, steps: []}]", "rules[0] has 'steps', so 'delay' belongs in one of them"),
        ("rules: [{when: a, steps: []}]", "rules[0].steps must be a step or a list of steps, but it is []"),
        ("rules: [{when: a, steps: [{say: b}, {call: {name: c}}]}]", "rules[0].steps must end with 'say'"),
        ("rules: [{when: a, fail: {code: b, message: c, times: 1}}]", "rules[0] must end with 'say'"),
        ("rules: [{when: a, steps: [7]}]", "rules[0].steps[0] must be a mapping, but it is 7"),
        (
            "otherwise: {say: a, call: {name: b}}",
            "otherwise needs exactly one of 'say', 'refuse', 'call', 'approve' and",
        ),
        ("otherwise: {shout: a}", "otherwise has the unknown key 'shout'"),
        ("otherwise: {say: 7}", "otherwise.say must be text or a mapping, but it is 7"),
        ("otherwise: {say: a, delay: soon}", "otherwise.delay must be a number of seconds, but it is 'soon'"),
        ("otherwise: {say: a, delay: -1}", "otherwise.delay must be a number of seconds"),
        ("otherwise: {say: a, delay: .nan}", "otherwise.delay must be a number of seconds"),
        ("otherwise: {say: a, delay: true}", "otherwise.delay must be a number of seconds"),
        ("otherwise: {say: a, pieces: 0}", "otherwise.pieces must be a whole number from 1 to 10000, but it is 0"),
        ("otherwise: {say: a, pieces: x}", "otherwise.pieces must be a whole number from 1 to 10000, but it is 'x'"),
        ("otherwise: {say: a, pieces: 2, pause: -1}", "otherwise.pause must be a number of seconds, but it is -1"),
        ("otherwise: {say: a, pause: 1}", "otherwise has a 'pause', so it needs 'pieces'"),
        ("otherwise: {say: {a: b}, pieces: 2}", "otherwise has 'pieces', so it needs a text to 'say'"),
        ("rules: [{when: a, pieces: 2, steps: []}]", "rules[0] has 'steps', so 'pieces' belongs in one of them"),
        ("otherwise: {1: a}", "otherwise has the unknown key '1'; known are delay, pieces, pause, cite"),
        (
            "otherwise: {call: {name: a, args: {}}}",
            "otherwise.call has the unknown key 'args'; known are name, arguments",
        ),
        ("otherwise: {fail: }", "otherwise.fail must be a mapping, but it is empty or missing"),
        ("otherwise: {say: [a]}", "otherwise.say must be text or a mapping, but it is ['a']"),
        ("otherwise: {say: ' '}", "otherwise.say must be text or a mapping, but it is ' '"),
        ("otherwise: {fail: {code: a}}", "otherwise.fail.message must be text"),
        ("otherwise: {fail: {code: a, message: b, count: 1}}", "otherwise.fail has the unknown key 'count'"),
        ("otherwise: {fail: {code: a, message: b, times: 0}}", "otherwise.fail.times must be a whole number above 0"),
        ("otherwise: {fail: {code: a, message: b, times: true}}", "otherwise.fail.times must be a whole number"),
        ("otherwise: [{call: []}, {say: a}]", "otherwise[0].call must be a tool call or a list of them"),
        ("otherwise: [{call: [b]}, {say: a}]", "otherwise[0].call[0] must be a mapping, but it is 'b'"),
        ("otherwise: [{call: {arguments: {}}}, {say: a}]", "otherwise[0].call.name must be text"),
        ("otherwise: [{call: {name: a, arguments: 7}}, {say: a}]", "otherwise[0].call.arguments must be a mapping"),
        ("otherwise: {say: &a {b: [*a]}}", "otherwise has a value that holds itself"),
        ("rules: [{when: a, say: &a {b: *a}}]", "rules[0] has a value that holds itself"),
        (
            "otherwise: [{call: [{name: a}, {name: b, arguments: &c {d: *c}}]}, {say: a}]",
            "otherwise[0] has a value that holds itself",
        ),
        ("otherwise: {say: {a: [.nan]}}", "otherwise has the number nan, which JSON does not have"),
    ],
)
def test_a_bad_script_gets_one_sentence_that_names_the_place(text, words):
    with pytest.raises(ValueError, match=r"\.$") as caught:
        ScriptedModel.from_yaml(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)

"""What a client asks for, on either API, is what a chat-completions server is asked for."""

import contextlib

import pytest

from gpt_agent_fsm.local import ChatCompletionsModel
from tests.local import chat_server as chat
from tests.local.stand_ins import PATIENCE

FUNCTION = {"name": "get", "parameters": {"type": "object"}}
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
NAMED = {"name": "answer", "schema": SCHEMA, "strict": True, "description": "An answer."}
PICTURE = "data:image/png;base64,iVBORw0KGgo="
ENDED = ("completed", "failed", "requires_action")


@pytest.fixture
def behind(serve):
    """Start a server whose model is asked at a chat-completions server that plays this script."""
    with contextlib.ExitStack() as stack:

        def start(*script, **kwargs):
            upstream = stack.enter_context(chat.ChatServer(*script))
            model = ChatCompletionsModel(upstream.base_url, "llama3", timeout=PATIENCE, **kwargs)
            stack.callback(model.close)
            return serve(model), upstream

        yield start


def respond(api, said="Hi", **options):
    return api.post("/responses", {"model": "m", "input": said} | options)


def run(api, said="Hi", **options):
    return api.see(api.run(api.thread(said), **options), *ENDED)


def flat(*functions):
    return [{"type": "function"} | function for function in functions]


def nested(*functions):
    return [{"type": "function", "function": function} for function in functions]


def sent_with(upstream, number=0):
    """Return what was sent beside the conversation."""
    body = upstream.requests[number].body
    return {name: value for name, value in body.items() if name not in ("model", "messages", "stream")}


SAME = [
    {"temperature": 0},
    {"temperature": 0.1, "top_p": 0.5},
    {"seed": 7, "stop": ["END", "."], "frequency_penalty": 1, "presence_penalty": -1.5},
]


@pytest.mark.parametrize("options", SAME)
@pytest.mark.parametrize("ask", [respond, run])
def test_sampling_is_passed_on_by_its_own_name(behind, ask, options):
    api, upstream = behind(chat.say("Hi."))
    answer = ask(api, **options)
    assert sent_with(upstream) == options
    assert {name: answer[name] for name in options} == options


@pytest.mark.parametrize("ask", [respond, run])
def test_an_option_that_is_not_asked_for_is_neither_sent_nor_shown(behind, ask):
    api, upstream = behind(chat.say("Hi."))
    answer = ask(api)
    assert sent_with(upstream) == {}
    assert (answer["temperature"], answer["top_p"]) == (None, None)
    assert "seed" not in answer


RESPONSE_OPTIONS = [
    ({"stop": "END"}, {"stop": ["END"]}),
    ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
    ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
    ({"text": {"format": {"type": "text"}}}, {}),
    ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    (
        {"text": {"format": {"type": "json_schema"} | NAMED}},
        {"response_format": {"type": "json_schema", "json_schema": NAMED}},
    ),
    ({"max_output_tokens": 100}, {"max_tokens": 100}),
]
RUN_OPTIONS = [
    ({"stop": "END"}, {"stop": ["END"]}),
    ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
    ({"response_format": "auto"}, {}),
    ({"response_format": {"type": "text"}}, {}),
    ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    (
        {"response_format": {"type": "json_schema", "json_schema": NAMED}},
        {"response_format": {"type": "json_schema", "json_schema": NAMED}},
    ),
    ({"max_completion_tokens": 300}, {"max_tokens": 300}),
]


@pytest.mark.parametrize(("options", "sent"), RESPONSE_OPTIONS)
def test_the_options_of_a_response_are_translated(behind, options, sent):
    api, upstream = behind(chat.say("Hi."))
    respond(api, **options)
    assert sent_with(upstream) == sent


@pytest.mark.parametrize(("options", "sent"), RUN_OPTIONS)
def test_the_options_of_a_run_are_translated(behind, options, sent):
    api, upstream = behind(chat.say("Hi."))
    run(api, **options)
    assert sent_with(upstream) == sent


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {}),
        ({"tool_choice": "auto", "parallel_tool_calls": True}, {}),
        ({"tool_choice": "none"}, {"tool_choice": "none"}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"tool_choice": "required", "parallel_tool_calls": False},
        ),
    ],
)
def test_the_choice_of_tools_is_passed_on_with_the_tools(behind, options, sent):
    api, upstream = behind(chat.say("1"), chat.say("2"))
    respond(api, tools=flat(FUNCTION), **options)
    run(api, tools=nested(FUNCTION), **options)
    for number in range(2):
        assert sent_with(upstream, number) == {"tools": nested(FUNCTION)} | sent


def test_one_function_that_must_be_called_is_named(behind):
    api, upstream = behind(chat.say("1"), chat.say("2"))
    respond(api, tools=flat(FUNCTION), tool_choice={"type": "function", "name": "get"})
    choice = {"type": "function", "function": {"name": "get"}}
    run(api, tools=nested(FUNCTION), tool_choice=choice)
    assert [sent_with(upstream, number)["tool_choice"] for number in range(2)] == [choice] * 2


@pytest.mark.parametrize(("mode", "sent"), [("auto", {}), ("required", {"tool_choice": "required"})])
def test_only_the_allowed_tools_are_offered_to_the_model(behind, mode, sent):
    api, upstream = behind(chat.say("Hi."))
    choice = {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": "get"}]}
    respond(api, tools=flat(FUNCTION, {"name": "put"}), tool_choice=choice)
    assert sent_with(upstream) == {"tools": nested(FUNCTION)} | sent


def test_a_tool_that_a_run_must_call_must_be_called_once(behind):
    api, upstream = behind(chat.call({"name": "get", "arguments": "{}"}), chat.say("Done."))
    waiting = run(api, tools=nested(FUNCTION), tool_choice="required")
    api.see(api.submit(waiting, "7"), "completed")
    assert [asked.body.get("tool_choice") for asked in upstream.requests] == ["required", None]


@pytest.mark.parametrize(("given", "sent"), [({}, {}), ({"strict": False}, {"strict": False}), ({"strict": True},) * 2])
def test_a_function_is_strict_only_if_the_client_asks_for_it(behind, given, sent):
    api, upstream = behind(chat.say("1"), chat.say("2"))
    respond(api, tools=flat(FUNCTION | given))
    run(api, tools=nested(FUNCTION | given))
    assert [sent_with(upstream, number)["tools"] for number in range(2)] == [nested(FUNCTION | sent)] * 2


def test_an_assistant_gives_its_options_to_its_runs_which_may_override_them(behind):
    api, upstream = behind(*[chat.say("Hi.")] * 2)
    options = {"temperature": 0.1, "reasoning_effort": "low", "seed": 7, "response_format": {"type": "json_object"}}
    made = api.post("/assistants", {"model": "m"} | options)
    assert {name: made[name] for name in options} == options
    run(api, assistant_id=made["id"])
    run(api, assistant_id=made["id"], temperature=0.9, seed=None, response_format={"type": "text"})
    assert sent_with(upstream) == options
    assert sent_with(upstream, 1) == {"temperature": 0.9, "reasoning_effort": "low", "seed": 7}


def test_a_run_is_shown_only_the_last_messages_if_it_asks_for_that(behind):
    api, upstream = behind(chat.say("Hi."))
    strategy = {"type": "last_messages", "last_messages": 2}
    made = api.see(api.run(api.thread("1", "2", "3"), truncation_strategy=strategy), "completed")
    assert made["truncation_strategy"] == strategy
    assert [message["content"] for message in upstream.requests[0].body["messages"]] == ["2", "3"]


def test_images_and_files_of_a_response_reach_the_model(behind):
    api, upstream = behind(chat.say("A cat."))
    parts = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": PICTURE, "detail": "auto"},
        {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "original"},
        {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,eA=="},
        {"type": "input_file", "filename": "a.pdf", "file_data": "JVBERi0xLjQ="},
    ]
    respond(api, [{"role": "user", "content": parts}])
    [message] = upstream.requests[0].body["messages"]
    assert message == {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": PICTURE}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "high"}},
            {"type": "text", "text": "File a.txt:\nx"},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQ="}},
        ],
    }


def test_text_files_are_sent_as_one_text_because_many_servers_know_nothing_else(behind):
    api, upstream = behind(chat.say("Wet."))
    parts = [
        {"type": "input_text", "text": "How is Oslo?"},
        {"type": "input_file", "filename": "a.txt", "file_data": "T3NsbyBpcyB3ZXQu"},
    ]
    respond(api, [{"role": "user", "content": parts}])
    [message] = upstream.requests[0].body["messages"]
    assert message == {"role": "user", "content": "How is Oslo?\n\nFile a.txt:\nOslo is wet."}


def test_an_image_in_the_output_of_a_tool_reaches_the_model(behind):
    api, upstream = behind(chat.say("A cat."))
    call = {"type": "function_call", "call_id": "c", "name": "get", "arguments": "{}"}
    output = [{"type": "input_text", "text": "Seen."}, {"type": "input_image", "image_url": PICTURE}]
    respond(api, [call, {"type": "function_call_output", "call_id": "c", "output": output}])
    assert upstream.requests[0].body["messages"][-1]["content"][1]["image_url"]["url"] == PICTURE


def test_images_of_a_thread_reach_the_model(behind):
    api, upstream = behind(chat.say("A cat."))
    image = {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}}
    run(api, [{"type": "text", "text": "What is it?"}, image])
    [message] = upstream.requests[0].body["messages"]
    assert message["content"] == [{"type": "text", "text": "What is it?"}, image]


REFUSED = chat.fail(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")


@pytest.mark.parametrize("ask", [respond, run])
def test_a_limit_of_tokens_is_tried_again_under_its_other_name_which_is_remembered(behind, ask):
    api, upstream = behind(REFUSED, chat.say("1"), chat.say("2"))
    name = "max_output_tokens" if ask is respond else "max_completion_tokens"
    assert [ask(api, **{name: 300})["status"] for _ in range(2)] == ["completed"] * 2
    limits = ({"max_tokens": 300}, {"max_completion_tokens": 300}, {"max_completion_tokens": 300})
    assert tuple(sent_with(upstream, number) for number in range(3)) == limits


def test_a_limit_that_is_refused_under_both_names_fails_with_the_first_words(behind):
    too_large = chat.fail(400, "max_tokens is too large: 300.")
    api, upstream = behind(too_large, chat.fail(400, "Unknown parameter: 'max_completion_tokens'."), chat.say("Hi."))
    assert respond(api, max_output_tokens=300)["error"]["message"] == "max_tokens is too large: 300."
    respond(api, max_output_tokens=200)
    assert sent_with(upstream, 2) == {"max_tokens": 200}


def test_a_limit_whose_second_name_is_known_fails_with_the_words_about_its_value(behind):
    too_large = chat.fail(400, "max_completion_tokens is not supported above 100, but it is 300.")
    api, _ = behind(REFUSED, too_large, REFUSED, chat.fail(400, "Your prompt is empty."))
    assert "above 100" in respond(api, max_output_tokens=300)["error"]["message"]
    assert respond(api, max_output_tokens=300)["error"]["message"] == "Your prompt is empty."


def test_another_refusal_is_not_tried_again_and_fails_with_the_words_of_the_server(behind):
    api, upstream = behind(chat.fail(400, "Unsupported value: 'temperature' must be 1."))
    assert "'temperature' must be 1" in respond(api, temperature=0, max_output_tokens=300)["error"]["message"]
    assert len(upstream.requests) == 1


def test_the_name_of_the_limit_in_the_options_of_the_model_is_the_one_to_use(behind):
    api, upstream = behind(chat.say("1"), chat.say("2"), options={"max_completion_tokens": 50, "temperature": 0})
    respond(api)
    respond(api, max_output_tokens=30, temperature=1)
    assert sent_with(upstream) == {"max_completion_tokens": 50, "temperature": 0}
    assert sent_with(upstream, 1) == {"max_completion_tokens": 30, "temperature": 1}


def test_turns_alternate_for_a_model_that_wants_it(behind):
    api, upstream = behind(chat.say("Hi."), chat.say("Hi."), merge_turns=True)
    picture = {"type": "input_image", "image_url": PICTURE}
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1"},
        {"role": "user", "content": "2"},
        {"role": "assistant", "content": "3"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "5"},
        {"role": "user", "content": [picture]},
    ]
    respond(api, said)
    assert upstream.requests[0].body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1\n\n2"},
        {"role": "assistant", "content": "3\n\n4"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "5"}, {"type": "image_url", "image_url": {"url": PICTURE}}],
        },
    ]


def test_a_text_before_tool_calls_is_one_turn_with_them(behind):
    api, upstream = behind(chat.say("Hi."), merge_turns=True)
    made = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "1"}
    said = [{"role": role, "content": text} for role, text in (("user", "1"), ("assistant", "2"), ("assistant", "3"))]
    respond(api, [*said, made, output])
    user, assistant, tool = upstream.requests[0].body["messages"]
    assert (user["content"], assistant["content"], tool["content"]) == ("1", "2\n\n3", "1")
    assert [call["id"] for call in assistant["tool_calls"]] == [tool["tool_call_id"]]


def test_turns_are_left_alone_for_other_models(behind):
    api, upstream = behind(chat.say("Hi."))
    api.see(api.run(api.thread("1", "2")), "completed")
    assert [message["content"] for message in upstream.requests[0].body["messages"]] == ["1", "2"]

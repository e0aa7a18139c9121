"""`ScriptedModel`: a model written in YAML, for tests and demos.

```yaml
rules:                              # the first rule that fits the user's last message is played
  - when: weather                   # this text is somewhere in it, in upper or lower case
    steps:                          # one step per turn of the run
      - call:                       # one tool call, or a list of them
          - {name: get_weather, arguments: {city: Oslo}}
      - say: "It is {outputs} now." # after the outputs were sent
  - matches: "book a table for (?P<people>[0-9]+)"   # or a regular expression, searched for
    steps:
      - call: {name: book, arguments: {people: "{people}"}}
      - say: Done.
  - when: busy
    steps:
      - fail: {code: rate_limit_exceeded, message: Rate limit reached for this model., times: 2}
      - say: Thank you for waiting.
  - when: slow                      # a rule of one step needs no list
    say: Here I am.
    delay: 2.5                      # seconds before a step
  - when: poem
    say: Rain, rain, go away.
    pieces: 4                       # for a client that asks for a stream: the text in 4 pieces
    pause: 0.1                      # seconds between two pieces
  - when: report
    say: "Oslo is wet [1]."
    cite:                           # each citation marks a text of the answer
      - {text: "[1]", url: "https://example.org", title: Weather}
      - {text: Oslo, file: file-1, name: notes.txt}
      - {text: wet, path: file-2}   # a file that was made
    think: I look it up.            # the summary of the reasoning, for a client that asks for one
    use:                            # tools that the service has run itself
      - web_search: {query: weather in Oslo, urls: ["https://example.org"]}
      - file_search: {queries: [Oslo], results: [{file: file-1, name: notes.txt, text: Wet., score: 0.9}]}
      - code_interpreter: {code: "print(1)", logs: "1"}
      - mcp: {server: files, name: read, arguments: {name: a.txt}, output: Hello}
      - image: iVBORw0KGgo=         # an image that was made, in base64
  - when: secret
    refuse: I cannot tell you.
otherwise:                          # if no rule fits: one step or a list of them
  say: "You said: {message}"
```

A step has exactly one of `say`, `refuse`, `call`, `approve` and `fail`. The last step of a rule is a `say`, a `refuse`,
or a `fail` without `times`. `say` may be a mapping, which is sent as JSON to a client that asks for JSON. `approve`
asks a person whether the server may make a call of its own. `fail` ends the run. With `times: 2`, only the first two
runs for the same user message fail, and all further runs for that message skip the step.

Texts may contain placeholders, even inside `arguments` or the mapping of a `say`. `{message}` is the user's last
message. `{outputs}` and `{approved}` are the tool outputs and the decisions after that message, joined by ", ".
`{name}` is the text of a group `(?P<name>...)` of `matches`. Other braces stay as they are. If `arguments` are a text,
it is sent even if it is not valid JSON.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import yaml
from attrs import frozen

from gpt_agent_fsm.local.models.protocol import ApprovalRequest, ModelError, ModelRequest, Reply, ToolCall
from gpt_agent_fsm.local.models.script.schema import Approval, Call, Failure, Step, read, turns

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_Played = str | list[ToolCall] | dict[str, Any]
_ECHO = Step(say="You said: {message}")


class ScriptedModel:
    """A model that follows the rules of a script. The user's message decides which rule is played.

    `rules` and `otherwise` are the values of these keys in the YAML form, which this module's docstring describes. A
    script without `otherwise` echoes the user's message if no rule fits. The model keeps no state, because the
    `ModelRequest` contains the number of the attempt. So one script may serve any number of threads and conversations.

    If `wait` is given, the model does not wait for a `delay` or `pause`, but calls `wait` with the number of seconds.
    So tests need not wait.

    Raises `ValueError` for an invalid script. The error text is one sentence that names the place in the script.
    """

    def __init__(
        self, rules: object = (), otherwise: object = None, *, wait: Callable[[float], object] | None = None
    ) -> None:
        self._wait = wait
        script = read({"rules": rules, "otherwise": otherwise})
        self._rules = [
            _Rule(rule.pattern(f"rules[{index}]"), rule.turns(f"rules[{index}]"))
            for index, rule in enumerate(script.rules or ())
        ]
        self._otherwise = turns(_ECHO if script.otherwise is None else script.otherwise, "otherwise")

    @classmethod
    def from_yaml(cls, source: str | Path, *, wait: Callable[[float], object] | None = None) -> Self:
        """Return a model for a script from a file or from YAML text. `wait` has the same meaning as in the constructor.

        A `Path`, or a one-line `str` that ends in `.yaml` or `.yml`, names a file. Any other `str` is YAML text. Raises
        `OSError` if the file cannot be read, and `ValueError` for an invalid script.
        """
        if isinstance(source, Path) or ("\n" not in source and source.endswith((".yaml", ".yml"))):
            source = Path(source).read_text(encoding="utf-8")
        try:
            script = yaml.safe_load(source)
        except yaml.YAMLError as error:
            raise ValueError(f"The script is not valid YAML: {_yaml_problem(error)}.") from error
        checked = read(script)
        return cls(checked.rules or (), checked.otherwise, wait=wait)

    def __call__(self, request: ModelRequest) -> str | list[ToolCall] | dict[str, Any] | Reply | Iterator[str | Reply]:
        """Play the step of this turn. Raises `ModelError` if the step is a `fail`."""
        message = request.user_message
        steps, words = self._otherwise, {}
        for rule in self._rules:
            found = rule.pattern.search(message)
            if found is not None:
                steps, words = rule.steps, {name: text or "" for name, text in found.groupdict().items()}
                break
        decisions = ", ".join("approved" if approved else "denied" for approved in request.decisions)
        words = {"message": message, "outputs": ", ".join(request.outputs), "approved": decisions} | words
        step = _due(steps, request)
        wait = self._wait or request.cancelled.wait
        if step.delay:
            wait(step.delay)
        if isinstance(step.say, dict) and request.response_format is None:
            raise ModelError("server_error", "The script says a mapping here, but the client has not asked for JSON.")
        played = _with_parts(step, _played(step, words), words)
        return played if step.pieces is None else _in_pieces(played, step.pieces, partial(wait, step.pause or 0.0))


@frozen
class _Rule:
    pattern: re.Pattern[str]
    steps: list[Step]


def _due(steps: list[Step], request: ModelRequest) -> Step:
    """Return the step to play in this turn of the run. Steps that this attempt skips are not counted."""
    played = []
    failures = 0
    for step in steps:
        # If two steps have `times`, the attempts of the second step begin after those of the first step.
        if step.times is None or failures < request.attempt <= failures + step.times:
            played.append(step)
        failures += step.times or 0
    turn = 0
    for message in request.messages:
        turn = 0 if message["role"] == "user" else turn + bool(message.get("tool_calls"))
    return played[min(turn, len(played) - 1)]


def _played(step: Step, words: Mapping[str, str]) -> _Played:
    """Return the text, the object or the calls that a step gives as its answer.

    If the step refuses, the text is empty. Raises `ModelError` if the step is a `fail`.
    """
    if isinstance(step.fail, Failure):
        raise ModelError(step.fail.code, _filled(step.fail.message, words))
    if isinstance(step.say, str):
        return _filled(step.say, words)
    if isinstance(step.say, dict):
        return _filled_object(step.say, words)
    if isinstance(step.refuse, str):
        return ""
    return [_asked(call, _filled_arguments(call.arguments, words)) for call in step.calls]


def _with_parts(step: Step, played: _Played, words: Mapping[str, str]) -> _Played | Reply:
    """Return the whole answer of a step. `played` is the text or the calls of the step.

    If the step has other parts, such as citations, the answer is a `Reply` with all of them.
    """
    fill = partial(_filled, words=words)
    refusal = fill(step.refuse) if isinstance(step.refuse, str) else None
    if refusal is None and not (step.cite or step.think or step.use):
        return played
    text = played if isinstance(played, str) else ""
    if isinstance(played, dict):
        text = json.dumps(played, ensure_ascii=False)
    return Reply(
        text,
        tuple(played) if isinstance(played, list) else (),
        refusal=refusal,
        reasoning=[*map(fill, [step.think] if isinstance(step.think, str) else step.think)],
        annotations=[citation.made(fill) for citation in step.cite],
        hosted=[tool.made(fill) for tool in step.use],
    )


def _in_pieces(played: _Played | Reply, number: int, pause: Callable[[], object]) -> Iterator[str | Reply]:
    """Yield a text in `number` pieces of about the same length. If the text has fewer letters, each letter is a piece.

    The other parts of the answer come last.
    """
    text = played.text if isinstance(played, Reply) else str(played)
    number = min(number, len(text))
    for index in range(number):
        if index:
            pause()
        yield text[index * len(text) // number : (index + 1) * len(text) // number]
    if isinstance(played, Reply):
        yield played


def _asked(call: Call, arguments: dict[str, Any] | str) -> ToolCall:
    if isinstance(call, Approval):
        return ApprovalRequest(call.name, arguments, call.server)
    return ToolCall(call.name, arguments)


def _filled(text: str, words: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), text)


def _filled_arguments(arguments: dict[str, Any] | str | None, words: Mapping[str, str]) -> dict[str, Any] | str:
    if arguments is None:
        return {}
    return _filled(arguments, words) if isinstance(arguments, str) else _filled_object(arguments, words)


def _filled_object(values: dict[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    return {name: _filled_value(value, words) for name, value in values.items()}


def _filled_value(value: object, words: Mapping[str, str]) -> object:
    if isinstance(value, dict | str):
        return _filled_arguments(value, words)
    return [_filled_value(item, words) for item in value] if isinstance(value, list) else value


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"{getattr(error, 'problem', error)}, in line {mark.line + 1}, column {mark.column + 1}"

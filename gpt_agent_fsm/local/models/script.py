"""`ScriptedModel`: a model written down in YAML, for tests and demos.

```yaml
rules:                              # the first rule that fits the user's last message is played
  - when: weather                   # these words are somewhere in it, in upper or lower case
    steps:                          # one step per turn of the run
      - call:                       # one tool call, or a list of them
          - {name: get_weather, arguments: {city: Oslo}}
      - say: "It is {outputs} now." # once the outputs are in
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
    delay: 2.5                      # seconds ahead of a step
otherwise:                          # what to do when no rule fits: one step or a list of them
  say: "You said: {message}"
```

A step is one of `say`, `call` and `fail`. The last one is `say`, or a `fail` without `times`. `fail` ends the run, and
with `times: 2` only in the first two runs over the same user message: later runs skip it.

Texts, also those within `arguments`, may hold `{message}` (the user's last message), `{outputs}` (the tool outputs of
the run, joined by ", ") and `{name}` for every group `(?P<name>...)` of `matches`. Other braces are left alone.
`arguments` given as text are sent as they are, JSON or not.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from attrs import field, frozen

from gpt_agent_fsm.local.models.protocol import ModelError, ModelRequest, ToolCall

_STEP_KEYS = ("say", "call", "fail")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_ECHO = {"say": "You said: {message}"}


class ScriptedModel:
    """A model that follows rules: what the user says decides what it answers, calls, or fails with.

    `rules` and `otherwise` are what stands under these keys in the YAML form, which this module's head describes; a
    script without `otherwise` echoes the user. Keeps no state: how often a run over the same message failed is part of
    the `ModelRequest`, so one script may serve any number of threads and conversations.

    Raises `ValueError`, one sentence that names the place, for a script with anything it does not understand.
    """

    def __init__(self, rules: object = (), otherwise: object = None) -> None:
        if not isinstance(rules, list | tuple):
            raise _wrong("rules", "a list of rules", rules)
        self._rules = [_rule(rule, f"rules[{index}]") for index, rule in enumerate(rules)]
        self._otherwise = _steps(_ECHO if otherwise is None else otherwise, "otherwise")

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """Read a script from a file: a `Path`, or a one-line `str` that ends in `.yaml` or `.yml`; or from YAML text.

        Raises `OSError` when the file cannot be read, and `ValueError` for what is no script.
        """
        if isinstance(source, Path) or ("\n" not in source and source.endswith((".yaml", ".yml"))):
            source = Path(source).read_text(encoding="utf-8")
        try:
            script = yaml.safe_load(source)
        except yaml.YAMLError as error:
            raise ValueError(f"The script is not valid YAML: {_yaml_problem(error)}.") from error
        _check_keys(script, ("rules", "otherwise"), "the script")
        return cls(_value(script, "rules", ()), script.get("otherwise"))

    def __call__(self, request: ModelRequest) -> str | list[ToolCall]:
        """Play the step that is due. Raises `ModelError` where the script says `fail`."""
        said = request.user_message
        steps, words = self._otherwise, {}
        for rule in self._rules:
            found = rule.pattern.search(said)
            if found is not None:
                steps, words = rule.steps, {name: text or "" for name, text in found.groupdict().items()}
                break
        words = {"message": said, "outputs": ", ".join(request.outputs)} | words
        step = _due(steps, request)
        if step.delay:
            request.cancelled.wait(step.delay)
        return step.play(words)


@frozen
class _Step:
    """One turn: exactly one of `say`, `call` and `fail` is set."""

    say: str | None = None
    call: list[ToolCall] = field(factory=list)
    fail: tuple[str, str] | None = None
    times: int | None = None
    delay: float = 0.0

    def play(self, words: Mapping[str, str]) -> str | list[ToolCall]:
        if self.fail is not None:
            code, message = self.fail
            raise ModelError(code, _filled(message, words))
        if self.say is not None:
            return _filled(self.say, words)
        return [ToolCall(call.name, _filled_arguments(call.arguments, words)) for call in self.call]


@frozen
class _Rule:
    pattern: re.Pattern[str]
    steps: list[_Step]


def _due(steps: list[_Step], request: ModelRequest) -> _Step:
    """Return the step for this turn of the run, among those that this attempt does not skip."""
    played = []
    failures = 0
    for step in steps:
        # Two such steps in a row take turns: the second one counts from where the first one stops.
        if step.times is None or failures < request.attempt <= failures + step.times:
            played.append(step)
        failures += step.times or 0
    turn = 0
    for message in request.messages:
        turn = 0 if message["role"] == "user" else turn + bool(message.get("tool_calls"))
    return played[min(turn, len(played) - 1)]


def _filled(text: str, words: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), text)


def _filled_arguments(arguments: dict[str, Any] | str, words: Mapping[str, str]) -> dict[str, Any] | str:
    if isinstance(arguments, str):
        return _filled(arguments, words)
    return {name: _filled_value(value, words) for name, value in arguments.items()}


def _filled_value(value: object, words: Mapping[str, str]) -> object:
    if isinstance(value, dict | str):
        return _filled_arguments(value, words)
    return [_filled_value(item, words) for item in value] if isinstance(value, list) else value


def _rule(rule: object, place: str) -> _Rule:
    checked = _check_keys(rule, ("when", "matches", "steps", "delay", *_STEP_KEYS), place)
    if ("when" in checked) == ("matches" in checked):
        raise ValueError(f"In the script, {place} needs one of 'when' and 'matches'.")
    condition = "when" if "when" in checked else "matches"
    words = _text(checked, condition, place)
    try:
        pattern = re.compile(re.escape(words) if condition == "when" else words, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"In the script, {place}.matches is no regular expression: {error}.") from error
    if "steps" in checked:
        extra = next((key for key in ("delay", *_STEP_KEYS) if key in checked), None)
        if extra is not None:
            raise ValueError(f"In the script, {place} has 'steps', so '{extra}' belongs into one of them.")
        return _Rule(pattern, _steps(checked["steps"], f"{place}.steps"))
    step = {key: value for key, value in checked.items() if key not in ("when", "matches")}
    return _Rule(pattern, _steps(step, place))


def _steps(steps: object, place: str) -> list[_Step]:
    if isinstance(steps, dict):
        parsed = [_step(steps, place)]
    elif isinstance(steps, list) and steps:
        parsed = [_step(step, f"{place}[{index}]") for index, step in enumerate(steps)]
    else:
        raise _wrong(place, "a step or a list of steps", steps)
    if parsed[-1].call or parsed[-1].times is not None:
        raise ValueError(f"In the script, {place} has to end with 'say', or with a 'fail' without 'times'.")
    return parsed


def _step(step: object, place: str) -> _Step:
    checked = _check_keys(step, ("delay", *_STEP_KEYS), place)
    if sum(key in checked for key in _STEP_KEYS) != 1:
        raise ValueError(f"In the script, {place} needs exactly one of 'say', 'call' and 'fail'.")
    delay = _value(checked, "delay", 0)
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= 86_400:
        raise _wrong(f"{place}.delay", "a number of seconds", delay)
    if "say" in checked:
        return _Step(say=_text(checked, "say", place), delay=delay)
    if "call" in checked:
        return _Step(call=_calls(checked["call"], f"{place}.call"), delay=delay)
    failure = _check_keys(checked["fail"], ("code", "message", "times"), f"{place}.fail")
    times = _value(failure, "times", None)
    if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
        raise _wrong(f"{place}.fail.times", "a whole number above 0", times)
    words = (_text(failure, "code", f"{place}.fail"), _text(failure, "message", f"{place}.fail"))
    return _Step(fail=words, times=times, delay=delay)


def _calls(calls: object, place: str) -> list[ToolCall]:
    if isinstance(calls, dict):
        return [_call(calls, place)]
    if not isinstance(calls, list) or not calls:
        raise _wrong(place, "a tool call or a list of them", calls)
    return [_call(call, f"{place}[{index}]") for index, call in enumerate(calls)]


def _call(call: object, place: str) -> ToolCall:
    checked = _check_keys(call, ("name", "arguments"), place)
    arguments = _value(checked, "arguments", {})
    if not isinstance(arguments, dict | str):
        raise _wrong(f"{place}.arguments", "a mapping or text", arguments)
    return ToolCall(_text(checked, "name", place), arguments)


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"{getattr(error, 'problem', error)}, in line {mark.line + 1}, column {mark.column + 1}"


def _check_keys(value: object, known: tuple[str, ...], place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(place, "a mapping", value)
    for key in value:
        if key not in known:
            raise ValueError(f"In the script, {place} has the unknown key '{key}'; known are {', '.join(known)}.")
    return value


def _value(mapping: Mapping[str, Any], key: str, default: object) -> object:
    """Return the value, or the default when it is absent or empty as in `key:`."""
    value = mapping.get(key)
    return default if value is None else value


def _text(mapping: Mapping[str, Any], key: str, place: str) -> str:
    value = mapping.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _wrong(f"{place}.{key}", "text", value)
    return value


def _wrong(place: str, expected: str, value: object) -> ValueError:
    got = "is empty or missing" if value is None else f"is {value!r:.60}"
    return ValueError(f"In the script, {place} has to be {expected}, but it {got}.")

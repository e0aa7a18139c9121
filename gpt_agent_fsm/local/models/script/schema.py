"""The structure of a script, and the code that reads scripts. Each error names the place in the script.

msgspec uses the structs below to check keys and types. The methods of the structs, and the function `turns`, check
conditions that concern several keys.
"""

import math
import re
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gpt_agent_fsm.local.models.script import parts
from gpt_agent_fsm.local.models.script.parts import Citation, Text, Used

# `Step.check` refuses a blank text. A pattern in this union may make msgspec 0.22 crash the interpreter at its exit.
Say = dict[Any, Any] | str
Delay = Annotated[float, Meta(ge=0, le=86_400)]
Times = Annotated[int, Meta(ge=1)]
Pieces = Annotated[int, Meta(ge=1, le=10_000)]


class Call(Struct, frozen=True, forbid_unknown_fields=True):
    """A tool call. If `arguments` is a text, its JSON is not checked. None means no arguments."""

    name: Text
    arguments: dict[Any, Any] | str | None = None


class Approval(Call, frozen=True, forbid_unknown_fields=True):
    """An approval request for a call that the server would make itself."""

    server: Text = "local"


class Failure(Struct, frozen=True, forbid_unknown_fields=True):
    """The failure of a run. It happens in the first `times` attempts, or in every attempt if `times` is None."""

    code: Text
    message: Text
    times: Times | None = None


class Step(Struct, frozen=True, forbid_unknown_fields=True):
    """What the model does in one turn, after `delay` seconds.

    Exactly one of `say`, `refuse`, `call`, `approve` and `fail` is set. A text of `say` may be sent in several pieces:
    `pieces` is their number, and `pause` is the time between two of them in seconds. `cite`, `think` and `use` are
    further parts of the answer.
    """

    delay: Delay | None = None
    pieces: Pieces | None = None
    pause: Delay | None = None
    cite: list[Citation] = []
    think: Text | list[Text] = []
    use: list[Used] = []
    say: Say | UnsetType = UNSET
    refuse: Text | UnsetType = UNSET
    call: Call | Annotated[list[Call], Meta(min_length=1)] | UnsetType = UNSET
    approve: Approval | Annotated[list[Approval], Meta(min_length=1)] | UnsetType = UNSET
    fail: Failure | UnsetType = UNSET

    @property
    def calls(self) -> list[Call]:
        """The tool calls or the approval requests of this turn. Empty if the turn has neither."""
        for asked in (self.call, self.approve):
            if not isinstance(asked, UnsetType):
                return [asked] if isinstance(asked, Call) else list(asked)
        return []

    @property
    def times(self) -> int | None:
        """The number of attempts in which this step is played. None if it is played in every attempt."""
        return None if isinstance(self.fail, UnsetType) else self.fail.times

    def check(self, place: str) -> None:
        """Raise `ValueError` unless the step has exactly one thing to do and all its values can be sent."""
        if isinstance(self.say, str) and not self.say.strip():
            raise _misfit(f"{place}.say", self.say)
        if len(_keys(self, "say", "refuse", "call", "approve", "fail")) != 1:
            raise _error(f"{place} needs exactly one of 'say', 'refuse', 'call', 'approve' and 'fail'")
        self._check_parts(place)
        if self.pieces is not None and not isinstance(self.say, str):
            raise _error(f"{place} has 'pieces', so it needs a text to 'say'")
        if self.pause is not None and self.pieces is None:
            raise _error(f"{place} has a 'pause', so it needs 'pieces'")
        for value in (self.say, *(call.arguments for call in self.calls)):
            _check_values(value, place)

    def _check_parts(self, place: str) -> None:
        for name in ("cite", "use"):
            for index, part in enumerate(getattr(self, name)):
                if problem := part.problem():
                    raise _error(f"{place}.{name}[{index}] {problem}")
        if self.cite and not isinstance(self.say, str):
            raise _error(f"{place} has 'cite', so it needs a text to 'say'")
        if not isinstance(self.fail, UnsetType) and (self.think or self.use):
            raise _error(f"{place} has a 'fail', so it has no answer to add to")


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """A condition, and the steps to play if it holds. A rule has `steps`, or the keys of a single step."""

    when: Text | UnsetType = UNSET
    matches: Text | UnsetType = UNSET
    steps: Step | list[Step] | UnsetType = UNSET
    delay: Delay | UnsetType | None = UNSET
    pieces: Pieces | UnsetType | None = UNSET
    pause: Delay | UnsetType | None = UNSET
    cite: list[Citation] | UnsetType = UNSET
    think: Text | list[Text] | UnsetType = UNSET
    use: list[Used] | UnsetType = UNSET
    say: Say | UnsetType = UNSET
    refuse: Text | UnsetType = UNSET
    call: Call | Annotated[list[Call], Meta(min_length=1)] | UnsetType = UNSET
    approve: Approval | Annotated[list[Approval], Meta(min_length=1)] | UnsetType = UNSET
    fail: Failure | UnsetType = UNSET

    def pattern(self, place: str) -> re.Pattern[str]:
        """Return the pattern to search for in the user's message.

        Raises `ValueError` for an invalid pattern, or if the rule does not have exactly one condition.
        """
        if len(_keys(self, "when", "matches")) != 1:
            raise _error(f"{place} needs one of 'when' and 'matches'")
        words = re.escape(self.when) if isinstance(self.when, str) else str(self.matches)
        try:
            return re.compile(words, re.IGNORECASE)
        except re.error as error:
            raise _error(f"{place}.matches is not a valid regular expression: {error}") from error

    def turns(self, place: str) -> list[Step]:
        """Return the steps of the rule.

        Raises `ValueError` if the rule has `steps` and also the keys of a single step, or if it has neither.
        """
        own = _keys(self, *Step.__struct_fields__)
        if isinstance(self.steps, UnsetType):
            return turns(Step(**{name: getattr(self, name) for name in own}), place)
        if own:
            raise _error(f"{place} has 'steps', so '{own[0]}' belongs in one of them")
        return turns(self.steps, f"{place}.steps")


class Script(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole script."""

    rules: list[Rule] | None = None
    otherwise: Step | list[Step] | None = None


def _check_values(value: object, place: str, around: tuple[int, ...] = ()) -> None:
    """Raise `ValueError` if a value contains itself, or a number that JSON does not have, such as NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        raise _error(f"{place} has the number {value}, which JSON does not have")
    if id(value) in around:
        raise _error(f"{place} has a value that holds itself")
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _check_values(each, place, (*around, id(value)))


def read(script: object) -> Script:
    """Return the script for values from YAML or Python. Raises `ValueError` for unknown keys and wrong types."""
    try:
        converted = msgspec.convert(script, Script)
    except msgspec.ValidationError as error:
        raise _explained(str(error), script) from error
    _refuse_white_space(script, "")
    return converted


def _refuse_white_space(value: object, place: str) -> None:
    """Raise `ValueError` if a text that must not be blank has only white space."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key not in _CONTENTS:
                _refuse_white_space(each, f"{place}.{key}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            _refuse_white_space(each, f"{place}[{index}]")
    elif isinstance(value, str) and value.isspace():
        raise _misfit(place, value)


def turns(steps: Step | list[Step], place: str) -> list[Step]:
    """Return the steps as a list.

    Raises `ValueError` if a step is invalid, if there are no steps, or if the last step does not end the run.
    """
    if isinstance(steps, Step):
        steps = [steps]
        steps[0].check(place)
    elif not steps:
        raise _misfit(place, steps)
    else:
        for index, step in enumerate(steps):
            step.check(f"{place}[{index}]")
    if steps[-1].calls or steps[-1].times is not None:
        raise _error(f"{place} must end with 'say' or 'refuse', or with a 'fail' without 'times'")
    return steps


# --- errors ---------------------------------------------------------------------------------------------------------

_CONTENTS = ("arguments", "say", "logs", "output", "title")
"""The keys of texts that may be blank, and of values of any form."""
_EXPECTED = {
    "rules": "a list of rules",
    "steps": "a step or a list of steps",
    "otherwise": "a step or a list of steps",
    "call": "a tool call or a list of them",
    "approve": "a request for an approval or a list of them",
    "arguments": "a mapping or text",
    "delay": "a number of seconds",
    "times": "a whole number above 0",
    "pieces": "a whole number from 1 to 10000",
    "pause": "a number of seconds",
    "cite": "a list of citations",
    "use": "a list of tools",
    "think": "text or a list of texts",
    "urls": "a list of texts",
    "queries": "a list of texts",
    "results": "a list of results",
    "score": "a number",
    "say": "text or a mapping",
    **dict.fromkeys(("when", "matches", "name", "server", "code", "message", "refuse", "text", "url", "title"), "text"),
    **dict.fromkeys(("file", "path", "query", "logs", "output", "error", "image"), "text"),
}
"""The required type of the value, for each of these keys. The values of all other keys must be mappings."""

_SHAPES: dict[str, type[Struct]] = {
    "": Script,
    "rules": Rule,
    "call": Call,
    "approve": Approval,
    "fail": Failure,
    "cite": Citation,
    "use": Used,
    "web_search": parts.WebSearch,
    "file_search": parts.FileSearch,
    "results": parts.FileSearchResult,
    "code_interpreter": parts.CodeInterpreter,
    "mcp": parts.McpCall,
}
"""The struct of each key's value, so that an error can list the known keys. The values of all other keys are steps."""

_MESSAGE = re.compile(r"(?P<problem>.*?)(?: - at (?P<key>`key` in )?`\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<what>contains unknown|missing required) field `(?P<field>.*)`", re.DOTALL)
_STEP_OF_PATH = re.compile(r"(\w+)|\[(\d+)\]")


def _explained(message: str, script: object) -> ValueError:
    """Turn an error text of msgspec into an error about the script. The text ends with the path of the wrong place."""
    found = _MESSAGE.fullmatch(message)
    path = (found and found["path"]) or ""
    field = found and _FIELD.fullmatch(found["problem"])
    if field and field["what"] == "contains unknown":
        return _unknown_key(path, field["field"])
    if field:
        return _misfit(f"{path}.{field['field']}".removeprefix("."), None)
    value: Any = script
    for name, index in _STEP_OF_PATH.findall(path):
        value = value[name or int(index)]
    if found and found["key"]:
        return _unknown_key(path, next(key for key in value if not isinstance(key, str)))
    return _misfit(path, value)


def _unknown_key(place: str, key: object) -> ValueError:
    known = _SHAPES.get(_last_key(place), Step).__struct_fields__
    return _error(f"{place or 'the script'} has the unknown key '{key}'; known are {', '.join(known)}")


def _misfit(place: str, value: object) -> ValueError:
    is_entry = place.endswith("]")
    expected = "a mapping" if is_entry else _EXPECTED.get(_last_key(place), "a mapping")
    got = "is empty or missing" if value is None else f"is {value!r:.60}"
    return _error(f"{place or 'the script'} must be {expected}, but it {got}")


def _last_key(place: str) -> str:
    """Return the last key of a place, without its index. Return "" for the whole script."""
    return place.rpartition(".")[2].partition("[")[0]


def _keys(struct: Struct, *names: str) -> list[str]:
    """Return those of `names` that the script sets as keys of the struct."""
    return [name for name in names if getattr(struct, name) is not UNSET]


def _error(sentence: str) -> ValueError:
    return ValueError(f"In the script, {sentence}.")

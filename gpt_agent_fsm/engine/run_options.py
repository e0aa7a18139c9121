"""The options that a message may set for its own run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal, TypedDict

from gpt_agent_fsm.errors import unknown_keyword
from gpt_agent_fsm.tools.output import Output

__all__ = ["RUN_OPTIONS", "STREAM", "RunOptions", "check_names", "options_text", "output_of", "parameters_of"]

STREAM = "stream"
"""The name of an entry in the saved options of a run. The entry is True if the user wants a stream. The backend does
not get this entry."""
_RESERVED = "gpt_agent_fsm_"
_MAX_ENTRIES = 12
"""How many metadata entries a program may set. The APIs keep 16 entries, and the library itself needs some of them."""
_MAX_NAME, _MAX_VALUE = 64, 512
_CHOICES = ("auto", "none", "required")


class RunOptions(TypedDict, total=False):
    """The options of one run.

    Attributes:
        instructions: the system prompt that replaces the assistant's.
        additional_instructions: a text that is added to the system prompt.
        model: the model that replaces the assistant's.
        tool_choice: "auto", "none", "required", or the definition of the tool that the model must call first, such as
            `{"type": "function", "name": "get_weather"}`.
        metadata: labels of the run on the server, as a mapping of at most 12 names to texts.
        max_output_tokens: the maximum number of tokens that the run may write.
    """

    instructions: str
    additional_instructions: str
    model: str
    tool_choice: Literal["auto", "none", "required"] | Mapping[str, Any]
    metadata: Mapping[str, str]
    max_output_tokens: int


RUN_OPTIONS = frozenset((*RunOptions.__annotations__, "output"))
"""The names of all options that a backend may support; `output` is the form of the answer."""


_PARAMETERS = {
    "additional_instructions": ("additional_instructions", "instructions"),
    "max_output_tokens": ("max_output_tokens", "max_completion_tokens"),
    "output": ("response_format", "text"),
}
"""The names of the parameters in which the APIs take an option, if they are not that of the option alone."""


def check_names(method: str, options: Iterable[str], others: Iterable[str]) -> None:
    """Raise `TypeError` for an option that a method does not know. `others` are the other keywords of the method."""
    if (error := unknown_keyword(method, options, (*others, *_CHECKS))) is not None:
        raise error


def options_text(
    options: Mapping[str, Any], output: Output | None, taken: Collection[str], backend: str, *, stream: bool = False
) -> str:
    """Return the options and the form of the answer as the text of a JSON object. Return "" if there is nothing to set.

    `taken` contains the names of the options that the backend supports. `stream` is True if the user wants a stream.
    The backend need not support streams, because the library polls a run without a stream. Raises `ValueError` for an
    option with a wrong value, and for an option that the backend does not support. `check_names` must know the options.
    """
    wanted = {name: value for name, value in options.items() if value is not None}
    for name, value in wanted.items():
        if problem := _CHECKS[name](value):
            raise ValueError(f"{name} must be {problem}, not {value!r}")
    if output is not None:
        wanted["output"] = output.to_json()
    for name in wanted:
        if name not in taken:
            raise ValueError(f"{backend} takes no {name} for a single run")
    if stream:
        wanted[STREAM] = True
    if not wanted:
        return ""
    try:
        text = json.dumps(wanted, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the options of a run cannot be written as JSON: {error}") from None
    return text


def parameters_of(run_options: str) -> frozenset[str]:
    """Return the names of the parameters in which the APIs take these options, in the form of `options_text`."""
    options: Mapping[str, Any] = json.loads(run_options) if run_options else {}
    found = (_PARAMETERS.get(name, (name,)) for name in options if name != STREAM)
    return frozenset(itertools.chain.from_iterable(found))


def output_of(backend: object, assistant_id: str | None) -> Output | None:
    """Return the form of an assistant's answers.

    Return None if the form is text, or if the backend does not know the assistant.
    """
    outputs = getattr(backend, "outputs", None)
    found = outputs.get(assistant_id) if isinstance(outputs, Mapping) else None
    return found if isinstance(found, Output) else None


def _text_problem(value: object) -> str:
    return "" if isinstance(value, str) and value.strip() else "a string that is not blank"


def _choice_problem(value: object) -> str:
    is_tool = isinstance(value, Mapping) and isinstance(value.get("type"), str)
    if is_tool or (isinstance(value, str) and value in _CHOICES):
        return ""
    return '"auto", "none", "required" or a mapping with the "type" of a tool'


def _metadata_problem(value: object) -> str:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for pair in value.items() for each in pair):
        return "a mapping of strings to strings"
    if len(value) > _MAX_ENTRIES or any(
        len(name) > _MAX_NAME or len(text) > _MAX_VALUE for name, text in value.items()
    ):
        return f"at most {_MAX_ENTRIES} names of {_MAX_NAME} characters with texts of {_MAX_VALUE} characters"
    return f"without names that begin with {_RESERVED}" if any(name.startswith(_RESERVED) for name in value) else ""


def _count_problem(value: object) -> str:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return "" if is_count else "a whole number above 0"


_CHECKS: Mapping[str, Callable[[object], str]] = {
    "instructions": _text_problem,
    "additional_instructions": _text_problem,
    "model": _text_problem,
    "tool_choice": _choice_problem,
    "metadata": _metadata_problem,
    "max_output_tokens": _count_problem,
}

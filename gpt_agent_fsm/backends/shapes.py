"""Reading the shapes of a wire leniently, whichever it is.

Compatible servers leave fields out or null, send floats for timestamps and strings for error objects: a field is read
if it makes sense and otherwise taken as absent, except for ids, without which nothing can be done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from cattrs.gen import make_dict_structure_fn
from cattrs.preconf.msgspec import MsgspecJsonConverter, make_converter

from gpt_agent_fsm.assistant import Assistant, FunctionTool
from gpt_agent_fsm.ports import RunStatus

METADATA_KEY = "gpt_agent_fsm_key"
"""The name under which messages and runs carry our key."""

_GOING_ON = ("ing", "progress", "queue")
_QUOTA = "exceeded your current quota"
_RATE = "rate limit reached"
_TOO_MUCH = 1e15

# --- single values --------------------------------------------------------------------------------------


def lenient_text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def lenient_number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < _TOO_MUCH else None


def lenient_count(value: Any) -> int:
    return max(int(lenient_number(value) or 0), 0)


def lenient_id(value: Any) -> str | None:
    """Return an id as text, also where the server counts; None for what is no id."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value.strip() else None


def lenient_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def required_id(value: Any) -> str:
    found = lenient_id(value)
    if found is None:
        raise ValueError("it has no id")
    return found


def arguments_of(value: Any) -> str:
    """Return the arguments of a tool call as JSON text, also where the server sends them as an object."""
    return value if isinstance(value, str) else json.dumps(value or {})


def text_of(content: Any) -> str:
    """Return the text parts of a message's content, joined by a newline; everything else is left out."""
    if isinstance(content, str):
        return content
    texts = []
    for part in content if isinstance(content, list) else []:
        text = lenient_mapping(part).get("text")
        if lenient_mapping(part).get("type", "text") in ("text", "input_text", "output_text") and text is not None:
            texts.append(text if isinstance(text, str) else lenient_text(lenient_mapping(text).get("value")))
    return "\n".join(text for text in texts if text)


# --- how a run ended ----------------------------------------------------------------------------------------


def error_of(value: Any) -> tuple[str, str]:
    """Return the code and the message of a run's error, "" for what is not there."""
    if isinstance(value, str):
        return "", value.strip()
    error = lenient_mapping(value)
    return (lenient_text(error.get("code")) or "").strip(), (lenient_text(error.get("message")) or "").strip()


def sounds_as_if_it_went_on(status: str) -> bool:
    """Tell of a status of the server's own whether a run goes on; what does not sound so is an end."""
    return status.endswith(_GOING_ON)


def end_of(status: str, code: str, message: str) -> RunStatus:
    """Return what a run's end means that is no success."""
    if code == "insufficient_quota" or _QUOTA in message.lower():
        return RunStatus.OUT_OF_QUOTA
    if status == "failed" and code == "rate_limit_exceeded" and _RATE in message.lower():
        return RunStatus.RATE_LIMITED
    return RunStatus.FAILED


def farewell(status: str, reason: str | None) -> str:
    """Return a sentence for a run that ended without one of the server's."""
    return f"The run ended as {status}{f' ({reason})' if reason else ''}; the server gave no message."


# --- what we send ---------------------------------------------------------------------------------------------


def function_of(tool: FunctionTool) -> dict[str, Any]:
    """Return the fields that describe a function on every wire."""
    # `strict` is always said, since the wires differ in what they take for granted.
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def settings_of(assistant: Assistant) -> dict[str, Any]:
    """Return the fields of an assistant that have the same name on every wire."""
    chosen = {
        "instructions": assistant.instructions or None,
        "temperature": assistant.temperature,
        "top_p": assistant.top_p,
    }
    return {
        "model": assistant.model,
        **{name: value for name, value in chosen.items() if value is not None},
        **assistant.options,
    }


# --- objects and pages ------------------------------------------------------------------------------------------


def make_wire_converter(singles: tuple[type, ...], pages: Mapping[type, type]) -> MsgspecJsonConverter:
    """Return a converter for these classes; `pages` maps a class with `data` and `has_more` to that of its items.

    It raises `ValueError` for what is no object, no page, or has no id although it needs one. Items of a page without
    an id are left out: they can be neither asked for nor told apart from others.
    """
    made = make_converter(detailed_validation=False)

    def read(cls: type) -> Callable[[Any, Any], Any]:
        structure: Callable[[Any, Any], Any] = make_dict_structure_fn(cls, made, _cattrs_prefer_attrib_converters=True)

        def from_object(value: Any, _: Any) -> Any:
            if not isinstance(value, dict):
                raise ValueError("it is no object")
            return structure(value, cls)

        return from_object

    def read_page(page: type, item: type) -> Callable[[Any, Any], Any]:
        one = read(item)

        def from_page(value: Any, _: Any) -> Any:
            data = value if isinstance(value, list) else lenient_mapping(value).get("data")
            if not isinstance(data, list):
                raise ValueError("it has no list of data")
            more = lenient_mapping(value).get("has_more")
            items = [one(each, item) for each in data if isinstance(each, dict) and lenient_id(each.get("id"))]
            return page(data=items, has_more=more if isinstance(more, bool) else None)

        return from_page

    for single in singles:
        made.register_structure_hook(single, read(single))
    for page, item in pages.items():
        made.register_structure_hook(page, read_page(page, item))
    return made


@attrs.frozen(kw_only=True)
class Page:
    """One page of a list.

    Attributes:
        has_more: None where the server does not say.
    """

    data: list[Any]
    has_more: bool | None = None

    @property
    def next_after(self) -> str | None:
        """The id to ask after for the next page; a server that does not say whether there is one is asked again."""
        return self.data[-1].id if self.data and self.has_more is not False else None

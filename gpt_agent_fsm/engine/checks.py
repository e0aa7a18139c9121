"""Checks the arguments that a program passes to the library."""

from __future__ import annotations

from os import PathLike

from gpt_agent_fsm.callables import why_not_callable
from gpt_agent_fsm.engine.protocols import Backend, Store
from gpt_agent_fsm.engine.protocols.offers import offers
from gpt_agent_fsm.settings import MAX_TOKENS, Settings

__all__ = [
    "check_connection",
    "check_number",
    "check_parts",
    "check_trace",
    "optional_text",
    "plain",
    "required_id",
    "required_text",
]


def required_text(value: object, name: str) -> str:
    """Return `value` as a plain `str`. Raise `ValueError` if it is not a string, is blank, or cannot be encoded."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, not {value!r}")
    if not value.strip():
        raise ValueError(f"{name} must not be blank")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} contains an unpaired surrogate and cannot be encoded") from None
    # JSON and some databases accept no subclass of `str`, such as a string that is marked as safe HTML.
    return str.__str__(value)


def required_id(value: object, name: str) -> str:
    """Return the id or key `value` as `required_text` does. Also raise `ValueError` if it contains a zero character."""
    text = required_text(value, name)
    if "\0" in text:
        raise ValueError(f"{name} contains a zero character, which some databases cannot keep")
    return text


def check_number(value: object, name: str) -> None:
    """Raise `ValueError` if `value` is not the number of a record, or 0."""
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} must be the number of a record, or 0, not {value!r}")


def plain(value: str | None) -> str | None:
    """Return a string as a plain `str`, and anything else unchanged."""
    return str.__str__(value) if isinstance(value, str) else value


def optional_text(value: object, name: str) -> str | None:
    """Return None if `value` is "" or None. Otherwise return the same as `required_text`."""
    if value is None or value == "":
        return None
    return required_text(value, name)


_ADVICE = {
    "backend": "; write AssistantsBackend(...) or ResponsesBackend(...)",
    "settings": "; write Settings(...)",
    "store": "; write SQLStore(...) with the URL of a database, such as sqlite:///agents.db",
}
"""What to write instead of a text, by the name of the argument."""


def check_parts(backend: object, settings: object, store: object) -> None:
    """Raise `TypeError` if an argument of `Runtime` has the wrong type, or is a class instead of an object."""
    for name, value, kind in (
        ("backend", backend, Backend),
        ("settings", settings, Settings),
        ("store", store, Store),
    ):
        if isinstance(value, type) or not offers(value, kind):
            what = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
            advice = _ADVICE[name] if isinstance(value, str | PathLike) else ""
            raise TypeError(f"Runtime: {name} must be a {kind.__name__}, not {what}{advice}")


def check_trace(trace: object) -> None:
    """Raise `TypeError` if `trace` cannot be called as a trace hook."""
    if reason := why_not_callable(trace, 2):
        raise TypeError(f"Runtime: trace must be callable as trace(name, info): {reason}")


def check_connection(
    assistant_id: object,
    last_message_id: object,
    subscribe: object,
    key: object,
    max_total_tokens: object,
    stream: object,
    replay_after: object,
    tenant: object,
) -> None:
    """Raise `ValueError` or `TypeError` for a wrong argument of `connect` or `start`."""
    required_text(assistant_id, "assistant_id")
    for name, text in (("last_message_id", last_message_id), ("key", key), ("tenant", tenant)):
        if text is not None:
            required_text(text, name)
    if subscribe is not None and not callable(subscribe):
        raise TypeError(f"connect: subscribe must be callable as subscribe(agent, event), not {subscribe!r}")
    if subscribe is not None and (reason := why_not_callable(subscribe, 2)):
        raise TypeError(f"connect: subscribe must be callable as subscribe(agent, event): {reason}")
    if replay_after is not None:
        check_number(replay_after, "connect: replay_after")
    if stream is not None and not isinstance(stream, bool):
        raise TypeError(f"connect: stream must be True, False or None, not {stream!r}")
    is_count = isinstance(max_total_tokens, int) and not isinstance(max_total_tokens, bool)
    if max_total_tokens is not None and not (is_count and 0 < max_total_tokens <= MAX_TOKENS):  # type: ignore[operator]
        form = f"a whole number from 1 to {MAX_TOKENS}, or None"
        raise ValueError(f"connect: max_total_tokens must be {form}, not {max_total_tokens!r}")

"""Explains a thread in plain sentences: what it waits for, since when, what happens next, and which methods help.

The functions are pure: they depend only on the snapshot, the settings and the time. So they also work on a snapshot
from a store that another process uses.
"""

from __future__ import annotations

from typing import Final

from gpt_agent_fsm.engine.times import duration, moment
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.advance import advance
from gpt_agent_fsm.machine.reasons import as_sentence, in_words, reason_of
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.settings import Settings

__all__ = ["as_sentence", "changes_something", "explain"]

_CALLS: Final[tuple[tuple[inputs.Command, str], ...]] = (
    (inputs.CancelRun(), "cancel_run() to end the run"),
    (inputs.DiscardQueue(), "discard_queue() to drop what was not sent"),
)


def explain(
    snapshot: Snapshot,
    settings: Settings,
    now: float,
    due: float | None = None,
    *,
    held: bool = False,
    halt: str = "",
) -> tuple[str, ...]:
    """Return in parts what the thread waits for, since when, what happens next, and which methods help.

    A part is one or more sentences. `now`, and the time `due` of the next step, are in seconds since the epoch. `held`
    is True if the limits of the API key hold the next request back. `halt` is a sentence that says why nothing happens;
    "" if something drives the thread.
    """
    since = ""
    if snapshot.waiting is not None:
        waited = duration(now - snapshot.waiting.since)
        since = f"It has waited for {waited}, since {moment(snapshot.waiting.since)}."
    next_step = _stopped_step(snapshot, halt) if halt else _next_step(snapshot, now, due, held=held)
    parts = (reason_of(snapshot, halted=bool(halt)), since, next_step, _advice(snapshot, settings))
    return tuple(part for part in parts if part)


# --- when, and what next ------------------------------------------------------------------------------


def _next_step(snapshot: Snapshot, now: float, due: float | None, *, held: bool) -> str:
    pending = snapshot.pending
    if pending is None:
        return ""
    when = "" if due is None or due <= now else f" in {duration(due - now)}"
    why = " The limits of the API key hold it back." if held else ""
    return f"Next: {in_words(pending.request.operation)}{when or ('' if held else ' now')}.{why}"


def _stopped_step(snapshot: Snapshot, halt: str) -> str:
    if snapshot.pending is None:
        return ""
    return f"{halt} Next: {in_words(snapshot.pending.request.operation)}."


def _advice(snapshot: Snapshot, settings: Settings) -> str:
    calls = snapshot.calls.open.values()
    answering: list[tuple[inputs.Command, str]] = []
    if taking := [call.id for call in calls if call.takes_output]:
        answer = inputs.SubmitToolOutput(tool_call_id=taking[0], output="null")
        answering.append((answer, "submit_tool_output() to answer it"))
    if asking := [call.id for call in calls if call.waits_for_a_person]:
        answering.append((inputs.ApproveToolCall(tool_call_id=asking[0]), "approve() or deny() to decide"))
    useful = [text for command, text in (*answering, *_CALLS) if changes_something(snapshot, command, settings)]
    if _is_spent(snapshot, settings) and snapshot.settled:
        useful.insert(0, "connect() with a larger max_total_tokens")
    elif snapshot.outbox.parked:
        useful.insert(0, "connect() or add_user_message() to try again")
    elif snapshot.settled:
        useful.append("add_user_message() to start a run")
    return f"Call {_alternatives(useful)}." if useful else ""


def _alternatives(texts: list[str]) -> str:
    *others, last = texts
    return f"{', '.join(others)}, or {last}" if others else last


def _is_spent(snapshot: Snapshot, settings: Settings) -> bool:
    """Return whether no message is sent because the tokens of the thread are used up."""
    limit = settings.max_total_tokens if snapshot.max_total_tokens is None else snapshot.max_total_tokens
    return limit is not None and snapshot.usage.total_tokens >= limit


def changes_something(snapshot: Snapshot, command: inputs.Command, settings: Settings) -> bool:
    """Return whether the command would have an effect now. It has none if the rules of the machine ignore it."""
    _, wanted, _ = advance(snapshot, command, settings)
    return not any(isinstance(effect, effects.Ignore) for effect in wanted)

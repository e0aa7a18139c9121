"""Explains a thread in plain sentences: what it waits for, since when, what happens next, and which methods help.

The functions are pure: they depend only on the snapshot, the settings and the time. So they also work on a snapshot
from a store that another process uses.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.advance import advance
from gpt_agent_fsm.machine.reasons import as_sentence, reason_of
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
) -> str:
    """Return sentences that say what the thread waits for, since when, what happens next, and which methods help.

    `now`, and the time `due` of the next step, are in seconds since the epoch. `held` is True if the limits of the API
    key hold the next request back. `halt` is a sentence that says why nothing happens; "" if something drives the
    thread.
    """
    sentences = [reason_of(snapshot)]
    if snapshot.waiting is not None:
        sentences.append(f"It has waited for {_duration(now - snapshot.waiting.since)}, since {_moment(snapshot)}.")
    next_step = _stopped_step(snapshot, halt) if halt else _next_step(snapshot, now, due, held=held)
    sentences += [next_step, _advice(snapshot, settings)]
    return " ".join(sentence for sentence in sentences if sentence)


# --- when, and what next ------------------------------------------------------------------------------


def _duration(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}s"
    return "a moment" if seconds < 1 else f"{seconds:.0f} second{'' if round(seconds) == 1 else 's'}"


def _moment(snapshot: Snapshot) -> str:
    assert snapshot.waiting is not None  # noqa: S101 - the caller has seen to it
    return datetime.fromtimestamp(snapshot.waiting.since, UTC).isoformat(sep=" ", timespec="seconds")


def _next_step(snapshot: Snapshot, now: float, due: float | None, *, held: bool) -> str:
    pending = snapshot.pending
    if pending is None:
        return ""
    operation = pending.request.operation
    why = "; the limits of the API key hold it back" if held else ""
    if due is None or due <= now:
        return f"Next: {operation}, {'held back' if held else 'now'}{why}."
    return f"Next: {operation}, in {_duration(due - now)}{why}."


def _stopped_step(snapshot: Snapshot, halt: str) -> str:
    if snapshot.pending is None:
        return ""
    return f"{halt} Next: {snapshot.pending.request.operation}."


def _advice(snapshot: Snapshot, settings: Settings) -> str:
    calls = [call for call in snapshot.calls if call.output is None]
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
    return f"Call {' or '.join(useful)}." if useful else ""


def _is_spent(snapshot: Snapshot, settings: Settings) -> bool:
    """Return whether no message is sent because the tokens of the thread are used up."""
    limit = settings.max_total_tokens if snapshot.max_total_tokens is None else snapshot.max_total_tokens
    return limit is not None and snapshot.usage.total_tokens >= limit


def changes_something(snapshot: Snapshot, command: inputs.Command, settings: Settings) -> bool:
    """Return whether the command would have an effect now. It has none if the rules of the machine ignore it."""
    _, wanted, _ = advance(snapshot, command, settings)
    return not any(isinstance(effect, effects.Ignore) for effect in wanted)

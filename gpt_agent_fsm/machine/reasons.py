"""Says in one or two sentences what a thread waits for."""

from __future__ import annotations

from typing import Final

from gpt_agent_fsm.errors import names_code
from gpt_agent_fsm.machine.objects import BUDGET_EXCEEDED, Failure
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.states import State

__all__ = ["as_sentence", "in_words", "queued_behind", "reason_of"]

_REQUESTS: Final = {
    "get_latest_run": "checking for a run in progress",
    "post_message": "posting the message",
    "create_run": "creating the run",
    "get_run": "polling the run",
    "submit_tool_outputs": "sending the tool outputs",
    "list_messages": "reading the messages",
    "cancel_run": "cancelling the run",
}
"""The requests in words, by their operations."""


def in_words(operation: str) -> str:
    """Return what a request does, such as "polling the run". `operation` is as in `RequestFailed`."""
    return _REQUESTS.get(operation, operation)


def as_sentence(text: str) -> str:
    """Return the text with a full stop, so that a sentence can follow. If it already ends a sentence, add nothing."""
    text = text.rstrip()
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."


def reason_of(snapshot: Snapshot, *, halted: bool = False) -> str:
    """Return a text that says what the thread waits for, what is queued behind that, and the last failure.

    `halted` is True if nothing drives the thread. In this case, the text does not say that a request is in progress.
    """
    thing, failure = _thing(snapshot, halted=halted), snapshot.failure
    sentences = [f"{thing[0].upper()}{thing[1:]}.", *filter(None, [queued_behind(snapshot)])]
    already_said = snapshot.state is State.RATE_LIMITED and failure is not None and failure.operation is None
    if failure is not None and not already_said:
        code = "" if failure.code is None or names_code(failure.message, failure.code) else f" ({failure.code})"
        sentences.append(f"{_what_failed(failure)}{code}: {as_sentence(failure.message)}")
    return " ".join(sentences)


def queued_behind(snapshot: Snapshot) -> str:
    """Return a sentence that counts the messages behind what the thread waits for; "" if there are none."""
    behind = _behind(snapshot)
    if not behind:
        return ""
    count = _count(behind, "message")
    return f"{count[0].upper()}{count[1:]} {'is' if behind == 1 else 'are'} queued behind it."


def _behind(snapshot: Snapshot) -> int:
    queued, reading = len(snapshot.queue), snapshot.cursor.reading
    if snapshot.run is not None:
        return queued
    if snapshot.outbox.parked:
        return 0  # the reason itself counts the messages
    if snapshot.outbox.owed is not None or (reading is not None and not reading.postponed):
        return queued
    return queued - 1 if snapshot.queue.doubt is not None else 0


def _what_failed(failure: Failure) -> str:
    if _is_budget(failure):
        return "The budget is used up"
    what = "the last run" if failure.operation is None else in_words(failure.operation)
    return f"{what[0].upper()}{what[1:]} failed"


def _is_budget(failure: Failure | None) -> bool:
    return failure is not None and failure.code == BUDGET_EXCEEDED and failure.operation is None


def _thing(snapshot: Snapshot, *, halted: bool) -> str:
    if snapshot.run is not None:
        return _run(snapshot, halted=halted)
    if snapshot.outbox.parked:
        until = "a larger limit of tokens" if _is_budget(snapshot.failure) else "the next command"
        return f"The queue is parked until {until}; {_unsent(snapshot)}"
    if snapshot.outbox.owed is not None:
        return _creation(snapshot, halted=halted)
    reading = snapshot.cursor.reading
    if reading is not None and not reading.postponed:
        read = "have not been read yet" if halted else "are being read"
        return f"The run {reading.run_id} has ended, and its messages {read}"
    if snapshot.queue:
        return _head(snapshot, halted=halted)
    check = f"The library {'must check' if halted else 'checks'} whether a run is in progress"
    return "The thread is at rest" if snapshot.pending is None else check


def _searches(*, halted: bool) -> str:
    return f"the library {'must search' if halted else 'searches'} for it"


def _creation(snapshot: Snapshot, *, halted: bool) -> str:
    owed, turn = snapshot.outbox.owed, snapshot.outbox.turn
    if owed is not None and owed.doubt is not None:
        return f"It is not known whether the run was created; {_searches(halted=halted)}"
    if owed is None or owed.retry_of is None or turn is None:
        return "A message is on the thread, and its run must be created"
    left = _count(turn.retries_left, "retry")
    again = "waits to be started again" if halted else "is started again"
    return f"The run {owed.retry_of.run_id} was rate limited and {again}; after that, {left} left"


def _run(snapshot: Snapshot, *, halted: bool) -> str:
    run = snapshot.run
    assert run is not None  # noqa: S101 - the caller has seen to it
    if run.ending is not None:
        return f"The run {run.id} must end ({run.ending.code}), and the server has not ended it yet"
    if snapshot.state is State.SUBMITTING:
        return f"The tool outputs of the run {run.id} {'wait to be' if halted else 'are being'} sent"
    if snapshot.state is State.AWAITING_TOOLS and (parts := _calls(snapshot)):
        return f"The run {run.id} waits for {' and for '.join(parts)}"
    return f"The run {run.id} is in progress on the server"


def _calls(snapshot: Snapshot) -> list[str]:
    kinds: dict[str, list[str]] = {}
    for call in snapshot.calls.open.values():
        what = "the approval of" if call.waits_for_a_person else "the output of"
        kinds.setdefault(what, []).append(f"{call.name} ({call.id})")
    return [f"{what} {', '.join(names)}" for what, names in kinds.items()]


def _head(snapshot: Snapshot, *, halted: bool) -> str:
    if snapshot.queue.doubt is not None:
        return f"It is not known whether a message was posted; {_searches(halted=halted)}"
    return "A message waits to be posted" if len(snapshot.queue) == 1 else f"{_unsent(snapshot)} to be posted"


def _unsent(snapshot: Snapshot) -> str:
    waiting = [_count(len(snapshot.queue), "message")] if snapshot.queue else []
    if snapshot.outbox.owed is not None:
        waiting.append("one run")
    singular = waiting in (["one message"], ["one run"])
    return f"{' and '.join(waiting) or 'nothing'} {'waits' if singular or not waiting else 'wait'}"


def _count(number: int, noun: str) -> str:
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    many = "no" if number == 0 else f"{number:,}"
    return f"one {noun}" if number == 1 else f"{many} {plural}"

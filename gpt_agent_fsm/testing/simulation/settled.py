"""Finds out from the stored snapshot of a thread whether the thread is settled, at rest or waiting."""

from __future__ import annotations

from gpt_agent_fsm.ports import Saved

__all__ = ["has_said_so", "is_at_rest", "is_parked", "is_settled", "is_stopped_by_limit", "was_told_to_wait"]


def is_settled(saved: Saved | None, *, honest: bool) -> bool:
    """Return whether a stored thread has nothing left to do.

    If the network is not `honest`, a message with an unknown outcome may stay in the queue, because the user was told
    about it.
    """
    if saved is None or not saved.snapshot.settled or saved.inbox or saved.unannounced:
        return False
    snapshot = saved.snapshot
    if snapshot.queue.doubt is not None and not honest:
        return snapshot.outbox.parked
    return snapshot.owes_nothing


def is_at_rest(saved: Saved | None, *, locked: bool) -> bool:
    """Return whether a thread does nothing more until the next command.

    If the server says that the thread is `locked`, a message or run may wait for the end of the lock.
    """
    if saved is None or saved.inbox or saved.unannounced:
        return False
    snapshot = saved.snapshot
    return snapshot.settled or (locked and snapshot.run is None)


def is_parked(saved: Saved | None) -> bool:
    """Return whether a thread waits for a person, for example because all attempts of a request have failed."""
    return saved is not None and saved.snapshot.outbox.parked


def is_stopped_by_limit(saved: Saved | None) -> bool:
    """Return whether a thread waits for a person because its token limit is reached."""
    failure = None if saved is None or not saved.snapshot.outbox.parked else saved.snapshot.failure
    return failure is not None and failure.code == "budget_exceeded"


def has_said_so(saved: Saved | None) -> bool:
    """Return whether a thread has announced that it has waited for a long time. Return True if it does not wait."""
    return was_told_to_wait(saved) or saved is None or saved.snapshot.waiting is None


def was_told_to_wait(saved: Saved | None) -> bool:
    """Return whether a thread waits, and has announced that it has waited for a long time."""
    waiting = None if saved is None else saved.snapshot.waiting
    return waiting is not None and waiting.told > 0

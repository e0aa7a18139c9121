"""The part of a snapshot that says what must be sent: the current turn, and the run that must still be created."""

from __future__ import annotations

import attrs

from gpt_agent_fsm.machine.queue import Doubt

__all__ = ["FailedAttempt", "Outbox", "OwedRun", "Turn"]


@attrs.frozen(kw_only=True)
class Turn:
    """The work that one user message starts: its run, and the runs that replace that run after a rate limit.

    Attributes:
        key: the key of the message, which is the text in its metadata by which the library finds the message. The keys
            of the runs are made from this key. If the library adopted the run, the key is the run's id.
        runs: the number of runs requested so far.
        retries_left: the number of times that a rate limited run may still be started again.
        run_options: the options of the turn's runs, as the JSON text of an object; "" if there are none.
    """

    key: str
    runs: int
    retries_left: int
    run_options: str = ""

    @property
    def run_key(self) -> str:
        """The key of the current run: the text that the library puts into the run's metadata, to find the run again."""
        return f"{self.key}.{self.runs}"


@attrs.frozen(kw_only=True)
class FailedAttempt:
    """A rate limited run that another run replaces."""

    run_id: str
    assistant_id: str = ""
    handle: str | None = None


@attrs.frozen(kw_only=True)
class OwedRun:
    """A run that must still be created: its message is on the thread.

    Attributes:
        retry_of: the rate limited run that this run replaces; None for the first run of the turn.
        doubt: set while it is unknown whether the run was created.
        must_cancel: True if the run must be cancelled as soon as it is found, and must not be created if it is absent.
    """

    retry_of: FailedAttempt | None = None
    doubt: Doubt | None = None
    must_cancel: bool = False


@attrs.frozen(kw_only=True)
class Outbox:
    """The part of the snapshot that says what must be sent. The messages to send are in the queue, not here.

    Attributes:
        turn: the current turn.
        owed: the run of the turn, while the library must still create it.
        parked: True if the thread does nothing until the next command, because a person must act or no attempts are
            left.
        budget_told: the number of used tokens and the limit that were announced as `BudgetExceeded`.
        head_is_unwanted: True if the user has discarded the first message of the queue, but it may have been posted.
            The message gets no run.
    """

    turn: Turn | None = None
    owed: OwedRun | None = None
    parked: bool = False
    budget_told: tuple[int, int] | None = None
    head_is_unwanted: bool = False

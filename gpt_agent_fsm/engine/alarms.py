"""Collects the inputs that make a thread act, except commands.

The inputs come from deadlines, webhooks, streams and other threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from gpt_agent_fsm.engine.agenda import Agenda
from gpt_agent_fsm.engine.ledger import Ledger
from gpt_agent_fsm.engine.listener import Listener
from gpt_agent_fsm.engine.webhooks import Webhooks
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.settings import Settings

__all__ = ["Alarms"]

_POLLS_OF_A_STREAM = 5
"""While a run's stream is read, the run is polled once in this many poll intervals, and when the stream ends."""


class Alarms:
    """The inputs of one thread that come from time, webhooks, streams and other threads. Ticks collect them.

    Attributes:
        was_told: True if a webhook, or the end of a stream, was the reason for the poll in flight.
    """

    __slots__ = (
        "_agenda",
        "_gate_opened",
        "_ledger",
        "_listener",
        "_lock",
        "_quota_restored",
        "_webhooks",
        "was_told",
    )

    def __init__(
        self, agenda: Agenda, ledger: Ledger, webhooks: Webhooks, listener: Listener, lock: threading.RLock
    ) -> None:
        self._agenda = agenda
        self._ledger = ledger
        self._listener = listener
        self._webhooks = webhooks
        self._lock = lock
        self._gate_opened = self._quota_restored = False
        self.was_told: bool = False

    def try_again(self, *, unpark: bool) -> None:
        """Let the thread try again. See `gate.Waiting.try_again`. May be called on any OS thread."""
        with self._lock:
            self._quota_restored, self._gate_opened = self._quota_restored or unpark, True

    def collect(self, settings: Settings) -> Iterator[inputs.Input]:
        """Yield the inputs that are due now, each only once. The timer of the agenda is not included."""
        with self._lock:
            quota_restored, gate_opened = self._quota_restored, self._gate_opened
            self._quota_restored = self._gate_opened = False
        if quota_restored:
            yield inputs.QuotaRestored()
        if (gate_opened and self._agenda.held_by_gate) or self.take_hint():
            self._agenda.come_back_now()
        yield from self._ledger.deadlines.passed(settings, self._agenda.due)

    def take_hint(self) -> bool:
        """Return whether to poll now, because a webhook or the stream reports that the run has ended."""
        snapshot, run = self._ledger.snapshot, self._ledger.snapshot.run
        polls = snapshot.has_waiting_request and isinstance(snapshot.request, effects.GetRun)
        if not polls or self._agenda.held_by_gate or run is None:
            self.was_told = False
        else:
            self.was_told = self._webhooks.pop_ended(run.handle) or self._listener.take_end()
        return self.was_told

    def min_pause(self, settings: Settings) -> float:
        """Return the shortest pause in seconds before the next poll."""
        if self.was_told:
            # The hint may come a little before a poll shows the end of the run. So the next poll must not be late.
            return 0.0
        streaming = settings.heartbeat_interval * _POLLS_OF_A_STREAM if self._listener.is_open else 0.0
        pause = max(self._webhooks.min_pause(settings), streaming)
        snapshot = self._ledger.snapshot
        if settings.heartbeat_max_interval is None or snapshot.state is not State.RUNNING or snapshot.run is None:
            return pause  # the poll interval grows only between two polls
        if snapshot.run.must_cancel or snapshot.run.ending is not None:
            return pause
        return max(pause, settings.growing_interval(self._ledger.deadlines.age_of_run))

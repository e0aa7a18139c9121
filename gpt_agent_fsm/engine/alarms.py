"""Everything besides commands that makes a thread act: timers, deadlines, webhooks, and news from other threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from gpt_agent_fsm.engine.agenda import Agenda
from gpt_agent_fsm.engine.ledger import Ledger
from gpt_agent_fsm.engine.webhooks import Webhooks
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.settings import Settings

__all__ = ["Alarms"]


class Alarms:
    """The inputs of one thread that come from time, webhooks and other threads. Ticks collect them.

    Attributes:
        webhook_came: True if a webhook caused the poll in flight.
    """

    __slots__ = ("_agenda", "_gate_opened", "_ledger", "_lock", "_quota_restored", "_webhooks", "webhook_came")

    def __init__(self, agenda: Agenda, ledger: Ledger, webhooks: Webhooks) -> None:
        self._agenda = agenda
        self._ledger = ledger
        self._webhooks = webhooks
        self._lock = threading.Lock()
        self._gate_opened = self._quota_restored = False
        self.webhook_came: bool = False

    def try_again(self, *, unpark: bool) -> None:
        """See `gate.Waiting.try_again`. May be called on any OS thread."""
        with self._lock:
            self._quota_restored, self._gate_opened = self._quota_restored or unpark, True

    def collect(self, settings: Settings) -> Iterator[inputs.Input]:
        """Yield each input that is due once. The timer of the agenda is not included."""
        with self._lock:
            quota_restored, gate_opened = self._quota_restored, self._gate_opened
            self._quota_restored = self._gate_opened = False
        if quota_restored:
            yield inputs.QuotaRestored()
        if (gate_opened and self._agenda.held_by_gate) or self.take_webhook():
            self._agenda.come_back_now()
        yield from self._ledger.deadlines.passed(settings, self._agenda.due)

    def take_webhook(self) -> bool:
        """Consume the webhook for the response that the next poll is about; return whether there was one."""
        snapshot, run = self._ledger.snapshot, self._ledger.snapshot.run
        polls = snapshot.has_waiting_request and isinstance(snapshot.request, effects.GetRun)
        waits = polls and not self._agenda.held_by_gate and run is not None
        self.webhook_came = waits and run is not None and self._webhooks.pop_ended(run.handle)
        return self.webhook_came

    def min_pause(self, settings: Settings) -> float:
        """Return the shortest pause in seconds before the next poll."""
        # A webhook may arrive a little before the server shows the end. So the poll after it must not be late.
        return 0.0 if self.webhook_came else self._webhooks.min_pause(settings)

"""Decides what follows from the facts and commands of one thread, and saves each decision in one commit."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from gpt_agent_fsm.engine.agenda import Agenda
from gpt_agent_fsm.engine.alarms import Alarms
from gpt_agent_fsm.engine.announcer import Announcer
from gpt_agent_fsm.engine.decision import Decision, decide
from gpt_agent_fsm.engine.inbox import Inbox
from gpt_agent_fsm.engine.ledger import Ledger
from gpt_agent_fsm.engine.listener import Listener
from gpt_agent_fsm.engine.protocols import CallLimits, Clock
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.settings import Settings

__all__ = ["Decider", "Permit"]

Permit = Callable[[effects.Request], CallLimits | None]
"""Returns the limits of a request if the request may be sent right after the next commit, and otherwise None."""


@attrs.frozen(kw_only=True)
class _Unsaved:
    """A decision that is not saved yet, with the next request and the next due time.

    Attributes:
        deadline: the deadline of the next request, if the request counts as sent with this decision; otherwise None.
        unheard: True if no handler follows the events.
    """

    decision: Decision
    request: effects.Request | None
    due: float | None
    deadline: float | None
    unheard: bool


class Decider:
    """Handles the inputs of one thread. Only the start and the ticks of its driver use it.

    Attributes:
        facts: the facts that are not handled yet.
        idle: the reason why the driver must be removed, unless a command arrives; None if the driver stays.
    """

    __slots__ = (
        "_agenda",
        "_alarms",
        "_announcer",
        "_inbox",
        "_ledger",
        "_listener",
        "_look",
        "_unsaved",
        "facts",
        "idle",
    )

    def __init__(
        self,
        inbox: Inbox,
        ledger: Ledger,
        agenda: Agenda,
        alarms: Alarms,
        listener: Listener,
        announcer: Announcer,
    ) -> None:
        self._inbox = inbox
        self._ledger = ledger
        self._agenda = agenda
        self._alarms = alarms
        self._listener = listener
        self._announcer = announcer
        self._unsaved: _Unsaved | None = None
        self._look: effects.Request | None = None
        """A request that only reads, and that is made before the decision that led to it is saved."""
        self.facts: tuple[inputs.Input, ...] = ()
        self.idle: str | None = None

    @property
    def is_done(self) -> bool:
        """True if every fact is handled, and every decision is saved."""
        return not self.facts and self._unsaved is None

    @property
    def next_request(self) -> effects.Request | None:
        """The request to make now, or None."""
        if self._agenda.request is None:
            return self._look
        # A command may have changed the request since the agenda got it.
        return self._ledger.snapshot.request or self._agenda.request

    def advance(self, clock: Clock, settings: Settings, permit: Permit | None = None) -> CallLimits | None:
        """Advance the snapshot by the waiting facts and commands, and save the result in one commit.

        The next request may follow without a pause if it must be made now, no handler must be called before it, and
        `permit` returns its limits. This method then returns the limits, and the caller must make `next_request`
        immediately. Otherwise it returns None. If such a request changes the server, it counts as sent with this
        commit. If it only reads, nothing is saved before it, because a restart would come here again.
        """
        self.save(settings)
        self._look = None
        if not self.facts and self._inbox.is_empty:
            return None
        commands, snapshot = self._inbox.waiting(), self._listener.noted(self._ledger.snapshot)
        decision = decide(snapshot, self.facts, commands, settings, clock.time())
        if decision.dropped:
            self._agenda.recover()
        pause = self._alarms.min_pause(settings) if decision.snapshot.polls else 0.0
        request, due = self._agenda.after(decision.wanted, pause)
        ready = None if permit is None or request is None else self._ready_request(decision)
        unheard = bool(decision.happened or ready) and self._announcer.is_unheard(decision.happened)
        # Handlers are called before the next request, because they may stop the agent or cancel the run.
        limits = permit(ready) if permit and ready and unheard else None
        deadline = None
        if limits and ready:
            if not ready.changes_server:
                self._look = ready
                return limits
            decision = attrs.evolve(decision, snapshot=decision.snapshot.with_request(sent=True))
            deadline = limits.deadline
        self._unsaved = _Unsaved(decision=decision, request=request, due=due, deadline=deadline, unheard=unheard)
        self.save(settings)
        return limits

    def _ready_request(self, decision: Decision) -> effects.Request | None:
        """Return the request that follows from the decision, if it may be made immediately.

        A look is a request that only reads. It is made before the decision is saved only if this spares a commit. The
        decision must follow from one other look, because a restart repeats that look, and no other request.
        """
        request = decision.snapshot.request
        if request is None or decision.dropped:
            return None
        last = self._ledger.snapshot.request
        follows_a_look = last is not None and not last.changes_server and decision.facts == 1
        spares_a_commit = decision.happened and follows_a_look and not decision.consumed
        if not request.changes_server and not spares_a_commit:
            return None
        return request

    def save(self, settings: Settings) -> None:
        """Save the decision that is not saved yet, if there is one.

        A failed commit may have taken effect. The store recognises a repeated commit only if it has not changed.
        """
        unsaved = self._unsaved
        if unsaved is None:
            return
        decision, due = unsaved.decision, unsaved.due if unsaved.deadline is None else unsaved.deadline
        news = (decision.snapshot, decision.consumed, decision.happened, due, settings)
        self._announcer.add(self._ledger.commit(*news, unheard=unsaved.unheard), unheard=unsaved.unheard)
        self._inbox.drop(decision.consumed)
        self.facts = self.facts[decision.facts :]
        self._agenda.follow(unsaved.request, unsaved.due)
        self.idle = next((effect.reason for effect in decision.wanted if isinstance(effect, effects.Stop)), None)
        self._unsaved = None

    def forget(self) -> None:
        """Forget the decision that is not saved yet, because another process drives the thread now."""
        self._unsaved = None

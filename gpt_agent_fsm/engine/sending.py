"""Send the next request of one thread, unless the gate holds it back."""

from __future__ import annotations

from gpt_agent_fsm.engine.agenda import Agenda
from gpt_agent_fsm.engine.context import DriverContext, driven_elsewhere
from gpt_agent_fsm.engine.gate import Waiting
from gpt_agent_fsm.engine.ledger import Ledger
from gpt_agent_fsm.engine.listener import Listener
from gpt_agent_fsm.engine.protocols import CallLimits, Lease
from gpt_agent_fsm.engine.runner import call_limits, perform
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.settings import Settings

__all__ = ["Sender"]


class Sender:
    """Sends the requests of one thread. Only ticks use it. It has no state of its own."""

    __slots__ = ("_agenda", "_context", "_ledger", "_listener", "_thread_id")

    def __init__(
        self, context: DriverContext, thread_id: str, ledger: Ledger, agenda: Agenda, listener: Listener
    ) -> None:
        self._context = context
        self._thread_id = thread_id
        self._ledger = ledger
        self._agenda = agenda
        self._listener = listener

    def permit(self, request: effects.Request, who: Waiting, settings: Settings) -> CallLimits | None:
        """Return the limits of a request that begins now. Return None if the request must wait for the gate."""
        lease = self._ledger.lease
        if lease is None or self._context.gate.admit(who, request) is not None:
            return None
        return call_limits(self._context.clock, settings, lease)

    def send(
        self,
        request: effects.Request,
        who: Waiting,
        settings: Settings,
        permitted: CallLimits | None = None,
    ) -> inputs.Input | None:
        """Make the request and return its answer. Return None if the gate holds the request back.

        If the request changes the server, it is first saved as sent, unless it was `permitted` and is already saved so.
        Raises `StoreTaken` if the lease does not hold. In this case, the request took no effect.
        """
        lease = self._ledger.lease
        if lease is None:
            raise driven_elsewhere(self._thread_id)
        if permitted is not None:
            return self._perform(request, who, lease, permitted)
        verdict = self._context.gate.admit(who, request)
        if isinstance(verdict, float):
            self.put_back(verdict, settings)
            return None
        if verdict is not None:
            return verdict
        limits = call_limits(self._context.clock, settings, lease)
        if request.changes_server:
            self._save_request(sent=True, due=limits.deadline, settings=settings)
        return self._perform(request, who, lease, limits)

    def _perform(self, request: effects.Request, who: Waiting, lease: Lease, limits: CallLimits) -> inputs.Input:
        """Make the request and return its answer."""
        context = self._context
        if request.changes_server:
            self._agenda.request = None
            if not lease.holds():
                raise driven_elsewhere(self._thread_id)
        maker, fact = self._listener.maker_for(request, self._ledger.snapshot), None
        since = context.clock.monotonic() if context.trace.hooks else None
        try:
            fact = perform(
                context.backend,
                self._thread_id,
                request,
                limits,
                context.webhooks.belongs_elsewhere,
                maker,
                durable=self._ledger.is_durable,
                ended_calls=self._ledger.snapshot.server.ended_calls,
            )
        finally:
            self._listener.made(request, maker, fact)
        if since is not None:
            self._report(request, fact, since)
        if isinstance(fact, inputs.RequestDelayed) and not lease.holds():
            raise driven_elsewhere(self._thread_id)
        context.gate.learn(who, request, fact)
        return fact

    def _report(self, request: effects.Request, fact: inputs.Input, since: float) -> None:
        """Call the trace hooks about a request that was made. No text of the request or of its answer is passed on."""
        failure, turn = fact if isinstance(fact, inputs.RequestFailure) else None, self._ledger.snapshot.outbox.turn
        key = request.key if isinstance(request, effects.PostMessage) else None
        if isinstance(request, effects.CreateRun) and turn is not None:
            key = turn.key
        self._context.trace.ended(
            "request",
            since,
            thread_id=self._thread_id,
            operation=request.operation,
            outcome="ok" if failure is None else _code_of(failure),
            status=None if failure is None else failure.status,
            key=key,
        )

    def _save_request(self, *, sent: bool, due: float | None, settings: Settings) -> None:
        """Save whether the request counts as sent from now on, and the due time."""
        self._ledger.commit(self._ledger.snapshot.with_request(sent=sent), 0, (), due, settings)

    def save_progress(self, settings: Settings) -> None:
        """Save how far the stream of the run was announced, and that a request was not sent if it was not made.

        Such a request may count as sent, because it was saved so together with the decision that led to it.
        """
        pending = self._ledger.snapshot.pending
        if self._agenda.request is not None and pending is not None and pending.sent and pending.request.changes_server:
            self.put_back(self._agenda.due, settings)
        noted = self._listener.noted(self._ledger.snapshot)
        if noted is not self._ledger.snapshot:
            self._ledger.commit(noted, 0, (), self._agenda.due, settings)

    def put_back(self, due: float | None, settings: Settings) -> None:
        """Save that the request was not sent and waits until `due`."""
        self._save_request(sent=False, due=due, settings=settings)
        self._agenda.hold(due)


_FIRST_ERROR_STATUS = 400
_ERRORS = {
    inputs.RequestDelayed: "TransientError",
    inputs.RequestUnresolved: "OutcomeUnknown",
    inputs.RequestBlocked: "ThreadBusy",
    inputs.RequestNeedsOperator: "AccessDenied",
    inputs.RequestRejected: "RequestRefused",
}


def _code_of(failure: inputs.RequestFailure) -> str:
    """Return the HTTP status as text. If the HTTP answer shows no error, or none arrived, return the error's class."""
    if failure.status is not None and failure.status >= _FIRST_ERROR_STATUS:
        return str(failure.status)
    return _ERRORS[type(failure)]

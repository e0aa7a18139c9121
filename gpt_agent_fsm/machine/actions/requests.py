"""The one request a thread is on: made now or set for later, repeated, looked for, or given up."""

from __future__ import annotations

from typing import cast

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.guards import Guards
from gpt_agent_fsm.machine.snapshot import Doubt
from gpt_agent_fsm.machine.table import LIVE, reason_to_ignore

__all__ = ["RequestActions"]

_ENDS_REMEMBERED = 20
_CALLS_REMEMBERED = 200
_LOOKS_IN_FLIGHT = 2
"""A request that may still land is looked for, and once more when it can land no longer."""


@attrs.define(kw_only=True)
class RequestActions(Guards):
    """The verbs of requests, whatever they are about."""

    # --- the one request --------------------------------------------------------------------------------

    def perform(self, request: effects.Request) -> None:
        """Make `request` now. From here on it counts as sent: a crash leaves its outcome in doubt."""
        self.request, self.sent = request, True
        self.effects.append(request)

    def later(self, request: effects.Request, wait: effects.Wait) -> None:
        """Make `request` when `wait` is over."""
        self.request, self.sent = request, False
        self.effects.append(wait)

    def close_request(self) -> None:
        """Be on no request; what comes next is decided at rest."""
        self.end_look()
        self.tries = 0

    def end_look(self) -> None:
        """Be on no request; what changes the server and was tried before may have to be tried again."""
        self.request, self.sent, self.failures = None, False, 0

    def look_at_the_run(self, *, in_doubt: bool = False) -> effects.GetRun:
        """Return the look at the run in progress."""
        return effects.GetRun(run_id=cast("str", self.run_id), handle=self.run_handle, in_doubt=in_doubt)

    def _heartbeat(self) -> effects.Wait:
        return effects.Wait(seconds=min(self.settings.heartbeat_interval, self.settings.idle_timeout))

    def perform_request(self) -> None:
        self.perform(cast("effects.Request", self.request))

    def resume_request(self) -> None:
        # How much of a grace had passed is not known: look twice again.
        if self.is_searching():
            self._doubt_message(_LOOKS_IN_FLIGHT)
        elif self.run_doubt is not None and self.looks_for_our_run():
            self._doubt_run(_LOOKS_IN_FLIGHT)
        self.perform_request()

    # --- at rest ----------------------------------------------------------------------------------------

    def rest(self) -> None:
        self.effects.append(effects.Wait(seconds=self.settings.idle_timeout))

    def unpark(self) -> None:
        self.parked = False

    def stop(self) -> None:
        self.stopping = True
        self.effects.append(effects.Stop(reason="idle_timeout"))

    def ignore(self) -> None:
        self.effects.append(effects.Ignore(reason=reason_to_ignore(self.input.trigger, self.state)))

    # --- requests that did not succeed ------------------------------------------------------------------

    def report(self, *, will_retry: bool) -> None:
        """Tell what came of the request under way."""
        request = cast("effects.Request", self.request)
        self._tell(request, cast("inputs.Failure", self.input), self.attempt, will_retry=will_retry)

    def report_doubt(self, request: effects.Request, message: str, *, will_retry: bool) -> None:
        """Tell of a request whose outcome nobody saw."""
        failure = inputs.OutcomeUnknown(code="outcome_unknown", message=message)
        self._tell(request, failure, self.tries + 1, will_retry=will_retry)

    def _tell(self, request: effects.Request, failure: inputs.Failure, attempt: int, *, will_retry: bool) -> None:
        self.events.append(
            events.RequestFailed(
                thread_id=self.thread_id,
                operation=request.operation,
                status=failure.status,
                code=failure.code,
                message=failure.message,
                attempt=attempt,
                will_retry=will_retry,
            )
        )

    def _backoff(self, failed: int) -> effects.Wait:
        """Exponential, with up to half of it taken off at random; never shorter than the server asked for."""
        full = self.settings.backoff(failed)
        asked = cast("inputs.Failure", self.input).retry_after or 0.0
        return effects.Wait(seconds=max(full / 2, asked), spread=full / 2)

    def try_again_later(self) -> None:
        self.report(will_retry=True)
        if self.counts_as_try():
            self.tries += 1
        else:
            self.failures += 1
        self.later(cast("effects.Request", self.request), self._backoff(self.attempt - 1))

    def give_up(self) -> None:
        """Keep what could not be delivered, and try nothing more until the next command."""
        self.report(will_retry=False)
        if isinstance(self.input, inputs.RequestDenied) and self.input.quota:
            self._out_of_quota(self.run_id if self.state in LIVE else None, self.assistant_id)
        self._park()

    def _out_of_quota(self, run_id: str | None, assistant_id: str) -> None:
        self.events.append(
            events.OrganizationQuotaExceeded(run_id=run_id, thread_id=self.thread_id, assistant_id=assistant_id)
        )

    def _park(self) -> None:
        self.parked = True
        # A run we leave behind may go on without us: the next command looks for it first.
        self.look = self.look or self.state in LIVE
        self._leave_run()

    def _leave_run(self) -> None:
        self.run_id = None
        self.cancelling, self.timed_out = False, ""
        if not self.run_owed:
            # One that is owed may repeat the run that is left.
            self.turn = self.run_handle = None
        self.close_request()

    def _end_run(self) -> None:
        self.note_end()
        self.tool_calls = ()
        self._leave_run()

    def note_end(self) -> None:
        """Remember that the run has ended, so that it is not taken up again."""
        self.ended_run_ids = (*self.ended_run_ids, cast("str", self.run_id))[-_ENDS_REMEMBERED:]
        self.ended_calls = (*self.ended_calls, *(call.id for call in self.tool_calls))[-_CALLS_REMEMBERED:]

    def let_go(self) -> None:
        self.report(will_retry=False)
        self.close_request()

    # --- what is in doubt -------------------------------------------------------------------------------

    def look_for_outcome(self) -> None:
        self.report(will_retry=True)
        self.tries += 1
        self._doubt(self._looks())
        self.later(self._search(), self._backoff(self.tries))

    def look_after_crash(self) -> None:
        self.report_doubt(
            cast("effects.Request", self.request),
            "The process ended while the request was under way; the server is asked what came of it.",
            will_retry=True,
        )
        self._doubt(_LOOKS_IN_FLIGHT)
        self.perform(self._search())

    def give_up_in_doubt(self) -> None:
        self._doubt(self._looks())
        self.give_up()

    def _search(self) -> effects.Request:
        """The look that tells whether the request in doubt took effect."""
        if isinstance(self.request, effects.PostMessage):
            return effects.ListMessages(after=None, newest_first=True)
        if isinstance(self.request, effects.SubmitToolOutputs):
            return self.look_at_the_run(in_doubt=True)
        run = cast("effects.CreateRun", self.request)
        return effects.GetLatestRun(key=run.key, repeats=run.repeats)

    def _looks(self) -> int:
        """How often to look before sending again: twice, the grace between, where the request may still land."""
        return _LOOKS_IN_FLIGHT if cast("inputs.OutcomeUnknown", self.input).in_flight else 1

    def _doubt(self, looks: int) -> None:
        """Note that the request under way may have taken effect. A submission is told by the run's status alone."""
        if isinstance(self.request, effects.PostMessage):
            self._doubt_message(looks)
        elif isinstance(self.request, effects.CreateRun):
            self._doubt_run(looks)

    def _doubt_message(self, looks: int) -> None:
        known = (self.last_posted_id, self.last_message_id)
        before = self.message_doubt or Doubt(looks=looks, known=tuple(id_ for id_ in known if id_ is not None))
        self.message_doubt = attrs.evolve(before, looks=looks)

    def _doubt_run(self, looks: int) -> None:
        known = () if self.last_run_id is None else (self.last_run_id,)
        self.run_doubt = attrs.evolve(self.run_doubt or Doubt(looks=looks, known=known), looks=looks)

    def look_again(self) -> None:
        request = cast("effects.ListMessages | effects.GetLatestRun", self.request)
        if isinstance(request, effects.ListMessages):
            self._doubt_message(cast("Doubt", self.message_doubt).looks - 1)
            request = attrs.evolve(request, after=None)
        else:
            self._doubt_run(cast("Doubt", self.run_doubt).looks - 1)
        self.later(request, effects.Wait(seconds=self.settings.outcome_grace))

"""The verbs that the rows of the machine's table carry out on the working copy of a snapshot.

Each leaves the thread on exactly one request (made now, or set for later) or on none.
"""

from __future__ import annotations

from typing import cast

import attrs

from gpt_agent_fsm import effects, events, inputs
from gpt_agent_fsm.guards import BROKEN, Guards, decode_arguments
from gpt_agent_fsm.machine import LIVE, reason_to_ignore
from gpt_agent_fsm.objects import Message, Run, ToolCall
from gpt_agent_fsm.reading import unread
from gpt_agent_fsm.snapshot import Doubt, QueuedMessage, Reading, Turn

__all__ = ["BROKEN_ARGUMENTS_OUTPUT", "Actions"]

BROKEN_ARGUMENTS_OUTPUT = '{"error":"Failed to decode arguments, invalid JSON in tool call."}'
_MAX_DOUBLINGS = 60
_LOOKS_IN_FLIGHT = 2
"""A request that may still land is looked for, and once more when it can land no longer."""


@attrs.define(kw_only=True)
class Actions(Guards):
    """A working copy that can be told what to do."""

    # --- the one request ----------------------------------------------------------------------------

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
        self.request, self.sent = None, False
        self.tries = self.failures = 0

    def perform_request(self) -> None:
        self.perform(cast("effects.Request", self.request))

    def resume_request(self) -> None:
        # How much of a grace had passed is not known: look twice again.
        if self.is_searching():
            self._doubt_message(_LOOKS_IN_FLIGHT)
        elif self.run_doubt is not None and self.looks_for_our_run():
            self._doubt_run(_LOOKS_IN_FLIGHT)
        self.perform_request()

    def ignore(self) -> None:
        self.effects.append(effects.Ignore(reason=reason_to_ignore(self.input.trigger, self.state)))

    def ignore_other_run(self) -> None:
        self.effects.append(effects.Ignore(reason=f"run {self.seen.id} is not the run in progress"))

    # --- at rest --------------------------------------------------------------------------------------

    def attach(self) -> None:
        command = cast("inputs.Connect", self.input)
        self.last_message_id = command.last_message_id or self.last_message_id
        self.look = self.look or (command.look and not self.state.run_in_progress)
        self.change_assistant()

    def change_assistant(self) -> None:
        command = cast("inputs.Connect | inputs.SetAssistant", self.input)
        self.assistant_id = command.assistant_id
        self.parked = False
        if isinstance(self.request, effects.CreateRun) and not self.sent:
            self.request = attrs.evolve(self.request, assistant_id=command.assistant_id)

    def queue_message(self) -> None:
        command = cast("inputs.AddUserMessage", self.input)
        self.queue = (*self.queue, QueuedMessage(key=command.key, content=command.content))
        self.parked = False

    def rest(self) -> None:
        self.effects.append(effects.Wait(seconds=self.settings.idle_timeout))

    def stop(self) -> None:
        self.stopping = True
        self.effects.append(effects.Stop(reason="idle_timeout"))

    def look_for_a_run(self) -> None:
        in_doubt = self.run_owed and self.run_doubt is not None and self.turn is not None
        self.perform(effects.GetLatestRun(key=self.turn.run_key if in_doubt and self.turn else None))

    def post_message(self) -> None:
        if self.message_doubt is not None:
            self.perform(effects.ListMessages(after=None, newest_first=True))
        else:
            head = self.queue[0]
            self.perform(effects.PostMessage(key=head.key, content=head.content))

    def create_run(self) -> None:
        turn = cast("Turn", self.turn)
        if self.run_doubt is not None:
            self.perform(effects.GetLatestRun(key=turn.run_key))
        else:
            self.perform(effects.CreateRun(key=turn.run_key, assistant_id=self.assistant_id))

    # --- a message goes out ------------------------------------------------------------------------------

    def confirm_message(self) -> None:
        answer = cast("inputs.MessagePosted", self.input)
        self.keys_kept = self.keys_kept or answer.key_kept
        self._message_is_on_the_thread(answer.message_id)

    def confirm_found_message(self) -> None:
        found = cast("Message", self.our_message())
        self.keys_kept = self.keys_kept or found.key is not None
        self._message_is_on_the_thread(found.id)

    def _message_is_on_the_thread(self, message_id: str) -> None:
        head, *rest = self.queue
        self.queue = tuple(rest)
        self.last_posted_id = message_id
        self.message_doubt = None
        self.turn = Turn(key=head.key, runs=1, retries_left=self.settings.rate_limit_max_retries)
        self.run_owed = True
        self.close_request()
        self.events.append(events.UserMessageAdded(id=message_id, thread_id=self.thread_id, content=head.content))

    def drop_message(self) -> None:
        """Let go of a message whose text can never be accepted, so that those behind it can go out."""
        self.report(will_retry=False)
        self.queue = self.queue[1:]
        self.close_request()

    def search_next_page(self) -> None:
        self.perform(effects.ListMessages(after=self._next_after(), newest_first=True))

    def conclude_absence(self) -> None:
        self.message_doubt = None
        self.request, self.sent, self.failures = None, False, 0

    def give_up_search(self) -> None:
        self.events.append(
            events.RequestFailed(
                thread_id=self.thread_id,
                operation=effects.PostMessage.operation,
                status=None,
                code="outcome_unknown",
                message=(
                    "It can not be told whether the message was posted: the server keeps no metadata, and a message "
                    "of the same text is on the thread. It stays at the head of the queue"
                ),
                attempt=max(self.tries, 1),
                will_retry=False,
            )
        )
        self._park()

    # --- a run begins ------------------------------------------------------------------------------------

    def start_run(self) -> None:
        self._begin(cast("inputs.RunCreated", self.input).run)

    def start_found_run(self) -> None:
        self._begin(cast("Run", self.our_run()))

    def _begin(self, run: Run) -> None:
        self.keys_kept = self.keys_kept or run.key is not None
        self._take_run(run)
        self.run_owed, self.run_doubt = False, None
        self.events.append(events.RunStarted(id=run.id, thread_id=self.thread_id, assistant_id=self.run_assistant_id))
        # The server may have answered with a run that needs something, or is over already.
        self.followed_by = inputs.RunSeen(run=run)

    def adopt_run(self) -> None:
        run = self.listed[0]
        self._take_run(run)
        if not self.run_owed:
            self.turn = Turn(key=run.id, runs=0, retries_left=self.settings.rate_limit_max_retries)
        self.perform(effects.GetRun(run_id=run.id))

    def _take_run(self, run: Run) -> None:
        if run.id != self.last_run_id:
            self.tool_calls, self.outputs_accepted = (), False
        self.run_id = self.last_run_id = run.id
        self.run_assistant_id = run.assistant_id or self.assistant_id
        self.look = False
        self.tries = self.failures = 0

    def note_latest_run(self) -> None:
        self.last_run_id = self.listed[0].id if self.listed else ""
        self.look = False
        if self.looks_for_our_run():
            self.run_doubt = None
        self.request, self.sent, self.failures = None, False, 0

    def create_run_after_all(self) -> None:
        self.note_latest_run()
        self.create_run()

    def look_for_the_run_in_the_way(self) -> None:
        self.tries += 1
        request = effects.GetLatestRun(key=self.turn.run_key if self.run_owed and self.turn else None)
        if self.tries == 1:
            self.perform(request)
        else:
            self.later(request, self._backoff(self.tries - 1))

    # --- a run goes on --------------------------------------------------------------------------------------

    def poll_later(self) -> None:
        if self.was_a_submission() or self.outputs_did_arrive():
            self.outputs_accepted = True
        self.tries = self.failures = 0
        interval = min(self.settings.heartbeat_interval, self.settings.idle_timeout)
        self.later(effects.GetRun(run_id=self.seen.id), effects.Wait(seconds=interval))

    def outputs_did_arrive(self) -> bool:
        """A run that moved on while our submission was in doubt has taken the outputs."""
        return bool(self.tool_calls) and not self._open_calls() and not self.run_needs_tools()

    def look_at_run(self) -> None:
        self.tries = self.failures = 0
        self.perform(effects.GetRun(run_id=cast("str", self.run_id)))

    def request_tool_calls(self) -> None:
        self._take_down_calls()
        self.failures = 0
        self.later(effects.GetRun(run_id=self.seen.id), effects.Wait(seconds=self.settings.idle_timeout))

    def submit_known_outputs(self) -> None:
        self._take_down_calls()
        self.submit_outputs()

    def _take_down_calls(self) -> None:
        """Note the calls the run waits for; pass on each new one, answer each whose arguments are broken."""
        waiting: dict[str, ToolCall] = {}
        for call in self.seen.tool_calls:
            known = self.known(call)
            if known is None and call.id not in waiting:
                known = self._new_call(call)
            if known is not None:
                waiting[call.id] = known
        self.tool_calls, self.outputs_accepted = tuple(waiting.values()), False

    def _new_call(self, call: ToolCall) -> ToolCall:
        arguments = decode_arguments(call.arguments)
        if arguments is BROKEN:
            return self._record(call, BROKEN_ARGUMENTS_OUTPUT)
        self.events.append(
            events.ToolCallRequested(
                id=call.id, thread_id=self.thread_id, run_id=self.seen.id, name=call.name, arguments=arguments
            )
        )
        return attrs.evolve(call, output=None)

    def _record(self, call: ToolCall, output: str) -> ToolCall:
        run_id = cast("str", self.run_id or self.last_run_id)
        self.events.append(
            events.ToolCallOutputRecorded(
                id=call.id, thread_id=self.thread_id, run_id=run_id, name=call.name, output=output
            )
        )
        return attrs.evolve(call, output=output)

    def record_output(self) -> None:
        command = cast("inputs.SubmitToolOutput", self.input)
        self.parked = False
        self.tool_calls = tuple(
            self._record(call, command.output) if call.id == command.tool_call_id else call for call in self.tool_calls
        )

    def record_last_output(self) -> None:
        self.record_output()
        # A look that is under way, or a cancel, answers first; what it sees decides.
        if not self.sent and not self.was_a_cancel():
            self.submit_outputs()

    def submit_outputs(self) -> None:
        self.failures = 0
        outputs = tuple((call.id, call.output) for call in self.tool_calls if call.output is not None)
        self.perform(effects.SubmitToolOutputs(run_id=cast("str", self.run_id), outputs=outputs))

    def look_at_run_later(self) -> None:
        self.report(will_retry=True)
        self.tries += 1
        self.later(effects.GetRun(run_id=cast("str", self.run_id)), self._submission_delay())

    def give_up_outputs(self) -> None:
        """Tell that the outputs could not be sent, and end the run so that the thread stays usable."""
        self.report(will_retry=False)
        run_id = cast("str", self.run_id)
        self.events.append(events.ToolCallOutputSubmissionFailed(thread_id=self.thread_id, run_id=run_id))
        self._end_run()
        self.perform(effects.CancelRun(run_id=run_id))

    def keep_outputs(self) -> None:
        """Keep the outputs for the next time this run is seen: a person must act before they can be sent."""
        run_id = cast("str", self.run_id)
        self.give_up()
        self.events.append(events.ToolCallOutputSubmissionFailed(thread_id=self.thread_id, run_id=run_id))

    # --- a run is cancelled ----------------------------------------------------------------------------------

    def cancel(self) -> None:
        if self.sent:
            self.cancelling = not self.was_a_cancel()
        elif not self.was_a_cancel():
            self.send_cancel()

    def send_cancel(self) -> None:
        self.cancelling = False
        self.tries = self.failures = 0
        self.perform(effects.CancelRun(run_id=cast("str", self.run_id)))

    def remember_to_cancel(self) -> None:
        self.cancelling = True

    def forget_cancel(self) -> None:
        self.report(will_retry=False)
        self.look_at_run()

    def let_go(self) -> None:
        self.report(will_retry=False)
        self.close_request()

    def abandon_retry(self) -> None:
        self._fail(cast("str", self.run_id), "cancelled", "The run was cancelled while it waited to be started again.")
        self.run_owed = False
        self._end_run()

    # --- a run ends -------------------------------------------------------------------------------------------

    def _end_run(self) -> None:
        self.tool_calls = ()
        self._leave_run()

    def _leave_run(self) -> None:
        self.run_id = None
        self.cancelling = False
        if not self.run_owed:
            self.turn = None
        self.close_request()

    def complete_run(self) -> None:
        run = self.seen
        self.events.append(
            events.RunCompleted(
                id=run.id,
                thread_id=self.thread_id,
                assistant_id=self.run_assistant_id,
                prompt_tokens=run.usage.prompt_tokens,
                completion_tokens=run.usage.completion_tokens,
                total_tokens=run.usage.total_tokens,
            )
        )
        self.reading = Reading(run_id=run.id, assistant_id=self.run_assistant_id)
        self._end_run()

    def wait_for_rate(self) -> None:
        """Set a new run for later; the message is on the thread already and is not posted again."""
        turn = cast("Turn", self.turn)
        self._rate_limited(turn.retries_left)
        self.turn = attrs.evolve(turn, runs=turn.runs + 1, retries_left=turn.retries_left - 1)
        self.run_owed = True
        self.cancelling = False
        self.tries = self.failures = 0
        self.later(
            effects.CreateRun(key=self.turn.run_key, assistant_id=self.assistant_id),
            effects.Wait(seconds=self.settings.rate_limit_retry_delay),
        )

    def _rate_limited(self, retries_remaining: int) -> None:
        self.events.append(
            events.RateLimited(
                run_id=self.seen.id,
                thread_id=self.thread_id,
                assistant_id=self.run_assistant_id,
                retries_remaining=retries_remaining,
            )
        )

    def exhaust_retries(self) -> None:
        self._rate_limited(0)
        self.events.append(
            events.RateLimitRetriesExhausted(
                run_id=self.seen.id, thread_id=self.thread_id, assistant_id=self.run_assistant_id
            )
        )
        self._end_run()

    def report_empty_balance(self) -> None:
        self._out_of_quota(self.seen.id, self.run_assistant_id)
        self.fail_run()

    def _out_of_quota(self, run_id: str | None, assistant_id: str) -> None:
        self.events.append(
            events.OrganizationQuotaExceeded(run_id=run_id, thread_id=self.thread_id, assistant_id=assistant_id)
        )

    def fail_run(self) -> None:
        self._fail(self.seen.id, self.seen.code, self.seen.message)
        self._end_run()

    def lose_run(self) -> None:
        """The server denies the run we know: to us it has ended."""
        failure = cast("inputs.Failure", self.input)
        self.report(will_retry=False)
        self._fail(cast("str", self.run_id), failure.code or "not_found", failure.message)
        # Should it turn up again all the same, its calls were asked for already.
        self._leave_run()

    def _fail(self, run_id: str, code: str, message: str) -> None:
        self.events.append(
            events.RunFailed(
                id=run_id,
                thread_id=self.thread_id,
                assistant_id=self.run_assistant_id,
                code=code,
                message=message,
            )
        )

    # --- messages are read ---------------------------------------------------------------------------------------

    def read_messages(self) -> None:
        self.reading = attrs.evolve(cast("Reading", self.reading), whole=False, messages=())
        self.perform(effects.ListMessages(after=self.last_message_id))

    def read_next_page(self) -> None:
        self.reading = attrs.evolve(cast("Reading", self.reading), messages=self.read_so_far())
        self.failures = 0
        self.perform(effects.ListMessages(after=self._next_after()))

    def read_from_the_start(self) -> None:
        self.reading = attrs.evolve(cast("Reading", self.reading), whole=True, messages=())
        self.failures = 0
        self.perform(effects.ListMessages(after=None))

    def publish_messages(self) -> None:
        reading = attrs.evolve(cast("Reading", self.reading), messages=self.read_so_far())
        for message in unread(reading, self.last_message_id, self.last_posted_id):
            self.last_message_id = message.id
            self.events.append(
                events.AssistantMessageAdded(
                    message_id=message.id,
                    thread_id=self.thread_id,
                    run_id=message.run_id or reading.run_id,
                    assistant_id=message.assistant_id or reading.assistant_id,
                    content=message.content,
                )
            )
        self.reading = None
        self.close_request()

    # --- requests that did not succeed -----------------------------------------------------------------------------

    def report(self, *, will_retry: bool) -> None:
        failure = cast("inputs.Failure", self.input)
        self.events.append(
            events.RequestFailed(
                thread_id=self.thread_id,
                operation=cast("effects.Request", self.request).operation,
                status=failure.status,
                code=failure.code,
                message=failure.message,
                attempt=self.attempt,
                will_retry=will_retry,
            )
        )

    def _backoff(self, failed: int) -> effects.Wait:
        """Exponential, with up to half of it taken off at random; never shorter than the server asked for."""
        settings = self.settings
        full = min(
            settings.request_retry_delay * 2.0 ** min(failed - 1, _MAX_DOUBLINGS), settings.request_retry_max_delay
        )
        asked = cast("inputs.Failure", self.input).retry_after or 0.0
        return effects.Wait(seconds=max(full / 2, asked), spread=full / 2)

    def _submission_delay(self) -> effects.Wait:
        asked = cast("inputs.Failure", self.input).retry_after or 0.0
        return effects.Wait(seconds=max(self.settings.tool_output_retry_delay, asked))

    def try_again_later(self) -> None:
        self.report(will_retry=True)
        if self.counts_as_try():
            self.tries += 1
        else:
            self.failures += 1
        request = cast("effects.Request", self.request)
        if self.was_a_submission():
            self.later(request, self._submission_delay())
        else:
            self.later(request, self._backoff(self.attempt - 1))

    def give_up(self) -> None:
        """Keep what could not be delivered, and try nothing more until the next command."""
        self.report(will_retry=False)
        if isinstance(self.input, inputs.RequestDenied) and self.input.quota:
            self._out_of_quota(self.run_id if self.state in LIVE else None, self.assistant_id)
        self._park()

    def give_up_in_doubt(self) -> None:
        self._doubt(self._looks())
        self.give_up()

    def _park(self) -> None:
        self.parked = True
        # A run we leave behind may go on without us: the next command looks for it first.
        self.look = self.look or self.state in LIVE
        self._leave_run()

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
        before = self.message_doubt or Doubt(looks=looks, known=tuple(id_ for id_ in known if id_))
        self.message_doubt = attrs.evolve(before, looks=looks)

    def _doubt_run(self, looks: int) -> None:
        known = () if self.last_run_id is None else (self.last_run_id,)
        self.run_doubt = attrs.evolve(self.run_doubt or Doubt(looks=looks, known=known), looks=looks)

    def _search(self) -> effects.Request:
        """The look that tells whether the request in doubt took effect."""
        if isinstance(self.request, effects.PostMessage):
            return effects.ListMessages(after=None, newest_first=True)
        if isinstance(self.request, effects.SubmitToolOutputs):
            return effects.GetRun(run_id=self.request.run_id)
        return effects.GetLatestRun(key=cast("effects.CreateRun", self.request).key)

    def look_for_outcome(self) -> None:
        self.report(will_retry=True)
        self.tries += 1
        self._doubt(self._looks())
        self.later(self._search(), self._backoff(self.tries))

    def look_for_outcome_of_the_dead(self) -> None:
        self._doubt(_LOOKS_IN_FLIGHT)
        self.perform(self._search())

    def look_again(self) -> None:
        request = cast("effects.ListMessages | effects.GetLatestRun", self.request)
        if isinstance(request, effects.ListMessages):
            self._doubt_message(cast("Doubt", self.message_doubt).looks - 1)
            request = attrs.evolve(request, after=None)
        else:
            self._doubt_run(cast("Doubt", self.run_doubt).looks - 1)
        self.later(request, effects.Wait(seconds=self.settings.outcome_grace))

"""Tool calls: passed on once each, answered together."""

from __future__ import annotations

from typing import cast

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.actions.requests import RequestActions
from gpt_agent_fsm.machine.guards import BROKEN, decode_arguments
from gpt_agent_fsm.machine.objects import ToolCall

__all__ = ["BROKEN_ARGUMENTS_OUTPUT", "ToolActions"]

BROKEN_ARGUMENTS_OUTPUT = '{"error":"Failed to decode arguments, invalid JSON in tool call."}'


@attrs.define(kw_only=True)
class ToolActions(RequestActions):
    """The verbs of tool calls and their outputs."""

    # --- calls are passed on ----------------------------------------------------------------------------

    def request_tool_calls(self) -> None:
        self._take_down_calls()
        self.failures = 0
        self.later(self.look_at_the_run(), effects.Wait(seconds=self.settings.idle_timeout))

    def submit_known_outputs(self) -> None:
        self._take_down_calls()
        self.submit_outputs()

    def _take_down_calls(self) -> None:
        """Note the calls the run waits for; pass on each new one, answer each whose arguments are broken."""
        self.run_handle = self.seen.handle
        waiting: dict[str, ToolCall] = {}
        new_round = self.is_a_new_round()
        for call in self.seen.tool_calls:
            known = None if new_round else self.known(call)
            if known is None and call.id not in waiting:
                # What failed before was about the calls of an earlier round.
                self.tries = 0
                known = self._new_call(call)
            if known is not None:
                waiting[call.id] = known
        self.tool_calls, self.outputs_accepted, self.repeats = tuple(waiting.values()), False, 0

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

    # --- outputs are recorded and sent ------------------------------------------------------------------

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
        self.perform(
            effects.SubmitToolOutputs(
                run_id=cast("str", self.run_id),
                outputs=outputs,
                assistant_id=self.run_assistant_id,
                handle=self.run_handle,
            )
        )

    # --- outputs that do not get through ----------------------------------------------------------------

    def look_at_run_later(self) -> None:
        self.report(will_retry=True)
        self.tries += 1
        self.later(self.look_at_the_run(in_doubt=True), self._submission_delay())

    def wait_for_the_lock(self) -> None:
        """Somebody is at work on the thread: most likely it is this run, going on with the outputs."""
        self.later(self.look_at_the_run(in_doubt=True), self._heartbeat())

    def _submission_delay(self) -> effects.Wait:
        asked = cast("inputs.Failure", self.input).retry_after or 0.0
        return effects.Wait(seconds=max(self.settings.tool_output_retry_delay, asked))

    def submit_again_later(self) -> None:
        self.report(will_retry=True)
        self.tries += 1
        self.later(cast("effects.Request", self.request), self._submission_delay())

    def give_up_outputs(self) -> None:
        """Tell that the outputs could not be sent, and end the run so that the thread stays usable."""
        self.report(will_retry=False)
        run_id = cast("str", self.run_id)
        self.events.append(events.ToolCallOutputSubmissionFailed(thread_id=self.thread_id, run_id=run_id))
        # Its calls are remembered: seen once more on its way out, it is not to ask for them again.
        farewell = effects.CancelRun(run_id=run_id, handle=self.run_handle)
        self._leave_run()
        self.perform(farewell)

    def keep_outputs(self) -> None:
        """Keep the outputs for the next time this run is seen: a person must act before they can be sent."""
        run_id = cast("str", self.run_id)
        self.give_up()
        self.events.append(events.ToolCallOutputSubmissionFailed(thread_id=self.thread_id, run_id=run_id))

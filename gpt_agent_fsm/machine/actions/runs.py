"""Runs: found or started, followed, cancelled, and their ends."""

from __future__ import annotations

from typing import cast

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.actions.requests import RequestActions
from gpt_agent_fsm.machine.objects import Run
from gpt_agent_fsm.machine.snapshot import Reading, Turn

__all__ = ["RunActions"]


@attrs.define(kw_only=True)
class RunActions(RequestActions):
    """The verbs of runs."""

    # --- somebody holds the thread ----------------------------------------------------------------------

    def attach(self) -> None:
        command = cast("inputs.Connect", self.input)
        if command.last_message_id is not None:
            self.last_message_id, self.posted_since = command.last_message_id, None
        self.look = self.look or (command.look and not self.state.run_in_progress)
        self.change_assistant()

    def change_assistant(self) -> None:
        command = cast("inputs.Connect | inputs.SetAssistant", self.input)
        self.assistant_id = command.assistant_id
        self.lost_run_id = None
        self.parked = False
        if isinstance(self.request, effects.CreateRun) and not self.sent:
            self.request = attrs.evolve(self.request, assistant_id=command.assistant_id)

    def look_for_a_run(self) -> None:
        self.perform(self._search_for_owed_run() if self.run_doubt is not None else effects.GetLatestRun())

    def _search_for_owed_run(self, *, wide: bool = False) -> effects.GetLatestRun:
        if not self.run_owed or self.turn is None:
            return effects.GetLatestRun(wide=wide)
        return effects.GetLatestRun(key=self.turn.run_key, repeats=self.run_handle, wide=wide)

    def note_latest_run(self) -> None:
        self.last_run_id = self.listed[0].id if self.listed else ""
        self.look = False
        self._note_newest_message()
        if self.looks_for_our_run():
            self.run_doubt = None
        self.end_look()

    def _note_newest_message(self) -> None:
        """Know from here on which messages are newer than any of ours will be."""
        newest = cast("inputs.RunsListed", self.input).newest_message_id
        if self.last_posted_id is None and self.message_doubt is None:
            self.last_posted_id = newest

    def look_for_the_run_in_the_way(self) -> None:
        first, locked = self.tries == 0, self.is_locked()
        self.tries += 1 if first or not locked else 0
        request = self._search_for_owed_run(wide=True)
        if first:
            self.perform(request)
        else:
            self.later(request, self._heartbeat() if locked else self._backoff(self.tries - 1))

    # --- a run begins -----------------------------------------------------------------------------------

    def create_run(self) -> None:
        turn = cast("Turn", self.turn)
        if self.run_doubt is not None:
            self.perform(self._search_for_owed_run())
        else:
            self.perform(self._new_run(turn))

    def _new_run(self, turn: Turn) -> effects.CreateRun:
        # While a rate limit is waited out, the handle is that of the run that failed.
        return effects.CreateRun(key=turn.run_key, assistant_id=self.assistant_id, repeats=self.run_handle)

    def create_run_after_all(self) -> None:
        self.note_latest_run()
        self.create_run()

    def start_run(self) -> None:
        self.started_again = self.tries > 0
        self._begin(cast("inputs.RunCreated", self.input).run)

    def start_found_run(self) -> None:
        self._begin(cast("Run", self.our_run()))

    def _begin(self, run: Run) -> None:
        self.run_keys_kept = self.run_keys_kept or run.key is not None
        self._take_run(run)
        self.run_owed, self.run_doubt = False, None
        self.events.append(events.RunStarted(id=run.id, thread_id=self.thread_id, assistant_id=self.run_assistant_id))
        # The server may have answered with a run that needs something, or is over already.
        self.followed_by = inputs.RunSeen(run=run)

    def adopt_run(self) -> None:
        run = cast("Run", self.run_to_adopt())
        self._note_newest_message()
        self._take_run(run)
        if not self.run_owed:
            self.turn = Turn(key=run.id, runs=0, retries_left=self.settings.rate_limit_max_retries)
        self.perform(self.look_at_the_run())

    def _take_run(self, run: Run) -> None:
        calls = {call.id for call in run.tool_calls}
        goes_on = bool(calls) and calls.issubset(call.id for call in self.tool_calls)
        if run.id != self.last_run_id and not goes_on:
            self.tool_calls, self.outputs_accepted = (), False
        self.run_id, self.run_handle = run.id, run.handle
        self.last_run_id = run.id
        self.run_assistant_id = run.assistant_id or self.assistant_id
        self.look = False
        self.tries = self.failures = 0

    # --- a run goes on ----------------------------------------------------------------------------------

    def poll_later(self) -> None:
        if self.was_a_submission() or self.outputs_did_arrive():
            self.outputs_accepted = True
        self.repeats = self.repeats + 1 if self.outputs_have_arrived() else 0
        self.tries = self.failures = 0
        self.run_handle = self.seen.handle
        self.later(self.look_at_the_run(in_doubt=self.started_again), self._heartbeat())

    def outputs_did_arrive(self) -> bool:
        """A run that moved on while our submission was in doubt has taken the outputs."""
        return bool(self.tool_calls) and not self._open_calls() and not self.run_needs_tools()

    def look_at_run(self) -> None:
        self.tries = self.failures = 0
        self.perform(self.look_at_the_run())

    def ignore_other_run(self) -> None:
        self.effects.append(effects.Ignore(reason=f"run {self.seen.id} is not the run in progress"))

    # --- a run is cancelled -----------------------------------------------------------------------------

    def cancel(self) -> None:
        if self.sent:
            self.cancelling = not self.was_a_cancel()
        elif not self.was_a_cancel():
            self.send_cancel()

    def time_out(self) -> None:
        passed = cast("inputs.DeadlinePassed", self.input)
        self.timed_out = f"The run was cancelled: it took longer than {passed.setting} ({passed.seconds:g} seconds)."
        self.cancel()

    def send_cancel(self) -> None:
        self.cancelling = False
        self.tries = self.failures = 0
        self.perform(effects.CancelRun(run_id=cast("str", self.run_id), handle=self.run_handle))

    def remember_to_cancel(self) -> None:
        self.cancelling = True

    def forget_cancel(self) -> None:
        self.report(will_retry=False)
        self.look_at_run()

    def abandon_retry(self) -> None:
        self._fail(cast("str", self.run_id), "cancelled", "The run was cancelled while it waited to be started again.")
        self.run_owed = False
        self._end_run()

    # --- a run ends -------------------------------------------------------------------------------------

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
        self.reading = Reading(run_id=run.id, assistant_id=self.run_assistant_id, own=run.messages)
        self._end_run()

    def wait_for_rate(self) -> None:
        """Set a new run for later; the message is on the thread already and is not posted again."""
        turn = cast("Turn", self.turn)
        self._rate_limited(turn.retries_left)
        self.turn = attrs.evolve(turn, runs=turn.runs + 1, retries_left=turn.retries_left - 1)
        self.run_owed = True
        self.cancelling, self.timed_out = False, ""
        self.note_end()
        self.tool_calls, self.outputs_accepted = (), False
        self.tries = self.failures = 0
        self.run_handle = self.seen.handle
        self.later(self._new_run(self.turn), effects.Wait(seconds=self.settings.rate_limit_retry_delay))

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

    def fail_run(self) -> None:
        if self.timed_out:
            self._fail(self.seen.id, "timeout", self.timed_out)
        else:
            self._fail(self.seen.id, self.seen.code, self.seen.message)
        self._end_run()

    def lose_run(self) -> None:
        """The server denies the run we know: to us it has ended."""
        failure = cast("inputs.Failure", self.input)
        self.report(will_retry=False)
        self._fail(cast("str", self.run_id), failure.code or "not_found", failure.message)
        # Should it turn up again all the same, its calls were asked for already.
        self.lost_run_id = self.run_id
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

"""Random lives of the core, with a server that follows the rules of the real one.

Events happen in any order: messages, outputs, cancels, runs of other clients, lost requests and answers, refusals,
timeouts, crashes. The invariants are checked at every step and at the end.
"""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gpt_agent_fsm import errors, events
from gpt_agent_fsm.engine.runner import perform
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.advance import advance
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.testing import Answer, Call, Fail, Linger, SimulatedServer

SETTINGS = Settings(rate_limit_max_retries=2, request_max_attempts=4)

steps = st.lists(
    st.one_of(
        st.just(Linger(1)),
        st.builds(Call, st.sampled_from([(("f", "{}"),), (("f", "{}"), ("g", "{broken")), (("h", "{"),)])),
        st.sampled_from(
            [
                Answer("Hi"),
                Answer(""),
                Fail(),
                Fail(RunStatus.RATE_LIMITED, message="Rate limit reached"),
                Fail(RunStatus.OUT_OF_QUOTA, message="You exceeded your current quota"),
            ]
        ),
    ),
    max_size=4,
)


class CoreLives(RuleBasedStateMachine):
    """The life of one thread."""

    def __init__(self) -> None:
        super().__init__()
        self.plans: list[list] = []
        self.server = SimulatedServer(lambda _: self.plans.pop(0) if self.plans else [Answer()], page_size=2)
        self.thread_id = self.server.create_thread(timeout=1)
        self.snapshot = Snapshot(thread_id=self.thread_id, assistant_id="asst_1")
        self.wanted: effects.Request | None = None
        self.timer = False
        self.stopped = False
        self.said: list[str] = []
        self.dropped: list[str] = []
        self.happened: list[events.Event] = []
        self.tell(inputs.Connect(assistant_id="asst_1", look=True))

    def tell(self, input_: inputs.Input) -> None:
        queue = [message.content for message in self.snapshot.queue]
        self.snapshot, new_effects, new_events = advance(self.snapshot, input_, SETTINGS)
        self.happened.extend(new_events)
        if isinstance(input_, inputs.RequestRejected) and input_.content_refused:
            left = [message.content for message in self.snapshot.queue]
            self.dropped.extend(content for content in queue if content not in left)
        for effect in new_effects:
            match effect:
                case effects.Wait():
                    self.wanted, self.timer = None, True
                case effects.Stop():
                    self.stopped = True
                case effects.Ignore():
                    pass
                case _:
                    self.wanted, self.timer = effect, False

    # --- actions of the user -----------------------------------------------------------------------------------

    @rule()
    def say(self) -> None:
        content = f"message {len(self.said)}"
        self.said.append(content)
        self.tell(inputs.AddUserMessage(key=content, content=content))

    @precondition(lambda self: self.snapshot.calls)
    @rule(data=st.data())
    def answer_a_call(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from([call.id for call in self.snapshot.calls]))
        self.tell(inputs.SubmitToolOutput(tool_call_id=call, output="1"))

    @rule()
    def answer_a_call_nobody_made(self) -> None:
        before = self.snapshot
        self.tell(inputs.SubmitToolOutput(tool_call_id="call_0", output="1"))
        assert self.snapshot == before

    @rule()
    def cancel(self) -> None:
        self.tell(inputs.CancelRun())

    @rule(number=st.integers(1, 2))
    def set_assistant(self, number: int) -> None:
        self.tell(inputs.SetAssistant(assistant_id=f"asst_{number}"))

    @rule()
    def reconnect(self) -> None:
        self.tell(inputs.Connect(assistant_id="asst_1", look=True))

    # --- events of the world ------------------------------------------------------------------------------------

    @rule(plan=steps)
    def plan_a_run(self, plan: list) -> None:
        self.plans.append(plan)

    @rule(plan=steps)
    def another_client_starts_a_run(self, plan: list) -> None:
        self.server.start_run_elsewhere(self.thread_id, *plan)

    @precondition(lambda self: self.wanted is not None)
    @rule()
    def the_request_succeeds(self) -> None:
        self.answered(lost_before=False, lost_after=False)

    @precondition(lambda self: self.wanted is not None)
    @rule(after=st.booleans())
    def the_answer_is_lost(self, after: bool) -> None:
        self.answered(lost_before=not after, lost_after=after)

    def answered(self, *, lost_before: bool, lost_after: bool) -> None:
        request, self.wanted = self.wanted, None
        fact: inputs.Input | None = None
        if not lost_before:
            fact = perform(self.server, self.thread_id, request, 1)
        if fact is None or lost_after:
            error = (
                errors.OutcomeUnknown(None, None, "lost", in_flight=True)
                if request.changes_server
                else errors.TransientError(None, None, "lost")
            )
            fact = perform(Raising(error), self.thread_id, request, 1)
        self.tell(fact)

    @precondition(lambda self: self.wanted is not None)
    @rule(
        error=st.sampled_from(
            [
                errors.TransientError(503, None, "overloaded", retry_after=3),
                errors.RequestRefused(400, None, "no"),
                errors.RequestRefused(400, None, "no", param="content"),
                errors.RequestRefused(404, None, "gone"),
                errors.AccessDenied(401, None, "key"),
                errors.QuotaExceeded(429, None, "balance"),
            ]
        )
    )
    def the_request_fails(self, error: errors.ApiError) -> None:
        request, self.wanted = self.wanted, None
        self.tell(perform(Raising(error), self.thread_id, request, 1))

    @precondition(lambda self: self.timer and not self.stopped and self.snapshot.request is not None)
    @rule()
    def time_passes(self) -> None:
        self.timer = False
        self.tell(inputs.TimerDue())

    @rule(landed=st.booleans())
    def the_process_dies(self, landed: bool) -> None:
        """Only the snapshot survives; a request in flight has landed on the server or not."""
        request, self.wanted = self.wanted, None
        if request is not None and landed:
            perform(self.server, self.thread_id, request, 1)
        self.tell(inputs.Resume())

    # --- invariants ------------------------------------------------------------------------------------------------

    @invariant()
    def every_message_is_posted_once_and_in_order(self) -> None:
        posted = [m.content for m in self.server.messages(self.thread_id) if m.role == "user"]
        expected = [content for content in self.said if content not in self.dropped]
        assert posted == expected[: len(posted)]

    @invariant()
    def every_tool_call_is_requested_once_and_answered_at_most_once(self) -> None:
        requested = Counter(event.id for event in self.happened if isinstance(event, events.ToolCallRequested))
        assert all(count == 1 for count in requested.values())
        assert all(len(outputs) == 1 for outputs in self.server.outputs(self.thread_id).values())

    @invariant()
    def every_answer_is_published_at_most_once(self) -> None:
        published = Counter(e.message_id for e in self.happened if isinstance(e, events.AssistantMessageAdded))
        assert all(count == 1 for count in published.values())

    @invariant()
    def every_event_has_its_run(self) -> None:
        runs = {run.id for run in self.server.runs(self.thread_id)}
        assert {run_of(event) for event in self.happened} - {None} <= runs

    @invariant()
    def an_unsettled_thread_has_one_request_or_timer(self) -> None:
        assert self.snapshot.settled or self.wanted is not None or self.timer
        assert self.wanted is None or self.wanted == self.snapshot.request

    def teardown(self) -> None:
        """A life can always end: without faults the thread settles, and no message is missing."""
        self.tell(inputs.Connect(assistant_id="asst_1", look=True))
        for _ in range(2000):
            for call in self.snapshot.calls:
                if call.output is None and self.snapshot.state == "awaiting_tools":
                    self.tell(inputs.SubmitToolOutput(tool_call_id=call.id, output="1"))
            if self.wanted is not None:
                self.answered(lost_before=False, lost_after=False)
            elif self.snapshot.request is not None:
                self.tell(inputs.TimerDue())
            elif self.snapshot.outbox.parked:
                self.tell(inputs.Connect(assistant_id="asst_1"))
            else:
                break
        assert self.snapshot.settled, self.snapshot
        assert self.snapshot.state in ("idle", "failed")
        posted = [m.content for m in self.server.messages(self.thread_id) if m.role == "user"]
        assert posted == [content for content in self.said if content not in self.dropped]
        completed = {event.id for event in self.happened if isinstance(event, events.RunCompleted)}
        published = {e.message_id for e in self.happened if isinstance(e, events.AssistantMessageAdded)}
        answers = [m for m in self.server.messages(self.thread_id) if m.role == "assistant" and m.content]
        assert {message.id for message in answers if message.run_id in completed} <= published
        self.tell(inputs.TimerDue())
        assert self.stopped


def run_of(event: events.Event) -> str | None:
    """Return the run of an event; every event of a run names it."""
    match event:
        case events.RunStarted() | events.RunCompleted() | events.RunFailed():
            return event.id
        case events.StateChanged() | events.RequestFailed() | events.UserMessageAdded():
            return None
        case _:
            return event.run_id


class Raising:
    """A backend whose every request raises one error."""

    def __init__(self, error: errors.ApiError) -> None:
        self._error = error

    def __getattr__(self, name: str):
        def fail(*args: object, **kwargs: object) -> None:
            raise self._error

        return fail


CoreLives.TestCase.settings = settings(
    max_examples=2000,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_lives_of_the_core = CoreLives.TestCase

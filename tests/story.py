"""Tell the machine a story: one input after another, with the effects and events of the last."""

from __future__ import annotations

from typing import Any

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.advance import advance
from gpt_agent_fsm.machine.objects import Message, MessagePage, Run, ToolCall, Usage
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.states import LIVE, State
from gpt_agent_fsm.machine.waits import with_waiting
from gpt_agent_fsm.settings import Settings

SETTINGS = Settings(
    heartbeat_interval=1,
    idle_timeout=120,
    receive_timeout=30,
    rate_limit_max_retries=2,
    rate_limit_retry_delay=20,
    tool_output_max_attempts=3,
    tool_output_retry_delay=5,
    request_max_attempts=4,
    request_retry_delay=2,
    request_retry_max_delay=6,
)


class Story:
    """One thread's life so far. `effects` and `events` are those of the last `tell`."""

    def __init__(self, snapshot: Snapshot | None = None, **settings: Any) -> None:
        self.settings = attrs.evolve(SETTINGS, **settings)
        self.snapshot = snapshot or Snapshot(thread_id="thread_1", assistant_id="asst_1")
        self.effects: tuple[effects.Effect, ...] = ()
        self.events: tuple[events.Event, ...] = ()

    def tell(self, *told: inputs.Input) -> Story:
        """Advance by each input; keep the effects and events of the last."""
        for input_ in told:
            self.snapshot, self.effects, self.events = advance(self.snapshot, input_, self.settings)
            self._check()
        return self

    def _check(self) -> None:
        """Hold what is true after every input."""
        requests = [effect for effect in self.effects if isinstance(effect, effects.Request)]
        assert len(requests) <= 1
        if requests:
            assert self.snapshot.request == requests[0]
            assert self.snapshot.pending.sent
        if self.snapshot.state.run_in_progress:
            assert self.snapshot.request is not None
            assert self.snapshot.run_id is not None
        else:
            assert self.snapshot.run_id is None
        assert (self.snapshot.run is not None) == (self.state in LIVE)
        for event in self.events:
            assert event.thread_id == self.snapshot.thread_id

    @property
    def state(self) -> State:
        return self.snapshot.state

    @property
    def request(self) -> effects.Request | None:
        """The request that was just made."""
        return next((effect for effect in self.effects if isinstance(effect, effects.Request)), None)

    @property
    def wait(self) -> effects.Wait | None:
        """The timer that was just set."""
        return next((effect for effect in self.effects if isinstance(effect, effects.Wait)), None)

    @property
    def ignored(self) -> str | None:
        """Why the last input was ignored."""
        return next((effect.reason for effect in self.effects if isinstance(effect, effects.Ignore)), None)

    @property
    def said(self) -> list[str]:
        """The names of the last events, without changes of state."""
        return [type(event).__name__ for event in self.events if not isinstance(event, events.StateChanged)]

    @property
    def moves(self) -> list[str]:
        """The last changes of state, as "idle -> running"."""
        return [f"{event.source} -> {event.dest}" for event in self.events if isinstance(event, events.StateChanged)]

    @property
    def only(self) -> events.Event:
        """The last event, if there was exactly one beside changes of state."""
        (event,) = (event for event in self.events if not isinstance(event, events.StateChanged))
        return event


# --- inputs in few words ------------------------------------------------------------------------------

LOCATE = ToolCall(id="call_1", name="locate", arguments='{"city":"Oslo"}')
MEASURE = ToolCall(id="call_2", name="measure", arguments="{}")
BROKEN = ToolCall(id="call_3", name="measure", arguments="{broken")

MEASURE_AGAIN = ToolCall(id="call_4", name="measure", arguments="{}")

connect = inputs.Connect(assistant_id="asst_1", look=True)
due = inputs.TimerDue()
cancel = inputs.CancelRun()
resume = inputs.Resume()


def say(content: str = "Hello", key: str = "k1", **fields: Any) -> inputs.AddUserMessage:
    return inputs.AddUserMessage(key=key, content=content, **fields)


def posted(message_id: str = "msg_1", *, kept: bool = False) -> inputs.MessagePosted:
    return inputs.MessagePosted(message_id=message_id, key_kept=kept)


def run(status: RunStatus = RunStatus.ACTIVE, run_id: str = "run_1", **fields: Any) -> Run:
    return Run(id=run_id, status=status, **fields)


def created(status: RunStatus = RunStatus.ACTIVE, run_id: str = "run_1", **fields: Any) -> inputs.RunCreated:
    return inputs.RunCreated(run=run(status, run_id, **fields))


def seen(status: RunStatus = RunStatus.ACTIVE, run_id: str = "run_1", **fields: Any) -> inputs.RunSeen:
    return inputs.RunSeen(run=run(status, run_id, **fields))


def needs(*calls: ToolCall, run_id: str = "run_1") -> inputs.RunSeen:
    return seen(RunStatus.NEEDS_TOOLS, run_id, tool_calls=calls)


def completed(run_id: str = "run_1") -> inputs.RunSeen:
    return seen(RunStatus.COMPLETED, run_id, usage=Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3))


def rate_limit(run_id: str = "run_1") -> inputs.RunSeen:
    return seen(RunStatus.RATE_LIMITED, run_id, code="rate_limit_exceeded", message="Rate limit reached")


def output(call: ToolCall, text: str = "1") -> inputs.SubmitToolOutput:
    return inputs.SubmitToolOutput(tool_call_id=call.id, output=text)


def runs(*listed: Run) -> inputs.RunsListed:
    return inputs.RunsListed(runs=listed)


def answer(message_id: str, content: str = "Hi", **fields: Any) -> Message:
    return Message(id=message_id, role="assistant", content=content, **fields)


def question(message_id: str, content: str = "Hello", **fields: Any) -> Message:
    return Message(id=message_id, role="user", content=content, **fields)


def page(*messages: Message, next_after: str | None = None) -> inputs.MessagesListed:
    return inputs.MessagesListed(page=MessagePage(messages=messages, next_after=next_after))


def delayed(retry_after: float | None = None) -> inputs.RequestDelayed:
    return inputs.RequestDelayed(status=503, code="overloaded", message="Too much to do", retry_after=retry_after)


def unknown(*, in_flight: bool = True) -> inputs.RequestUnresolved:
    return inputs.RequestUnresolved(message="No answer", in_flight=in_flight)


def busy() -> inputs.RequestBlocked:
    return inputs.RequestBlocked(status=400, message="Thread has an active run")


def refused(status: int = 400, *, content: bool = False) -> inputs.RequestRejected:
    return inputs.RequestRejected(status=status, code=None, message="No", content_refused=content)


def denied(*, quota: bool = False) -> inputs.RequestNeedsOperator:
    return inputs.RequestNeedsOperator(status=429 if quota else 401, code="x", message="No", quota=quota)


discard = inputs.DiscardQueue()


def withdraw(key: str = "k1") -> inputs.WithdrawMessage:
    return inputs.WithdrawMessage(key=key)


NOTHING_NEW = (page(), due, page(), due, page())
"""The answers to a reading that brings nothing: the answer may be late, so the list is read three times."""


def ask_approval(call: ToolCall, at: float = 0.0) -> inputs.AskForApproval:
    return inputs.AskForApproval(tool_call_id=call.id, at=at)


def approve(call: ToolCall, by: str | None = "ann", note: str | None = None) -> inputs.ApproveToolCall:
    return inputs.ApproveToolCall(tool_call_id=call.id, by=by, note=note)


def deny(call: ToolCall, reason: str = "too dear", **fields: Any) -> inputs.DenyToolCall:
    return inputs.DenyToolCall(tool_call_id=call.id, reason=reason, **fields)


def start_tool(call: ToolCall, *, safe: bool = False) -> inputs.StartTool:
    return inputs.StartTool(tool_call_id=call.id, is_safe=safe)


def tool_ended(call: ToolCall, text: str = "1", attempt: int = 1) -> inputs.ToolEnded:
    return inputs.ToolEnded(tool_call_id=call.id, attempt=attempt, output=text)


def tool_lost(call: ToolCall, attempt: int = 1) -> inputs.ToolLost:
    return inputs.ToolLost(tool_call_id=call.id, attempt=attempt, reason="Nobody knows.")


def waiting(story: Story, since: float = 0.0) -> Story:
    """Let the engine note since when the thread waits."""
    story.snapshot = with_waiting(attrs.evolve(story.snapshot, waiting=None), story.snapshot, since)
    return story


def long_wait(seconds: float = 300.0) -> inputs.StillWaiting:
    return inputs.StillWaiting(seconds=seconds, next_look=None)


def deny_the_poll(story: Story) -> Story:
    """Deny the poll in flight, and its repetitions, until the thread is parked."""
    for _ in range(story.settings.request_max_attempts - 1):
        story.tell(denied(), due)
    return story.tell(denied())


def refuse_the_poll(story: Story) -> Story:
    """Refuse the poll in flight, and its repetitions, until the run counts as lost."""
    return story.tell(refused(404), due, refused(404), due, refused(404))


# --- threads at a certain point of their life ------------------------------------------------------------


def idle(**settings: Any) -> Story:
    """Connected, on a thread without messages."""
    return Story(**settings).tell(connect, runs())


def posting(**settings: Any) -> Story:
    return idle(**settings).tell(say())


def creating(**settings: Any) -> Story:
    return posting(**settings).tell(posted())


def running(**settings: Any) -> Story:
    return creating(**settings).tell(created())


def polling(**settings: Any) -> Story:
    """Running, with a poll in flight."""
    return running(**settings).tell(due)


def awaiting(*calls: ToolCall, **settings: Any) -> Story:
    return polling(**settings).tell(needs(*(calls or (LOCATE, MEASURE))))


def submitting(**settings: Any) -> Story:
    return awaiting(**settings).tell(output(LOCATE), output(MEASURE, "2"))


def rate_limited(**settings: Any) -> Story:
    return polling(**settings).tell(rate_limit())


def retrying(**settings: Any) -> Story:
    """Rate limited, with a new run being created."""
    return rate_limited(**settings).tell(due)


def reading(**settings: Any) -> Story:
    return polling(**settings).tell(completed())


def failed(**settings: Any) -> Story:
    return polling(**settings).tell(seen(RunStatus.FAILED, code="server_error", message="Sorry"))


def parked(**settings: Any) -> Story:
    """Failed, with a message that was not posted because of a wrong key."""
    return posting(**settings).tell(denied())

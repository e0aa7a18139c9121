"""The working copy of a snapshot. While one input is handled, guards read it and actions change it."""

from __future__ import annotations

import attrs

from gpt_agent_fsm.events import Event
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.effects import Effect, GetRun, Request, Wait
from gpt_agent_fsm.machine.objects import Failure, ToolCall, Usage
from gpt_agent_fsm.machine.queue import Queue
from gpt_agent_fsm.machine.snapshot import (
    Cursor,
    LeftRun,
    LiveRun,
    Outbox,
    OwedRun,
    Pending,
    ServerView,
    Snapshot,
    Turn,
    Waiting,
)
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.tool_calls import NO_CALLS, ToolCalls
from gpt_agent_fsm.settings import Settings

__all__ = ["WorkingCopy"]


class WorkingCopy:
    """The parts of one snapshot, which actions may replace, and the effects and events of the current input so far.

    Attributes:
        request, sent, tries, failures: the fields of `Pending`, which describe the current request. `tries` is kept
            until the input is handled, even if the request changes, because the next request may belong to the same
            attempt.
        effects, events: the effects to carry out and the events to announce, in order.
        followed_by: the input that is handled next. It is the input that the action returned, or None.
        just_searched: True if this input has shown that the owed run, which was in doubt, is not on the server.
        started_again: True if more than one attempt was needed to create the run that has just begun.
        stopping: True if the agent must be removed from the runtime.
    """

    __slots__ = (
        "assistant_id",
        "cursor",
        "effects",
        "events",
        "failure",
        "failures",
        "followed_by",
        "just_searched",
        "left",
        "max_total_tokens",
        "outbox",
        "queue",
        "request",
        "run",
        "sent",
        "server",
        "settings",
        "started_again",
        "state",
        "stopping",
        "stream",
        "tenant",
        "thread_id",
        "tries",
        "usage",
        "waiting",
    )

    def __init__(self, snapshot: Snapshot, settings: Settings) -> None:
        self.settings: Settings = settings
        self.thread_id: str = snapshot.thread_id
        self.assistant_id: str = snapshot.assistant_id
        self.state: State = snapshot.state
        self.run: LiveRun | None = snapshot.run
        self.left: LeftRun | None = snapshot.left
        self.outbox: Outbox = snapshot.outbox
        self.cursor: Cursor = snapshot.cursor
        self.server: ServerView = snapshot.server
        self.queue: Queue = snapshot.queue
        self.usage: Usage = snapshot.usage
        self.max_total_tokens: int | None = snapshot.max_total_tokens
        self.stream: bool = snapshot.stream
        self.tenant: str = snapshot.tenant
        self.failure: Failure | None = snapshot.failure
        self.waiting: Waiting | None = snapshot.waiting
        pending = snapshot.pending
        self.request: Request | None
        self.sent: bool
        self.tries: int
        self.failures: int
        if pending is None:
            self.request, self.sent, self.tries, self.failures = None, False, 0, 0
        else:
            self.request, self.sent = pending.request, pending.sent
            self.tries, self.failures = pending.tries, pending.failures
        self.effects: list[Effect] = []
        self.events: list[Event] = []
        self.followed_by: inputs.Input | None = None
        self.just_searched: bool = False
        self.started_again: bool = False
        self.stopping: bool = False

    def freeze(self) -> Snapshot:
        """Return the resulting snapshot."""
        return Snapshot(
            thread_id=self.thread_id,
            assistant_id=self.assistant_id,
            state=self.state,
            run=self.run,
            left=self.left,
            outbox=self.outbox,
            pending=self._freeze_pending(),
            cursor=self.cursor,
            server=self.server,
            usage=self.usage,
            max_total_tokens=self.max_total_tokens,
            stream=self.stream,
            tenant=self.tenant,
            failure=self.failure,
            waiting=self.waiting,
            queue=self.queue,
        )

    def _freeze_pending(self) -> Pending | None:
        if self.request is None:
            return None
        return Pending(request=self.request, sent=self.sent, tries=self.tries, failures=self.failures)

    # --- shared by guards and actions ------------------------------------------------------------------------

    @property
    def live_run(self) -> LiveRun:
        """The run on the server. Use it only in states with such a run."""
        assert self.run is not None  # noqa: S101 - tells the type checker what the state implies
        return self.run

    @property
    def turn(self) -> Turn:
        """The current turn, which is the work for one user message.

        There is a turn while a run must be created or is on the server.
        """
        assert self.outbox.turn is not None  # noqa: S101 - as above
        return self.outbox.turn

    @property
    def owed_run(self) -> OwedRun:
        """The owed run, which the library must still create. Use it only if there is one."""
        assert self.outbox.owed is not None  # noqa: S101 - as above
        return self.outbox.owed

    @property
    def calls(self) -> ToolCalls:
        """The known tool calls of `run`.

        If there is no run, the known tool calls of `left`, the run that the library stopped following.
        """
        known = self.run or self.left
        return NO_CALLS if known is None else known.calls

    @property
    def token_limit(self) -> int | None:
        """The most tokens that the runs of the thread may use together; None without a limit."""
        return self.settings.max_total_tokens if self.max_total_tokens is None else self.max_total_tokens

    def counts_as_try(self) -> bool:
        """Return whether the request changes the server.

        If it does, its failed attempts are counted in `tries`, otherwise in `failures`.
        """
        return self.request is not None and self.request.changes_server

    @property
    def attempt(self) -> int:
        """The number of the current attempt of the request, from 1."""
        return 1 + (self.tries if self.counts_as_try() else self.failures)

    # --- the one request --------------------------------------------------------------------------------

    def perform(self, request: Request) -> None:
        """Make `request` now. From now on it is regarded as sent, so its outcome is in doubt after a crash."""
        self.request, self.sent = request, True
        self.effects.append(request)

    def schedule(self, request: Request, wait: Wait) -> None:
        """Make `request` when `wait` is over."""
        self.request, self.sent = request, False
        self.effects.append(wait)

    def close_request(self) -> None:
        """Clear the request. When the thread is at rest, the machine decides the next step."""
        self.drop_request()
        self.tries = 0

    def drop_request(self) -> None:
        """Clear the request, but keep `tries`, because the request that changes the server may be tried again."""
        self.request, self.sent, self.failures = None, False, 0

    def poll(self, *, in_doubt: bool = False) -> GetRun:
        """Return the request that polls the run in progress."""
        run = self.live_run
        return GetRun(run_id=run.id, handle=run.handle, in_doubt=in_doubt)

    def poll_interval(self) -> Wait:
        """Return the pause between two polls."""
        return Wait(seconds=min(self.settings.heartbeat_interval, self.settings.idle_seconds))

    def backoff(self, failed: int, failure: inputs.RequestFailure) -> Wait:
        """Return the pause before the next attempt. It grows exponentially, and is shortened at random by up to half.

        It is never shorter than the `retry_after` of the failure.
        """
        full = self.settings.backoff(failed)
        return Wait(seconds=max(full / 2, failure.retry_after or 0.0), spread=full / 2)

    # --- changes of parts -------------------------------------------------------------------------------

    def unpark(self) -> None:
        """Unpark the thread, so that the library continues to send the queue."""
        if self.outbox.parked:
            self.outbox = attrs.evolve(self.outbox, parked=False)

    def owe(self, owed: OwedRun | None) -> None:
        """Set the owed run, which the library must still create. None means that there is none."""
        self.outbox = attrs.evolve(self.outbox, owed=owed)

    def with_call(self, call: ToolCall) -> None:
        """Replace the known tool call with the same id."""
        calls = self.calls.replace(call)
        if self.run is not None:
            self.run = attrs.evolve(self.run, calls=calls)
        else:
            assert self.left is not None  # noqa: S101 - the calls of a run are known here
            self.left = attrs.evolve(self.left, calls=calls)

"""The users: each talks on one thread, answers tool calls, and records the accepted messages and received events."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable
from typing import Any, Protocol

from gpt_agent_fsm import events
from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.errors import AgentNotAlive, ApiError, WaitTimeout
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.runtime import Runtime
from gpt_agent_fsm.testing.simulation import functions
from gpt_agent_fsm.testing.simulation.equipment import BARE, Equipment
from gpt_agent_fsm.testing.simulation.pictures import Pictures

__all__ = ["User"]

_MAX_ATTEMPTS = 20
"""How many times a user tries to connect before giving up for the moment."""


class UserProcess(Protocol):
    """The process with the agents of the users. See `Process`."""

    @property
    def runtime(self) -> Runtime:
        """The runtime of the current process."""
        ...

    def survive(self, action: Callable[[], object]) -> bool:
        """See `Process.survive`."""
        ...

    def note(self, line: str) -> None:
        """See `Process.note`."""
        ...


class User:
    """A user who talks on one thread, over all processes of a life.

    Attributes:
        thread_id: the user's thread.
        words: the messages that the user has not added yet, in order. Each message is one word.
        accepted: the messages for which `add_user_message` has returned, in order.
        doubtful: the messages that were being added when the process crashed. It is unknown whether they were accepted.
        interrupting: the messages that were added with `when="instead"`, to interrupt the run in progress.
        cancelled: the ids of the runs that the user cancelled while they were in progress.
        keys: the word of each accepted message, by the message's key.
        heard: the events that the user received, in order, from all processes, without the pieces of messages.
        agents: the number of agents that the user had: one, and one more after each shutdown or crash.
        limits: the possible token limits of the thread. There are several if the process crashed while the user set a
            limit.
    """

    def __init__(
        self,
        thread_id: str,
        words: list[str],
        process: UserProcess,
        rng: random.Random,
        pictures: Pictures,
        equipment: Equipment = BARE,
    ) -> None:
        self.thread_id = thread_id
        self.words = words
        self.accepted: list[str] = []
        self.doubtful: list[str] = []
        self.cancelled: set[str] = set()
        self.keys: dict[str, str] = {}
        self.heard: list[events.Event] = []
        self.pieces: list[tuple[int, events.Event]] = []
        """The pieces of messages, and the whole messages, each with the number of the agent that announced it."""
        self._numbers: dict[Agent, int] = {}
        self._streams: bool | None = None if equipment.streams is None else True
        self.agents: int = 0
        self._agent: Agent | None = None
        self._process = process
        self._rng = rng
        self._pictures = pictures
        self._interrupts = equipment.interrupts
        self._silent = equipment.silent
        self._is_silent = False
        """True if the user has an agent, but has not subscribed yet."""
        self.interrupting: set[str] = set()
        self._functions = functions.NAMES if equipment.functions else frozenset[str]()
        self.limits: list[float] = [equipment.max_total_tokens or math.inf]
        self._wanted_limit: int | None = None

    def connect(self) -> Agent | None:
        """Return the thread's agent, or None if connecting fails.

        If the agent is new, subscribe to the whole history, unless the user is silent.
        """
        runtime = self._process.runtime
        agent = runtime.get(self.thread_id)
        for _ in range(_MAX_ATTEMPTS):
            if agent is not None and agent is self._agent:
                return agent
            self._is_silent = self._silent > 0 and self._rng.random() < self._silent
            self.agents += 1  # even if the process crashes during the call, because events may be announced before that
            try:
                agent = self._agent = self._connect() if self._is_silent else self._subscribe()
            except ApiError:
                self.agents -= 1  # the user tries again
        return None

    def _subscribe(self) -> Agent:
        return self._connect(subscribe=self._hear, replay_after=0)

    def _connect(self, **how: Any) -> Agent:  # noqa: ANN401 - as `Runtime.connect` takes them
        """Connect to the thread. If the user wants a token limit, set it at the same time."""
        wanted = self._wanted_limit
        if wanted is not None:
            self.limits.append(wanted)
        agent = self._process.runtime.connect(
            thread_id=self.thread_id,
            assistant_id="asst_1",
            last_message_id=None,
            max_total_tokens=wanted,
            stream=self._streams,
            **how,
        )
        if wanted is not None:
            self.limits, self._wanted_limit = [wanted], None
        return agent

    def set_limit(self, limit: int) -> None:
        """Limit the tokens of the thread."""
        if self.limits != [limit]:
            self._process.note(f"user sets the limit {limit} in {self.thread_id}")
            self._wanted_limit = limit
            self.reconnect()

    def reconnect(self) -> None:
        """Connect again, as a person does after fixing a problem. Parked requests are then tried again."""

        def connect() -> None:
            if self.connect() is not None:
                self._connect()

        self._process.survive(connect)

    def _command(self, command: Callable[[Agent], object]) -> None:
        """Give a command to the agent, if there is one."""

        def give() -> None:
            if (agent := self.connect()) is not None:
                command(agent)

        self._process.survive(give)

    def _hear(self, agent: Agent, event: events.Event) -> None:
        """Record an event. Answer most tool calls and decide most approvals immediately, but leave some open.

        Also answer a few calls that functions answer, and decide a few approvals twice.
        """
        if isinstance(event, events.AssistantMessageDelta | events.AssistantMessageAdded):
            self.pieces.append((self._numbers.setdefault(agent, len(self._numbers)), event))
        if isinstance(event, events.AssistantMessageDelta):
            return
        self.heard.append(event)
        if isinstance(event, events.ToolApprovalRequested):
            for share in (0.8, 0.1):
                if self._rng.random() < share:
                    self._decide(agent, event.id)
        likely = 0.1 if getattr(event, "name", None) in self._functions else 0.9
        if isinstance(event, events.ToolCallRequested) and self._rng.random() < likely:
            with contextlib.suppress(AgentNotAlive):
                agent.submit_tool_output(event.id, {"n": len(self.heard)})

    def _decide(self, agent: Agent, call_id: str) -> None:
        with contextlib.suppress(AgentNotAlive):
            agent.approve(call_id) if self._rng.random() < 0.5 else agent.deny(call_id, "no")

    def decide_at_random(self) -> None:
        """Decide about a random call. It may be unknown, or need no decision."""
        calls = [event.id for event in self.heard if isinstance(event, events.ToolCallRequested)]
        call_id = self._rng.choice([*calls[-5:], "call_unknown"])
        self._command(lambda agent: self._decide(agent, call_id))

    def say_next(self) -> None:
        """Add the next message of the user."""
        word, before = self.words.pop(0), len(self.keys)
        content = self._pictures.content(word)
        interrupts = self._interrupts > 0 and self._rng.random() < self._interrupts
        if interrupts:
            self.interrupting.add(word)

        def say() -> None:
            if (agent := self.connect()) is not None:
                self.keys[agent.add_user_message(content, when="instead" if interrupts else "next")] = word

        survived = self._process.survive(say)
        accepted = len(self.keys) > before
        if accepted or not survived:
            (self.accepted if accepted else self.doubtful).append(word)
            self._process.note(f"user says {word!r} in {self.thread_id}{' instead' if interrupts else ''}")

    def cancel_run(self) -> None:
        """Cancel the run, if there is one."""

        def cancel(agent: Agent) -> None:
            run_id = agent.run_id if agent.state is not State.RATE_LIMITED else None  # else it has already ended
            agent.cancel_run()
            if run_id is not None:
                self.cancelled.add(run_id)

        self._command(cancel)

    def discard_queue(self) -> None:
        """Discard the messages that were not sent yet."""
        self._process.note(f"user discards in {self.thread_id}")
        self._command(Agent.discard_queue)

    def sees_rest(self) -> bool:
        """Return whether the agent's `wait` would return immediately. Return True if there is no agent."""
        agent = self._process.runtime.get(self.thread_id)
        try:
            return agent is None or agent.wait(timeout=0) is not None
        except WaitTimeout:
            return False

    def shut_down(self) -> None:
        """Stop the agent. The user's next action connects again."""
        self._command(Agent.shutdown)

    def answer_open_calls(self) -> None:
        """Answer and decide every received call, like a user who returns. A second answer has no effect."""

        def answer(agent: Agent) -> None:
            if self._is_silent:
                self._subscribe()
                self._is_silent = False
            for asked in [event for event in self.heard if isinstance(event, events.ToolApprovalRequested)]:
                agent.approve(asked.id)
            for event in [event for event in self.heard if isinstance(event, events.ToolCallRequested)]:
                agent.submit_tool_output(event.id, "late")

        self._command(answer)

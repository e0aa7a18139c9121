"""The users: each talks on one thread, answers tool calls, and records the accepted messages and received events."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

from gpt_agent_fsm import events
from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.errors import AgentNotAlive, ApiError, WaitTimeout
from gpt_agent_fsm.testing.simulation.process import Process

__all__ = ["User"]

_MAX_ATTEMPTS = 20
"""How often a user tries to connect before something else is done."""


class User:
    """A user who talks on one thread, over all processes of a life.

    Attributes:
        thread_id: the user's thread.
        words: the messages that are not posted yet, in order.
        accepted: messages that `add_user_message` returned from, in order.
        doubtful: messages that were being added when the process crashed: it is unknown whether they were accepted.
        keys: the key of each accepted message, with its text.
        heard: every event that the user received, in order, over all processes.
        agents: how many agents the user subscribed to: one, and one more after each shutdown or crash.
    """

    def __init__(self, thread_id: str, words: list[str], process: Process, rng: random.Random) -> None:
        self.thread_id = thread_id
        self.words = words
        self.accepted: list[str] = []
        self.doubtful: list[str] = []
        self.keys: dict[str, str] = {}
        self.heard: list[events.Event] = []
        self.agents: int = 0
        self._agent: Agent | None = None
        self._process = process
        self._rng = rng

    def connect(self) -> Agent | None:
        """Return the thread's agent; None if that fails. If it is new, subscribe from the start of the history."""
        runtime = self._process.runtime
        agent = runtime.get(self.thread_id)
        for _ in range(_MAX_ATTEMPTS):
            if agent is not None and agent is self._agent:
                return agent
            with contextlib.suppress(ApiError):  # a user tries again
                agent = self._agent = runtime.connect(
                    thread_id=self.thread_id,
                    assistant_id="asst_1",
                    last_message_id=None,
                    subscribe=self._hear,
                    replay_after=0,
                )
                self.agents += 1
        return None

    def reconnect(self) -> None:
        """Connect again, as a person does who has acted: what is parked is tried again."""

        def connect() -> None:
            if self.connect() is not None:
                self._process.runtime.connect(thread_id=self.thread_id, assistant_id="asst_1", last_message_id=None)

        self._process.survive(connect)

    def _command(self, command: Callable[[Agent], object]) -> None:
        """Give a command to the agent, if there is one."""

        def give() -> None:
            if (agent := self.connect()) is not None:
                command(agent)

        self._process.survive(give)

    def _hear(self, agent: Agent, event: events.Event) -> None:
        """Record an event; answer most tool calls at once, decide most approvals, and leave some open."""
        self.heard.append(event)
        if isinstance(event, events.ToolApprovalRequested) and self._rng.random() < 0.9:
            with contextlib.suppress(AgentNotAlive):
                agent.approve(event.id) if self._rng.random() < 0.5 else agent.deny(event.id, "no")
        if isinstance(event, events.ToolCallRequested) and self._rng.random() < 0.9:
            with contextlib.suppress(AgentNotAlive):
                agent.submit_tool_output(event.id, {"n": len(self.heard)})

    def say_next(self) -> None:
        """Add the next message."""
        word, before = self.words.pop(0), len(self.keys)

        def say() -> None:
            if (agent := self.connect()) is not None:
                self.keys[agent.add_user_message(word)] = word

        survived = self._process.survive(say)
        accepted = len(self.keys) > before
        if accepted or not survived:
            (self.accepted if accepted else self.doubtful).append(word)
            self._process.note(f"user says {word!r} in {self.thread_id}")

    def cancel_run(self) -> None:
        """Cancel the run, if there is one."""
        self._command(Agent.cancel_run)

    def discard_queue(self) -> None:
        """Drop what was not sent."""
        self._process.note(f"user discards in {self.thread_id}")
        self._command(Agent.discard_queue)

    def sees_rest(self) -> bool:
        """Return whether `wait` returns at once, if there is an agent."""
        agent = self._process.runtime.get(self.thread_id)
        try:
            return agent is None or agent.wait(timeout=0) is not None
        except WaitTimeout:
            return False

    def shut_down(self) -> None:
        """Stop the agent; the next action reconnects."""
        self._command(Agent.shutdown)

    def answer_open_calls(self) -> None:
        """Answer and decide every received call, like a user who returns; a second answer is harmless."""

        def answer(agent: Agent) -> None:
            for asked in [event for event in self.heard if isinstance(event, events.ToolApprovalRequested)]:
                agent.approve(asked.id)
            for event in [event for event in self.heard if isinstance(event, events.ToolCallRequested)]:
                agent.submit_tool_output(event.id, "late")

        self._command(answer)

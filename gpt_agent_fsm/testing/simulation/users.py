"""The users: each talks on one thread, answers tool calls, and records the accepted messages and received events."""

from __future__ import annotations

import contextlib
import random

from gpt_agent_fsm import events
from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.errors import AgentNotAlive, TransientError
from gpt_agent_fsm.testing.simulation.process import Process

__all__ = ["User"]


class User:
    """A user who talks on one thread, over all processes of a life.

    Attributes:
        thread_id: the user's thread.
        words: the messages that are not posted yet, in order.
        accepted: messages that `add_user_message` returned from, in order.
        doubtful: messages that were being added when the process crashed: it is unknown whether they were accepted.
        heard: every event that the user received, in order, over all processes.
        agents: how many agents the user subscribed to: one, and one more after each shutdown or crash.
    """

    def __init__(self, thread_id: str, words: list[str], process: Process, rng: random.Random) -> None:
        self.thread_id = thread_id
        self.words = words
        self.accepted: list[str] = []
        self.doubtful: list[str] = []
        self.heard: list[events.Event] = []
        self.agents = 0
        self._agent: Agent | None = None
        self._process = process
        self._rng = rng

    def connect(self) -> Agent:
        """Return the thread's agent. If it is new, subscribe from the start of the history."""
        runtime = self._process.runtime
        agent = runtime.get(self.thread_id)
        while agent is None or agent is not self._agent:
            with contextlib.suppress(TransientError):  # a user tries again
                agent = self._agent = runtime.connect(
                    thread_id=self.thread_id,
                    assistant_id="asst_1",
                    last_message_id=None,
                    subscribe=self._hear,
                    replay_after=0,
                )
                self.agents += 1
        return agent

    def _hear(self, agent: Agent, event: events.Event) -> None:
        """Record an event; answer most tool calls at once, and leave some open."""
        self.heard.append(event)
        if isinstance(event, events.ToolCallRequested) and self._rng.random() < 0.9:
            with contextlib.suppress(AgentNotAlive):
                agent.submit_tool_output(event.id, {"n": len(self.heard)})

    def say_next(self) -> None:
        """Add the next message."""
        word = self.words.pop(0)
        accepted = self._process.survive(lambda: self.connect().add_user_message(word))
        (self.accepted if accepted else self.doubtful).append(word)
        self._process.note(f"user says {word!r} in {self.thread_id}")

    def cancel_run(self) -> None:
        """Cancel the run, if there is one."""
        self._process.survive(lambda: self.connect().cancel_run())

    def shut_down(self) -> None:
        """Stop the agent; the next action reconnects."""
        self._process.survive(lambda: self.connect().shutdown())

    def answer_open_calls(self) -> None:
        """Answer every received call, like a user who returns; a second answer is harmless."""

        def answer() -> None:
            agent = self.connect()
            for event in [event for event in self.heard if isinstance(event, events.ToolCallRequested)]:
                agent.submit_tool_output(event.id, "late")

        self._process.survive(answer)

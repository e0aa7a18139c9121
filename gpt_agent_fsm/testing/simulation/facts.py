"""The facts about one thread at the end of a life (a simulated set of conversations). The invariants check them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from gpt_agent_fsm.events import Event
from gpt_agent_fsm.ports import Message, Part, Record, Saved
from gpt_agent_fsm.testing.simulation.functions import Execution
from gpt_agent_fsm.testing.simulation.pictures import word_of

__all__ = ["Facts"]


@attrs.frozen(kw_only=True)
class Facts:
    """One thread at the end of a life: the promises to the user, and the data of the server and the store.

    Attributes:
        settled: True if all threads of the life were settled at the end of the life.
        strict: True if nothing may be lost or duplicated. It is False if the faults may violate the model and the user
            received a `RequestFailed`.
        saved: the thread's data in the store.
        accepted: the messages that the library accepted, in order.
        interrupting: those of the accepted messages that interrupted the run in progress.
        messages: the messages on the server, oldest first.
        parts: the parts of each message that has images or files, by the word that the message says.
        outputs: the outputs that the server accepted for each tool call, in order.
        records: the thread's history.
        heard: the events that the user received, in order, from all processes.
        agents: the number of agents that the user had. An agent announces the whole history, and a new agent also
            announces the open calls again.
        rested: True if the thread came to rest while the server kept its unusual habits, or if the life did not test
            this. If runs had no deadlines, the user answered the tool calls during this test.
        excused: accepted messages that need not be on the server: they were discarded, or their text is refused.
        lists_runs: True if the API can list the runs of a thread.
        run_keys: the key of each run that the library created.
        cancelled: the ids of the runs that the user cancelled while they were in progress.
        failed_runs: the ids of the runs that did not end well on the server.
        started_when_dropped: the number of messages posted and runs created after the user had dropped everything.
        sent_without_right: the requests that were sent after their deadline, or by a process that had lost the store.
        calls_by_server: the ids of the calls that the server itself makes if they are approved.
        executions: every execution of a function for the thread, in order.
        verdicts: the approval rule's decision about each call for which it was asked, by the call's id.
        tokens: the number of tokens that each run has used on the server, by the run's id.
        beyond_limit: the requests that were sent although the token limit was reached.
        limits_change: True if the user sometimes changes the token limit.
        repeats_rounds: True if the server shows rounds of tool calls again after it has accepted their outputs.
        pieces: the pieces of messages and the whole messages that the user received, in order. Each comes with the
            number of the agent that announced it.
        streamed: the messages that the server has begun to stream, by their ids, each with its run and its whole text.
        max_attempts: the largest number of attempts that the settings allow for a request.
    """

    settled: bool = True
    strict: bool = True
    saved: Saved | None = None
    accepted: tuple[str, ...] = ()
    interrupting: frozenset[str] = frozenset()
    messages: tuple[Message, ...] = ()
    parts: Mapping[str, tuple[Part, ...]] = attrs.field(factory=dict)
    outputs: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    records: tuple[Record, ...] = ()
    heard: tuple[Event, ...] = ()
    agents: int = 1
    rested: bool = True
    excused: frozenset[str] = frozenset()
    lists_runs: bool = True
    run_keys: tuple[str, ...] = ()
    cancelled: frozenset[str] = frozenset()
    failed_runs: frozenset[str] = frozenset()
    started_when_dropped: int = 0
    sent_without_right: tuple[str, ...] = ()
    calls_by_server: frozenset[str] = frozenset()
    executions: tuple[Execution, ...] = ()
    verdicts: Mapping[str, bool | None] = attrs.field(factory=dict)
    tokens: Mapping[str, int] = attrs.field(factory=dict)
    beyond_limit: tuple[str, ...] = ()
    limits_change: bool = False
    repeats_rounds: bool = False
    pieces: tuple[tuple[int, Event], ...] = ()
    streamed: Mapping[str, tuple[str, str]] = attrs.field(factory=dict)
    max_attempts: int = 1

    @property
    def posted(self) -> tuple[str, ...]:
        """The words of the user's messages on the server, oldest first."""
        return tuple(word_of(message) for message in self.messages if message.role == "user")

    @property
    def happened(self) -> tuple[Event, ...]:
        """The events of the history, in order."""
        return tuple(record.event for record in self.records)

"""The texts of the demo: one line per event if there is no terminal, and the summary at the end."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import click

from gpt_agent_fsm import events
from gpt_agent_fsm.cli.scenes import Conversation

__all__ = ["Plain", "Screen", "account", "describe", "totals"]


_WORDS: dict[type[events.Event], str] = {
    events.UserMessageAdded: "user: {0.content}",
    events.RunStarted: "run started",
    events.ToolCallOutputRecorded: "{0.name} gave {0.output}",
    events.RunCompleted: "run completed, {0.total_tokens} tokens",
    events.AssistantMessageAdded: "assistant: {0.content}",
    events.RunFailed: "run failed, {0.code}: {0.message}",
    events.RateLimited: "rate limited, {0.retries_remaining} retries remaining",
    events.StateChanged: "{0.source} -> {0.dest}",
    events.RequestFailed: "{0.operation} failed: {0.message}",
    events.AgentStopped: "agent stopped, {0.reason}",
}


def describe(event: events.Event) -> str:
    """Describe an event in a few words. The words are ASCII, except for the text of messages."""
    if isinstance(event, events.ToolCallRequested):
        return f"wants {_call(event)}"
    return _WORDS.get(type(event), type(event).__name__).format(event)


def _call(event: events.ToolCallRequested) -> str:
    arguments = ", ".join(f"{name}={json.dumps(value)}" for name, value in event.arguments.items())
    return f"{event.name}({arguments})"


def account(conversation: Conversation) -> Iterator[tuple[str, str]]:
    """Yield the results of a conversation, each as a heading and a text."""
    for _, event in conversation.heard:
        match event:
            case events.UserMessageAdded():
                yield "asked", event.content
            case events.ToolCallRequested():
                yield "tool", _call(event)
            case events.RateLimited():
                yield "limited", f"{event.retries_remaining} retries remaining"
            case events.AssistantMessageAdded():
                yield "answered", event.content
            case events.RunFailed():
                yield "failed", f"{event.message} ({event.code})"
    yield "states", " -> ".join(conversation.states)


def totals(conversations: list[Conversation]) -> str:
    """Return two lines that count what happened."""

    def counted(kind: type[events.Event], noun: str) -> str:
        number = sum(conversation.count(kind) for conversation in conversations)
        return f"{number} {noun}{'' if number == 1 else 's'}"

    well = sum(not conversation.problems() for conversation in conversations)
    heard = [seconds for conversation in conversations for seconds, _ in conversation.heard]
    counts = [
        counted(events.RunStarted, "run"),
        counted(events.AssistantMessageAdded, "answer"),
        counted(events.ToolCallRequested, "tool call"),
        counted(events.RateLimited, "rate limit"),
        counted(events.RunFailed, "failure"),
        counted(events.StateChanged, "state change"),
    ]
    return (
        f"{well} of {len(conversations)} conversations ended as expected, in {max(heard, default=0.0):.1f} seconds.\n"
        f"{', '.join(counts)}; {len(heard)} events in all."
    )


class Screen(ABC):
    """The display of the demo. Use it in a `with` statement around the demo, and show the summary after the block."""

    def __init__(self, conversations: list[Conversation]) -> None:
        self.conversations = conversations

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abstractmethod
    def show(self, conversation: Conversation, event: events.Event) -> None:
        """Show an event. Several OS threads call this method."""

    @abstractmethod
    def summary(self) -> None:
        """Print the summary."""


class Plain(Screen):
    """Lines of text without control codes, for pipes and logs."""

    def __init__(self, conversations: list[Conversation]) -> None:
        super().__init__(conversations)
        self._lock = threading.Lock()
        self._name_width = max(len(conversation.scene.name) for conversation in conversations)
        self._gone = False

    def show(self, conversation: Conversation, event: events.Event) -> None:
        """Print one line for the event. A message is printed when it is complete."""
        if isinstance(event, events.AssistantMessageDelta):
            return
        seconds = conversation.heard[-1][0]
        with self._lock:
            if self._gone:
                return
            try:
                click.echo(f"{seconds:5.2f}  {conversation.scene.name:{self._name_width}}  {describe(event)}")
            except OSError:
                # The reader of the pipe, for example `head`, has ended. The summary will fail, too, and click handles
                # that error.
                self._gone = True

    def summary(self) -> None:
        """Print a paragraph for each conversation, then the counts."""
        for conversation in self.conversations:
            click.echo(f"\n{conversation.scene.name} ({conversation.scene.about}), {conversation.thread_id}")
            for heading, text in account(conversation):
                click.echo(f"  {heading:9} {text}")
        click.echo(f"\n{totals(self.conversations)}")

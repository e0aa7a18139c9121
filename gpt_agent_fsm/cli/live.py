"""Shows the demo as a live picture on a terminal."""

# Excluded from coverage. The texts are tested with `report`; only a person can judge the picture on a terminal.

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.padding import Padding
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from gpt_agent_fsm import State, events
from gpt_agent_fsm.cli.report import Screen, account, describe, totals
from gpt_agent_fsm.cli.scenes import Conversation

__all__ = ["Live"]

_STYLES = {
    State.IDLE: "green",
    State.RUNNING: "bright_blue",
    State.AWAITING_TOOLS: "magenta",
    State.SUBMITTING: "cyan",
    State.RATE_LIMITED: "yellow",
    State.FAILED: "red",
}
_SPOKEN: dict[type[events.Event], str] = {
    events.UserMessageAdded: "bold",
    events.AssistantMessageAdded: "green",
    events.ToolCallRequested: "magenta",
    events.ToolCallOutputRecorded: "magenta",
    events.RateLimited: "yellow",
    events.RunFailed: "red",
}
"""The events that the transcript shows, each with its style."""
_BESIDE_TRANSCRIPT = 13
"""How many lines of the terminal show other things than the transcript."""


class Live(Screen):  # pragma: no cover - see the module's head
    """A table of the conversations and a transcript, drawn again several times a second."""

    def __init__(self, conversations: list[Conversation]) -> None:
        super().__init__(conversations)
        self._console = Console(highlight=False)
        self._plain_marks = self._console.options.ascii_only
        spinner = "line" if self._plain_marks else "dots"
        self._spinners = {conversation.scene.name: Spinner(spinner) for conversation in conversations}
        self._said: list[Text] = []
        self._live = RichLive(
            get_renderable=self._picture, console=self._console, refresh_per_second=12, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, conversation: Conversation, event: events.Event) -> None:
        """Add a message to the transcript. The table reads all other data from the conversations."""
        if type(event) in _SPOKEN:
            self._said.append(_line(conversation, describe(event), _SPOKEN[type(event)]))

    def _picture(self) -> RenderableType:
        table = Table(box=box.ROUNDED, border_style="dim", expand=True, title="gpt-agent-fsm demo", title_style="bold")
        table.add_column("conversation", no_wrap=True)
        table.add_column("thread", no_wrap=True, style="dim", width=14)
        table.add_column("state", no_wrap=True, width=16)
        table.add_column("last event", no_wrap=True, overflow="ellipsis", ratio=1)
        for conversation in self.conversations:
            thread = Text(conversation.thread_id, overflow="ellipsis")
            table.add_row(conversation.scene.name, thread, self._state(conversation), Text(_last(conversation)))
        writing = [_line(each, f"assistant: {each.written}", "green") for each in self.conversations if each.written]
        said = [*self._said, *writing][-max(3, self._console.height - _BESIDE_TRANSCRIPT) :]
        lines = Text("\n", no_wrap=True, overflow="ellipsis").join(said)
        return Group(table, Panel(lines, title="transcript", title_align="left", border_style="dim"))

    def _state(self, conversation: Conversation) -> RenderableType:
        state, style = conversation.state, _STYLES[conversation.state]
        if state.run_in_progress:
            spinner = self._spinners[conversation.scene.name]
            spinner.update(text=Text(state, style=style), style=style)
            return spinner
        if len(conversation.states) == 1:
            return Text(f"  {state}", style="dim")
        return Text(f"{self._mark(state is State.IDLE)} {state}", style=style)

    def _mark(self, well: bool) -> str:
        return "x✗+✓"[2 * well + (not self._plain_marks)]

    def summary(self) -> None:
        """Print the result of each conversation, then the counts."""
        for conversation in self.conversations:
            well = not conversation.problems()
            heading = Text(f"{self._mark(well)} {conversation.scene.name}", style="bold green" if well else "bold red")
            about = f"{conversation.scene.about}, {conversation.thread_id}"
            grid = Table.grid(padding=(0, 2))
            grid.add_column(style="dim", width=8)
            for label, text in account(conversation):
                grid.add_row(label, _path(conversation) if label == "states" else Text(text))
            self._console.print(Text.assemble(heading, "  ", (about, "dim")))
            self._console.print(Padding(grid, (0, 0, 1, 2)))
        self._console.print(Text(totals(self.conversations), style="bold"))


def _line(conversation: Conversation, text: str, style: str) -> Text:  # pragma: no cover - see the module's head
    """Return a line of the transcript. Only the name of the conversation is dim."""
    return Text.assemble((f"{conversation.scene.name:8} ", "dim"), (text, style))


def _path(conversation: Conversation) -> Text:  # pragma: no cover - see the module's head
    path = Text()
    for number, state in enumerate(conversation.states):
        path.append(" -> " if number else "", style="dim").append(state, style=_STYLES[State(state)])
    return path


def _last(conversation: Conversation) -> str:  # pragma: no cover - see the module's head
    """Return the last event of a conversation in words.

    Changes of the state are left out, because the state has its own column.
    """
    skipped = (events.StateChanged, events.AgentStopped)
    heard = [event for _, event in conversation.heard if not isinstance(event, skipped)]
    return describe(heard[-1]) if heard else ""

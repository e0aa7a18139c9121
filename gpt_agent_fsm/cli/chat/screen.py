"""Shows a chat through a pipe: answers and the results of commands on stdout, and everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from gpt_agent_fsm import File, Image, Text, events
from gpt_agent_fsm.engine.explaining import as_sentence
from gpt_agent_fsm.events.parts import Part

__all__ = ["Screen", "shown"]

_LONGEST = 500
"""How many characters of the arguments and the output of a tool call are shown."""


class Screen:
    """Shows a chat through a pipe. `Colours` shows it on a terminal.

    A message may come in pieces. Each piece is shown when it comes, unless an earlier piece is missing. When the
    message is complete, the rest of it is shown.
    """

    def __init__(self) -> None:
        self._pieces: dict[str, tuple[int, str]] = {}
        """For each incomplete message, by its id: the number of pieces that were shown, and their joined text."""
        self._line_is_open = False
        self._typed: set[str] = set()

    # --- the ways to show a text; `Colours` has others --------------------------------------------------------

    def _write(self, text: str) -> None:
        """Show a part of an answer, without a newline."""
        click.echo(text, nl=False)

    def note(self, text: str) -> None:
        """Show a remark."""
        self.end_line()
        click.echo(text, err=True)

    def call(self, text: str) -> None:
        """Show a tool call or its output."""
        self.note(text)

    def error(self, text: str) -> None:
        """Show an error."""
        self.end_line()
        click.echo(f"Error: {text}", err=True)

    def result(self, text: str) -> None:
        """Show the result of a command."""
        self.end_line()
        click.echo(text)

    def said(self, role: str, text: str) -> None:
        """Show an earlier message."""
        self.result(f"{role}: {text}")

    def wait(self, text: str) -> None:
        """Show that something is awaited, until anything else is shown."""

    def rest(self) -> None:
        """Show that nothing is awaited."""

    def end_line(self) -> None:
        """End the line of an answer that was interrupted."""
        self.rest()
        if self._line_is_open:
            self._line_is_open = False
            self._write("\n")

    # --- events ------------------------------------------------------------------------------------------------

    def show(self, event: events.Event) -> None:
        """Show an event of the conversation."""
        match event:
            case events.AssistantMessageDelta(message_id=message_id, index=index, text=text):
                count, before = self._pieces.get(message_id, (0, ""))
                if index == count:
                    self._pieces[message_id] = (count + 1, before + text)
                    self._answer(text)
            case events.AssistantMessageAdded(older=False):
                self._complete(event)
            case events.StateChanged(dest="running" | "awaiting_tools" | "submitting" | "rate_limited" as state):
                self.wait(state.replace("_", " "))
            case events.RunStarted():
                self.end_line()
                self.wait("running")
            case _:
                for line in _lines(event, self._typed):
                    self.call(line) if line.startswith(" ") else self.note(line)

    def typed(self, call_id: str) -> None:
        """Do not show the output of this call, because a person has typed it."""
        self._typed.add(call_id)

    def _answer(self, text: str) -> None:
        if text:
            self.rest()
            self._write(text)
            self._line_is_open = not text.endswith("\n")

    def _complete(self, event: events.AssistantMessageAdded) -> None:
        _, before = self._pieces.pop(event.message_id, (0, ""))
        content = event.content or (f"(refused) {event.refusal}" if event.refusal else "")
        if not content.startswith(before):
            self.end_line()
            before = ""
        self._answer(content[len(before) :])
        if self._line_is_open:
            self.end_line()
        for line in _attached(event.parts):
            self.call(f"  {line}")


def shown(value: object) -> str:
    """Return a value of JSON in one line, shortened if it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _lines(event: events.Event, typed: set[str]) -> Iterator[str]:
    """Yield the lines that describe an event. The lines of tool calls are indented."""
    match event:
        case events.ToolCallRequested(name=name, arguments=arguments, again=False):
            yield f"  {name} {shown(arguments)}"
        case events.ToolCallOutputRecorded(id=id_, output=output) if id_ not in typed:
            yield f"  -> {shown(output)}"
        case events.ToolOutcomeUnknown(name=name):
            yield f"  {name} was started, and it is unknown whether it has taken effect."
        case events.ToolDenied(id=id_, reason=reason) if id_ not in typed:
            yield f"  denied{f': {reason}' if reason else ''}"
        case events.HostedToolUsed(kind=kind):
            yield f"  the server used {kind}"
        case events.RateLimited(retries_remaining=left) if left:
            yield f"The run was rate limited. It is started again after a pause ({left} retries left)."
        case events.RequestFailed(will_retry=True, attempt=1, message=message):
            yield f"{as_sentence(message)} Trying again."
        case events.ThreadStalled(reason=reason):
            yield reason
        case _:
            pass


def _attached(parts: tuple[Part, ...]) -> Iterator[str]:
    """Yield a line for each image, file and source of a message."""
    for part in parts:
        match part:
            case Image(url=url, file_id=file_id):
                yield f"image: {file_id or shown(url or 'data')}"
            case File(name=name, file_id=file_id, url=url):
                yield f"file: {name or ''} {file_id or shown(url or 'data')}"
            case Text(annotations=annotations):
                for each in annotations:
                    yield " ".join(word for word in ("source:", each.title, each.url or each.file_id) if word)

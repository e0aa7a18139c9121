"""`gpt-agent-fsm import-thread`: its options, its progress, and its errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

import attrs
import click

from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.backends.importing import NotAnImport, ThreadImport, import_thread
from gpt_agent_fsm.cli.exits import INTERRUPTED
from gpt_agent_fsm.cli.values import not_blank
from gpt_agent_fsm.errors import GptAgentError

__all__ = ["import_thread_command"]

F = TypeVar("F", bound=Callable[..., Any])


def _option(name: str, says: str, metavar: str | None = None) -> Callable[[F], F]:
    return click.option(name, help=says, metavar=metavar, callback=not_blank)


@click.command("import-thread", short_help="Copy a thread into a new conversation.")
@click.argument("thread_id", callback=not_blank)
@_option("--from-url", "Base URL of the thread's server: the address before /threads.  [default: OPENAI_BASE_URL]")
@_option("--from-key", "The API key of the thread's server.  [default: OPENAI_API_KEY]")
@_option("--to-url", "Base URL of the conversation's server.  [default: as --from-url]")
@_option(
    "--to-key", "The API key of the conversation's server; needed if the servers differ.  [default: as --from-key]"
)
@_option("--into", "Continue an interrupted import in this conversation.", "CONVERSATION_ID")
def import_thread_command(
    thread_id: str,
    from_url: str | None,
    from_key: str | None,
    to_url: str | None,
    to_key: str | None,
    into: str | None,
) -> None:
    """Copy the messages of a thread into a new conversation, and print the conversation's id.

    The command copies from the Assistants API to the Conversations API, which may be on another server. The thread is
    not changed. If the import is interrupted or fails, the command says how to continue. An import that continues adds
    only the missing messages.

    \b
    Examples:
      gpt-agent-fsm import-thread thread_abc
      gpt-agent-fsm import-thread thread_abc --into conv_abc
    """  # noqa: D301 - click reads the backspace
    source = from_url or os.environ.get("OPENAI_BASE_URL", "")
    differ = to_url is not None and to_url.rstrip("/") != source.rstrip("/")
    if differ and (to_key is None or (from_url is not None and from_key is None)):
        raise click.UsageError(
            "the servers differ: give --from-key and --to-key, so that neither server sees the key of the other"
        )
    _copy(thread_id, Server(from_url, from_key), Server(to_url or from_url, to_key or from_key), into)


@attrs.frozen
class Server:
    """The address of a server and its API key. None means the value from the environment."""

    base_url: str | None
    api_key: str | None = attrs.field(repr=False)

    def threads(self) -> AssistantsBackend:
        """Return the backend that reads threads at this address."""
        try:
            return AssistantsBackend(self.base_url, self.api_key)
        except ValueError as error:
            raise click.ClickException(f"where to copy from: {error}") from error

    def conversations(self) -> ResponsesBackend:
        """Return the backend that writes conversations at this address."""
        try:
            return ResponsesBackend(self.base_url, self.api_key, assistants={})
        except ValueError as error:
            raise click.ClickException(f"where to copy to: {error}") from error


def _copy(thread_id: str, source: Server, target: Server, into: str | None) -> None:
    """Copy a thread and print the id of the conversation. Everything else is written to stderr."""
    progress = _Progress(thread_id)
    try:
        with closing(source.threads()) as threads, closing(target.conversations()) as conversations:
            done = import_thread(thread_id, threads, conversations, into=into, report=progress.report)
    except KeyboardInterrupt:
        click.echo(f"\nStopped.{progress.way_on}", err=True)
        sys.exit(INTERRUPTED)
    except NotAnImport as error:
        raise click.ClickException(str(error)) from error
    except GptAgentError as error:
        raise click.ClickException(f"{error}{progress.way_on}") from error
    click.echo(done.conversation_id)


class _Progress:
    """Shows the progress of an import. It prints only numbers and ids, never the messages of the thread."""

    def __init__(self, thread_id: str) -> None:
        self._thread_id = thread_id
        self._last: ThreadImport | None = None

    @property
    def way_on(self) -> str:
        """The sentence that says how to continue the import."""
        if self._last is None:
            return ""
        return f"\nTo continue, run the same command again with --into {self._last.conversation_id}"

    def report(self, standing: ThreadImport) -> None:
        """Print the progress, once for each tenth of the messages."""
        last, self._last = self._last, standing
        if last is None:
            _begin(self._thread_id, standing)
        elif standing.copied * 10 // standing.total > last.copied * 10 // standing.total:
            click.echo(f"{standing.copied} of {standing.total} messages are there.", err=True)


def _begin(thread_id: str, standing: ThreadImport) -> None:
    there = f"; {standing.copied} of them are there" if standing.copied else ""
    click.echo(
        f"Copying the {standing.total} messages of {thread_id} into {standing.conversation_id}{there}.", err=True
    )
    if standing.left_out:
        counts = ", ".join(f"{count} x {kind}" for kind, count in sorted(standing.left_out.items()))
        click.echo(f"Warning: parts of messages that cannot be copied are left out: {counts}.", err=True)
    if standing.messages_left_out:
        click.echo(
            f"Warning: messages without a part that can be copied, or with an unknown role, are left out: "
            f"{standing.messages_left_out}.",
            err=True,
        )

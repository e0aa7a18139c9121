"""`gpt-agent-fsm diagram` and `gpt-agent-fsm timeline`: pictures of the machine and of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gpt_agent_fsm import diagrams
from gpt_agent_fsm.cli.exits import HINT
from gpt_agent_fsm.errors import GptAgentError

if TYPE_CHECKING:
    from gpt_agent_fsm.stores import SQLStore

__all__ = ["diagram", "timeline"]

F = TypeVar("F", bound=Callable[..., Any])

_FILES = {
    "machine.mmd": diagrams.mermaid,
    "machine.dot": diagrams.dot,
    "machine.svg": diagrams.svg,
    "happy-path.svg": diagrams.happy_path,
}
_RECENT = 200
"""How many records of the history are searched for the arrows that a thread has taken."""


def _store_option(*, required: bool) -> Callable[[F], F]:
    return click.option(
        "--store",
        "url",
        envvar="GPT_AGENT_STORE",
        required=required,
        metavar="URL",
        help="The store of the thread: a URL such as sqlite:///agents.db, or the path of a SQLite file. It is only "
        "read.  [env: GPT_AGENT_STORE]",
    )


@click.command()
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(diagrams.FORMATS)),
    default="mermaid",
    show_default=True,
    help="What to print.",
)
@click.option(
    "--write",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Print nothing; write all formats into this directory.",
)
@click.option("--thread", "thread_id", metavar="THREAD", help="Light the state of this thread.")
@_store_option(required=False)
def diagram(format_: str, directory: Path | None, thread_id: str | None, url: str | None) -> None:
    """Draw the state machine, or where a thread is in it.

    The picture is generated from the table that the library itself uses. With --thread, the state of the thread is
    lit, and the arrows that the thread has taken since it last left idle or failed are marked.

    \b
    Examples:
      gpt-agent-fsm diagram --format svg > machine.svg
      gpt-agent-fsm diagram --thread thread_1 --store agents.db --format svg > thread.svg
    """  # noqa: D301 - click reads the backspace
    if directory is not None:
        if thread_id is not None:
            raise click.UsageError("--write draws the machine without a thread; leave out --write or --thread.")
        _write_all(directory)
        return
    click.echo(diagrams.render(_diagram(thread_id, url), format_), nl=False)


@click.command()
@click.argument("thread_id", metavar="THREAD")
@_store_option(required=True)
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(diagrams.TIMELINE_FORMATS)),
    default="text",
    show_default=True,
    help="What to print.",
)
def timeline(thread_id: str, url: str, format_: str) -> None:
    """Show what happened to a thread, and when.

    The timeline shows states, runs, tool calls, approvals and waits. It has names, ids and times, and never the
    text of a message. So it can be pasted into an issue.

    \b
    Examples:
      gpt-agent-fsm timeline thread_1 --store agents.db
      gpt-agent-fsm timeline thread_1 --store agents.db --format svg > timeline.svg
    """  # noqa: D301 - click reads the backspace
    with _reading(url) as store:
        if store.load(thread_id) is None:
            raise _unknown(thread_id)
        records = store.history(thread_id)
    click.echo(diagrams.TIMELINE_FORMATS[format_](diagrams.timeline_of(records, thread_id)), nl=False)


def _diagram(thread_id: str | None, url: str | None) -> diagrams.Diagram:
    if thread_id is None:
        return diagrams.diagram_of()
    if url is None:
        raise click.UsageError("--thread needs --store, or GPT_AGENT_STORE in the environment.")
    with _reading(url) as store:
        saved = store.load(thread_id)
        if saved is None:
            raise _unknown(thread_id)
        records = store.history(thread_id, max(0, saved.last_seq - _RECENT))
    return diagrams.diagram_of(saved.snapshot.state, [record.event for record in records])


@contextmanager
def _reading(url: str) -> Iterator[SQLStore]:
    """Open a store to read it, and report an error of the store in one line."""
    try:
        from gpt_agent_fsm.stores import SQLStore  # noqa: PLC0415 - SQLAlchemy may not be there
    except ImportError as error:
        raise click.ClickException(f"{error.name} is not installed; {HINT}") from error
    try:
        with closing(SQLStore(url if "://" in url else f"sqlite:///{url}", read_only=True)) as store:
            yield store
    except (GptAgentError, ValueError, ImportError) as error:
        raise click.ClickException(str(error)) from error


def _unknown(thread_id: str) -> click.ClickException:
    return click.ClickException(f"there is no thread {thread_id!r} in this store; check the id and --store")


def _write_all(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, draw in _FILES.items():
            path = directory / name
            path.write_text(draw(), encoding="utf-8", newline="\n")
            click.echo(f"wrote {path}")
    except OSError as error:
        raise click.ClickException(f"cannot write to {directory}: {error.strerror}") from error

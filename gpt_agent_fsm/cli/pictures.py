"""`gpt-agent-fsm diagram` and `gpt-agent-fsm timeline`: pictures of the machine and of threads."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import click

from gpt_agent_fsm import diagrams
from gpt_agent_fsm.cli.looking.opening import (
    halt_of,
    load,
    opened,
    settings,
    store_option,
    was_given,
    without_traceback,
)
from gpt_agent_fsm.cli.looking.output import is_terminal
from gpt_agent_fsm.engine.showing import diagram_of_thread, timeline_of_thread, was_pruned

__all__ = ["diagram", "timeline"]

_NARROWEST, _WIDEST = 60, 100
"""The columns of a timeline as text."""
_FILES = {
    "machine.mmd": diagrams.mermaid,
    "machine.dot": diagrams.dot,
    "machine.svg": diagrams.svg,
    "happy-path.svg": diagrams.happy_path,
}


@click.command(short_help="Draw the state machine, or the state of a thread in it.")
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
    help="Write all pictures of the machine into this directory, instead of printing one.",
)
@click.option("--thread", "thread_id", metavar="THREAD", help="Light the state of this thread: its id or its key.")
@store_option(required=False)
@without_traceback
def diagram(format_: str, directory: Path | None, thread_id: str | None, url: str | None) -> None:
    """Draw the state machine, and with --thread the state of a thread in it.

    The picture is generated from the table that the library itself uses. With --thread, the state of the thread is
    lit, and the arrows that the thread has taken since it last left the state idle or failed are marked.

    \b
    Examples:
      gpt-agent-fsm diagram --format svg > machine.svg
      gpt-agent-fsm diagram --thread thread_1 --store agents.db --format svg > thread.svg
    """  # noqa: D301 - click reads the backspace
    if thread_id is None and was_given("url"):
        raise click.UsageError("--store needs --thread, the thread whose state is lit.")
    if directory is not None:
        if thread_id is not None:
            raise click.UsageError("--write draws the machine without a thread; leave out --write or --thread.")
        if was_given("format_"):
            raise click.UsageError("--write writes files of several formats; leave out --write or --format.")
        _write_all(directory)
        return
    click.echo(diagrams.render(_diagram(thread_id, url), format_), nl=False)


@click.command()
@click.argument("thread_id", metavar="THREAD")
@store_option()
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(diagrams.TIMELINE_FORMATS)),
    default="text",
    show_default=True,
    help="What to print.",
)
@without_traceback
def timeline(thread_id: str, url: str, format_: str) -> None:
    """Show what happened to a thread, and when. THREAD is the id or the key of the thread.

    The timeline shows states, runs, tool calls, approvals and waits. If the thread is not at rest, the timeline
    continues to now, and names what the thread waits for. It contains names, ids and times, but never the text of a
    message. So it can be pasted into an issue.

    \b
    Examples:
      gpt-agent-fsm timeline thread_1 --store agents.db
      gpt-agent-fsm timeline thread_1 --store agents.db --format svg > timeline.svg
    """  # noqa: D301 - click reads the backspace
    with opened(url) as store:
        saved = load(store, thread_id)
        records = store.history(saved.snapshot.thread_id)
        halt = halt_of(store)
    pruned = was_pruned(records, saved)
    shown = timeline_of_thread(records, saved, settings(), time.time(), halt, was_pruned=pruned)
    if format_ == "text" and is_terminal():
        width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
        click.echo(diagrams.timeline_text(shown, width=width), nl=False)
    else:
        click.echo(diagrams.TIMELINE_FORMATS[format_](shown), nl=False)


def _diagram(thread_id: str | None, url: str | None) -> diagrams.Diagram:
    if thread_id is None:
        return diagrams.diagram_of()
    if url is None:
        raise click.UsageError("--thread needs --store, or GPT_AGENT_STORE in the environment.")
    with opened(url) as store:
        saved = load(store, thread_id)
        return diagram_of_thread(store, saved.snapshot, saved.last_seq)


def _write_all(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, draw in _FILES.items():
            path = directory / name
            path.write_text(draw(), encoding="utf-8", newline="\n")
            click.echo(f"wrote {path}")
    except OSError as error:
        raise click.ClickException(f"cannot write to {directory}: {error.strerror}") from error

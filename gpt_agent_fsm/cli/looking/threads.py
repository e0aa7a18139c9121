"""`gpt-agent-fsm threads`: all threads of a store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import click

from gpt_agent_fsm.cli.looking import opening, output
from gpt_agent_fsm.cli.values import Number
from gpt_agent_fsm.engine.protocols import ThreadRow
from gpt_agent_fsm.engine.showing import printable, waiting_for
from gpt_agent_fsm.engine.times import age

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from gpt_agent_fsm.stores import SQLStore
    from gpt_agent_fsm.stores.owners import ClusterView

__all__ = ["threads"]

_HEADS = ("thread", "state", "last event", "age", "tokens", "waiting for")
_OWNER = "owner"


@click.command()
@opening.store_option()
@opening.as_json
@click.option("--watch", is_flag=True, help="Show the table again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=Number(0.1, 86_400),
    default=2.0,
    show_default=True,
    help="Seconds between two tables.",
)
@opening.without_traceback
def threads(*, url: str, as_json: bool, watch: bool, interval: float) -> None:
    """List the threads of a store.

    For each thread you see its state, its last event and the age of this event, its tokens, and what it waits for. If a
    cluster has the store, you also see the worker that owns the thread, its epoch, and the rest of its lease. The store
    is only read, so another process may use it at the same time.

    \b
    Examples:
      gpt-agent-fsm threads --store agents.db
      gpt-agent-fsm threads --store agents.db --watch
      gpt-agent-fsm threads --store postgresql://user@host/agents --json
    """  # noqa: D301 - click reads the backspace
    if watch and as_json:
        raise click.UsageError("--watch shows a table; leave out --json or --watch.")
    if opening.was_given("interval") and not watch:
        raise click.UsageError("--interval is the time between two tables; add --watch, or leave out --interval.")
    with opening.opened(url) as store, opening.complaints():
        if watch:
            _watch(store, interval)
        else:
            _show(store, as_json=as_json)


def _show(store: SQLStore, *, as_json: bool) -> None:
    from gpt_agent_fsm.stores.owners import view_of  # noqa: PLC0415 - an extra

    found, cluster, halt = store.threads(), view_of(store), opening.halt_of(store)
    if as_json:
        output.print_json_array([_fields(row, cluster, halted=bool(halt)) for row in found])
        return
    heads, rows = _table(found, cluster, halted=bool(halt))
    if not found:
        click.echo("There are no threads in this store.")
    elif output.is_terminal():
        from rich.console import Console  # noqa: PLC0415 - only for a terminal

        Console().print(output.rich_table(heads, rows))
    else:
        click.echo(output.plain_table(heads, rows))
    if note := _note(found, halt):
        click.echo(note, err=True)


def _note(found: Sequence[ThreadRow], halt: str) -> str:
    """Return a sentence about threads that no process drives; "" if all of them rest."""
    rest = all(row.snapshot.settled and not row.commands for row in found)
    return "" if rest else halt


def _watch(store: SQLStore, interval: float) -> None:
    if not output.is_terminal():
        while True:
            _show(store, as_json=False)
            time.sleep(interval)
    from rich.live import Live  # noqa: PLC0415 - only for a terminal

    from gpt_agent_fsm.stores.owners import view_of  # noqa: PLC0415 - an extra

    with Live(auto_refresh=False, screen=True) as live:
        while True:
            found, halt = store.threads(), opening.halt_of(store)
            table = _table(found, view_of(store), halted=bool(halt))
            live.update(_fitting(*table, _note(found, halt), live.console), refresh=True)
            time.sleep(interval)


def _fitting(heads: Sequence[str], rows: Sequence[Sequence[str]], note: str, console: Console) -> RenderableType:
    """Return the table with as many rows as fit on the screen, below the note and the number of the other rows."""
    from rich.console import Group  # noqa: PLC0415 - only for a terminal

    for count in range(min(len(rows), console.height), -1, -1):
        hidden = len(rows) - count
        more = f"{hidden} of {len(rows)} threads do not fit on the screen." if hidden else ""
        page = Group(*filter(None, (note, more)), output.rich_table(heads, rows[:count], console.width))
        if len(console.render_lines(page, pad=False)) <= console.height:
            break
    return page


def _table(
    found: Sequence[ThreadRow], cluster: ClusterView | None, *, halted: bool
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the heads of the columns, and the rows."""
    if cluster is None:
        return _HEADS, _texts(found, halted=halted)
    owners = [_owner(cluster, row.snapshot.thread_id) for row in found]
    return (*_HEADS, _OWNER), [
        (*texts, owner) for texts, owner in zip(_texts(found, halted=halted), owners, strict=True)
    ]


def _owner(cluster: ClusterView, thread_id: str) -> str:
    owner = cluster.owners.get(thread_id)
    if owner is None:
        return "-"
    lease = "its lease has ended" if owner.lease is None else f"{owner.lease:.0f} s"
    return f"{owner.worker} (epoch {owner.epoch}, {lease})"


def _texts(found: Sequence[ThreadRow], *, halted: bool) -> list[tuple[str, ...]]:
    now = time.time()
    return [
        (
            printable(row.snapshot.thread_id),
            str(row.snapshot.state),
            row.last_event or "-",
            "-" if row.last_event_at is None else age(now - row.last_event_at),
            f"{row.snapshot.usage.total_tokens:,}",
            printable(waiting_for(row, halted=halted)),
        )
        for row in found
    ]


def _fields(row: ThreadRow, cluster: ClusterView | None, *, halted: bool) -> dict[str, object]:
    snapshot = row.snapshot
    owner = None if cluster is None else cluster.owners.get(snapshot.thread_id)
    owned: dict[str, object] = {} if cluster is None else {"owner": None if owner is None else attrs.asdict(owner)}
    return {
        "thread_id": snapshot.thread_id,
        "state": str(snapshot.state),
        "run_id": snapshot.run_id,
        "waiting_for": waiting_for(row, halted=halted),
        "waiting_since": None if snapshot.waiting is None else snapshot.waiting.since,
        "parked": snapshot.outbox.parked,
        "queued": len(snapshot.queue),
        "last_event": row.last_event,
        "last_event_at": row.last_event_at,
        "usage": attrs.asdict(snapshot.usage),
        **owned,
    }

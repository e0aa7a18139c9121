"""`gpt-agent-fsm prune`: forget old history."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from gpt_agent_fsm.cli.looking import opening
from gpt_agent_fsm.cli.values import url_of

if TYPE_CHECKING:
    from gpt_agent_fsm.stores import SQLStore

__all__ = ["prune"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(_: click.Context, __: click.Parameter, value: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,8})([smhd])", value.strip())
    if found is None:
        raise click.BadParameter(
            "write a whole number of at most 8 digits and a unit (s, m, h or d), such as 30d or 12h."
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.command(short_help="Forget old events of threads at rest.")
@opening.store_option()
@click.option(
    "--older-than", required=True, callback=_duration, metavar="AGE", help="The age, such as 30d, 12h, 45m or 90s."
)
@opening.take_over_options
@opening.without_traceback
def prune(*, url: str, older_than: timedelta, take_over: bool, force: bool) -> None:
    """Forget old events of threads at rest, and print how many were forgotten.

    Threads that are not at rest keep all their events, for example while a message waits in a parked queue. Snapshots,
    keys and token counts stay, so every conversation can continue. The command is refused while another process holds
    the store; that process can call `store.prune`. The processes of a cluster need not stop.

    \b
    Examples:
      gpt-agent-fsm prune --older-than 30d --store agents.db
      gpt-agent-fsm prune --older-than 12h --store agents.db
    """  # noqa: D301 - click reads the backspace
    if force and not take_over:
        raise click.UsageError("--force needs --take-over.")
    with opening.complaints():
        count, busy, recent = _prune_cluster(url, older_than) or _prune_store(url, older_than, take_over, force)
    click.echo(f"{count:,} {'event was' if count == 1 else 'events were'} forgotten.")
    if busy:
        keeps = "thread is not at rest and keeps all its" if busy == 1 else "threads are not at rest and keep all their"
        they = "it" if busy == 1 else "them"
        click.echo(
            f"{busy:,} {keeps} events until the next program on this store has finished {they}, "
            f"or a person has. To see where a person must act: {opening.command('doctor', '--all')}"
        )
    if recent and not count:
        click.echo(f"{recent:,} {'thread at rest has' if recent == 1 else 'threads at rest have'} only younger events.")


def _prune_cluster(url: str, older_than: timedelta) -> tuple[int, int, int] | None:
    """Do it beside the processes of a cluster. Return None if no cluster has the store."""
    with opening.opened(url) as reader:
        if not opening.is_of_cluster(reader):
            return None
        from gpt_agent_fsm.cluster.database import ClusterDatabase  # noqa: PLC0415 - an extra
        from gpt_agent_fsm.cluster.pruning import prune as prune_beside_others  # noqa: PLC0415 - as above

        with closing(ClusterDatabase(url_of(url), timeout=20.0, lock_timeout=5.0)) as database:
            return prune_beside_others(database, older_than), *_kept(reader)


def _prune_store(url: str, older_than: timedelta, take_over: bool, force: bool) -> tuple[int, int, int]:
    with opening.opened(url, to_write=True, take_over=take_over, force=force) as store:
        return store.prune(older_than), *_kept(store)


def _kept(store: SQLStore) -> tuple[int, int]:
    """Return how many threads keep their events because they are not at rest, and because the events are young."""
    unfinished = store.unfinished()
    rests = [
        row.snapshot.owes_nothing and row.snapshot.thread_id not in unfinished
        for row in store.threads()
        if row.last_event is not None
    ]
    return rests.count(False), rests.count(True)

"""`gpt-agent-fsm prune`: forget old history."""

from __future__ import annotations

import re
from datetime import timedelta

import click

from gpt_agent_fsm.cli.looking import opening

__all__ = ["prune"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(_: click.Context, __: click.Parameter, value: str) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,8})([smhd])", value.strip())
    if found is None:
        raise click.BadParameter("write a whole number and a unit (s, m, h or d), such as 30d or 12h.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.command()
@opening.store_option()
@click.option(
    "--older-than", required=True, callback=_duration, metavar="AGE", help="The age, such as 30d, 12h, 45m or 90s."
)
@click.option("--take-over", is_flag=True, help="The process that held the store no longer runs.")
@opening.without_traceback
def prune(*, url: str, older_than: timedelta, take_over: bool) -> None:
    """Forget old events of threads at rest, and print how many were forgotten.

    Threads with unfinished work keep all their events. Snapshots, keys and token counts stay, so every conversation can
    continue. The command is refused while another process holds the store; that process can call `store.prune`.

    \b
    Examples:
      gpt-agent-fsm prune --older-than 30d --store agents.db
      gpt-agent-fsm prune --older-than 12h --store agents.db
    """  # noqa: D301 - click reads the backspace
    with opening.opened(url, to_write=True, take_over=take_over) as store:
        count = store.prune(older_than)
    click.echo(f"{count:,} {'event was' if count == 1 else 'events were'} forgotten.")

"""`gpt-agent-fsm finish-upgrade`: the second half of an upgrade of a cluster's tables."""

from __future__ import annotations

import contextlib

import click

from gpt_agent_fsm.cli.looking import opening

__all__ = ["finish_upgrade"]

_EXAMPLES = """\b
Examples:
  gpt-agent-fsm finish-upgrade --store postgresql://user@host/agents
"""


@click.command(short_help="Finish an upgrade of a cluster's tables.", epilog=_EXAMPLES)
@opening.store_option(text="The URL of the PostgreSQL database of the cluster.")
@opening.without_traceback
def finish_upgrade(*, url: str) -> None:
    """Remove from the tables of a cluster what only older versions of gpt-agent-fsm need.

    Use it after the last process of the older version has ended. Processes of the older version can then no longer work
    with the tables. The command is refused while a worker of an older version lives.
    """
    try:
        from gpt_agent_fsm.cluster.database import ClusterDatabase  # noqa: PLC0415 - an extra
        from gpt_agent_fsm.cluster.upgrades import finish  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    with (
        contextlib.closing(ClusterDatabase(url, timeout=20.0, lock_timeout=5.0)) as database,
        database.transaction() as connection,
    ):
        count = finish(connection)
    done = f"{count} of the tables' versions" if count > 1 else "One version of the tables"
    click.echo(f"{done} finished: older processes can no longer work with them." if count else "Nothing to finish.")

"""`gpt-agent-fsm inspect`: web pages of the threads of a store."""

from __future__ import annotations

import contextlib

import click

from gpt_agent_fsm.cli.looking import opening
from gpt_agent_fsm.cli.stopping import cannot_listen, stopped_by_signals
from gpt_agent_fsm.cli.values import WholeNumber

__all__ = ["inspect"]


@click.command(short_help="Show the threads of a store in the browser.")
@opening.store_option()
@click.option("--port", type=WholeNumber(0, 65_535), default=0, show_default=True, help="0 chooses a free one.")
@opening.without_traceback
def inspect(*, url: str, port: int) -> None:
    """Serve web pages with the threads of a store, until Ctrl-C, and print their address.

    The pages show the states, the history, and what the threads wait for. They update themselves. The store is only
    read, so another process may use it at the same time. The server can be reached only from this machine.

    \b
    Examples:
      gpt-agent-fsm inspect --store agents.db
      gpt-agent-fsm inspect --store postgresql://user@host/agents --port 8090
    """  # noqa: D301 - click reads the backspace
    from gpt_agent_fsm.inspector import inspector, serve  # noqa: PLC0415 - an extra

    with contextlib.ExitStack() as stack:
        store = stack.enter_context(opening.opened(url))
        stopped = stack.enter_context(stopped_by_signals())
        try:
            address = stack.enter_context(serve(inspector(store), port))
        except OSError as error:
            raise cannot_listen("127.0.0.1", port, error) from error
        click.echo(f"The inspector is at {address} (Ctrl-C stops it)")
        stopped.wait()
    click.echo("Stopped.")

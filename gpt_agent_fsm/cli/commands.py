"""The group of all commands, and the command `demo`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from gpt_agent_fsm.cli.chat import chat
from gpt_agent_fsm.cli.exits import HINT, INTERRUPTED
from gpt_agent_fsm.cli.looking import COMMANDS
from gpt_agent_fsm.cli.pictures import diagram, timeline
from gpt_agent_fsm.cli.serve import serve
from gpt_agent_fsm.cli.values import Number
from gpt_agent_fsm.errors import GptAgentError

if TYPE_CHECKING:
    from gpt_agent_fsm.cli.report import Screen
    from gpt_agent_fsm.cli.scenes import Conversation

__all__ = ["cli", "screen_for"]


_LATER = {"import-thread": ("importing", "import_thread_command"), "worker": ("worker", "worker")}
"""The modules of the commands that need the backends, and the names of the commands there."""


class _Commands(click.Group):
    """The commands. The modules in `_LATER` are imported only when their commands are used, or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LATER])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _LATER:
            return super().get_command(ctx, cmd_name)
        module, name = _LATER[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"gpt_agent_fsm.cli.{module}"), name)
        return command


_COMPLETION = """To complete commands, options and files in the shell, add one line to its configuration:

\b
  bash  eval "$(_GPT_AGENT_FSM_COMPLETE=bash_source gpt-agent-fsm)"
  zsh   eval "$(_GPT_AGENT_FSM_COMPLETE=zsh_source gpt-agent-fsm)"
  fish  _GPT_AGENT_FSM_COMPLETE=fish_source gpt-agent-fsm | source
"""


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_COMPLETION)
@click.version_option(package_name="gpt-agent-fsm", message="%(prog)s %(version)s")
def cli() -> None:
    """Drive conversations with hosted agents: one explicit finite state machine per thread."""


cli.add_command(chat)
cli.add_command(serve)
cli.add_command(diagram)
cli.add_command(timeline)
for command in COMMANDS:
    cli.add_command(command)


@cli.command(short_help="Show four conversations, with a server in this process.")
@click.option(
    "--speed",
    type=Number(0.1, 100),
    default=1.0,
    show_default=True,
    help="2 plays twice as fast.",
)
@click.option(
    "--api",
    type=click.Choice(["assistants", "responses"]),
    default="assistants",
    show_default=True,
    help="The API to use: threads and runs, or conversations and responses.",
)
def demo(speed: float, api: str) -> None:
    """Show four conversations at the same time, with a server that runs in this process.

    One conversation is plain, one calls two tools, one is rate limited twice and recovers, and one fails. All requests
    use real HTTP on the loopback interface. Neither an API key nor a network is needed.

    \b
    Examples:
      gpt-agent-fsm demo
      gpt-agent-fsm demo --api responses --speed 2
    """  # noqa: D301 - click reads the backspace
    try:
        conversations = _hold(speed, api)
    except KeyboardInterrupt:
        click.echo("\nStopped.", err=True)
        sys.exit(INTERRUPTED)
    except GptAgentError as error:
        raise click.ClickException(f"the demo could not continue: {error}") from error
    problems = [problem for conversation in conversations for problem in conversation.problems()]
    for problem in problems:
        click.echo(f"Error: {problem}", err=True)
    sys.exit(1 if problems else 0)


def _hold(speed: float, api: str) -> list[Conversation]:
    """Play the conversations, show them, then show a summary, and return the conversations."""
    try:
        from gpt_agent_fsm.cli.scenes import SCENES, Conversation, play  # noqa: PLC0415 - flask may not be installed
    except ImportError as error:
        raise _missing(error) from error
    conversations = [Conversation(scene) for scene in SCENES]
    with screen_for(conversations) as screen:
        play(conversations, screen.show, speed, api)
    screen.summary()
    return conversations


def _missing(error: ImportError) -> Exception:
    """Return the exception for a failed import: a sentence if an extra is missing, or else the error itself."""
    if error.name is None or error.name.startswith("gpt_agent_fsm"):
        return error
    return click.ClickException(f"{error.name} is not installed; {HINT}")


def screen_for(conversations: list[Conversation]) -> Screen:
    """Return the screen for the output: a live picture on a terminal, otherwise one line per event."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb" or os.environ.get("CI"):
        from gpt_agent_fsm.cli.report import Plain  # noqa: PLC0415

        return Plain(conversations)
    try:
        from gpt_agent_fsm.cli.live import Live  # noqa: PLC0415 - rich may not be installed
    except ImportError as error:
        raise _missing(error) from error
    return Live(conversations)

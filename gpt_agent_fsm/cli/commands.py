"""The group of all commands, and the command `demo`."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from gpt_agent_fsm.cli.exits import HINT, INTERRUPTED
from gpt_agent_fsm.cli.values import Number
from gpt_agent_fsm.errors import GptAgentError

if TYPE_CHECKING:
    from gpt_agent_fsm.cli.report import Screen
    from gpt_agent_fsm.cli.scenes import Conversation

__all__ = ["cli", "screen_for"]


class _Later(click.Command):
    """A command that is imported when it is used. Until then, only its name and its summary are known."""

    def __init__(self, name: str, module: str, function: str, summary: str) -> None:
        super().__init__(name, short_help=summary)
        self._module, self._function = f"gpt_agent_fsm.cli.{module}", function

    def load(self) -> click.Command:
        try:
            command: click.Command = getattr(import_module(self._module), self._function)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        return command


_OTHER_NAMES = {
    "events": "history",
    "fix": "doctor",
    "list": "threads",
    "log": "history",
    "logs": "history",
    "ls": "threads",
    "repair": "doctor",
    "server": "serve",
    "show": "explain",
    "status": "explain",
    "web": "inspect",
}
"""Names that people try, and the command that they want."""


class _Commands(click.Group):
    """The commands. Most of the library is imported only for the command that needs it, so the help appears at once."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            said = f"No such option {error.option_name!r} before the command. Write a command's options after its name."
            raise click.NoSuchOption(error.option_name, said, error.possibilities, ctx) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in _OTHER_NAMES:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {_OTHER_NAMES[args[0]]!r}?")
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, _Later) else command, rest


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


for _command in (
    _Later("chat", "chat.command", "chat", "Talk to an agent, in the terminal or through a pipe."),
    _Later("diagram", "pictures", "diagram", "Draw the state machine, or the state of a thread in it."),
    _Later("doctor", "looking.doctor", "doctor", "Find threads that need a person, and repair them."),
    _Later("explain", "looking.reading", "explain", "Say what a thread waits for, and what helps."),
    _Later("finish-upgrade", "upgrading", "finish_upgrade", "Finish an upgrade of a cluster's tables."),
    _Later("history", "looking.reading", "history", "Print the events of a thread, oldest first."),
    _Later("import-thread", "importing", "import_thread_command", "Copy a thread into a new conversation."),
    _Later("inspect", "looking.inspecting", "inspect", "Show the threads of a store in the browser."),
    _Later("prune", "looking.prune", "prune", "Forget old events of threads at rest."),
    _Later("serve", "serve", "serve", "Start the embedded server."),
    _Later("threads", "looking.threads", "threads", "List the threads of a store."),
    _Later("timeline", "pictures", "timeline", "Show what happened to a thread, and when."),
    _Later("worker", "worker", "worker", "Drive threads of a cluster."),
):
    cli.add_command(_command)


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

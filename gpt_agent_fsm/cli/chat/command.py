"""The command `chat`: its options, and the setup and exit of a chat."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import click

from gpt_agent_fsm import events
from gpt_agent_fsm.cli.chat.conversation import Conversation, News
from gpt_agent_fsm.cli.chat.opening import Session, open_session
from gpt_agent_fsm.cli.chat.options import DEFAULT_KEY, DEFAULT_MODEL, Options, WrongOption
from gpt_agent_fsm.cli.chat.reader import Lines, Prompt, Reader
from gpt_agent_fsm.cli.chat.screen import Screen
from gpt_agent_fsm.cli.chat.slash_commands import COMMANDS
from gpt_agent_fsm.cli.exits import HINT, INTERRUPTED
from gpt_agent_fsm.cli.library_log import library_log
from gpt_agent_fsm.cli.values import FILE_OR_URL, database, not_blank
from gpt_agent_fsm.engine.explaining import as_sentence
from gpt_agent_fsm.errors import GptAgentError, InvalidThreadId

__all__ = ["chat"]

_EXAMPLES = """\b
Examples:
  gpt-agent-fsm chat
  gpt-agent-fsm chat --model gpt-4o --instructions "Be brief."
  gpt-agent-fsm chat --tools weather:get_weather,book_table
  gpt-agent-fsm chat --db chat.db --key holidays
  gpt-agent-fsm chat --assistant asst_abc --thread thread_abc
  gpt-agent-fsm chat --script script.yaml
  printf 'Hello\\n' | gpt-agent-fsm chat
"""
"""Click does not wrap the lines of a paragraph that begins with \\b."""
_NO_SERVER = "Neither OPENAI_API_KEY nor OPENAI_BASE_URL is set, so the embedded server"
_SHOWN_AGAIN = 6
"""How many earlier messages are shown when a conversation continues."""


@click.command(epilog=_EXAMPLES)
@click.option(
    "--api",
    type=click.Choice(["assistants", "responses"]),
    help="The API to use: threads and runs, or conversations and responses.  [default: responses, or the API to which "
    "--assistant or the thread belongs]",
)
@click.option(
    "--model", callback=not_blank, help=f"The model that answers.  [default: {DEFAULT_MODEL}, or the assistant's own]"
)
@click.option("--instructions", callback=not_blank, help="The system prompt.")
@click.option(
    "--assistant", metavar="ID", callback=not_blank, help="Talk to this assistant of the server (Assistants API)."
)
@click.option(
    "--tools",
    multiple=True,
    metavar="MODULE:FUNCTION,...",
    help="Functions that answer tool calls. The module may be a file of this directory. May be repeated.",
)
@click.option(
    "--db",
    "--store",
    type=FILE_OR_URL,
    metavar="PATH|URL",
    callback=database,
    help="Keep the conversation in this SQLite file or database, and continue the one that is there.",
)
@click.option(
    "--key",
    metavar="NAME",
    callback=not_blank,
    help=f"The name of the conversation in the database.  [default: {DEFAULT_KEY}]",
)
@click.option("--take-over", is_flag=True, help="With --db: the process that held the database no longer runs.")
@click.option("--thread", metavar="ID", callback=not_blank, help="Continue this thread or conversation of the server.")
@click.option(
    "--script",
    type=click.Path(exists=True, dir_okay=False),
    help="Use the embedded server, with a model that plays this script (a .yaml file).",
)
@click.option("--local", is_flag=True, help="Use the embedded server even if the environment names a real one.")
@click.option(
    "--log",
    type=click.Path(dir_okay=False),
    help="Write the library's log to this file, for example the traceback of a tool. It has the text of a message only "
    "if an error repeats it.",
)
def chat(**options: Any) -> None:  # noqa: ANN401 - click passes the options above
    """Talk to an agent, in the terminal or through a pipe.

    OPENAI_API_KEY and OPENAI_BASE_URL name the server, as usual. Without them, the embedded server answers, with a
    model that repeats each message. If a tool call has no function, you are asked for its output. Ctrl-C cancels an
    answer; Ctrl-D leaves. /help lists the commands.

    Through a pipe, each line is a message or a command. Only the answers and the results of commands are written to
    stdout. The exit code is 1 if a message got no answer.
    """
    chosen = Options(**options)
    try:
        with _logged(chosen.log):
            failures = _chat(chosen)
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
        sys.exit(INTERRUPTED)
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    except InvalidThreadId as error:
        why = f" {_NO_SERVER} is used." if chosen.names_no_server else ""
        raise click.ClickException(f"{as_sentence(str(error))}{why}") from error
    except (GptAgentError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    sys.exit(1 if failures else 0)


def _chat(options: Options) -> int:
    """Hold the chat, and return the number of failures that the exit code must show."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    screen = _screen(is_terminal=is_terminal)
    news: News = SimpleQueue()

    def hear(_: object, event: events.Event) -> None:
        news.put(event)

    with contextlib.ExitStack() as stack:
        stack.callback(screen.end_line)
        screen.wait("connecting")
        session = stack.enter_context(open_session(options, hear))
        reader = _reader(session, is_terminal=is_terminal)
        _greet(screen, session, options, is_terminal=is_terminal)
        stack.callback(_say_way_back, screen, options, session, is_terminal=is_terminal)
        conversation = Conversation(session, news, screen, reader, stays=is_terminal)
        try:
            conversation.hold()
        except EOFError:
            conversation.failures += 1
            if not is_terminal:
                screen.error("the lines ended before the question about a tool call was answered")
        return 0 if is_terminal else conversation.failures


def _screen(*, is_terminal: bool) -> Screen:
    if not is_terminal:
        _accept_any_text()
        return Screen()
    try:
        from gpt_agent_fsm.cli.chat.colours import Colours  # noqa: PLC0415 - rich may not be installed
    except ImportError as error:
        raise _missing(error) from error
    return Colours()


def _accept_any_text() -> None:
    """Let the standard streams replace characters that their encoding lacks, instead of failing during an answer."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _reader(session: Session, *, is_terminal: bool) -> Reader:
    if not is_terminal:
        return Lines()
    try:
        return Prompt([said.text for said in session.earlier if said.role == "user"], COMMANDS)
    except ImportError as error:
        raise _missing(error) from error


def _missing(error: ImportError) -> Exception:
    """Return the exception for a failed import: a sentence if an extra is missing, or else the error itself."""
    if error.name is None or error.name.startswith("gpt_agent_fsm"):
        return error
    return click.ClickException(f"{error.name} is not installed; {HINT}")


def _greet(screen: Screen, session: Session, options: Options, *, is_terminal: bool) -> None:
    if is_terminal:
        screen.note(f"{session.agent.thread_id} on {session.server}")
        screen.note("/help lists the commands, Ctrl-D leaves.")
        for said in session.earlier[-_SHOWN_AGAIN:]:
            screen.said(said.role, said.text)
    elif options.names_no_server:
        # The author of a script who forgot to set the key must not take the echo for an answer.
        screen.note(f"{_NO_SERVER} repeats each message.")


def _say_way_back(screen: Screen, options: Options, session: Session, *, is_terminal: bool) -> None:
    command = options.way_back(session.agent.thread_id)
    if command is not None:
        screen.note(f"To continue: {command}")
    elif is_terminal:
        screen.note("Nothing was kept. With --db PATH, you can continue later.")


@contextlib.contextmanager
def _logged(path: str | None) -> Iterator[None]:
    """Inside the `with` block, write the log of the library to the file, if there is one."""
    if path is None:
        yield
        return
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise WrongOption(f"cannot write the log to {path}: {error.strerror}") from error
    with library_log(handler, "%(asctime)s %(levelname)s %(name)s: %(message)s"):
        yield

"""`gpt-agent-fsm serve`: the embedded server as a separate process."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpt_agent_fsm.access import is_loopback
from gpt_agent_fsm.cli.exits import HINT
from gpt_agent_fsm.cli.library_log import library_log
from gpt_agent_fsm.cli.stopping import cannot_listen, stopped_by_signals
from gpt_agent_fsm.cli.values import FILE_OR_URL, Number, WholeNumber, is_like_a_url

if TYPE_CHECKING:
    from gpt_agent_fsm.local import ChatCompletionsModel, LocalServer, ScriptedModel

__all__ = ["serve"]

_API_KEY = "GPT_AGENT_SERVE_API_KEY"
_MODEL_KEY = "GPT_AGENT_SERVE_MODEL_KEY"


def _file(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and is_like_a_url(str(value)):
        raise click.BadParameter("it must be the path of a SQLite file, not a URL.")
    return value


_EXAMPLES = """\b
Examples:
  gpt-agent-fsm serve
  gpt-agent-fsm serve --port 9000 --db server.db
  gpt-agent-fsm serve --model script.yaml
  gpt-agent-fsm serve --model http://localhost:11434/v1 --model-name llama3
"""


@click.command(short_help="Start the embedded server.", epilog=_EXAMPLES)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address to listen on; beyond loopback only with a key."
)
@click.option("--port", type=WholeNumber(0, 65_535), default=8080, show_default=True, help="0 chooses a free one.")
@click.option(
    "--db",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_file,
    help="Keep everything in this SQLite file, across restarts; in memory if left out.",
)
@click.option(
    "--model",
    type=FILE_OR_URL,
    metavar="MODEL",
    default="echo",
    show_default=True,
    help="The model: echo, a script (a .yaml or .yml file), or the base URL of a chat-completions server.",
)
@click.option(
    "--model-name",
    help="The name of the model on the chat-completions server; the name that a run asks for if left out.",
)
@click.option(
    "--model-key", envvar=_MODEL_KEY, help=f"The API key of the chat-completions server. Better given as {_MODEL_KEY}."
)
@click.option(
    "--model-workers",
    type=WholeNumber(1),
    default=256,
    show_default=True,
    help="How many requests to the model are made at the same time; the others wait in order.",
)
@click.option("--api-key", envvar=_API_KEY, help=f"The key that clients must send. Better given as {_API_KEY}.")
@click.option(
    "--allow-origin",
    multiple=True,
    metavar="ORIGIN",
    help="Let web pages of this origin use the server, such as http://localhost:3000; '*' for all. May be repeated.",
)
@click.option(
    "--run-expires-after",
    type=Number(0, 1_000_000_000, min_open=True, max_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long after its creation a run expires, and a response fails.",
)
@click.option(
    "--strict-schemas",
    is_flag=True,
    help="Let a run or response fail if the client asked for JSON and the answer does not fit.",
)
@click.option(
    "--merge-turns",
    is_flag=True,
    help="Send messages in a row of one role as one message to the chat-completions server.",
)
@click.option("--chaos", type=int, metavar="SEED", help="Inject faults into a fifth of the requests, by this seed.")
def serve(
    *,
    host: str,
    port: int,
    db: Path | None,
    model: str,
    model_name: str | None,
    model_key: str | None,
    model_workers: int,
    api_key: str | None,
    allow_origin: tuple[str, ...],
    run_expires_after: float,
    strict_schemas: bool,
    merge_turns: bool,
    chaos: int | None,
) -> None:
    """Serve assistants, threads, runs, conversations and responses to any client of OpenAI's API.

    The server logs one line per request, without the text of messages. Ctrl-C stops the server. The next server with
    the same file resumes unfinished work.
    """
    try:
        from gpt_agent_fsm.local import Chaos, ChatCompletionsModel, LocalServer  # noqa: PLC0415 - an extra
    except ImportError as error:
        if error.name is None or error.name.startswith("gpt_agent_fsm"):
            raise
        raise click.ClickException(f"{error.name} is not installed; {HINT}") from error
    _check_key(api_key, host)
    with contextlib.ExitStack() as stack:
        answering = _model_of(model, model_name, model_key, merge_turns=merge_turns)
        if isinstance(answering, ChatCompletionsModel):
            stack.callback(answering.close)
        stack.enter_context(library_log(logging.StreamHandler(), "%(asctime)s %(levelname)s %(message)s"))
        stopped = stack.enter_context(stopped_by_signals())
        faults = None if chaos is None else Chaos(chaos)
        start = functools.partial(LocalServer, answering, host=host, port=port, database=db, api_key=api_key)
        start = functools.partial(start, allow_origins=allow_origin, model_workers=model_workers, chaos=faults)
        start = functools.partial(start, run_expires_after=run_expires_after, strict_schemas=strict_schemas)
        server = stack.enter_context(_listening(start, host, port, db))
        kept = "in memory" if db is None else f"in {db}"
        # Nothing but a space follows the URL, so that a terminal does not take more for a part of it.
        click.echo(f"Serving at {server.base_url} with all data {kept}. Ctrl-C stops it.")
        stopped.wait()
    click.echo("Stopped.")


def _check_key(api_key: str | None, host: str) -> None:
    # Click treats an empty variable like one that is not set. But an empty variable usually means that a script did not
    # find the key.
    given = os.environ.get(_API_KEY) if api_key is None else api_key
    if given is not None and not given.strip():
        raise click.UsageError(f"the API key is blank: give one as --api-key or {_API_KEY}, or leave both out")
    if api_key is None and not is_loopback(host):
        raise click.UsageError(
            f"without a key anybody who can connect to {host!r} could use this server: give --api-key or {_API_KEY}, "
            "or listen on 127.0.0.1"
        )


def _listening(start: Callable[..., LocalServer], host: str, port: int, db: Path | None) -> LocalServer:
    """Return the running server. If it cannot start, raise an error that says why in one sentence."""
    from sqlalchemy.exc import DatabaseError  # noqa: PLC0415 - as above

    from gpt_agent_fsm.local import DatabaseInUseError  # noqa: PLC0415 - as above

    try:
        return start(request_log_level=logging.INFO)
    except ValueError as error:
        raise click.UsageError(_in_options(str(error))) from error
    except DatabaseInUseError as error:
        raise click.ClickException(str(error)) from error
    except (OSError, TypeError, UnicodeError) as error:  # not every text can be a host
        raise cannot_listen(host, port, error) from error
    except DatabaseError as error:
        raise click.ClickException(f"cannot use {db} as a database: {error.orig}") from error


def _in_options(sentence: str) -> str:
    """Return a sentence of the library in which the names of the arguments are replaced by those of the options."""
    names = {"base_url": "--model", "database": "--db", "allow_origins": "--allow-origin", "api_key": "--api-key"}
    for name, option in names.items():
        sentence = sentence.replace(name, option)
    return sentence


def _model_of(
    model: str, name: str | None, key: str | None, *, merge_turns: bool
) -> ScriptedModel | ChatCompletionsModel | None:
    """Return the model; None for the echo. If there is no such model, raise an error that says why in one sentence."""
    from gpt_agent_fsm.local import ChatCompletionsModel, ScriptedModel  # noqa: PLC0415 - as above

    try:
        if model.startswith(("http://", "https://")):
            return ChatCompletionsModel(model, name, key or None, merge_turns=merge_turns)
        _check_only_for_servers(name, key, merge_turns)
        if model == "echo":
            return None
        if model.endswith((".yaml", ".yml")):
            return _script(ScriptedModel, model)
    except ValueError as error:
        raise click.UsageError(_in_options(str(error))) from error
    except OSError as error:
        raise click.UsageError(f"cannot read the script {model}: {error.strerror}") from error
    raise click.UsageError(f"--model must be echo, a .yaml file or a URL that begins with http://, not {model!r}")


def _script(scripted: type[ScriptedModel], path: str) -> ScriptedModel:
    try:
        return scripted.from_yaml(Path(path))
    except ValueError as error:
        raise click.UsageError(f"{path}: {error}") from error


def _check_only_for_servers(name: str | None, key: str | None, merge_turns: bool) -> None:
    """Refuse options that are for a chat-completions server. Call this if no such server is used as the model.

    A key for such a server is not refused if it comes from the environment.
    """
    source = click.get_current_context().get_parameter_source("model_key")
    given = {
        "--model-name": name is not None,
        "--model-key": bool(key) and source is click.core.ParameterSource.COMMANDLINE,
        "--merge-turns": merge_turns,
    }
    for option, is_given in given.items():
        if is_given:
            raise click.UsageError(f"{option} is for a chat-completions server: give its base URL as --model")

"""Open the store that a command names, and turn errors into one line and an exit code."""

from __future__ import annotations

import functools
import logging
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from gpt_agent_fsm import Settings
from gpt_agent_fsm.cli.exits import HINT, INTERRUPTED
from gpt_agent_fsm.cli.values import FILE_OR_URL, database, url_of, without_password
from gpt_agent_fsm.engine.showing import NO_WORKER, NOT_HELD, printable
from gpt_agent_fsm.errors import GptAgentError, StoreError
from gpt_agent_fsm.stores.holder import CLUSTER, is_held

if TYPE_CHECKING:
    from gpt_agent_fsm.engine.protocols import Saved
    from gpt_agent_fsm.stores import SQLStore
    from gpt_agent_fsm.stores.holder import Holder

__all__ = [
    "as_json",
    "command",
    "complaints",
    "halt_of",
    "is_of_cluster",
    "load",
    "opened",
    "settings",
    "store_option",
    "take_over_options",
    "was_given",
    "without_traceback",
]

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


_ANY_STORE = "A URL such as sqlite:///agents.db, or the path of a SQLite file."


def store_option(*, required: bool = True, text: str = _ANY_STORE) -> Callable[[F], F]:
    """Return the option `--store`. `text` is its help."""
    return click.option(
        "--store",
        "url",
        type=FILE_OR_URL,
        callback=database,
        envvar="GPT_AGENT_STORE",
        show_envvar=True,
        required=required,
        metavar="URL",
        help=text,
    )


def as_json(command: F) -> F:
    """Add the option `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def was_given(option: str) -> bool:
    """Return whether the person has written this option, by its Python name, on the command line."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def command(*words: str) -> str:
    """Return a command that a person can copy. It names the store as the person has named it, without a password."""
    url = click.get_current_context().params.get("url")
    store = ["--store", without_password(url)] if url is not None and was_given("url") else []
    return printable(shlex.join(["gpt-agent-fsm", *words, *store]))


def take_over_options(command: F) -> F:
    """Add the options `--take-over` and `--force`, which allow a command to write to a store that is held."""
    force = click.option("--force", is_flag=True, help="With --take-over: even if the process seems to run.")(command)
    return click.option("--take-over", is_flag=True, help="The process that held the store no longer runs.")(force)


def without_traceback(command: Callable[P, T]) -> Callable[P, T]:
    """Turn errors of the library into one line and exit code 1, and Ctrl-C into exit code 130."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (GptAgentError, ValueError) as error:
            raise click.ClickException(str(error)) from error
        except ImportError as error:
            # The library's own errors say what to install.
            advice = str(error) if "pip install" in str(error) else f"{error.name} is not installed; {HINT}"
            raise click.ClickException(advice) from error
        except click.Abort:
            sys.exit(INTERRUPTED)  # click ends a question in this way, after Ctrl-C and after Ctrl-D
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    return wrapped


def is_of_cluster(store: SQLStore) -> bool:
    """Return whether the processes of a cluster have this database."""
    from gpt_agent_fsm.stores.owners import view_of  # noqa: PLC0415 - SQLAlchemy may not be installed

    return view_of(store) is not None


def halt_of(store: SQLStore) -> str:
    """Return why nothing happens in a store; "" if a process drives its threads, or may drive them."""
    if is_held(store):
        return ""
    return NO_WORKER if is_of_cluster(store) else NOT_HELD


@contextmanager
def opened(url: str, *, to_write: bool = False, take_over: bool = False, force: bool = False) -> Iterator[SQLStore]:
    """Open a store that exists. With `to_write`, take the store over.

    With `to_write`, raise an error if another process holds the store. But `take_over` allows the command to write if
    that process may have ended, and `force` even if a process with its process id runs on this computer.
    """
    from gpt_agent_fsm.stores import SQLStore  # noqa: PLC0415 - SQLAlchemy may not be installed

    if force and not take_over:
        raise click.UsageError("--force needs --take-over.")
    url = url_of(url)
    # A store that may write creates the file. Opening it for reading first refuses a wrong path.
    with closing(SQLStore(url, read_only=True)) as reader:
        if not to_write:
            yield reader
            return
        of_cluster = is_of_cluster(reader)

    def check(holder: Holder) -> None:
        _refuse_if_held(holder, take_over=take_over, force=force)

    with ExitStack() as stack:
        store = SQLStore(url, check_holder=check)
        if of_cluster:
            stack.callback(_give_back_to_cluster, url)
        yield stack.enter_context(closing(store))


def _give_back_to_cluster(url: str) -> None:
    """Let the processes of the cluster continue that had the database before this command."""
    from gpt_agent_fsm.cluster.database import ClusterDatabase  # noqa: PLC0415 - an extra

    ClusterDatabase(url, timeout=20.0, lock_timeout=5.0).close()


def _refuse_if_held(holder: Holder, *, take_over: bool, force: bool) -> None:
    runs = holder.runs
    if holder.host == CLUSTER and not force:
        raise StoreError(
            "This store belongs to a cluster with live workers. Stop the workers first; messages wait until they start "
            "again. With --take-over --force, the processes of the cluster end their work."
        )
    if runs and not force:
        raise StoreError(
            f"{holder} holds this store and still runs. Stop it first. If another program has its process id now, add "
            "--take-over --force."
        )
    if runs is None and not take_over:
        raise StoreError(f"{holder} holds this store. Stop it first. If it no longer runs, add --take-over.")


def load(store: SQLStore, thread: str) -> Saved:
    """Return the data of a thread, which must exist. `thread` is its id or its key. An id wins over an equal key."""
    saved = store.load(thread)
    if saved is None and (thread_id := store.find(thread)) is not None:
        saved = store.load(thread_id)
    if saved is None:
        advice = f"check the id or key and --store. To list the ids: {command('threads')}"
        raise click.ClickException(f"There is no thread {thread!r} in this store; {advice}")
    return saved


def settings() -> Settings:
    """Return the settings from the environment. They should be those of the program that drives the threads."""
    return Settings.from_env()


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Print what the store logs about threads that it cannot read. Yield the list of the printed sentences."""
    said: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            click.echo(f"Warning: {said[-1]}", err=True)

    logger, handler = logging.getLogger("gpt_agent_fsm.stores"), Handler(logging.ERROR)
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)

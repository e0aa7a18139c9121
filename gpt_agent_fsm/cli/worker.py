"""`gpt-agent-fsm worker`: a process that drives threads of a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import click

from gpt_agent_fsm import Assistant, Runtime, Settings
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.cli.chat.options import WrongOption
from gpt_agent_fsm.cli.chat.tools import importable_directory, load_tools, named
from gpt_agent_fsm.cli.library_log import library_log
from gpt_agent_fsm.cli.looking import opening
from gpt_agent_fsm.cli.stopping import cannot_listen, stopped_by_signals

__all__ = ["worker"]

_EXAMPLES = """\b
Examples:
  gpt-agent-fsm worker --store postgresql://user@host/agents
  gpt-agent-fsm worker --store postgresql://user@host/agents --tools weather:get_weather --port 8081
  gpt-agent-fsm worker --store postgresql://user@host/agents --api responses --assistants bot:assistants
"""


_APIS = {"assistants": "Assistants", "responses": "Responses"}


@click.command(short_help="Drive threads of a cluster.", epilog=_EXAMPLES)
@opening.store_option(text="The URL of the PostgreSQL database of the cluster.")
@click.option(
    "--api",
    type=click.Choice(list(_APIS)),
    default="assistants",
    show_default=True,
    help="The API of the server: threads and runs, or conversations and responses.",
)
@click.option(
    "--assistants",
    multiple=True,
    metavar="MODULE:NAME",
    help="An Assistant with a name, or a dict of them by their ids. May be repeated.",
)
@click.option(
    "--tools", multiple=True, metavar="MODULE:FUNCTION", help="A function that answers tool calls. May be repeated."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="How many threads this worker owns at most.",
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Serve /healthz and /metrics on this port; 0 chooses a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address for --port.")
@opening.without_traceback
def worker(
    *,
    url: str,
    api: str,
    assistants: tuple[str, ...],
    tools: tuple[str, ...],
    concurrency: int,
    port: int | None,
    host: str,
) -> None:
    """Drive the threads of a cluster, together with other workers, until Ctrl-C or SIGTERM.

    The store is a PostgreSQL database, which your other programs open as Cluster(URL). The address and the
    key of the server, and the settings, come from the environment: OPENAI_BASE_URL, OPENAI_API_KEY, GPT_AGENT_*.

    A worker that is stopped lets go of its threads, and other workers continue with them. If a worker dies, the others
    take its threads over after about ten seconds.
    """
    try:
        from gpt_agent_fsm.cluster import Cluster  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    with contextlib.ExitStack() as stack:
        stack.enter_context(importable_directory())
        functions = load_tools(tools)
        _check_key()
        backend = _backend(api, dict(_assistants(assistants)))
        stack.callback(backend.close)  # if there is no runtime that closes it
        settings = Settings.from_env()
        stack.enter_context(library_log(logging.StreamHandler(), "%(asctime)s %(levelname)s %(name)s %(message)s"))
        for name in ("procrastinate", "psycopg.pool"):
            # If the database is away, they log long tracebacks, and the library's own log says it in a sentence.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        stopped = stack.enter_context(stopped_by_signals())
        cluster = Cluster(url, drive=True, concurrency=concurrency)
        stack.callback(cluster.close)
        runtime = stack.enter_context(Runtime(backend, settings, cluster, tools=functions))
        address = None if port is None else stack.enter_context(_served(runtime, cluster, host, port))
        status = cluster.worker
        name = "" if status is None else status.id
        shown = "" if address is None else f" Its health is at {address}healthz"
        click.echo(
            f"The worker {name} drives up to {concurrency} threads on the {_APIS[api]} API. Ctrl-C stops it.{shown}"
        )
        stopped.wait()
        click.echo("Stopping: other workers may take its threads.")
    click.echo("Stopped.")


@contextlib.contextmanager
def _served(runtime: Runtime, cluster: Any, host: str, port: int) -> Iterator[str]:  # noqa: ANN401 - a `Cluster`
    from gpt_agent_fsm.cli.health import serve_health  # noqa: PLC0415 - an extra

    with contextlib.ExitStack() as stack:
        try:
            address = stack.enter_context(serve_health(runtime, cluster, host, port))
        except (OSError, TypeError, UnicodeError) as error:  # not every text can be a host
            raise cannot_listen(host, port, error) from error
        yield address


def _assistants(values: tuple[str, ...]) -> Iterator[tuple[str, Assistant]]:
    """Yield the assistants that `--assistants` names, with their ids."""
    for value in values:
        for name, found in named("--assistants", value, "module:name"):
            if isinstance(found, Assistant):
                if found.name is None:
                    raise WrongOption(f"--assistants: {name} has no name; give it one, or name a dict of assistants")
                yield found.name, found
            elif isinstance(found, Mapping) and all(isinstance(each, Assistant) for each in found.values()):
                yield from found.items()
            else:
                kind = type(found).__name__
                raise WrongOption(f"--assistants: {name} must be an Assistant or a dict of them, not a {kind}")


def _check_key() -> None:
    if not os.environ.get("OPENAI_API_KEY") and not os.environ.get("OPENAI_BASE_URL"):
        raise click.ClickException(
            "OPENAI_API_KEY is not set, and OpenAI's own server needs it: set it, or set OPENAI_BASE_URL to the "
            "address of another server; `gpt-agent-fsm serve` starts a local one."
        )


def _backend(api: str, assistants: dict[str, Assistant]) -> AssistantsBackend | ResponsesBackend:
    if api == "responses":
        return ResponsesBackend(assistants=assistants)
    backend = AssistantsBackend()
    try:
        for assistant in assistants.values():
            backend.publish(assistant)
    except BaseException:
        backend.close()
        raise
    return backend

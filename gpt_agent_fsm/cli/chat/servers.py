"""The server that answers a chat: a real one, or the embedded one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import click

from gpt_agent_fsm import Assistant, FunctionTool
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.cli.chat.options import ASSISTANT, DEFAULT_MODEL, Options, WrongOption
from gpt_agent_fsm.cli.chat.tools import Functions
from gpt_agent_fsm.cli.exits import HINT

__all__ = ["KEY", "Server", "embedded_server", "server_for"]

_OPENAI = "https://api.openai.com/v1"
_HOST = "127.0.0.1"
KEY = "local"
"""The embedded server takes any key. It must not see the key of another server."""


@attrs.frozen(kw_only=True)
class Server:
    """A server, ready for requests.

    Attributes:
        assistant_id: the assistant that answers.
        run_options: the options of each run.
        name: a few words for people.
    """

    backend: AssistantsBackend | ResponsesBackend
    assistant_id: str
    run_options: dict[str, Any]
    name: str


@contextlib.contextmanager
def embedded_server(options: Options) -> Iterator[str]:
    """Inside the `with` block, run the embedded server. Yield its base URL."""
    try:
        from sqlalchemy.exc import DatabaseError  # noqa: PLC0415 - an extra

        from gpt_agent_fsm.local import LocalServer, ScriptedModel  # noqa: PLC0415 - an extra
    except ImportError as error:
        if error.name is None or error.name.startswith("gpt_agent_fsm"):
            raise
        raise click.ClickException(f"{error.name} is not installed; {HINT}") from error
    model = None
    if options.script is not None:
        try:
            model = ScriptedModel.from_yaml(Path(options.script))
        except OSError as error:
            raise WrongOption(f"cannot read the script {options.script}: {error.strerror}") from error
        except ValueError as error:
            raise WrongOption(f"{options.script}: {error}") from error
    database = options.server_database
    try:
        server = LocalServer(model, host=_HOST, database=database)
    except DatabaseError as error:
        raise click.ClickException(f"cannot use {database} as the server's database: {error.orig}") from error
    except OSError as error:
        raise click.ClickException(f"the embedded server cannot start: {error}") from error
    with server, _no_proxy_for(_HOST):
        yield server.base_url


@contextlib.contextmanager
def _no_proxy_for(host: str) -> Iterator[None]:
    """Inside the `with` block, send requests to this host without the proxy that the environment names."""
    before = os.environ.get("no_proxy")
    others = before or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = f"{others},{host}" if others else host
    try:
        yield
    finally:
        del os.environ["no_proxy"]
        if before is not None:
            os.environ["no_proxy"] = before


def server_for(options: Options, thread_id: str | None, base_url: str | None, functions: Functions) -> Server:
    """Return the server. If `base_url` is None, the environment names the server."""
    key = None if base_url is None else KEY
    assistant = Assistant(options.model or DEFAULT_MODEL, options.instructions or "", functions)
    if options.api_for(thread_id) == "responses":
        responses = ResponsesBackend(base_url, key, assistants={ASSISTANT: assistant})
        return Server(backend=responses, assistant_id=ASSISTANT, run_options={}, name=_name(options))
    backend = AssistantsBackend(base_url, key)
    if options.assistant is None:
        try:
            assistant_id = backend.publish(attrs.evolve(assistant, name=_name_on_server(assistant)))
        except BaseException:
            backend.close()
            raise
        return Server(backend=backend, assistant_id=assistant_id, run_options={}, name=_name(options))
    given = {"model": options.model, "instructions": options.instructions}
    run_options = {option: value for option, value in given.items() if value is not None}
    return Server(backend=backend, assistant_id=options.assistant, run_options=run_options, name=_name(options))


def _name_on_server(assistant: Assistant) -> str:
    """Return a name that depends on the options, so that no chat changes the assistant of a chat with other options."""
    tools = [attrs.asdict(each) for each in assistant.definitions if isinstance(each, FunctionTool)]
    fields = json.dumps([assistant.model, assistant.instructions, tools], sort_keys=True)
    return f"gpt-agent-fsm {ASSISTANT} {hashlib.sha256(fields.encode()).hexdigest()[:12]}"


def _name(options: Options) -> str:
    if not options.is_embedded:
        # The part before an @ is left out, because it may contain a password.
        return urlsplit(os.environ.get("OPENAI_BASE_URL") or _OPENAI).netloc.rpartition("@")[2]
    what = "repeats each message" if options.script is None else f"plays {options.script}"
    return f"the embedded server, which {what}"

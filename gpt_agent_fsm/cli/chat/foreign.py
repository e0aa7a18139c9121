"""Refuse a database with threads of another server than the one that the chat uses.

A runtime resumes each unfinished thread of its store. Another server would say that it has no such thread, and the
messages of the thread would be lost. A store does not record its server, but a server knows its threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing

import click

from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.cli.chat.options import Options
from gpt_agent_fsm.cli.chat.servers import KEY, Server
from gpt_agent_fsm.errors import InvalidThreadId
from gpt_agent_fsm.ports import Backend, ListingStore, Store, offers

__all__ = ["PATIENCE", "refuse_foreign_store", "refuse_foreign_threads"]

PATIENCE = 30.0
"""The timeout in seconds of the requests that are made before the chat connects."""


def refuse_foreign_store(options: Options, store: Store) -> None:
    """Raise a `click.ClickException` if the store has threads, but the embedded server has kept no data beside it.

    Call this before the embedded server starts, because it creates its file.
    """
    path = options.server_database
    if options.is_embedded and path is not None and not path.exists():
        for thread_id in _thread_ids(store):
            raise _foreign(options, thread_id, "the embedded server")


def refuse_foreign_threads(options: Options, store: Store, server: Server, base_url: str | None) -> None:
    """Raise a `click.ClickException` if the server does not have each thread that the runtime would resume.

    The embedded server, at `base_url`, must also have the threads at rest: only chats use its database.
    """
    unfinished = store.unfinished()
    _check(options, unfinished, server.name, lambda _: server.backend)
    if base_url is None:
        return
    at_rest = (thread_id for thread_id in _thread_ids(store) if thread_id not in unfinished)
    with (
        closing(AssistantsBackend(base_url, KEY)) as assistants,
        closing(ResponsesBackend(base_url, KEY, assistants={})) as responses,
    ):
        by_api: dict[str, Backend] = {"assistants": assistants, "responses": responses}
        # The option --api does not apply to the threads of other chats.
        _check(options, at_rest, server.name, lambda thread_id: by_api[Options().api_for(thread_id)])


def _thread_ids(store: Store) -> list[str]:
    return [row.snapshot.thread_id for row in store.threads()] if offers(store, ListingStore) else []


def _check(
    options: Options, thread_ids: Iterable[str], server_name: str, backend_for: Callable[[str], Backend]
) -> None:
    for thread_id in thread_ids:
        try:
            backend_for(thread_id).get_thread(thread_id, timeout=PATIENCE)
        except InvalidThreadId as error:
            raise _foreign(options, thread_id, server_name) from error


def _foreign(options: Options, thread_id: str, server_name: str) -> click.ClickException:
    if options.is_embedded:
        leave_out = "" if options.names_no_server else ", and leave out --local and --script"
        advice = f"set OPENAI_API_KEY or OPENAI_BASE_URL for the server of these threads{leave_out}"
    else:
        advice = "set OPENAI_BASE_URL, OPENAI_API_KEY and --api for the server of these threads"
    server = "the embedded server" if options.is_embedded else server_name
    return click.ClickException(
        f"{options.shown_db} has threads that are not on {server}, for example {thread_id}, so nothing was sent: "
        f"{advice}, or give another --db."
    )

"""Open what a chat needs: the store, the server, the runtime, and the agent of the conversation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import click

from gpt_agent_fsm import Agent, Runtime, Settings, events, signals
from gpt_agent_fsm.cli.chat.foreign import PATIENCE, refuse_foreign_store, refuse_foreign_threads
from gpt_agent_fsm.cli.chat.options import Options
from gpt_agent_fsm.cli.chat.servers import Server, embedded_server, server_for
from gpt_agent_fsm.cli.chat.tools import importable_directory, load_tools
from gpt_agent_fsm.engine.explaining import as_sentence
from gpt_agent_fsm.errors import InvalidThreadId, StoreError
from gpt_agent_fsm.ports import Backend, KeyedStore, Record, Store, offers
from gpt_agent_fsm.stores import MemoryStore

if TYPE_CHECKING:
    from gpt_agent_fsm.stores.holder import Holder

__all__ = ["Hear", "Said", "Session", "open_session", "said_in"]


class Hear(Protocol):
    """A function that takes each event of the conversation, including the pieces of messages. Workers call it."""

    def __call__(self, agent: Any, /, event: events.Event) -> None:  # noqa: ANN401 - as a receiver of a signal
        """Take one event."""


@attrs.frozen(kw_only=True)
class Said:
    """A message of the conversation.

    Attributes:
        id: its id on the server.
        role: "user" or "assistant".
    """

    id: str
    role: str
    text: str


@attrs.frozen(kw_only=True)
class Session:
    """An open conversation.

    Attributes:
        run_options: the options of each run.
        earlier: the messages that are older than the chat, oldest first.
        server: a short description of the server.
    """

    runtime: Runtime
    agent: Agent
    run_options: dict[str, Any]
    earlier: tuple[Said, ...]
    server: str


@attrs.frozen(kw_only=True)
class _Known:
    """What is known about the thread before the chat connects to it.

    Attributes:
        thread_id: the thread's id; None for a new thread.
        seq: the number of the last record that an earlier chat has announced; None for an unknown thread.
        earlier: the messages up to that record.
    """

    thread_id: str | None = None
    seq: int | None = None
    earlier: tuple[Said, ...] = ()


@contextlib.contextmanager
def open_session(options: Options, hear: Hear) -> Iterator[Session]:
    """Yield the open conversation. Raise a `click.ClickException` or an error of the library if it cannot be opened."""
    with ExitStack() as stack:
        stack.enter_context(importable_directory())
        functions = load_tools(options.tools)
        store = _open_store(options)
        stack.callback(store.close)  # if there is no runtime that closes it
        refuse_foreign_store(options, store)
        base_url = stack.enter_context(embedded_server(options)) if options.is_embedded else None
        thread_id = options.thread or _thread_called(options.name, store)
        server = server_for(options, thread_id, base_url, functions)
        stack.callback(server.backend.close)
        refuse_foreign_threads(options, store, server, base_url)
        known = _known(thread_id, store, server.backend)
        # If no handler were connected, a tool call would be answered with an error. This could happen before the chat
        # connects, or in another conversation of the store.
        stack.enter_context(signals.tool_call_requested.connected_to(_leave_open))
        runtime = stack.enter_context(Runtime(server.backend, _settings(options), store, tools=functions))
        agent = _connect(runtime, options, server, known, hear)
        # The pieces come from the signal. A subscriber would get them only with `stream=True`, which the store would
        # keep for the thread.
        stack.enter_context(signals.assistant_message_delta.connected_to(hear, sender=agent))
        yield Session(
            runtime=runtime, agent=agent, run_options=server.run_options, earlier=known.earlier, server=server.name
        )


def _leave_open(_: object, *, event: events.ToolCallRequested) -> None:
    """Leave a tool call to the person who will be asked about it."""


def _connect(runtime: Runtime, options: Options, server: Server, known: _Known, hear: Hear) -> Agent:
    more: dict[str, Any] = {"subscribe": hear, "replay_after": known.seq}
    if options.thread is None:
        try:
            return runtime.start(server.assistant_id, key=options.name, **more)
        except InvalidThreadId as error:
            raise click.ClickException(
                f"{as_sentence(str(error))} The conversation {options.name!r} in {options.shown_db} is on another "
                "server, or of another --api: use that server and API, or begin another conversation with --key."
            ) from error
    # Without a cursor, the first run would publish the old messages of a thread that the store does not know.
    last = next((said.id for said in reversed(known.earlier) if said.role == "assistant"), None)
    cursor = last if known.seq is None else None
    return runtime.connect(
        thread_id=options.thread, assistant_id=server.assistant_id, last_message_id=cursor, key=options.key, **more
    )


def _settings(options: Options) -> Settings:
    """Return the settings of the runtime. A person may think for hours, so the agent never stops by itself."""
    if options.is_embedded:
        return Settings(idle_timeout=None, heartbeat_interval=0.2)
    return attrs.evolve(Settings.from_env(), idle_timeout=None)


# --- the store ------------------------------------------------------------------------------------------------


def _open_store(options: Options) -> Store:
    url = options.database_url
    if url is None:
        return MemoryStore()
    from gpt_agent_fsm.stores import SQLStore  # noqa: PLC0415 - an extra

    return SQLStore(url, check_holder=partial(_refuse_if_held, take_over=options.take_over))


def _refuse_if_held(holder: Holder, *, take_over: bool) -> None:
    """Raise `StoreError` if a process may use the store. Opening the store would end the process's conversations."""
    if holder.runs:
        raise StoreError(f"the database is in use by {holder}: end it first, or give another --db")
    if holder.runs is None and not take_over:
        raise StoreError(
            f"the database may be in use by {holder}: end it first, or give another --db. If it no longer runs, add "
            "--take-over."
        )


def _thread_called(name: str | None, store: Store) -> str | None:
    return store.find(name) if name is not None and offers(store, KeyedStore) else None


# --- earlier messages -------------------------------------------------------------------------------------------


def _known(thread_id: str | None, store: Store, backend: Backend) -> _Known:
    """Return what the store knows about the thread. If it knows nothing, ask the server."""
    saved = None if thread_id is None else store.load(thread_id)
    if thread_id is None:
        return _Known()
    if saved is None:
        return _Known(thread_id=thread_id, earlier=_on_server(thread_id, backend))
    seq = saved.last_seq - len(saved.unannounced)
    said = (said_in(record) for record in store.history(thread_id) if record.seq <= seq)
    return _Known(thread_id=thread_id, seq=seq, earlier=tuple(each for each in said if each is not None))


def _on_server(thread_id: str, backend: Backend) -> tuple[Said, ...]:
    """Return the newest messages on the server, oldest first. Raise `InvalidThreadId` for an unknown thread."""
    backend.get_thread(thread_id, timeout=PATIENCE)
    page = backend.list_messages(thread_id, after=None, newest_first=True, timeout=PATIENCE)
    said = [Said(id=each.id, role=each.role, text=each.content or each.refusal or "") for each in page.messages]
    return tuple(reversed(said))


def said_in(record: Record) -> Said | None:
    """Return the message of a record, or None if the record has no message."""
    match record.event:
        case events.UserMessageAdded(id=id_, content=content):
            return Said(id=id_, role="user", text=content)
        case events.AssistantMessageAdded(message_id=id_, content=content, refusal=refusal):
            return Said(id=id_, role="assistant", text=content or refusal or "")
        case _:
            return None

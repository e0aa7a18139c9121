"""The threads that have changed since a moment, and the stream of server-sent events that sends them to a page."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Protocol

from gpt_agent_fsm import signals
from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.events import AgentStopped
from gpt_agent_fsm.inspector.source import AgentHost, Source
from gpt_agent_fsm.ports import MarkedStore, offers

__all__ = ["Changes", "Heard", "Polled", "changes_of", "stream"]

_KEEP_ALIVE = 10.0
"""Seconds without a change after which a comment is sent. It shows whether the page is still open."""
_SHARE = 0.02
"""The largest part of the time that polls of a store may take."""


class Changes(Protocol):
    """The changes since the last call of `take`."""

    interval: float
    """The seconds between two calls of `take`."""

    def take(self) -> set[str]:
        """Return the ids of the threads that have changed."""

    def close(self) -> None:
        """Stop watching."""


class Heard:
    """The threads of a runtime whose data were saved, or whose agents were stopped.

    It does not listen to the events, because a tool call counts as heard if any handler receives it.
    """

    interval: float = 1.0

    def __init__(self, source: Source, runtime: AgentHost) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._ids: set[str] = set()
        self._remove = runtime.add_trace(self._follow)
        signals.agent_stopped.connect(self._hear)

    def _follow(self, name: str, info: Mapping[str, Any]) -> None:
        if name in ("commit", "message_accepted"):
            with self._lock:
                self._ids.add(info["thread_id"])

    def _hear(self, agent: Agent | None, event: AgentStopped) -> None:
        del agent
        with self._lock:
            self._ids.add(event.thread_id)

    def take(self) -> set[str]:
        """See `Changes.take`."""
        with self._lock:
            ids, self._ids = self._ids, set()
        # The signal also sends the events of other runtimes of this process.
        return {thread_id for thread_id in ids if thread_id and self._source.knows(thread_id)}

    def close(self) -> None:
        """See `Changes.close`."""
        self._remove()
        signals.agent_stopped.disconnect(self._hear)


class Polled:
    """The threads of a store that another process may drive."""

    interval: float = 1.5

    def __init__(self, source: Source) -> None:
        self._source = source
        self._mark = self._find_mark()
        self._marks = self._find_marks()
        self._next = 0.0

    def take(self) -> set[str]:
        """See `Changes.take`."""
        if time.monotonic() < self._next:
            return set()
        began = time.monotonic()
        mark, before = self._find_mark(), self._marks
        if mark is None or mark != self._mark:
            self._mark, self._marks = mark, self._find_marks()
        # A large store is polled less often.
        self._next = time.monotonic() + (time.monotonic() - began) / _SHARE
        return {thread_id for thread_id, mark in self._marks.items() if before.get(thread_id) != mark}

    def _find_mark(self) -> Hashable | None:
        store = self._source.store
        return store.mark() if offers(store, MarkedStore) else None

    def _find_marks(self) -> Mapping[str, Hashable]:
        store = self._source.store
        if offers(store, MarkedStore):
            return store.thread_marks()
        rows = self._source.rows()
        return {row.snapshot.thread_id: (row.last_event_at, row.last_event, row.commands) for row in rows}

    def close(self) -> None:
        """See `Changes.close`."""


def changes_of(source: Source) -> Changes:
    """Return the changes from now on."""
    heard_of = None if source.is_shared else source.runtime
    return Polled(source) if heard_of is None else Heard(source, heard_of)


def stream(begin: Callable[[], Changes], only: str | None, closing: threading.Event) -> Iterator[bytes]:
    """Yield server-sent events with the ids of changed threads, until the page is closed or `closing` is set.

    `only` is the id of the one thread that the page shows, or None.
    """
    with contextlib.suppress(StoreError), contextlib.closing(begin()) as changes:
        yield b"retry: 2000\n\n"
        sent = time.monotonic()
        while not closing.wait(changes.interval):
            ids = changes.take()
            if only is not None:
                ids &= {only}
            if ids:
                yield f"event: changed\ndata: {json.dumps({'threads': sorted(ids)})}\n\n".encode()
            elif time.monotonic() - sent >= _KEEP_ALIVE:
                yield b": still there\n\n"
            else:
                continue
            sent = time.monotonic()

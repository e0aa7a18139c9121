"""News between the processes of a cluster, by NOTIFY and LISTEN of PostgreSQL.

News is only a hint: it says that a thread has changed, and the reader looks into the tables. If news is lost, for
example because a connection broke, the next regular look finds the change. Pieces of messages are the exception: they
are in no table, so a lost piece is missing.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeAlias

import attrs
import psycopg
from psycopg import sql

from gpt_agent_fsm.engine.waiters import Changed
from gpt_agent_fsm.engine.webhooks import Notice
from gpt_agent_fsm.events import AssistantMessageDelta
from gpt_agent_fsm.logs import Log, get_logger

__all__ = ["Ear", "Herald", "Hearer"]

log: Log = get_logger(__name__)

_MOST_BYTES = 7000
"""PostgreSQL takes less than 8,000 bytes."""
_GATHER = 0.005
"""The seconds for which the herald gathers news before it sends it."""
_LOOK = 0.5
"""The seconds for which the ear waits at most before it looks whether it has been closed."""
_PAUSE = 1.0
"""The seconds until the ear connects again."""
_LONGEST_END = 5.0
"""The seconds for which `close` waits for the herald or the ear. A frozen server may not answer."""
_News: TypeAlias = tuple[str, Any]
"""The kind of a piece of news, and what it says, as JSON."""


class Hearer(Protocol):
    """Who hears the news of other processes."""

    def thread_changed(self, thread_id: str) -> None:
        """Something has changed in this thread."""
        ...

    def piece_came(self, delta: AssistantMessageDelta) -> None:
        """A piece of a message has come."""
        ...

    def account_changed(self, name: str) -> None:
        """Something has changed in this account."""
        ...

    def webhook_came(self, notice: Notice) -> None:
        """Another process has received this webhook."""
        ...

    def news_was_lost(self) -> None:
        """Some news may have been lost: look at everything."""
        ...


class Herald:
    """Sends news from one OS thread, many at once. A caller does not wait. Safe to use from any OS thread.

    Args:
        send: sends some payloads in one statement. Its errors are logged, and the news is lost.
        name: the name of this process in the news, so that it does not hear its own.
    """

    def __init__(self, send: Callable[[list[str]], None], name: str) -> None:
        self._send = send
        self._name = name
        # No lock, because the handler of an operating system signal may interrupt a caller, and close the runtime.
        self._news: deque[_News] = deque()
        self._has_news = Changed()
        self._is_closed = False
        self._closing = Changed()
        self._thread = threading.Thread(target=self._work, name="gpt-agent-fsm-herald", daemon=True)
        self._thread.start()

    def tell(self, thread_id: str) -> None:
        """Tell the other processes that a thread has changed."""
        self._add("changed", thread_id)

    def tell_account(self, name: str) -> None:
        """Tell the other processes that an account has changed."""
        self._add("account", name)

    def tell_webhook(self, notice: Notice) -> None:
        """Tell the other processes about a webhook. Its sender was checked here."""
        self._add("webhook", attrs.asdict(notice))

    def relay(self, delta: AssistantMessageDelta) -> None:
        """Tell the other processes about a piece of a message."""
        self._add("piece", attrs.asdict(delta))

    def _add(self, kind: str, value: Any) -> None:  # noqa: ANN401 - JSON
        self._news.append((kind, value))
        self._has_news.set()

    def close(self) -> None:
        """Send what is left, and end. Idempotent. Blocks for at most `_LONGEST_END` seconds."""
        self._is_closed = True
        self._closing.set()
        self._has_news.set()
        self._thread.join(_LONGEST_END)

    def _work(self) -> None:
        while not self._is_closed or self._news:
            self._has_news.wait()
            self._closing.wait(_GATHER)
            self._has_news.clear()
            news = [self._news.popleft() for _ in range(len(self._news))]
            if payloads := list(_payloads(self._name, news)):
                try:
                    self._send(payloads)
                except Exception as error:  # noqa: BLE001 - the others look by themselves
                    log.warning("news for other processes was lost, and they look later: %s", error)


def _payloads(name: str, news: list[_News]) -> Iterator[str]:
    """Yield the payloads that carry some news, each thing only once.

    A piece that is too long is left out: the whole message contains it.
    """
    for piece in (value for kind, value in news if kind == "piece"):
        payload = json.dumps({"from": name, "piece": piece})
        if len(payload) <= _MOST_BYTES:
            yield payload
    yield from _notes(name, dict.fromkeys(value for kind, value in news if kind == "changed"))
    for account in dict.fromkeys(value for kind, value in news if kind == "account"):
        yield json.dumps({"from": name, "account": account})
    for notice in (value for kind, value in news if kind == "webhook"):
        yield json.dumps({"from": name, "webhook": notice})


def _notes(name: str, changed: Iterable[str]) -> Iterator[str]:
    """Yield payloads that name the changed threads, as many in each as it can carry."""
    group: list[str] = []
    size = 0
    for thread_id in changed:
        length = len(json.dumps(thread_id)) + 2
        if group and size + length > _MOST_BYTES:
            yield json.dumps({"from": name, "changed": group})
            group, size = [], 0
        if length <= _MOST_BYTES:
            group.append(thread_id)
            size += length
    if group:
        yield json.dumps({"from": name, "changed": group})


class Ear:
    """Listens to the news of other processes on a connection and an OS thread of its own.

    Args:
        connect: returns a new connection in autocommit mode.
        channel: the channel of the cluster.
        name: the name of this process in the news.
        hearer: who hears the news, on the OS thread of the ear.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], channel: str, name: str, hearer: Hearer) -> None:
        self._connect = connect
        self._channel = channel
        self._name = name
        self._hearer = hearer
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="gpt-agent-fsm-ear", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the listening. Idempotent. Blocks for a moment, and for a few seconds if the server is frozen."""
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(_LONGEST_END)

    def _work(self) -> None:
        while not self._closed.is_set():
            try:
                with contextlib.closing(self._connect()) as connection:
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    self._hearer.news_was_lost()
                    self._listen(connection)
            except Exception as error:  # noqa: BLE001 - without news, the regular looks find every change
                if not self._closed.is_set():
                    log.warning("news of other processes is not heard for a moment: %s", type(error).__name__)
                self._closed.wait(_PAUSE)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        while not self._closed.is_set():
            for note in connection.notifies(timeout=_LOOK):
                self._hear(note.payload)
                if self._closed.is_set():
                    return

    def _hear(self, payload: str) -> None:
        try:
            said = json.loads(payload)
            if said["from"] == self._name:
                return
            for thread_id in said.get("changed", ()):
                self._hearer.thread_changed(thread_id)
            if "account" in said:
                self._hearer.account_changed(said["account"])
            if "webhook" in said:
                self._hearer.webhook_came(Notice(**said["webhook"]))
            if "piece" in said:
                self._hearer.piece_came(AssistantMessageDelta(**said["piece"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            # Anybody may send a note on the channel, and a newer version may say more.
            log.debug("a note on the channel was not understood")

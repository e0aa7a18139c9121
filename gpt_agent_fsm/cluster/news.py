"""News between the processes of a cluster, by NOTIFY and LISTEN of PostgreSQL.

News is only a hint: it says that a thread has changed, and the reader looks into the tables. If news is lost, for
example because a connection broke, the next regular look finds the change. Pieces of messages are the exception: they
are in no table, so a lost piece is missing.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import attrs
import psycopg
from psycopg import sql

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
"""The seconds for which `close` waits for the ear. A frozen server may not answer to LISTEN."""


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
        self._changed: dict[str, None] = {}
        self._accounts: dict[str, None] = {}
        self._pieces: list[AssistantMessageDelta] = []
        self._notices: list[Notice] = []
        self._lock = threading.Lock()
        self._has_news = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="gpt-agent-fsm-herald", daemon=True)
        self._thread.start()

    def tell(self, thread_id: str) -> None:
        """Tell the other processes that a thread has changed."""
        with self._lock:
            self._changed[thread_id] = None
        self._has_news.set()

    def tell_account(self, name: str) -> None:
        """Tell the other processes that an account has changed."""
        with self._lock:
            self._accounts[name] = None
        self._has_news.set()

    def tell_webhook(self, notice: Notice) -> None:
        """Tell the other processes about a webhook. Its sender was checked here."""
        with self._lock:
            self._notices.append(notice)
        self._has_news.set()

    def relay(self, delta: AssistantMessageDelta) -> None:
        """Tell the other processes about a piece of a message."""
        with self._lock:
            self._pieces.append(delta)
        self._has_news.set()

    def close(self) -> None:
        """Send what is left, and end. Idempotent."""
        self._closed.set()
        self._has_news.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closed.is_set() or self._has_news.is_set():
            self._has_news.wait()
            self._closed.wait(_GATHER)
            self._has_news.clear()
            with self._lock:
                changed, self._changed = list(self._changed), {}
                pieces, self._pieces = self._pieces, []
                accounts, self._accounts = list(self._accounts), {}
                notices, self._notices = self._notices, []
            payloads = [*_payloads(self._name, pieces), *_notes(self._name, changed)]
            payloads += [json.dumps({"from": self._name, "account": name}) for name in accounts]
            payloads += [json.dumps({"from": self._name, "webhook": attrs.asdict(notice)}) for notice in notices]
            if payloads:
                try:
                    self._send(payloads)
                except Exception as error:  # noqa: BLE001 - the others look by themselves
                    log.warning("news for other processes was lost, and they look later: %s", error)


def _notes(name: str, changed: list[str]) -> Iterator[str]:
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


def _payloads(name: str, pieces: list[AssistantMessageDelta]) -> Iterator[str]:
    """Yield a payload for each piece. A piece that is too long is left out: the whole message contains it."""
    for piece in pieces:
        payload = json.dumps({"from": name, "piece": attrs.asdict(piece)})
        if len(payload) <= _MOST_BYTES:
            yield payload


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

"""The keys under which an application finds its threads. A key is the application's own name for a thread."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator

from gpt_agent_fsm.engine.protocols import KeyedStore, Store
from gpt_agent_fsm.engine.protocols.offers import offers

__all__ = ["ThreadKeys"]


class ThreadKeys:
    """The keys in a store. Safe to use from any OS thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._locks: weakref.WeakValueDictionary[str, threading.Lock] = weakref.WeakValueDictionary()

    @property
    def _keyed_store(self) -> KeyedStore:
        if not offers(self._store, KeyedStore):
            needed = "it needs the methods claim_key and find"
            raise TypeError(f"{type(self._store).__name__} cannot keep the keys of threads: {needed}")
        return self._store

    def find(self, key: str) -> str | None:
        """Return the id of the thread that has the key, or None."""
        return self._keyed_store.find(key)

    def claim(self, key: str, thread_id: str) -> str:
        """Give the key to the thread, unless another thread has it. Return the thread that has the key now."""
        return self._keyed_store.claim_key(key, thread_id)

    @contextlib.contextmanager
    def held(self, key: str) -> Iterator[None]:
        """Let only one caller in this process at a time make a thread for the key.

        The others wait until the `with` block ends.
        """
        with self._lock:
            lock = self._locks.get(key)
            if lock is None:
                self._locks[key] = lock = threading.Lock()
        with lock:
            yield

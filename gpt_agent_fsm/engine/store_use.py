"""Prevents two open runtimes from using one store object, because both would drive its threads."""

from __future__ import annotations

import threading
import weakref

from gpt_agent_fsm.engine.protocols import Store

__all__ = ["StoreUse"]

_lock = threading.RLock()
_uses: weakref.WeakValueDictionary[int, StoreUse] = weakref.WeakValueDictionary()
"""The last use of each store, by the `id` of the store object."""


class StoreUse:
    """The use of one store object by one runtime. Raises `ValueError` if another open runtime uses the object.

    Attributes:
        has_ended: True after the runtime has closed the store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.has_ended: bool = False
        with _lock:
            last = _uses.get(id(store))
            if last is not None and not last.has_ended and last._store is store:
                advice = "close that one first, or make another store object"
                raise ValueError(f"This store is in use by a runtime that is open; {advice}.")
            _uses[id(store)] = self

"""The commands of one thread that were accepted and are not in its snapshot yet."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator

from gpt_agent_fsm.engine.protocols import Store
from gpt_agent_fsm.machine.inputs import Command

__all__ = ["Inbox"]


class Inbox:
    """Accepts commands into the store, and keeps them in the order of their numbers.

    Commands are appended, and ticks drop them; both are atomic operations of a deque. So no lock is held here that the
    handler of an operating system signal could need, if it interrupted a command.

    Attributes:
        door: held while a command is accepted. A store may take long, so only those who must not miss that command
            wait for the door; the other methods do not.
    """

    __slots__ = ("_entries", "_store", "_thread_id", "door")

    def __init__(self, thread_id: str, store: Store) -> None:
        self._thread_id = thread_id
        self._store = store
        self._entries: deque[tuple[int, Command]] = deque()
        self.door: threading.RLock = threading.RLock()

    def accept(self, command: Command) -> None:
        """Save a command; call this method with the `door` held. Returns when the store has the command."""
        self._entries.append((self._store.accept(self._thread_id, command), command))

    def take_over(self, entries: Iterable[tuple[int, Command]]) -> None:
        """Continue with the commands in the store; the `door` must have been held since they were read."""
        self._entries = deque(entries)

    def waiting(self) -> list[tuple[int, Command]]:
        """Return the commands with their numbers, oldest first."""
        return list(self._entries.copy())

    def drop(self, consumed: int) -> None:
        """Drop the commands up to this number."""
        while self._entries and self._entries[0][0] <= consumed:
            self._entries.popleft()

    @contextlib.contextmanager
    def shut_if_empty(self) -> Iterator[bool]:
        """Hold the door during the block, if no command waits and none is being accepted. Yield whether it is held."""
        held = self.door.acquire(blocking=False)
        try:
            yield held and self.is_empty
        finally:
            if held:
                self.door.release()

    @property
    def is_empty(self) -> bool:
        """True while no command waits."""
        return not self._entries

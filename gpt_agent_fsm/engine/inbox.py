"""The commands of one thread that were accepted but that its snapshot does not contain yet."""

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

    Commands are appended to a deque, and ticks drop them. Both operations are atomic without a lock. So the handler of
    an operating system signal that interrupts a command never has to wait for a lock.

    Attributes:
        door: a lock that is held while the store saves a command. The store may take long. So only code that must not
            miss this command waits for the door, and the other methods of this class do not.
    """

    __slots__ = ("_entries", "_store", "_thread_id", "door")

    def __init__(self, thread_id: str, store: Store) -> None:
        self._thread_id = thread_id
        self._store = store
        self._entries: deque[tuple[int, Command]] = deque()
        self.door: threading.RLock = threading.RLock()

    def accept(self, command: Command) -> None:
        """Save a command, and return when the store has it. The caller must hold the `door`."""
        self._entries.append((self._store.accept(self._thread_id, command), command))

    def take_over(self, entries: Iterable[tuple[int, Command]]) -> None:
        """Continue with these commands from the store. The caller must have held the `door` since it read them."""
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
        """Try to hold the `door` during the `with` block. Yield True if it is held and no command waits."""
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

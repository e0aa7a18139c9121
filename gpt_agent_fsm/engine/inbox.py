"""Keeps the accepted commands of one thread that its snapshot does not contain yet."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence

from gpt_agent_fsm.engine.protocols import SharedStore, Store
from gpt_agent_fsm.engine.tracing import Trace
from gpt_agent_fsm.machine.inputs import AddUserMessage, Command

__all__ = ["Inbox"]


class Inbox:
    """Accepts commands into the store, and keeps them in the order of their numbers.

    Other OS threads only append commands to a list, and only ticks drop commands from its beginning. So neither needs a
    lock, and the handler of an operating system signal that interrupts either of them never has to wait for a lock.

    Attributes:
        door: a lock that is held while the store saves a command. The store may take long. So code waits for this lock
            only if it must not miss the command. The methods of this class do not wait for it.
    """

    __slots__ = ("_entries", "_is_stale", "_shared", "_store", "_thread_id", "_trace", "door")

    def __init__(self, thread_id: str, store: Store, trace: Trace, shared: SharedStore | None = None) -> None:
        self._thread_id = thread_id
        self._store = store
        self._trace = trace
        self._shared = shared
        self._is_stale = False
        """True while the store may have commands of other processes that were not read yet."""
        self._entries: list[tuple[int, Command]] | tuple[()] = ()
        """A list since the first command, because most threads are idle, and an empty list takes 56 bytes."""
        self.door: threading.RLock = threading.RLock()

    def accept(self, command: Command) -> None:
        """Save a command in the store, and return when it is saved. The caller must hold the lock `door`."""
        number = self._store.accept(self._thread_id, command)
        try:
            if self._trace.hooks and isinstance(command, AddUserMessage):
                # No tick has seen the message yet, so a tracer knows the message before its first request.
                self._trace("message_accepted", thread_id=self._thread_id, key=command.key)
        finally:
            if self._shared is None:
                self._append([(number, command)])
            else:
                self._is_stale = True

    def _append(self, entries: Sequence[tuple[int, Command]]) -> None:
        if isinstance(self._entries, list):
            self._entries.extend(entries)
        elif entries:
            self._entries = list(entries)

    def note_commands(self) -> None:
        """Note that the store may have commands of other processes. The next tick reads them."""
        self._is_stale = True

    def read_commands(self) -> bool:
        """Read the commands of other processes, and return whether there were any. Only ticks call this method."""
        if not self._is_stale or self._shared is None:
            return False
        self._is_stale = False
        last = self._entries[-1][0] if self._entries else 0
        try:
            found = self._shared.commands_after(self._thread_id, last)
        except BaseException:
            self._is_stale = True
            raise
        self._append(found)
        return bool(found)

    def take_over(self, entries: Iterable[tuple[int, Command]]) -> None:
        """Replace the commands with `entries`, which the caller has read from the store.

        The caller must have taken the lock `door` before it read the entries, and must still hold it.
        """
        self._entries = list(entries) or ()

    def waiting(self) -> list[tuple[int, Command]]:
        """Return the commands with their numbers, oldest first."""
        return list(self._entries)

    def drop(self, consumed: int) -> None:
        """Drop the commands up to the number `consumed`."""
        # Another OS thread may append a command during these lines.
        dropped = sum(1 for _ in itertools.takewhile(lambda entry: entry[0] <= consumed, self._entries))
        if isinstance(self._entries, list):
            del self._entries[:dropped]

    @contextlib.contextmanager
    def shut_if_empty(self) -> Iterator[bool]:
        """Try to take the lock `door`, without waiting, until the `with` block ends.

        Yield True if the lock was taken and there is no command, so that no command can arrive in the block.
        """
        held = self.door.acquire(blocking=False)
        try:
            yield held and self.is_empty
        finally:
            if held:
                self.door.release()

    @property
    def is_empty(self) -> bool:
        """True while no command waits."""
        return not self._entries and not self._is_stale

"""Ownership of threads within one process: the process may drive every thread of its store."""

from __future__ import annotations

from collections.abc import Callable, Collection

import attrs

from gpt_agent_fsm.engine.protocols import Lease

__all__ = ["SoleOwner"]


@attrs.frozen
class _SoleLease:
    """The right to drive one thread. It holds as long as this process owns the store."""

    thread_id: str
    is_owned: Callable[[], bool]

    def holds(self) -> bool:
        """See `Lease.holds`."""
        return self.is_owned()


def _always() -> bool:
    return True


class SoleOwner:
    """Lets this process drive all threads of its store.

    Args:
        tick_soon: called with the id of a thread that must be ticked.
        is_owned: returns whether this process still owns the store; None for a store that no other process can take.
    """

    def __init__(self, tick_soon: Callable[[str], None], is_owned: Callable[[], bool] | None = None) -> None:
        self._tick_soon = tick_soon
        self._is_owned = is_owned or _always

    def claim(self, thread_id: str) -> Lease:
        """See `Ownership.claim`. Every claim is granted."""
        return _SoleLease(thread_id, self._is_owned)

    def heartbeat(self, leases: Collection[Lease]) -> Collection[Lease]:
        """See `Ownership.heartbeat`. No lease needs to be renewed here, so none is returned."""
        del leases
        return ()

    def release(self, lease: Lease, *, more: bool) -> None:
        """See `Ownership.release`. This method does nothing."""

    def wake(self, thread_id: str) -> None:
        """See `Ownership.wake`."""
        self._tick_soon(thread_id)

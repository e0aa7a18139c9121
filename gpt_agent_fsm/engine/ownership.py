"""Ownership within one process: whoever asks may drive the thread."""

from __future__ import annotations

from collections.abc import Callable, Collection

import attrs

from gpt_agent_fsm.engine.protocols import Lease

__all__ = ["SoleOwner"]


@attrs.frozen
class _SoleLease:
    """A right that nobody else can take."""

    thread_id: str

    def holds(self) -> bool:
        """See `Lease.holds`: always."""
        return True


class SoleOwner:
    """Drives all threads of its store. `tick_soon` is called with the id of a thread that must be ticked."""

    def __init__(self, tick_soon: Callable[[str], None]) -> None:
        self._tick_soon = tick_soon

    def claim(self, thread_id: str) -> Lease:
        """See `Ownership.claim`: always granted."""
        return _SoleLease(thread_id)

    def heartbeat(self, leases: Collection[Lease]) -> Collection[Lease]:
        """See `Ownership.heartbeat`: nothing is ever lost."""
        del leases
        return ()

    def release(self, lease: Lease, *, more: bool) -> None:
        """See `Ownership.release`: there is nothing to give back."""

    def wake(self, thread_id: str) -> None:
        """See `Ownership.wake`."""
        self._tick_soon(thread_id)

"""The contract of an `Ownership`, as a test class to inherit from."""

from __future__ import annotations

import threading
import unittest
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

from gpt_agent_fsm.ports import Lease, Ownership

__all__ = ["OwnershipContract"]

T = TypeVar("T")
_PATIENCE = 60.0
_ROUNDS = 20


class OwnershipContract:
    """The tests of an ownership. Implement `make_ownership` in a subclass `Test...` in a test file to run them.

    If several processes can share the threads, implement `make_other` and `let_lapse`, too, so that more tests run.
    The names of the threads are "thread_1", "thread_2" and so on; if threads must exist before they can be claimed,
    implement `make_thread`.
    """

    def make_ownership(self, tick_soon: Callable[[str], None]) -> Ownership:
        """Return the ownership of a process. To let a driver of this process tick, it calls `tick_soon(thread_id)`."""
        raise NotImplementedError

    def make_other(self) -> Ownership | None:
        """Return the ownership of another process that shares the threads. None if no other process can."""
        return None

    def make_thread(self, thread_id: str) -> None:
        """Make a thread."""

    def let_lapse(self, ownership: Ownership) -> None:
        """Let the time end for which the leases of this process hold, as if its heartbeats had not come in time."""
        raise NotImplementedError

    # --- helpers -----------------------------------------------------------------------------------------------

    @cached_property
    def woken(self) -> list[str]:
        """The ids of the threads that must be ticked."""
        return []

    @cached_property
    def ownership(self) -> Ownership:
        """The ownership of this test. It is made at its first use, so the fixtures of the subclass run before that."""
        return self.make_ownership(self.woken.append)

    @cached_property
    def other(self) -> Ownership:
        """The ownership of another process, or skip the test if there can be none."""
        self.ownership  # noqa: B018 - this process was there first
        other = self.make_other()
        if other is None:
            raise unittest.SkipTest("no other process can share these threads")
        return other

    def claimed(self, ownership: Ownership, thread_id: str = "thread_1") -> Lease:
        """Return the lease of a thread that can be claimed."""
        lease = ownership.claim(thread_id)
        assert lease is not None, f"{thread_id} is free, but it could not be claimed"
        return lease

    def at_once(self, *actions: Callable[[], T]) -> list[T]:
        """Call all actions at the same time, each on an OS thread of its own. Return their results in order."""
        barrier = threading.Barrier(len(actions))
        results: dict[int, T] = {}

        def work(index: int, action: Callable[[], T]) -> None:
            barrier.wait(_PATIENCE)
            results[index] = action()

        workers = [threading.Thread(target=work, args=each, daemon=True) for each in enumerate(actions)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(_PATIENCE)
        assert len(results) == len(actions), "a call did not return"
        return [results[index] for index in range(len(actions))]

    # --- one process --------------------------------------------------------------------------------------------

    def test_a_claim_gives_a_lease_that_names_the_thread_and_holds(self) -> None:
        for thread_id in ("thread_1", "thread_2"):
            self.make_thread(thread_id)
            lease = self.claimed(self.ownership, thread_id)
            assert (lease.thread_id, lease.holds()) == (thread_id, True)

    def test_a_heartbeat_in_time_loses_no_lease(self) -> None:
        assert list(self.ownership.heartbeat([])) == []
        leases = []
        for thread_id in ("thread_1", "thread_2"):
            self.make_thread(thread_id)
            leases.append(self.claimed(self.ownership, thread_id))
        for _ in range(3):
            assert list(self.ownership.heartbeat(leases)) == []
        assert all(lease.holds() for lease in leases)

    def test_a_thread_that_was_released_can_be_claimed_again(self) -> None:
        self.make_thread("thread_1")
        for more in (True, False):
            self.ownership.release(self.claimed(self.ownership), more=more)
        assert self.claimed(self.ownership).holds()

    def test_a_wake_ticks_the_driver_of_the_thread(self) -> None:
        self.make_thread("thread_1")
        self.claimed(self.ownership)
        self.ownership.wake("thread_1")
        assert self.woken == ["thread_1"]

    # --- two processes ------------------------------------------------------------------------------------------

    def test_a_thread_that_a_process_drives_cannot_be_claimed_by_another(self) -> None:
        self.make_thread("thread_1")
        self.make_thread("thread_2")
        lease = self.claimed(self.ownership)
        assert self.other.claim("thread_1") is None
        assert lease.holds()
        assert self.claimed(self.other, "thread_2").holds()

    def test_a_thread_that_was_released_can_be_claimed_by_another(self) -> None:
        self.make_thread("thread_1")
        former, latter = self.ownership, self.other
        for more in (True, False, True):
            lease = self.claimed(former)
            former.release(lease, more=more)
            assert not lease.holds()
            former, latter = latter, former
        assert self.claimed(former).holds()
        assert latter.claim("thread_1") is None

    def test_of_claims_at_the_same_time_one_wins(self) -> None:
        self.make_thread("thread_1")
        both = (self.ownership, self.other)
        for _ in range(_ROUNDS):
            leases = self.at_once(*(lambda each=each: each.claim("thread_1") for each in both))
            [(owner, lease)] = [pair for pair in zip(both, leases, strict=True) if pair[1] is not None]
            assert lease is not None
            assert lease.holds()
            owner.release(lease, more=False)

    def test_a_process_whose_heartbeat_is_late_loses_its_threads_to_others(self) -> None:
        for thread_id in ("thread_1", "thread_2"):
            self.make_thread(thread_id)
        leases = [self.claimed(self.ownership, thread_id) for thread_id in ("thread_1", "thread_2")]
        other = self.other
        self.let_lapse(self.ownership)
        taken = self.claimed(other)
        assert not leases[0].holds()
        assert leases[0] in self.ownership.heartbeat(leases)
        assert not leases[0].holds()
        assert list(other.heartbeat([taken])) == []
        assert taken.holds()

    def test_the_release_of_a_lost_lease_takes_nothing_from_the_new_owner(self) -> None:
        self.make_thread("thread_1")
        lost, other = self.claimed(self.ownership), self.other
        self.let_lapse(self.ownership)
        taken = self.claimed(other)
        self.ownership.release(lost, more=True)
        assert taken.holds()
        assert self.ownership.claim("thread_1") is None

    def test_a_process_that_was_late_can_claim_again(self) -> None:
        self.make_thread("thread_1")
        lost, other = self.claimed(self.ownership), self.other
        self.let_lapse(self.ownership)
        other.release(self.claimed(other), more=False)
        self.ownership.heartbeat([lost])
        lease = self.claimed(self.ownership)
        assert lease.holds()
        assert not lost.holds()
        assert other.claim("thread_1") is None

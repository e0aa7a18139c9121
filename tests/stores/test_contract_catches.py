"""The contract detects stores that violate it."""

import threading

import attrs
import pytest

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.machine.queue import EMPTY, NO_CHANGE
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing.contracts import StoreContract, StoreUpkeepContract


class AcceptsForUnknownThreads(MemoryStore):
    def accept(self, thread_id, command):
        try:
            return super().accept(thread_id, command)
        except StoreError:
            return 1


class ReusesNumbers(MemoryStore):
    def accept(self, thread_id, command):
        thread = self._threads[thread_id]
        thread.accepted = thread.inbox[-1][0] if thread.inbox else 0
        return super().accept(thread_id, command)


class DropsAll(MemoryStore):
    def commit(self, snapshot, *, consumed, events, at, due, queue=NO_CHANGE):
        return super().commit(snapshot, consumed=10**9 if consumed else 0, events=events, at=at, due=due, queue=queue)


class ForgetsDue(MemoryStore):
    def commit(self, snapshot, *, consumed, events, at, due, queue=NO_CHANGE):
        return super().commit(snapshot, consumed=consumed, events=events, at=at, due=None, queue=queue)


class ForgetsTheRun(MemoryStore):
    def load(self, thread_id):
        saved = super().load(thread_id)
        return saved and attrs.evolve(saved, snapshot=attrs.evolve(saved.snapshot, run=None))


class ForgetsTheQueue(MemoryStore):
    def load(self, thread_id):
        saved = super().load(thread_id)
        return saved and attrs.evolve(saved, snapshot=attrs.evolve(saved.snapshot, queue=EMPTY))


class NumbersFromZero(MemoryStore):
    def commit(self, snapshot, *, consumed, events, at, due, queue=NO_CHANGE):
        records = super().commit(snapshot, consumed=consumed, events=events, at=at, due=due, queue=queue)
        return [attrs.evolve(record, seq=record.seq - 1) for record in records]


class GoesBack(MemoryStore):
    def announced(self, thread_id, seq):
        if thread_id in self._threads:
            self._threads[thread_id].announced = seq


class SharesItsList(MemoryStore):
    def history(self, thread_id, after=0):
        return self._threads[thread_id].records if thread_id in self._threads else []


class FinishesEarly(MemoryStore):
    def unfinished(self):
        return {key: saved for key, saved in super().unfinished().items() if not saved.snapshot.settled}


class FoldsCase(MemoryStore):
    def load(self, thread_id):
        return super().load(thread_id.lower())


class Fails(MemoryStore):
    def accept(self, thread_id, command):
        if thread_id in self._threads:
            raise StoreError("full")
        return super().accept(thread_id, command)


@pytest.mark.parametrize(
    ("store", "test"),
    [
        (AcceptsForUnknownThreads, "a_command_for_a_thread_that_was_never_committed_is_refused_and_leaves_nothing"),
        (ReusesNumbers, "numbers_of_commands_are_never_used_again"),
        (DropsAll, "a_commit_drops_the_commands_up_to_a_number_and_no_others"),
        (ForgetsDue, "the_last_snapshot_and_its_due_time_count"),
        (ForgetsTheQueue, "a_queue_is_kept_by_what_is_written_to_it_and_removed_from_it"),
        (ForgetsTheRun, "snapshots_with_every_field_set_come_back_equal"),
        (NumbersFromZero, "records_are_numbered_from_one_without_gaps"),
        (GoesBack, "records_are_unannounced_until_they_are_marked"),
        (GoesBack, "records_that_do_not_exist_yet_cannot_be_announced"),
        (SharesItsList, "a_history_that_was_returned_stays_as_it_is"),
        (SharesItsList, "history_starts_after_a_number"),
        (FinishesEarly, "unfinished_are_threads_with_commands_records_or_requests"),
        (FoldsCase, "thread_ids_may_be_odd"),
        (Fails, "commands_accepted_at_once_get_numbers_of_their_own"),
    ],
)
def test_a_store_that_breaks_a_promise_fails_its_test(store, test):
    class Contract(StoreContract):
        def make_store(self):
            return store()

    contract = Contract()
    with pytest.raises((AssertionError, StoreError)):
        getattr(contract, f"test_{test}")()
    contract.teardown_method()


class PrunesBusyThreads(MemoryStore):
    def prune(self, older_than):
        for thread in self._threads.values():
            thread.inbox, thread.announced = [], thread.last_seq
        return super().prune(older_than)


class PrunesParkedThreads(MemoryStore):
    def prune(self, older_than):
        for thread in self._threads.values():
            thread.snapshot = attrs.evolve(thread.snapshot, queue=EMPTY)
        return super().prune(older_than)


class StartsNumbersAgain(MemoryStore):
    def prune(self, older_than):
        count = super().prune(older_than)
        for thread in self._threads.values():
            thread.forgotten = thread.announced = 0
        return count


class LosesTheCount(MemoryStore):
    def prune(self, older_than):
        super().prune(older_than)
        return 0


class ListsInAnyOrder(MemoryStore):
    def threads(self):
        return super().threads()[::-1]


@pytest.mark.parametrize(
    ("store", "test"),
    [
        (PrunesBusyThreads, "the_history_of_unfinished_threads_is_never_forgotten"),
        (PrunesParkedThreads, "the_history_of_a_thread_that_owes_something_is_never_forgotten"),
        (StartsNumbersAgain, "a_pruned_thread_keeps_its_snapshot_its_usage_and_its_numbers"),
        (LosesTheCount, "old_records_of_a_resting_thread_are_forgotten_and_their_number_is_returned"),
        (ListsInAnyOrder, "all_threads_are_listed_in_the_order_of_their_ids_with_their_last_events"),
    ],
)
def test_a_store_that_breaks_a_promise_about_upkeep_fails_its_test(store, test):
    class Contract(StoreUpkeepContract):
        def make_store(self):
            return store()

    with pytest.raises(AssertionError):
        getattr(Contract(), f"test_{test}")()


def test_a_contract_without_a_store_raises_not_implemented():
    with pytest.raises(NotImplementedError):
        StoreContract().make_ready()


def test_a_call_that_hangs_is_detected(monkeypatch):
    class Contract(StoreContract):
        def make_store(self):
            return MemoryStore()

    monkeypatch.setattr("gpt_agent_fsm.testing.contracts.store_means._PATIENCE", 0.05)
    release = threading.Event()
    with pytest.raises(AssertionError, match="a call did not return"):
        Contract().at_once(release.wait)
    release.set()

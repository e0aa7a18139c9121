"""The contract of a store that lists its threads and forgets old history, as a test class to inherit from."""

from __future__ import annotations

import time
from datetime import timedelta

import attrs

from gpt_agent_fsm.events import RunStarted
from gpt_agent_fsm.machine.inputs import CancelRun
from gpt_agent_fsm.machine.objects import Failure
from gpt_agent_fsm.machine.outbox import Outbox, OwedRun
from gpt_agent_fsm.machine.queue import Doubt, Queue, QueuedMessage
from gpt_agent_fsm.machine.reasons import reason_of
from gpt_agent_fsm.machine.snapshot import Cursor, Reading
from gpt_agent_fsm.ports import ListingStore, PrunableStore, Usage, offers
from gpt_agent_fsm.testing.contracts.store_means import StoreTests, idle, numbers_of, some_events, tried

__all__ = ["StoreUpkeepContract"]


class StoreUpkeepContract(StoreTests):
    """The contract of a `Store` that is also a `ListingStore` and a `PrunableStore`."""

    @property
    def listing(self) -> ListingStore:
        """The store of this test, as a `ListingStore`."""
        assert offers(self.store, ListingStore), "the store must have the method threads"
        return self.store

    @property
    def prunable(self) -> PrunableStore:
        """The store of this test, as a `PrunableStore`."""
        assert offers(self.store, PrunableStore), "the store must have the method prune"
        return self.store

    def rest(self, thread_id: str, *ats: float) -> None:
        """Commit one record at each of these times, and announce all of these records."""
        for number, at in enumerate(ats, 1):
            self.commit(idle(thread_id), *some_events(number, thread_id=thread_id), at=at)
        self.store.announced(thread_id, len(ats))

    # --- the list ----------------------------------------------------------------------------------------------

    def test_a_new_store_lists_no_threads(self) -> None:
        assert list(self.listing.threads()) == []

    def test_all_threads_are_listed_in_the_order_of_their_ids_with_their_last_events(self) -> None:
        self.commit(attrs.evolve(idle("thread_2"), usage=Usage(total_tokens=7)))
        self.rest("thread_1", 1.0, 2.5)
        rows = self.listing.threads()
        assert [row.snapshot.thread_id for row in rows] == ["thread_1", "thread_2"]
        assert [(row.last_event, row.last_event_at) for row in rows] == [(RunStarted.__name__, 2.5), (None, None)]
        assert rows[1].snapshot.usage.total_tokens == 7

    def test_a_list_counts_the_commands_that_no_snapshot_contains_yet(self) -> None:
        self.commit(idle("thread_1"))
        numbers = [self.store.accept("thread_1", CancelRun()) for _ in range(2)]
        assert [row.commands for row in self.listing.threads()] == [2]
        self.commit(idle("thread_1"), consumed=numbers[0])
        assert [row.commands for row in self.listing.threads()] == [1]
        self.commit(idle("thread_1"), consumed=numbers[1])
        assert [row.commands for row in self.listing.threads()] == [0]

    def test_a_list_gives_the_same_reason_as_the_whole_thread(self) -> None:
        sure = tuple(QueuedMessage(key=f"key_{number}", content='{"doubt":{}}') for number in range(3))
        doubtful = attrs.evolve(sure[0], doubt=Doubt(searches_left=2))
        for name, messages in {"a": (), "b": sure, "c": (doubtful,), "d": (doubtful, *sure[1:])}.items():
            self.commit(attrs.evolve(tried(1, name), queue=Queue(messages)))
        listed = {row.snapshot.thread_id: reason_of(row.snapshot) for row in self.listing.threads()}
        assert listed == {name: reason_of(self.saved(name).snapshot) for name in "abcd"}

    # --- pruning -----------------------------------------------------------------------------------------------

    def test_old_records_of_a_resting_thread_are_forgotten_and_their_number_is_returned(self) -> None:
        self.rest("thread_1", 1.0, 2.0, time.time())
        assert self.prunable.prune(3600) == 2
        assert numbers_of(self.store.history("thread_1")) == [3]
        assert self.prunable.prune(timedelta(hours=1)) == 0
        assert self.prunable.prune(timedelta(0)) == 1
        assert list(self.store.history("thread_1")) == []

    def test_a_pruned_thread_keeps_its_snapshot_its_usage_and_its_numbers(self) -> None:
        used = attrs.evolve(idle(), usage=Usage(total_tokens=3))
        self.commit(used, *some_events(1, 2))
        self.store.announced("thread_1", 2)
        assert self.prunable.prune(0) == 2
        assert self.saved().snapshot == used
        assert self.saved().last_seq == 2
        assert numbers_of(self.commit(used, *some_events(3, 4))) == [3, 4]
        assert numbers_of(self.saved().unannounced) == [3, 4]
        assert [numbers_of(self.store.history("thread_1", after)) for after in (0, 1, 3, 4)] == [
            [3, 4],
            [3, 4],
            [4],
            [],
        ]
        self.store.announced("thread_1", 3)
        assert numbers_of(self.saved().unannounced) == [4]

    def test_a_pruned_thread_is_listed_without_a_last_event(self) -> None:
        self.rest("thread_1", 1.0)
        self.prunable.prune(0)
        assert [(row.last_event, row.last_event_at) for row in self.listing.threads()] == [(None, None)]

    def test_the_history_of_unfinished_threads_is_never_forgotten(self) -> None:
        self.rest("thread_waiting", 1.0)
        self.store.accept("thread_waiting", CancelRun())
        self.commit(idle("thread_unannounced"), *some_events(1, 2, thread_id="thread_unannounced"))
        self.store.announced("thread_unannounced", 1)
        self.commit(tried(1, "thread_busy"), *some_events(1, thread_id="thread_busy"))
        self.store.announced("thread_busy", 1)
        assert self.prunable.prune(0) == 0
        assert numbers_of(self.store.history("thread_unannounced")) == [1, 2]
        assert numbers_of(self.saved("thread_unannounced").unannounced) == [2]

    def test_the_history_of_a_thread_that_owes_something_is_never_forgotten(self) -> None:
        reading = Reading(run_id="run_1", assistant_id="asst_1", postponed=True)
        waiting = (
            attrs.evolve(idle("a message"), queue=Queue((QueuedMessage(key="key_1", content="Hello"),))),
            attrs.evolve(idle("a run"), outbox=Outbox(owed=OwedRun(), parked=True)),
            attrs.evolve(idle("an answer"), cursor=Cursor(reading=reading)),
        )
        rests = attrs.evolve(idle(), failure=Failure(code="x", message='"owed":{},"reading":{}'))
        for snapshot in (*waiting, rests):
            self.commit(snapshot, *some_events(1, thread_id=snapshot.thread_id))
            self.store.announced(snapshot.thread_id, 1)
        assert self.prunable.prune(0) == 1
        assert all(numbers_of(self.store.history(snapshot.thread_id)) == [1] for snapshot in waiting)

    def test_the_remaining_records_have_no_gaps_even_if_the_clock_was_set_back(self) -> None:
        self.rest("thread_1", 1.0, time.time(), 1.0)
        assert self.prunable.prune(3600) == 1
        assert numbers_of(self.store.history("thread_1")) == [2, 3]

    def test_many_threads_are_pruned_at_once(self) -> None:
        for number in range(600):
            self.commit(idle(f"thread_{number}"), *some_events(1, thread_id=f"thread_{number}"))
            self.store.announced(f"thread_{number}", 1)
        assert self.prunable.prune(0) == 600

    def test_an_age_that_is_not_a_time_is_refused_and_forgets_nothing(self) -> None:
        self.rest("thread_1", 1.0)
        for wrong in (-1, float("nan"), float("inf"), True, "30d", None, timedelta(seconds=-1)):
            try:
                self.prunable.prune(wrong)  # type: ignore[arg-type]
            except ValueError as error:
                assert "older_than" in str(error)
            else:
                raise AssertionError(f"accepted {wrong!r}")
        assert numbers_of(self.store.history("thread_1")) == [1]

    def test_pruned_records_stay_forgotten(self) -> None:
        self.rest("thread_1", 1.0)
        self.prunable.prune(0)
        self.open_again()
        assert list(self.store.history("thread_1")) == []
        assert self.saved().last_seq == 1

"""The contract of a `Store`, as a test class to inherit from."""

from __future__ import annotations

import itertools
import unittest
from collections.abc import Callable, Sequence

import attrs

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.events import RunStarted
from gpt_agent_fsm.machine.inputs import AddUserMessage, CancelRun
from gpt_agent_fsm.machine.queue import Doubt, Queue, QueuedMessage
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.ports import Record, Saved
from gpt_agent_fsm.testing.contracts.samples import LONG, ODD_TEXTS, every_command, every_event, every_snapshot
from gpt_agent_fsm.testing.contracts.store_at_once import StoreAtOnce
from gpt_agent_fsm.testing.contracts.store_means import idle, numbers_of, some_events

__all__ = ["StoreContract"]

ODD_THREAD_IDS = (
    "x" * 500,
    "a/b\\c?d#e%20&f",
    "quote ' double \" back ` semicolon ; dashes --",
    "\N{SNOWMAN} 👩‍👩‍👧‍👦 \U0001f600",
    " spaces ",
    "Case",
    "case",
    "%",
    "_",
    "NULL",
    "0",
)


class StoreContract(StoreAtOnce):
    """The tests of a store. To run them, write a subclass `Test...` in a test file, and implement `make_store`.

    For a durable store, implement `reopen`, too, so that more tests run. pytest needs no plugin for these tests, and no
    test sleeps.
    """

    # --- one thread ------------------------------------------------------------------------------------------

    def test_an_unknown_thread_is_none_and_has_no_history(self) -> None:
        assert self.store.load("thread_1") is None
        assert list(self.store.history("thread_1")) == []
        assert dict(self.store.unfinished()) == {}

    def test_a_committed_snapshot_is_loaded(self) -> None:
        self.store.commit(idle(), consumed=0, events=[], at=1.0, due=None)
        assert self.store.load("thread_1") == Saved(snapshot=idle())

    def test_the_last_snapshot_and_its_due_time_count(self) -> None:
        self.store.commit(idle(), consumed=0, events=[], at=1.0, due=1_750_000_000.125)
        assert self.saved().due == 1_750_000_000.125
        later = attrs.evolve(idle(), assistant_id="asst_2")
        self.store.commit(later, consumed=0, events=[], at=2.0, due=None)
        assert self.store.load("thread_1") == Saved(snapshot=later)

    def test_threads_do_not_touch_each_other(self) -> None:
        for thread_id in ("thread_1", "thread_2"):
            self.commit(idle(thread_id), *some_events(1, thread_id=thread_id))
        assert self.store.accept("thread_1", CancelRun()) == 1
        self.store.announced("thread_1", 1)
        self.commit(idle("thread_1"), consumed=1)
        assert self.saved("thread_1").inbox == ()
        assert numbers_of(self.saved("thread_1").unannounced) == []
        assert numbers_of(self.saved("thread_2").unannounced) == [1]
        assert self.store.accept("thread_2", CancelRun()) == 1

    def test_close_may_be_called_twice(self) -> None:
        self.store.close()
        self.store.close()

    # --- the inbox -------------------------------------------------------------------------------------------

    def test_a_command_for_a_thread_that_was_never_committed_is_refused_and_leaves_nothing(self) -> None:
        try:
            self.store.accept("thread_1", CancelRun())
        except StoreError:
            assert self.store.load("thread_1") is None
            assert dict(self.store.unfinished()) == {}
        else:
            raise AssertionError("accepted a command that can never be found")

    def test_commands_are_numbered_upwards_and_kept_in_order(self) -> None:
        self.commit(idle())
        commands = [AddUserMessage(key=str(number), content="Hello") for number in range(12)]
        numbers = [self.store.accept("thread_1", command) for command in commands]
        assert numbers == sorted(set(numbers))
        assert self.saved().inbox == tuple(zip(numbers, commands, strict=True))

    def test_a_commit_drops_the_commands_up_to_a_number_and_no_others(self) -> None:
        self.commit(idle())
        numbers = [self.store.accept("thread_1", CancelRun()) for _ in range(3)]
        self.commit(idle(), consumed=0)
        assert [number for number, _ in self.saved().inbox] == numbers
        self.commit(idle(), consumed=numbers[1])
        assert [number for number, _ in self.saved().inbox] == numbers[2:]
        self.commit(idle(), consumed=numbers[0])
        assert [number for number, _ in self.saved().inbox] == numbers[2:]
        self.commit(idle(), consumed=numbers[2])
        assert self.saved().inbox == ()

    def test_numbers_of_commands_are_never_used_again(self) -> None:
        self.commit(idle())
        first = self.store.accept("thread_1", CancelRun())
        self.commit(idle(), consumed=first)
        second = self.store.accept("thread_1", CancelRun())
        assert second > first
        assert [number for number, _ in self.saved().inbox] == [second]

    def test_a_number_that_was_never_given_drops_nothing_that_comes_later(self) -> None:
        self.commit(idle(), consumed=1000)
        number = self.store.accept("thread_1", CancelRun())
        assert self.saved().inbox == ((number, CancelRun()),)

    # --- records ---------------------------------------------------------------------------------------------

    def test_records_are_numbered_from_one_without_gaps(self) -> None:
        assert list(self.commit(idle())) == []
        events = some_events(*range(5))
        first = self.commit(idle(), *events[:2], at=1.5)
        self.commit(idle())
        second = self.commit(idle(), *events[2:], at=2.5)
        times = [1.5, 1.5, 2.5, 2.5, 2.5]
        expected = [
            Record(seq=seq, at=at, event=event) for seq, (at, event) in enumerate(zip(times, events, strict=True), 1)
        ]
        assert [*first, *second] == expected
        assert list(self.store.history("thread_1")) == expected
        assert self.saved().last_seq == 5

    def test_history_starts_after_a_number(self) -> None:
        self.commit(idle(), *some_events(*range(5)))
        for after, expected in (
            (-(10**30), 1),
            (-1, 1),
            (0, 1),
            (1, 2),
            (4, 5),
            (5, 6),
            (6, 6),
            (2**63, 6),
            (10**30, 6),
        ):
            assert numbers_of(self.store.history("thread_1", after)) == list(range(expected, 6)), after

    def test_a_history_that_was_returned_stays_as_it_is(self) -> None:
        self.commit(idle(), *some_events(1))
        history = self.store.history("thread_1")
        self.commit(idle(), *some_events(2))
        assert numbers_of(history) == [1]

    def test_a_long_history_is_whole_and_in_order(self) -> None:
        self.commit(idle(), *some_events(*range(3000)))
        self.store.announced("thread_1", 3000)
        history = self.store.history("thread_1")
        assert numbers_of(history) == list(range(1, 3001))
        assert [record.event for record in history] == some_events(*range(3000))

    # --- announcing ------------------------------------------------------------------------------------------

    def test_records_are_unannounced_until_they_are_marked(self) -> None:
        records = self.commit(idle(), *some_events(1, 2, 3))
        assert self.saved().unannounced == tuple(records)
        self.store.announced("thread_1", 2)
        assert numbers_of(self.saved().unannounced) == [3]
        self.store.announced("thread_1", 1)
        assert numbers_of(self.saved().unannounced) == [3], "the mark went back"
        self.store.announced("thread_1", 3)
        assert self.saved().unannounced == ()
        assert self.saved().last_seq == 3

    def test_records_that_do_not_exist_yet_cannot_be_announced(self) -> None:
        self.commit(idle(), *some_events(1))
        self.store.announced("thread_1", 2)
        self.commit(idle(), *some_events(2))
        assert numbers_of(self.saved().unannounced) == [2]

    def test_records_may_be_committed_as_announced(self) -> None:
        if not getattr(self.store, "commits_announced", False):
            raise unittest.SkipTest("this store has no attribute commits_announced")
        how = {"snapshot": idle(), "consumed": 0, "at": 1.0, "due": None, "announced": True}
        commit: Callable[..., Sequence[Record]] = self.store.commit
        assert numbers_of(commit(events=some_events(1, 2), **how)) == [1, 2]
        assert self.saved().unannounced == ()
        assert self.store.unfinished() == {}
        self.commit(idle(), *some_events(1))
        assert numbers_of(self.saved().unannounced) == [3]

    def test_announcing_on_an_unknown_thread_does_nothing(self) -> None:
        self.store.announced("thread_1", 1)
        assert self.store.load("thread_1") is None
        assert numbers_of(self.commit(idle(), *some_events(1))) == [1]
        assert numbers_of(self.saved().unannounced) == [1]

    # --- unfinished threads ----------------------------------------------------------------------------------

    def test_unfinished_are_threads_with_commands_records_or_requests(self) -> None:
        busy = attrs.evolve(idle("busy"), state=State.RUNNING)
        every = [idle("at rest"), busy, idle("told"), idle("to tell")]
        for snapshot in every:
            self.commit(snapshot)
        self.store.accept("told", CancelRun())
        self.commit(idle("to tell"), *some_events(1, thread_id="to tell"))
        unfinished = self.store.unfinished()
        assert set(unfinished) == {"busy", "told", "to tell"}
        for thread_id, saved in unfinished.items():
            assert saved == self.saved(thread_id)

    def test_a_thread_is_finished_when_everything_is_done_and_announced(self) -> None:
        self.commit(attrs.evolve(idle(), state=State.RUNNING), *some_events(1))
        number = self.store.accept("thread_1", CancelRun())
        self.store.announced("thread_1", 1)
        assert set(self.store.unfinished()) == {"thread_1"}
        self.commit(idle(), *some_events(2), consumed=number)
        assert set(self.store.unfinished()) == {"thread_1"}
        self.store.announced("thread_1", 2)
        assert dict(self.store.unfinished()) == {}

    def test_many_unfinished_threads_are_all_found(self) -> None:
        for number in range(300):
            thread_id = f"thread_{number}"
            self.commit(attrs.evolve(idle(thread_id), state=State.RUNNING), *some_events(1, thread_id=thread_id))
        unfinished = self.store.unfinished()
        assert set(unfinished) == {f"thread_{number}" for number in range(300)}
        assert all(numbers_of(saved.unannounced) == [1] for saved in unfinished.values())

    # --- the queue -------------------------------------------------------------------------------------------

    def commit_queue(self, before: Queue, after: Queue) -> None:
        """Commit a thread whose queue was `before` and is now `after`. Pass the change between the two to the store."""
        change = after.change_since(before)
        self.store.commit(attrs.evolve(idle(), queue=after), consumed=0, events=(), at=1.0, due=None, queue=change)

    def test_a_queue_is_kept_by_what_is_written_to_it_and_removed_from_it(self) -> None:
        one, two, three = (QueuedMessage(key=key, content=key) for key in ("one", "two", "three"))
        doubt = Doubt(searches_left=1, known=("msg_1",))
        queues = [Queue(), Queue().add(one), Queue().add(one).add(two).add(three)]
        queues += [queues[-1].with_doubt(doubt), queues[-1].take(), queues[-1].take().take()]
        queues += [queues[-1].take(), queues[-1].take().add(one).add(two)]
        for before, after in itertools.pairwise(queues):
            self.commit_queue(before, after)
            assert self.saved().snapshot.queue == after
            assert list(self.saved().snapshot.queue) == list(after)

    def test_queues_of_different_threads_are_apart(self) -> None:
        mine = Queue().add(QueuedMessage(key="mine", content="mine"))
        self.commit_queue(Queue(), mine)
        self.commit(idle("thread_2"))
        assert not self.saved("thread_2").snapshot.queue
        assert self.saved().snapshot.queue == mine

    def test_a_queue_that_is_long_is_kept_in_order(self) -> None:
        long = Queue(tuple(QueuedMessage(key=f"key {number}", content="") for number in range(1000)))
        self.commit_queue(Queue(), long)
        self.commit_queue(long, long.take())
        assert [message.key for message in self.saved().snapshot.queue] == [f"key {n}" for n in range(1, 1000)]

    # --- values ------------------------------------------------------------------------------------

    def test_snapshots_with_every_field_set_come_back_equal(self) -> None:
        for snapshot in every_snapshot("thread_1"):
            self.commit(snapshot)
            assert self.saved().snapshot == snapshot

    def test_every_command_comes_back_equal(self) -> None:
        self.commit(idle())
        for command in every_command():
            self.store.accept("thread_1", command)
        assert [command for _, command in self.saved().inbox] == every_command()

    def test_every_event_comes_back_equal(self) -> None:
        events = every_event("thread_1")
        self.commit(idle(), *events)
        assert [record.event for record in self.store.history("thread_1")] == events
        assert [record.event for record in self.saved().unannounced] == events

    def test_any_text_comes_back_as_it_was(self) -> None:
        self._check_texts(ODD_TEXTS)

    def test_long_texts_come_back_whole(self) -> None:
        assert len(LONG) >= 1_000_000
        self._check_texts([LONG])

    def _check_texts(self, texts: Sequence[str]) -> None:
        queue = Queue(tuple(QueuedMessage(key=f"key {number}", content=text) for number, text in enumerate(texts)))
        events = [RunStarted(id=text, thread_id="thread_1", assistant_id=text) for text in texts]
        self.commit(attrs.evolve(idle(), queue=queue), *events)
        commands = [AddUserMessage(key="", content=text) for text in texts]
        numbers = [self.store.accept("thread_1", command) for command in commands]
        saved = self.saved()
        assert saved.snapshot.queue == queue
        assert saved.inbox == tuple(zip(numbers, commands, strict=True))
        assert [record.event for record in saved.unannounced] == events
        assert dict(self.store.unfinished()) == {"thread_1": saved}

    def test_thread_ids_may_be_odd(self) -> None:
        for thread_id in ODD_THREAD_IDS:
            self.commit(idle(thread_id), *some_events(1, thread_id=thread_id))
            self.store.accept(thread_id, CancelRun())
        assert set(self.store.unfinished()) == set(ODD_THREAD_IDS)
        for thread_id in ODD_THREAD_IDS:
            assert self.saved(thread_id).snapshot == idle(thread_id)
            assert [record.event.thread_id for record in self.store.history(thread_id)] == [thread_id]

    # --- after a restart -------------------------------------------------------------------------------------

    def test_everything_is_there_after_reopening(self) -> None:
        busy = attrs.evolve(every_snapshot("busy")[0], state=State.RUNNING)
        self.store.commit(busy, consumed=0, events=every_event("busy"), at=2.5, due=7.25)
        for command in every_command():
            self.store.accept("busy", command)
        self.commit(idle("at rest"), *some_events(1, thread_id="at rest"))
        self.store.announced("at rest", 1)
        before = {thread_id: self.saved(thread_id) for thread_id in ("busy", "at rest")}
        history = list(self.store.history("busy"))
        self.open_again()
        assert {thread_id: self.saved(thread_id) for thread_id in before} == before
        assert list(self.store.history("busy")) == history
        assert dict(self.store.unfinished()) == {"busy": before["busy"]}

    def test_numbers_continue_after_reopening(self) -> None:
        self.commit(idle(), *some_events(1, 2))
        first = self.store.accept("thread_1", CancelRun())
        self.open_again()
        second = self.store.accept("thread_1", CancelRun())
        assert second > first
        assert numbers_of(self.commit(idle(), *some_events(3), consumed=second)) == [3]
        self.open_again()
        assert self.store.accept("thread_1", CancelRun()) > second
        assert numbers_of(self.store.history("thread_1")) == [1, 2, 3]

    def test_announcements_are_saved_by_close(self) -> None:
        self.commit(attrs.evolve(idle(), state=State.RUNNING), *some_events(1, 2, 3))
        self.store.announced("thread_1", 2)
        self.open_again()
        assert numbers_of(self.saved().unannounced) == [3]
        self.store.announced("thread_1", 3)
        self.open_again()
        assert self.saved().unannounced == ()

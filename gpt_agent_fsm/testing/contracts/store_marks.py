"""The contract of a store that says what has changed since a moment, as a test class to inherit from."""

from __future__ import annotations

from gpt_agent_fsm.machine.inputs import CancelRun
from gpt_agent_fsm.ports import MarkedStore, offers
from gpt_agent_fsm.testing.contracts.store_means import StoreTests, idle, some_events

__all__ = ["MarkedStoreContract"]


class MarkedStoreContract(StoreTests):
    """The contract of a `Store` that is also a `MarkedStore`."""

    @property
    def marked(self) -> MarkedStore:
        """The store of this test, as a `MarkedStore`."""
        assert offers(self.store, MarkedStore), "the store must have the methods mark and thread_marks"
        return self.store

    def test_the_marks_stay_while_nothing_changes(self) -> None:
        self.commit(idle(), *some_events(1))
        assert self.marked.mark() == self.marked.mark()
        assert self.marked.thread_marks() == self.marked.thread_marks()

    def test_a_new_record_changes_the_mark_of_its_thread_only(self) -> None:
        self.commit(idle("thread_1"), *some_events(1))
        self.commit(idle("thread_2"), *some_events(1, thread_id="thread_2"))
        mark, marks = self.marked.mark(), self.marked.thread_marks()
        self.commit(idle("thread_1"), *some_events(2))
        assert self.marked.mark() != mark
        assert self.marked.thread_marks()["thread_1"] != marks["thread_1"]
        assert self.marked.thread_marks()["thread_2"] == marks["thread_2"]

    def test_a_command_changes_the_mark_when_it_is_accepted_and_when_it_is_carried_out(self) -> None:
        self.commit(idle())
        seen = [(self.marked.mark(), self.marked.thread_marks()["thread_1"])]
        number = self.store.accept("thread_1", CancelRun())
        seen.append((self.marked.mark(), self.marked.thread_marks()["thread_1"]))
        self.commit(idle(), consumed=number)
        seen.append((self.marked.mark(), self.marked.thread_marks()["thread_1"]))
        assert len({mark for mark, _ in seen}) == len({mark for _, mark in seen}) == len(seen)

    def test_a_new_thread_gets_a_mark(self) -> None:
        mark = self.marked.mark()
        assert self.marked.thread_marks() == {}
        self.commit(idle())
        assert self.marked.mark() != mark
        assert list(self.marked.thread_marks()) == ["thread_1"]

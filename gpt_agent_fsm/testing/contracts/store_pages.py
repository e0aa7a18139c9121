"""The contract of a store that can return a part of a thread's history."""

from __future__ import annotations

from gpt_agent_fsm.ports import PagingStore, offers
from gpt_agent_fsm.testing.contracts.store_means import StoreTests, idle, numbers_of, some_events

__all__ = ["PagingStoreContract"]


class PagingStoreContract(StoreTests):
    """The contract of a `Store` that is also a `PagingStore`."""

    def page(self, after: int, limit: int, *, newest: bool = False) -> list[int]:
        """Return the numbers of a page of the history of thread_1."""
        assert offers(self.store, PagingStore), "the store must have the method history_page"
        return numbers_of(self.store.history_page("thread_1", after=after, limit=limit, newest=newest))

    def test_an_unknown_thread_has_no_page(self) -> None:
        assert self.page(0, 5) == self.page(0, 5, newest=True) == []

    def test_a_page_has_the_first_records_after_a_number(self) -> None:
        self.commit(idle(), *some_events(1, 2, 3, 4, 5))
        assert self.page(0, 2) == [1, 2]
        assert self.page(2, 2) == [3, 4]
        assert self.page(4, 2) == [5]
        assert self.page(5, 2) == []
        assert self.page(-1, 100) == [1, 2, 3, 4, 5]

    def test_a_page_of_the_newest_records_is_in_order_and_contains_none_up_to_the_number(self) -> None:
        self.commit(idle(), *some_events(1, 2, 3, 4, 5))
        assert self.page(0, 2, newest=True) == [4, 5]
        assert self.page(4, 2, newest=True) == [5]
        assert self.page(5, 2, newest=True) == []
        assert self.page(0, 100, newest=True) == [1, 2, 3, 4, 5]

    def test_a_page_contains_whole_records_of_this_thread_only(self) -> None:
        self.commit(idle("thread_2"), *some_events(1, thread_id="thread_2"))
        records = self.commit(idle(), *some_events(1, 2), at=2.5)
        assert offers(self.store, PagingStore)
        assert list(self.store.history_page("thread_1", after=0, limit=9)) == list(records)

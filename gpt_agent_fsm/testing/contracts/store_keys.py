"""The contract of a store that also keeps keys and adds up tokens, as a test class to inherit from."""

from __future__ import annotations

import attrs

from gpt_agent_fsm.ports import CountingStore, KeyedStore, Usage, offers
from gpt_agent_fsm.testing.contracts.store import StoreContract
from gpt_agent_fsm.testing.contracts.store_means import idle

__all__ = ["KeyedStoreContract"]


class KeyedStoreContract(StoreContract):
    """The contract of a `Store` that is also a `KeyedStore` and a `CountingStore`."""

    @property
    def keyed(self) -> KeyedStore:
        """The store of this test, as a `KeyedStore`."""
        assert offers(self.store, KeyedStore), "the store must have the methods claim_key and find"
        return self.store

    def test_a_key_belongs_to_the_first_thread_that_claims_it(self) -> None:
        assert self.keyed.find("user-42") is None
        assert self.keyed.claim_key("user-42", "thread_1") == "thread_1"
        assert self.keyed.claim_key("user-42", "thread_2") == "thread_1"
        assert self.keyed.find("user-42") == "thread_1"

    def test_a_thread_may_have_several_keys_of_any_text(self) -> None:
        for key in ("a", "A", " a", "'; DROP TABLE", "\N{SNOWMAN}", "x" * 500):
            assert self.keyed.claim_key(key, "thread_1") == "thread_1"
        assert self.keyed.find("A") == "thread_1"
        assert self.keyed.find("b") is None

    def test_of_several_claims_at_once_one_wins(self) -> None:
        owners = self.at_once(
            *(lambda thread_id=f"thread_{number}": self.keyed.claim_key("user-42", thread_id) for number in range(8))
        )
        assert owners == [self.keyed.find("user-42")] * 8

    def test_keys_last(self) -> None:
        self.keyed.claim_key("user-42", "thread_1")
        self.open_again()
        assert self.keyed.find("user-42") == "thread_1"

    def test_tokens_add_up_over_all_threads(self) -> None:
        assert offers(self.store, CountingStore), "the store must have the method usage"
        assert self.store.usage() == Usage()
        one = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3, runs=1, cached_tokens=1, reasoning_tokens=2)
        for thread_id in ("thread_1", "thread_2"):
            self.commit(attrs.evolve(idle(thread_id), usage=one))
        self.commit(idle("thread_3"))
        assert self.store.usage() == one + one

"""Every store passes the contract of the port."""

from contextlib import closing

import pytest

from gpt_agent_fsm.stores import MemoryStore, SQLStore
from gpt_agent_fsm.testing.contracts import (
    KeyedStoreContract,
    MarkedStoreContract,
    PagingStoreContract,
    StoreUpkeepContract,
)
from tests.stores.helpers import an_event, commit, idle


class TestMemoryStore(KeyedStoreContract, StoreUpkeepContract, PagingStoreContract):
    def make_store(self):
        return MemoryStore()


class TestSQLStoreInMemory(KeyedStoreContract, StoreUpkeepContract, PagingStoreContract, MarkedStoreContract):
    def make_store(self):
        return SQLStore("sqlite://")


class Durable(KeyedStoreContract, StoreUpkeepContract, PagingStoreContract, MarkedStoreContract):
    url: str

    def make_store(self):
        return SQLStore(self.url)

    def reopen(self, store):
        store.close()
        return SQLStore(self.url)


class TestSQLStoreOnAFile(Durable):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path):
        self.url = f"sqlite:///{tmp_path}/agents.db"


class TestSQLStoreOnPostgreSQL(Durable):
    @pytest.fixture(autouse=True)
    def _place(self, postgresql):
        self.url = postgresql.new_schema()


def test_a_store_that_only_reads_sees_the_marks_of_the_owner_change(tmp_path):
    url = f"sqlite:///{tmp_path}/agents.db"
    with closing(SQLStore(url)) as owner, closing(SQLStore(url, read_only=True)) as reader:
        mark, marks = reader.mark(), reader.thread_marks()
        commit(owner, idle(), an_event())
        assert reader.mark() != mark
        assert (marks, list(reader.thread_marks())) == ({}, ["thread_1"])

"""Every store passes the contract of the port."""

import pytest

from gpt_agent_fsm.stores import MemoryStore, SQLStore
from gpt_agent_fsm.testing.contracts import KeyedStoreContract, PagingStoreContract, StoreUpkeepContract


class TestMemoryStore(KeyedStoreContract, StoreUpkeepContract, PagingStoreContract):
    def make_store(self):
        return MemoryStore()


class TestSQLStoreInMemory(KeyedStoreContract, StoreUpkeepContract, PagingStoreContract):
    def make_store(self):
        return SQLStore("sqlite://")


class Durable(KeyedStoreContract, StoreUpkeepContract, PagingStoreContract):
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

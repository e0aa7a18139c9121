"""A SQLite file has one owner at a time; a reader changes nothing."""

import contextlib

import pytest

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores import SQLStore
from tests.stores.helpers import (
    an_event,
    busy,
    commit,
    idle,
    say,
)


def test_a_store_that_was_opened_earlier_can_no_longer_write(store, url):
    commit(store, idle(), an_event())
    with contextlib.closing(SQLStore(url)) as successor:
        for write in (
            lambda: commit(store, idle(), an_event()),
            lambda: store.accept("thread_1", say()),
            lambda: store.announced("thread_1", 1),
        ):
            with pytest.raises(StoreError, match=r"has taken over the SQLite database .*agents\.db"):
                write()
        assert [record.seq for record in commit(successor, idle(), an_event())] == [2]
        assert [record.seq for record in store.history("thread_1")] == [1, 2], "reading still works"
        with pytest.raises(StoreError, match="taken over"):
            store.close()
        store.close()


def test_a_store_with_nothing_left_to_write_closes_without_an_error_after_a_takeover(url):
    store = SQLStore(url)
    commit(store, idle())
    SQLStore(url).close()
    store.close()
    with contextlib.closing(SQLStore(url, read_only=True)) as reader:
        assert reader.load("thread_1").snapshot == idle()


def test_a_reader_takes_nothing_over_and_writes_nothing(store, url):
    commit(store, busy(), an_event())
    store.accept("thread_1", say())
    with contextlib.closing(SQLStore(url, read_only=True)) as reader:
        assert reader.load("thread_1") == store.load("thread_1")
        assert reader.history("thread_1") == store.history("thread_1")
        assert reader.unfinished() == store.unfinished()
        for write in (
            lambda: commit(reader, idle()),
            lambda: reader.accept("thread_1", say()),
            lambda: reader.announced("thread_1", 1),
        ):
            with pytest.raises(StoreError, match="read_only=True"):
                write()
    commit(store, idle())


def test_a_reader_creates_no_file(path, url):
    with pytest.raises(StoreError, match="There is no file of the SQLite database"):
        SQLStore(url, read_only=True)
    assert not path.exists()
    path.touch()
    with pytest.raises(StoreError, match="There is no store in"):
        SQLStore(url, read_only=True)


def test_a_closed_store_refuses_calls(url):
    store = SQLStore(url)
    commit(store, idle())
    store.close()
    for call in (
        lambda: commit(store, idle()),
        lambda: store.load("thread_1"),
        lambda: store.history("thread_1"),
        store.unfinished,
    ):
        with pytest.raises(StoreError, match="This store was closed; make a new one"):
            call()


def test_a_call_while_the_store_closes_is_refused(store):
    commit(store, idle())
    store._writer._closed = True
    with pytest.raises(StoreError, match="This store was closed"):
        commit(store, idle())
    store._writer._closed = False


def test_a_newer_store_of_the_same_process_is_named_as_such(store, url):
    with contextlib.closing(SQLStore(url)), pytest.raises(StoreError, match="A newer store of this process has taken"):
        commit(store, idle(), an_event())

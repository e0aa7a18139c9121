"""Announcements are saved with the next group, at rest, and at the latest on close."""

import contextlib

import pytest
import sqlalchemy as sa

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores import SQLStore
from tests.stores.helpers import (
    an_event,
    busy,
    commit,
    idle,
    say,
    sqlite,
)


def announced_on_disk(path):
    with sqlite(path) as other:
        return dict(other.execute("SELECT thread_id, announced FROM gpt_agent_threads").fetchall())


def test_a_mark_is_saved_with_the_next_group(store, path):
    commit(store, busy(), an_event(), an_event())
    commit(store, busy("thread_2"), an_event("thread_2"))
    store.announced("thread_1", 1)
    store.announced("thread_2", 1)
    store.announced("thread_1", 1)
    assert announced_on_disk(path) == {"thread_1": 0, "thread_2": 0}
    store.accept("thread_1", say())
    assert announced_on_disk(path) == {"thread_1": 1, "thread_2": 1}


def test_a_mark_is_saved_at_once_if_a_thread_comes_to_rest(store, path):
    commit(store, idle(), an_event(), an_event())
    store.announced("thread_1", 1)
    assert announced_on_disk(path) == {"thread_1": 0}
    store.announced("thread_1", 2)
    assert announced_on_disk(path) == {"thread_1": 2}
    with sqlite(path) as other:
        assert other.execute("SELECT unfinished FROM gpt_agent_threads").fetchall() == [(0,)]


def test_a_mark_is_seen_before_it_is_saved(store):
    commit(store, busy(), an_event(), an_event())
    store.announced("thread_1", 1)
    assert [record.seq for record in store.load("thread_1").unannounced] == [2]
    assert [record.seq for record in store.unfinished()["thread_1"].unannounced] == [2]


def test_the_counters_of_a_thread_that_is_not_in_memory_are_read(url, path):
    with contextlib.closing(SQLStore(url)) as store:
        commit(store, busy(), an_event(), an_event())
    with contextlib.closing(SQLStore(url)) as store:
        store.announced("thread_1", 5)
        assert announced_on_disk(path) == {"thread_1": 2}


def test_a_mark_that_could_not_be_saved_is_saved_later(store, path):
    commit(store, idle(), an_event())
    with sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            store.announced("thread_1", 1)
        other.execute("ROLLBACK")
    assert store.load("thread_1").unannounced == ()
    assert store.unfinished() == {}
    commit(store, idle("thread_2"))
    assert announced_on_disk(path)["thread_1"] == 1


def test_a_mark_that_moves_while_it_is_saved_is_not_lost(store, path, monkeypatch):
    commit(store, busy(), an_event(), an_event())
    store.announced("thread_1", 1)
    sa.event.listen(store._database.writing, "commit", lambda _connection: store.announced("thread_1", 2), once=True)
    store.accept("thread_1", say())
    assert announced_on_disk(path) == {"thread_1": 1}
    store.accept("thread_1", say())
    assert announced_on_disk(path) == {"thread_1": 2}

"""Locks, full disks and invalid values: each fails alone, and the store works again afterwards."""

import contextlib
import subprocess
import sys

import pytest
import sqlalchemy as sa

from gpt_agent_fsm.errors import StoreError
from tests.stores.helpers import (
    ROOT,
    SECRET,
    accept_ticket,
    an_event,
    busy,
    commit,
    commit_ticket,
    idle,
    say,
    sqlite,
    texts_of,
)


def everything(path):
    """Return all rows and counters of the store."""
    with sqlite(path) as other:
        return list(other.iterdump())


def test_a_locked_file_raises_after_the_timeout_and_works_again_when_it_is_free(store, path):
    commit(store, idle())
    before = everything(path)
    with sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        for write in (lambda: commit(store, idle(), an_event()), lambda: store.accept("thread_1", say())):
            with pytest.raises(StoreError, match="it is locked by another program") as caught:
                write()
            assert SECRET not in texts_of(caught.value)
            assert isinstance(caught.value.__cause__, sa.exc.OperationalError)
        assert store.load("thread_1") is not None, "reading still works"
        other.execute("ROLLBACK")
    assert everything(path) == before
    assert [record.seq for record in commit(store, idle(), an_event())] == [1]
    assert store.accept("thread_1", say()) == 1


def test_a_group_waits_only_once_for_a_locked_file(store, path):
    commit(store, idle())
    tickets = [accept_ticket("thread_1") for _ in range(200)]
    with sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        store._writer.write(tickets)
    assert {str(ticket.error) for ticket in tickets} == {str(tickets[0].error)}
    assert not any(ticket.answered for ticket in tickets)


@contextlib.contextmanager
def full_disk(store, spare=0):
    """Let the file grow by at most a few pages."""
    engine = store._database.writing
    store._database.dispose()
    with engine.connect() as connection:
        maximum = connection.exec_driver_sql("PRAGMA page_count").scalar() + spare

    def limit(connection, _record, _proxy):
        connection.execute(f"PRAGMA max_page_count = {maximum}")

    sa.event.listen(engine, "checkout", limit)
    try:
        yield
    finally:
        maximum = 2**30
        store._database.dispose()
        with engine.connect():
            sa.event.remove(engine, "checkout", limit)


def test_a_full_disk_changes_nothing_and_the_store_works_again_when_there_is_space(store, path):
    commit(store, idle())
    store.accept("thread_1", say())
    before = everything(path)
    large = busy(assistant_id=SECRET * 10_000)
    with full_disk(store):
        for write in (
            lambda: commit(store, large, an_event(), consumed=1),
            lambda: store.accept("thread_1", say(SECRET * 10_000)),
        ):
            with pytest.raises(StoreError, match="the disk is full; free some space") as caught:
                write()
            assert SECRET not in texts_of(caught.value)
        assert everything(path) == before
    assert [record.seq for record in commit(store, large, an_event(), consumed=1)] == [1]
    assert store.accept("thread_1", say()) == 2
    assert [number for number, _ in store.load("thread_1").inbox] == [2]


def test_a_value_that_is_too_large_for_the_free_space_fails_alone(store):
    for number in range(3):
        commit(store, idle(f"thread_{number}"))
    small, large, other = accept_ticket("thread_0"), accept_ticket("thread_1", "x" * 100_000), accept_ticket("thread_2")
    with full_disk(store, spare=4):
        store._writer.write([small, large, other])
    assert [small.answered, large.answered, other.answered] == [True, False, True]
    assert "the disk is full" in str(large.error)


def test_a_value_that_cannot_be_stored_fails_alone(store):
    good, bad, late = commit_ticket("thread_1"), commit_ticket("unpaired: \ud83d"), accept_ticket("thread_1")
    store._writer.write([good, bad, late])
    assert [good.answered, bad.answered, late.answered] == [True, False, True]
    assert late.operation.number == 1
    assert "keep zero characters and unpaired surrogates out of thread ids" in str(bad.error)


def test_a_command_to_an_unknown_thread_fails_alone(store):
    good, bad = commit_ticket("thread_1"), accept_ticket("thread_2")
    store._writer.write([good, bad])
    assert [good.answered, bad.answered] == [True, False]
    assert "no thread 'thread_2' in this store" in str(bad.error)


def test_a_lock_between_two_operations_fails_the_rest_without_further_waits(store, monkeypatch):
    commit(store, idle())
    tickets = [commit_ticket("\ud83d"), accept_ticket("thread_1"), accept_ticket("thread_1")]
    plain, attempts = store._writer._transact, []

    def transact(group):
        attempts.append(len(group))
        if len(attempts) == 3:
            raise sa.exc.TimeoutError
        plain(group)

    monkeypatch.setattr(store._writer, "_transact", transact)
    store._writer.write(tickets)
    assert attempts == [3, 1, 1]
    assert not any(ticket.answered for ticket in tickets)
    assert "no connection became free" in str(tickets[2].error)


RLIMIT = """
import resource, sys
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores import SQLStore
from tests.stores.helpers import commit, idle, an_event

store = SQLStore(sys.argv[1])
commit(store, idle())
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
kept, problems = 0, set()
for number in range(200):
    try:
        commit(store, idle(assistant_id="x" * 3000), an_event(run_id=f"run_{number}"))
        kept += 1
    except StoreError as error:
        problems.add(str(error).partition(": ")[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
commit(store, idle(), an_event(run_id="last"))
assert problems and 0 < kept, (kept, problems)
history = [record.event.id for record in store.history("thread_1")]
assert len(history) == kept + 1 and history[-1] == "last"
store.close()
print(*problems)
"""


def test_a_file_at_its_size_limit_loses_nothing_that_was_acknowledged(url):
    pytest.importorskip("resource")
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", RLIMIT, url], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stderr
    assert "disk" in ended.stdout

"""A SQLite file that is locked, full, or lost in the middle of a commit: what is left, and life after it."""

import contextlib
import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy as sa

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores import problems
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
    sqlite_file,
    texts_of,
)

# --- faults, and life after them -----------------------------------------------------------------------------


def everything(path):
    """Return all rows of the store, and what was counted."""
    with sqlite_file(path) as other:
        return list(other.iterdump())


def test_a_locked_file_raises_in_time_and_works_again_when_it_is_free(store, path):
    commit(store, idle())
    before = everything(path)
    with sqlite_file(path) as other:
        other.execute("BEGIN IMMEDIATE")
        for write in (lambda: commit(store, idle(), an_event()), lambda: store.accept("thread_1", say())):
            with pytest.raises(StoreError, match="it is locked by another program") as caught:
                write()
            assert SECRET not in texts_of(caught.value)
            assert isinstance(caught.value.__cause__, sa.exc.OperationalError)
        assert store.load("thread_1") is not None, "reading goes on"
        other.execute("ROLLBACK")
    assert everything(path) == before
    assert [record.seq for record in commit(store, idle(), an_event())] == [1]
    assert store.accept("thread_1", say()) == 1


def test_a_file_that_stays_locked_is_waited_for_once_by_all(store, path):
    commit(store, idle())
    tickets = [accept_ticket("thread_1") for _ in range(200)]
    with sqlite_file(path) as other:
        other.execute("BEGIN IMMEDIATE")
        store._writer.write(tickets)
    assert {str(ticket.error) for ticket in tickets} == {str(tickets[0].error)}
    assert not any(ticket.answered for ticket in tickets)


@contextlib.contextmanager
def full_disk(store, spare=0):
    """Let the file grow by a few pages at most."""
    engine = store._database.writing
    with engine.connect() as connection:
        most = connection.exec_driver_sql("PRAGMA page_count").scalar() + spare

    def limit(connection, _record, _proxy):
        connection.execute(f"PRAGMA max_page_count = {most}")

    sa.event.listen(engine, "checkout", limit)
    try:
        yield
    finally:
        most = 2**30
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


def test_what_is_too_large_for_the_space_that_is_left_fails_alone(store):
    for number in range(3):
        commit(store, idle(f"thread_{number}"))
    small, large, other = accept_ticket("thread_0"), accept_ticket("thread_1", "x" * 100_000), accept_ticket("thread_2")
    with full_disk(store, spare=4):
        store._writer.write([small, large, other])
    assert [small.answered, large.answered, other.answered] == [True, False, True]
    assert "the disk is full" in str(large.error)


def test_a_value_that_cannot_be_kept_fails_alone(store):
    good, bad, late = commit_ticket("thread_1"), commit_ticket("half a pair: \ud83d"), accept_ticket("thread_1")
    store._writer.write([good, bad, late])
    assert [good.answered, bad.answered, late.answered] == [True, False, True]
    assert late.operation.number == 1
    assert "keep zero characters and halves of pairs out of thread ids" in str(bad.error)


def test_a_command_to_nobody_fails_alone(store):
    good, bad = commit_ticket("thread_1"), accept_ticket("thread_2")
    store._writer.write([good, bad])
    assert [good.answered, bad.answered] == [True, False]
    assert "no thread 'thread_2' in this store" in str(bad.error)


def test_when_the_file_gets_locked_between_two_the_rest_does_not_wait_for_it(store, monkeypatch):
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


def test_a_file_that_may_grow_no_more_loses_nothing_that_was_acknowledged(url):
    pytest.importorskip("resource")
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", RLIMIT, url], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stderr
    assert "disk" in ended.stdout


# --- a commit that fails at its very end ---------------------------------------------------------------------


def psycopg_error(state):
    error = Exception()
    error.sqlstate = state
    return error


class Lost(sqlite3.OperationalError):
    """What a driver raises when it hears nothing any more."""


@pytest.fixture
def at_commit(store, monkeypatch):
    """Set `.before` or `.after` to something to be raised around the next commit."""

    class At:
        before = after = None

    plain = store._database.writing.dialect.do_commit

    def do_commit(connection):
        before, after, At.before, At.after = At.before, At.after, None, None
        if before is not None:
            raise before
        plain(connection)
        if after is not None:
            raise after

    monkeypatch.setattr(store._database.writing.dialect, "do_commit", do_commit)
    return At


def test_a_commit_that_took_effect_all_the_same_is_a_success(store, at_commit):
    commit(store, idle())
    at_commit.after = Lost()
    assert [record.seq for record in commit(store, idle(), an_event())] == [1]
    assert [record.seq for record in commit(store, idle(), an_event())] == [2]
    assert len(store.history("thread_1")) == 2


def test_a_commit_that_did_not_take_effect_is_a_failure_and_changes_nothing(store, at_commit):
    commit(store, idle())
    at_commit.before = Lost()
    with pytest.raises(StoreError):
        commit(store, idle(), an_event())
    assert [record.seq for record in commit(store, idle(), an_event())] == [1]
    assert len(store.history("thread_1")) == 1


def test_a_commit_of_which_nothing_can_be_heard_says_that_it_is_not_known(store, at_commit):
    commit(store, idle())
    at_commit.after = Lost()
    engine = store._database.writing

    def begin(_connection):
        raise Lost

    def arm(_connection):
        sa.event.listen(engine, "begin", begin)

    sa.event.listen(engine, "commit", arm, once=True)
    with pytest.raises(StoreError, match="Whether the last commit took effect is not known"):
        commit(store, idle(), an_event())
    sa.event.remove(engine, "begin", begin)
    assert [record.seq for record in commit(store, idle(), an_event())] == [2], "the numbers are read anew"


@pytest.mark.parametrize(("when", "kept"), [("before", 0), ("after", 1)])
def test_an_interrupt_in_a_commit_is_raised_and_the_others_learn_what_happened(store, at_commit, when, kept):
    commit(store, idle())
    setattr(at_commit, when, KeyboardInterrupt())
    tickets = [accept_ticket("thread_1"), accept_ticket("thread_1")]
    with pytest.raises(KeyboardInterrupt):
        store._writer.write(tickets)
    assert [ticket.answered for ticket in tickets] == [bool(kept)] * 2
    assert store.accept("thread_1", say()) == 1 + 2 * kept


def test_an_interrupt_in_a_commit_of_which_nothing_can_be_heard_is_raised(store, at_commit):
    commit(store, idle())
    at_commit.before = KeyboardInterrupt()
    engine = store._database.writing

    def begin(_connection):
        raise Lost

    sa.event.listen(engine, "commit", lambda _connection: sa.event.listen(engine, "begin", begin), once=True)
    with pytest.raises(KeyboardInterrupt):
        commit(store, idle(), an_event())
    sa.event.remove(engine, "begin", begin)
    assert [record.seq for record in commit(store, idle(), an_event())] == [1]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (sa.exc.TimeoutError(), "no connection became free; try again"),
        (sa.exc.InvalidRequestError(SECRET), "it reported InvalidRequestError; check that nothing else changes its"),
        (sa.exc.ProgrammingError("SELECT", {}, psycopg_error("42P01")), "it reported ProgrammingError 42P01; check"),
    ],
)
def test_what_is_seldom_seen_is_explained_as_well(error, advice):
    problem = problems.explain(error, "the database")
    assert advice in str(problem)
    assert SECRET not in str(problem)

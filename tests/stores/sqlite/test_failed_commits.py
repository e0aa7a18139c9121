"""A commit that fails at its very end: its outcome is determined, or reported as unknown."""

import contextlib
import sqlite3

import pytest
import sqlalchemy as sa

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores import store_errors
from tests.stores.helpers import (
    SECRET,
    accept_ticket,
    an_event,
    busy,
    commit,
    commit_ticket,
    idle,
    say,
    sqlite,
)


def psycopg_error(state):
    error = Exception()
    error.sqlstate = state
    return error


class Lost(sqlite3.OperationalError):
    """The error of a driver that lost its connection."""


@pytest.fixture
def at_commit(store, monkeypatch):
    """Set `.before` or `.after` to an exception to raise around the next commit."""

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


def test_a_commit_that_raised_but_took_effect_is_a_success(store, at_commit):
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


# --- unknown outcomes -----------------------------------------------------------------------------------------


@pytest.fixture
def lose(store, at_commit):
    """Call to lose the database with the next commit, `before` or `after` it took effect, until the block ends."""

    @contextlib.contextmanager
    def losing(when):
        setattr(at_commit, when, Lost())
        engine = store._database.writing

        def begin(_connection):
            raise Lost

        sa.event.listen(engine, "commit", lambda _connection: sa.event.listen(engine, "begin", begin), once=True)
        with pytest.raises(
            StoreError, match=r"unknown whether the call took effect; repeat it, and it takes effect once"
        ):
            yield
        sa.event.remove(engine, "begin", begin)

    return losing


WHEN = pytest.mark.parametrize("when", ["before", "after"])


@WHEN
def test_a_commit_that_is_repeated_takes_effect_once(store, lose, when):
    commit(store, idle())
    number = store.accept("thread_1", say())
    with lose(when):
        commit(store, busy(), an_event(run_id="run_1"), an_event(run_id="run_2"), consumed=number)
    again = store.commit(
        busy(), consumed=number, events=[an_event(run_id="run_1"), an_event(run_id="run_2")], at=9.0, due=10.0
    )
    assert again == store.history("thread_1")
    assert [record.seq for record in again] == [1, 2]
    assert store.load("thread_1").inbox == ()
    assert [record.seq for record in commit(store, idle(), an_event())] == [3]


@WHEN
def test_a_commit_that_is_repeated_after_other_threads_committed_takes_effect_once(store, lose, when):
    with lose(when):
        commit(store, busy(), an_event())
    commit(store, idle("thread_2"), an_event("thread_2"))
    store.accept("thread_2", say())
    assert [record.seq for record in commit(store, busy(), an_event())] == [1]
    assert len(store.history("thread_1")) == 1


def test_a_commit_whose_outcome_is_unknown_twice_takes_effect_once(store, lose):
    commit(store, idle())
    for when in ("after", "after", "before", "after"):
        with lose(when):
            commit(store, busy(), an_event())
    assert [record.seq for record in commit(store, busy(), an_event())] == [1]
    assert len(store.history("thread_1")) == 1


def test_an_equal_commit_is_a_new_one_if_the_first_was_answered(store, lose):
    with lose("after"):
        commit(store, busy(), an_event())
    assert [commit(store, busy(), an_event())[0].seq for _ in range(3)] == [1, 2, 3]


def test_a_different_commit_follows_the_one_that_took_effect(store, lose):
    with lose("after"):
        commit(store, busy(), an_event())
    assert [record.seq for record in commit(store, idle(), an_event(run_id="run_2"))] == [2]
    assert [record.seq for record in commit(store, busy(), an_event())] == [3]


@WHEN
def test_a_command_that_raised_for_its_caller_is_not_kept(store, path, lose, when):
    commit(store, idle())
    first = store.accept("thread_1", say("first"))
    with lose(when):
        store.accept("thread_1", say("second"))
    again = store.accept("thread_1", say("second"))
    assert again > first
    assert [command.content for _, command in store.load("thread_1").inbox] == ["first", "second"]
    assert store.load("thread_1").inbox[-1][0] == again


def test_such_a_command_is_withdrawn_at_the_latest_when_the_store_closes(store, path, lose):
    commit(store, idle())
    with lose("after"):
        store.accept("thread_1", say())
    store.close()
    with sqlite(path) as other:
        assert other.execute("SELECT count(*) FROM gpt_agent_inbox").fetchone() == (0,)


@WHEN
def test_a_mark_that_is_repeated_is_saved(store, lose, when):
    commit(store, idle(), an_event(), an_event())
    with lose(when):
        store.announced("thread_1", 2)
    store.announced("thread_1", 2)
    commit(store, idle("thread_2"))
    assert store.load("thread_1").unannounced == ()
    assert store.unfinished() == {}


def test_a_command_whose_caller_was_interrupted_is_handled_alike(store):
    commit(store, idle())
    tickets = [accept_ticket("thread_1"), commit_ticket("thread_2")]
    tickets[1].operation.events = [("RunStarted", "{}")]
    for ticket in tickets:
        ticket.give_up()
    store._writer.write(tickets)
    again = commit_ticket("thread_2")
    again.operation.events = [("RunStarted", "{}")]
    store._writer.write([again])
    assert again.answered
    assert again.operation.last_seq == 1
    assert store.load("thread_1").inbox == ()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (sa.exc.TimeoutError(), "no connection became free; try again"),
        (sa.exc.InvalidRequestError(SECRET), "it reported InvalidRequestError; check that nothing else changes its"),
        (sa.exc.ProgrammingError("SELECT", {}, psycopg_error("42P01")), "it reported ProgrammingError 42P01; check"),
        (sa.exc.ProgrammingError("SELECT", {}, psycopg_error("26000")), "a pooler such as PgBouncer shares its"),
        (sa.exc.ProgrammingError("SELECT", {}, psycopg_error("42P05")), "a pooler such as PgBouncer shares its"),
    ],
)
def test_rare_errors_have_advice_as_well(error, advice):
    problem = store_errors.to_store_error(error, "the database")
    assert advice in str(problem)
    assert SECRET not in str(problem)

"""A commit that fails at its very end: its outcome is determined, or reported as unknown."""

import sqlite3

import pytest
import sqlalchemy as sa

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores import store_errors
from tests.stores.helpers import (
    SECRET,
    accept_ticket,
    an_event,
    commit,
    idle,
    say,
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


def test_a_commit_with_an_unknown_outcome_says_so(store, at_commit):
    commit(store, idle())
    at_commit.after = Lost()
    engine = store._database.writing

    def begin(_connection):
        raise Lost

    def arm(_connection):
        sa.event.listen(engine, "begin", begin)

    sa.event.listen(engine, "commit", arm, once=True)
    with pytest.raises(StoreError, match="It is unknown whether the last commit took effect"):
        commit(store, idle(), an_event())
    sa.event.remove(engine, "begin", begin)
    assert [record.seq for record in commit(store, idle(), an_event())] == [2], "the numbers are read again"


@pytest.mark.parametrize(("when", "kept"), [("before", 0), ("after", 1)])
def test_an_interrupt_in_a_commit_is_raised_and_the_other_callers_get_the_outcome(store, at_commit, when, kept):
    commit(store, idle())
    setattr(at_commit, when, KeyboardInterrupt())
    tickets = [accept_ticket("thread_1"), accept_ticket("thread_1")]
    with pytest.raises(KeyboardInterrupt):
        store._writer.write(tickets)
    assert [ticket.answered for ticket in tickets] == [bool(kept)] * 2
    assert store.accept("thread_1", say()) == 1 + 2 * kept


def test_an_interrupt_in_a_commit_with_an_unknown_outcome_is_raised(store, at_commit):
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
def test_rare_errors_have_advice_as_well(error, advice):
    problem = store_errors.to_store_error(error, "the database")
    assert advice in str(problem)
    assert SECRET not in str(problem)

"""Counters, statements, indexes and concurrent readers on a SQLite file."""

import itertools
import threading

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores import schema
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


def test_counters_of_inactive_threads_are_dropped_from_memory_and_read_again(store, monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.stores.writer._MAX_KNOWN", 3)
    monkeypatch.setattr("gpt_agent_fsm.stores.writer._MAX_LOOKUP", 2)
    threads = [f"thread_{number}" for number in range(7)]
    for thread_id in threads:
        commit(store, busy(thread_id), an_event(thread_id))
        store.accept(thread_id, say())
    assert len(store._writer._known) == 3
    tickets = [accept_ticket(thread_id, '{"type": "CancelRun"}') for thread_id in threads]
    store._writer.write(tickets)
    assert [ticket.operation.number for ticket in tickets] == [2] * 7
    for thread_id in threads:
        assert commit(store, idle(thread_id), an_event(thread_id), consumed=1)[0].seq == 2


def test_a_group_takes_few_statements_and_reads_no_counters(store):
    threads = [f"thread_{number}" for number in range(50)]
    store._writer.write([commit_ticket(thread_id) for thread_id in threads])
    statements = []
    store._database.dispose()
    with store._database.writing.connect() as connection:
        connection.connection.driver_connection.set_trace_callback(statements.append)
    store._writer.write(
        [*(accept_ticket(thread_id) for thread_id in threads), *(commit_ticket(thread_id) for thread_id in threads)]
    )
    assert [kind for kind, _ in itertools.groupby(" ".join(each.split()[:3]) for each in statements)] == [
        "BEGIN IMMEDIATE",
        "UPDATE gpt_agent_meta SET",
        "INSERT INTO gpt_agent_inbox",
        "INSERT INTO gpt_agent_threads",
        "COMMIT",
    ]


def test_unfinished_threads_and_their_records_are_found_by_index(store):
    with store._database.reading.connect() as connection:
        for statement in (schema.UNFINISHED_THREADS, schema.UNFINISHED_RECORDS):
            sql = str(statement.compile(dialect=connection.dialect))
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")]
            assert not [
                step for step in plan if step.startswith("SCAN") and "INDEX" not in step and "inbox" not in step
            ]


def test_a_call_that_reads_several_tables_reads_one_state(store, monkeypatch):
    commit(store, busy(), an_event())
    every = store._database.statements.all

    def slow(connection, statement, row=None):
        found = every(connection, statement, row)
        commit(store, busy(), an_event(run_id="run_2"))
        return found

    monkeypatch.setattr(store._database.statements, "all", slow)
    saved = store.load("thread_1")
    assert [record.seq for record in saved.unannounced] == [saved.last_seq] == [1]


def test_many_readers_and_a_writer_work_at_the_same_time(store):
    commit(store, busy(), an_event())
    stop, errors = threading.Event(), []

    def read():
        try:
            while not stop.is_set():
                store.load("thread_1")
        except StoreError as error:
            errors.append(error)

    readers = [threading.Thread(target=read, daemon=True) for _ in range(8)]
    for reader in readers:
        reader.start()
    for _ in range(20):
        commit(store, busy(), an_event())
    stop.set()
    for reader in readers:
        reader.join(30)
    assert errors == []


def test_a_message_is_stored_only_once(store, path):
    commit(store, idle(), an_event())
    store.accept("thread_1", say())
    with sqlite(path) as other:
        dump = "\n".join(other.iterdump())
    assert dump.count(SECRET) == 1
    assert "\nINSERT" in dump

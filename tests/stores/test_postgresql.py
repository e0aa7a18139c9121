"""Faults of a PostgreSQL server, and the state of the store afterwards."""

import contextlib
import itertools
import socket
import threading

import pytest

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores import SQLStore, schema
from tests.postgresql import PASSWORD
from tests.stores.helpers import SECRET, accept_ticket, an_event, busy, commit, commit_ticket, idle, say, texts_of

psycopg = pytest.importorskip("psycopg")


@pytest.fixture
def url(postgresql):
    return postgresql.new_schema()


@pytest.fixture
def store(url):
    with contextlib.closing(SQLStore(url, lock_timeout=0.05)) as store:
        yield store


def test_a_plain_url_uses_psycopg(store, url):
    assert store._database.writing.url.drivername == "postgresql+psycopg"
    commit(store, idle())
    with contextlib.closing(SQLStore(url.replace("postgresql://", "postgres://"), read_only=True)) as reader:
        assert reader.load("thread_1") is not None


def test_a_store_that_was_opened_earlier_can_no_longer_write(store, url):
    commit(store, idle())
    with contextlib.closing(SQLStore(url)) as successor:
        with pytest.raises(StoreError, match=r"taken over the PostgreSQL database postgres at 127\.0\.0\.1"):
            commit(store, idle(), an_event())
        assert [record.seq for record in commit(successor, idle(), an_event())] == [1]


def test_a_takeover_waits_for_an_open_transaction(store, url):
    commit(store, idle())
    with psycopg.connect(url) as other:
        other.execute("UPDATE gpt_agent_meta SET groups = groups + 1")
        with pytest.raises(StoreError, match="it is locked by another program"):
            SQLStore(url, lock_timeout=0.05)
        with pytest.raises(StoreError, match="it is locked by another program"):
            commit(store, idle())
    commit(store, idle())


def test_many_stores_can_open_an_empty_database_at_once(url):
    barrier, stores, errors = threading.Barrier(6), [], []

    def work():
        barrier.wait(30)
        try:
            stores.append(SQLStore(url))
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert errors == []
    assert sorted(store._writer._epoch for store in stores) == [1, 2, 3, 4, 5, 6]
    for store in stores:
        store.close()


def test_tables_of_a_newer_version_are_refused_and_left_unchanged(url):
    with psycopg.connect(url) as other:
        other.execute("CREATE TABLE gpt_agent_meta (id bigint, version bigint, news text)")
        other.execute("INSERT INTO gpt_agent_meta VALUES (1, %s, 'anything')", [schema.SCHEMA_VERSION + 1])
    with pytest.raises(StoreError, match="created by a newer version of gpt-agent-fsm; upgrade gpt-agent-fsm"):
        SQLStore(url)
    with psycopg.connect(url) as other:
        assert other.execute("SELECT id, news FROM gpt_agent_meta").fetchall() == [(1, "anything")]
        tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()"
        assert other.execute(tables).fetchone() == (1,)


def test_a_value_that_cannot_be_stored_fails_alone_and_is_not_quoted(store):
    good, bad, late = commit_ticket("thread_1"), commit_ticket(f"{SECRET}\0"), accept_ticket("thread_1")
    endless = commit_ticket("".join(chr(0x4E00 + number % 20_000) for number in range(20_000)))
    store._writer.write([good, bad, endless, late])
    assert [ticket.answered for ticket in (good, bad, endless, late)] == [True, False, False, True]
    assert "keep zero characters" in str(bad.error)
    assert "keep thread ids below two kilobytes" in str(endless.error)
    assert SECRET not in texts_of(bad.error)


def test_a_refused_login_is_reported_without_the_password(postgresql):
    wrong = postgresql.url.replace(PASSWORD, "wr0ng-pa55")
    with pytest.raises(
        StoreError, match=r"at 127\.0\.0\.1 failed: .*password authentication failed for user"
    ) as caught:
        SQLStore(wrong)
    assert "wr0ng-pa55" not in texts_of(caught.value)


def test_a_missing_database_is_reported(postgresql):
    with pytest.raises(StoreError, match=r'database nowhere at .*: database "nowhere" does not exist') as caught:
        SQLStore(f"{postgresql.url.removesuffix('/postgres')}/nowhere")
    assert PASSWORD not in texts_of(caught.value)


def test_a_stopped_server_is_reported():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(
            StoreError, match="the server cannot be reached or closed the connection; check that it runs"
        ) as caught:
            SQLStore(f"postgresql://tests:{PASSWORD}@127.0.0.1:{port}/postgres")
    assert PASSWORD not in texts_of(caught.value)


def test_a_user_without_write_permission_is_reported(postgresql, url):
    with psycopg.connect(url) as admin:
        admin.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    guest = url.replace(f"tests:{PASSWORD}", "guest:guest")
    with pytest.raises(StoreError, match=r"grant the rights|create it"):
        SQLStore(guest)


def test_a_lost_connection_is_replaced(store, url):
    commit(store, idle())
    with psycopg.connect(url, autocommit=True) as admin:
        cut = (
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity"
            " WHERE application_name = 'gpt-agent-fsm' AND pid <> pg_backend_pid()"
        )
        admin.execute(cut)
        assert [record.seq for record in commit(store, idle(), an_event())] == [1]
        admin.execute(cut)
        assert [record.seq for record in store.history("thread_1")] == [1]


def test_a_server_that_crashes_and_restarts_has_all_acknowledged_data(own_postgresql):
    url = own_postgresql.new_schema()
    with contextlib.closing(SQLStore(url)) as store:
        acknowledged, problems = dict.fromkeys(range(4), 0), {number: [] for number in range(4)}
        enough, stop = threading.Semaphore(0), threading.Event()

        def work(number):
            thread_id = f"thread_{number}"
            while not stop.is_set():
                try:
                    [record] = commit(store, busy(thread_id), an_event(thread_id))
                except StoreError as error:
                    problems[number].append(error)
                    return
                acknowledged[number] = record.seq
                enough.release()

        workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
        for worker in workers:
            worker.start()
        for _ in range(200):
            assert enough.acquire(timeout=30)
        own_postgresql.stop()
        for worker in workers:
            worker.join(60)
        assert all(problems.values())
        for error in itertools.chain(*problems.values()):
            assert "Using the PostgreSQL database postgres at 127.0.0.1 failed" in str(error)
            assert PASSWORD not in texts_of(error)
        with pytest.raises(StoreError, match="cannot be reached"):
            store.load("thread_0")
        own_postgresql.start()
        for number, last in acknowledged.items():
            thread_id = f"thread_{number}"
            seqs = [record.seq for record in store.history(thread_id)]
            assert seqs in (list(range(1, last + 1)), list(range(1, last + 2)))
            assert [record.seq for record in commit(store, idle(thread_id), an_event(thread_id))] == [len(seqs) + 1]
            assert store.accept(thread_id, say()) == 1


def test_close_saves_announcements_or_raises(own_postgresql):
    url = own_postgresql.new_schema()
    store = SQLStore(url)
    commit(store, busy(), an_event(), an_event())
    store.announced("thread_1", 1)
    own_postgresql.stop()
    with pytest.raises(StoreError, match="cannot be reached"):
        store.close()
    store.close()

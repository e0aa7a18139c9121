"""A SQLite file: opened by one owner, read by many, with as few statements as it takes."""

import contextlib
import hashlib
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa

from gpt_agent_fsm import stores
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores import SQLStore, schema, store_errors
from tests.stores.helpers import (
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

# --- opening -------------------------------------------------------------------------------------------------


def test_the_file_is_made_with_a_log_and_full_flushes(store, path):
    with sqlite_file(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("SELECT version, epoch FROM gpt_agent_meta").fetchall() == [(schema.SCHEMA_VERSION, 1)]
    with store._database.writing.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_another_process_reads_while_the_store_writes(store, path):
    commit(store, idle(), an_event())
    query = "SELECT seq FROM gpt_agent_events"
    code = f"import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute({query!r}).fetchall())"
    with sqlite_file(path) as writing:
        writing.execute("BEGIN IMMEDIATE")
        seen = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == "[(1,)]"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "agents.db",
        "mysql://user:pa55@host/db",
        "postgresql+asyncpg://user:pa55@host/db",
        "postgresql://user:pa55@host:pa55port/db",
        "http://pa55@host",
        "sqlite+aiosqlite:///agents.db",
    ],
)
def test_a_url_of_no_database_of_ours_is_refused_without_telling_the_password(url):
    with pytest.raises(StoreError, match=r"write it like sqlite:///agents\.db") as caught:
        SQLStore(url)
    assert "pa55" not in texts_of(caught.value)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"missing/agents.db failed: .* check that its directory exists"):
        SQLStore(f"sqlite:///{tmp_path}/missing/agents.db")


def test_a_directory_is_no_database(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        SQLStore(f"sqlite:///{tmp_path}")


def test_a_file_that_is_something_else_is_left_alone(path, url):
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(StoreError, match="is no SQLite database"):
        SQLStore(url)
    assert path.read_bytes() == b"Dear diary, " * 1000


def test_a_damaged_file_says_so(path, url):
    with contextlib.closing(SQLStore(url)) as store:
        for number in range(200):
            commit(store, idle(f"thread_{number}", assistant_id="x" * 500))
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = b"\xa5" * (len(content) - 4096 * 3)
    path.write_bytes(content)

    def read_it_all():
        with contextlib.closing(SQLStore(url)) as store:
            for number in range(200):
                store.load(f"thread_{number}")

    with pytest.raises(StoreError, match="the file is damaged; restore it from a backup"):
        read_it_all()


def test_a_read_only_file_says_so(path, url):
    SQLStore(url).close()
    with pytest.raises(StoreError, match="it is read-only; make the file and its directory writable"):
        SQLStore(f"sqlite:///file:{path}?mode=ro&uri=true")


def test_tables_of_a_newer_version_are_refused_and_left_alone(path, url):
    with sqlite_file(path) as other:
        other.execute("CREATE TABLE gpt_agent_meta (id INTEGER, version INTEGER, news TEXT)")
        other.execute("INSERT INTO gpt_agent_meta VALUES (1, ?, 'anything')", [schema.SCHEMA_VERSION + 1])
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    for read_only in (False, True):
        with pytest.raises(StoreError, match=r"made by a newer version of gpt-agent-fsm; upgrade it\."):
            SQLStore(url, read_only=read_only)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_snapshot_of_a_newer_version_is_refused_and_left_alone(store, path):
    commit(store, idle())
    commit(store, idle("thread_2"))
    newer = '{"version": 99, "thread_id": "thread_1", "dreams": []}'
    with sqlite_file(path) as other:
        other.execute("UPDATE gpt_agent_threads SET snapshot = ? WHERE thread_id = 'thread_1'", [newer])
        with pytest.raises(StoreError, match="thread_1 was written by a newer version of gpt-agent-fsm; upgrade it"):
            store.load("thread_1")
        assert store.load("thread_2") is not None
        stored = other.execute("SELECT snapshot FROM gpt_agent_threads WHERE thread_id = 'thread_1'").fetchone()
    assert stored == (newer,)


def test_a_failed_opening_leaves_no_connection_open(tmp_path, recwarn):
    with pytest.raises(StoreError):
        SQLStore(f"sqlite:///{tmp_path}/missing/agents.db")
    assert not recwarn.list


# --- one owner -----------------------------------------------------------------------------------------------


def test_a_store_that_was_opened_earlier_writes_no_more(store, url):
    commit(store, idle(), an_event())
    with contextlib.closing(SQLStore(url)) as successor:
        for write in (
            lambda: commit(store, idle(), an_event()),
            lambda: store.accept("thread_1", say()),
            lambda: store.announced("thread_1", 1),
        ):
            with pytest.raises(StoreError, match=r"Another process has taken over the SQLite database .*agents\.db"):
                write()
        assert [record.seq for record in commit(successor, idle(), an_event())] == [2]
        assert [record.seq for record in store.history("thread_1")] == [1, 2], "reading goes on"
        with pytest.raises(StoreError, match="taken over"):
            store.close()
        store.close()


def test_a_store_with_nothing_left_to_write_closes_in_peace_after_a_takeover(url):
    store = SQLStore(url)
    commit(store, idle())
    SQLStore(url).close()
    store.close()


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


def test_a_reader_makes_no_file(path, url):
    with pytest.raises(StoreError, match="There is no store yet in the SQLite database"):
        SQLStore(url, read_only=True)
    assert not path.exists()
    path.touch()
    with pytest.raises(StoreError, match="There is no store yet"):
        SQLStore(url, read_only=True)


def test_a_closed_store_says_so(url):
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


def test_a_call_that_comes_in_while_the_store_closes_is_refused(store):
    commit(store, idle())
    store._writer._closed = True
    with pytest.raises(StoreError, match="This store was closed"):
        commit(store, idle())
    store._writer._closed = False


# --- faults, and life after them -----------------------------------------------------------------------------


def everything(path):
    """Return all rows of the store, and what was counted."""
    with sqlite(path) as other:
        return list(other.iterdump())


def test_a_locked_file_raises_in_time_and_works_again_when_it_is_free(store, path):
    commit(store, idle())
    before = everything(path)
    with sqlite(path) as other:
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
    with sqlite(path) as other:
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


def test_a_value_that_can_not_be_kept_fails_alone(store):
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
    problem = store_errors.to_store_error(error, "the database")
    assert advice in str(problem)
    assert SECRET not in str(problem)


# --- announcing ----------------------------------------------------------------------------------------------


def announced_on_disk(path):
    with sqlite_file(path) as other:
        return dict(other.execute("SELECT thread_id, announced FROM gpt_agent_threads").fetchall())


def test_what_was_announced_is_written_with_the_next_group(store, path):
    commit(store, busy(), an_event(), an_event())
    commit(store, busy("thread_2"), an_event("thread_2"))
    store.announced("thread_1", 1)
    store.announced("thread_2", 1)
    store.announced("thread_1", 1)
    assert announced_on_disk(path) == {"thread_1": 0, "thread_2": 0}
    store.accept("thread_1", say())
    assert announced_on_disk(path) == {"thread_1": 1, "thread_2": 1}


def test_what_was_announced_is_written_at_once_where_a_thread_comes_to_rest(store, path):
    commit(store, idle(), an_event(), an_event())
    store.announced("thread_1", 1)
    assert announced_on_disk(path) == {"thread_1": 0}
    store.announced("thread_1", 2)
    assert announced_on_disk(path) == {"thread_1": 2}
    with sqlite_file(path) as other:
        assert other.execute("SELECT unfinished FROM gpt_agent_threads").fetchall() == [(0,)]


def test_what_was_announced_is_seen_before_it_is_written(store):
    commit(store, busy(), an_event(), an_event())
    store.announced("thread_1", 1)
    assert [record.seq for record in store.load("thread_1").unannounced] == [2]
    assert [record.seq for record in store.unfinished()["thread_1"].unannounced] == [2]


def test_a_thread_that_is_not_in_memory_yet_is_looked_up(url, path):
    with contextlib.closing(SQLStore(url)) as store:
        commit(store, busy(), an_event(), an_event())
    with contextlib.closing(SQLStore(url)) as store:
        store.announced("thread_1", 5)
        assert announced_on_disk(path) == {"thread_1": 2}


def test_a_mark_that_could_not_be_written_is_written_later(store, path):
    commit(store, idle(), an_event())
    with sqlite_file(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            store.announced("thread_1", 1)
        other.execute("ROLLBACK")
    assert store.load("thread_1").unannounced == ()
    assert store.unfinished() == {}
    commit(store, idle("thread_2"))
    assert announced_on_disk(path)["thread_1"] == 1


def test_a_mark_that_moves_while_it_is_written_is_not_forgotten(store, path, monkeypatch):
    commit(store, busy(), an_event(), an_event())
    store.announced("thread_1", 1)
    sa.event.listen(store._database.writing, "commit", lambda _connection: store.announced("thread_1", 2), once=True)
    store.accept("thread_1", say())
    assert announced_on_disk(path) == {"thread_1": 1}
    store.accept("thread_1", say())
    assert announced_on_disk(path) == {"thread_1": 2}


# --- means ---------------------------------------------------------------------------------------------------


def test_counters_of_threads_that_were_long_quiet_are_forgotten_and_looked_up_again(store, monkeypatch):
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


def test_a_group_takes_few_statements_and_looks_nothing_up(store):
    threads = [f"thread_{number}" for number in range(50)]
    store._writer.write([commit_ticket(thread_id) for thread_id in threads])
    statements = []
    sa.event.listen(
        store._database.writing, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    store._writer.write(
        [*(accept_ticket(thread_id) for thread_id in threads), *(commit_ticket(thread_id) for thread_id in threads)]
    )
    assert [statement.split()[0] for statement in statements] == ["BEGIN", "UPDATE", "INSERT", "INSERT"]


def test_unfinished_threads_and_their_records_are_found_by_index(store):
    with store._database.reading.connect() as connection:
        for statement in (schema.UNFINISHED_THREADS, schema.UNFINISHED_RECORDS):
            sql = str(statement.compile(dialect=connection.dialect))
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")]
            assert not [
                step for step in plan if step.startswith("SCAN") and "INDEX" not in step and "inbox" not in step
            ]


def test_many_readers_and_a_writer_get_along(store):
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


def test_nothing_is_stored_but_what_was_given(store, path):
    commit(store, idle(), an_event())
    store.accept("thread_1", say())
    with sqlite_file(path) as other:
        dump = "\n".join(other.iterdump())
    assert dump.count(SECRET) == 1
    assert "\nINSERT" in dump


def test_importing_the_package_does_not_import_sqlalchemy():
    code = "import sys, gpt_agent_fsm.stores; print('sqlalchemy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False"]


def test_without_sqlalchemy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "gpt_agent_fsm.stores.sql")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ImportError, match=r'SQLStore needs SQLAlchemy: pip install "gpt-agent-fsm\[sql\]"'):
        _ = stores.SQLStore


def test_another_module_that_is_missing_is_not_taken_for_sqlalchemy(monkeypatch):
    monkeypatch.delitem(sys.modules, "gpt_agent_fsm.stores.sql")
    monkeypatch.setitem(sys.modules, "gpt_agent_fsm.stores.writer", None)
    with pytest.raises(ModuleNotFoundError, match=r"gpt_agent_fsm\.stores\.writer"):
        _ = stores.SQLStore


def test_there_is_nothing_else_in_the_package():
    with pytest.raises(AttributeError, match="no attribute 'RedisStore'"):
        _ = stores.RedisStore


def test_without_psycopg_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r'psycopg for PostgreSQL: pip install "gpt-agent-fsm\[postgres\]"'):
        SQLStore("postgresql://localhost/agents")

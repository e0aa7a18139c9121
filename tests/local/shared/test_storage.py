import contextlib
import sqlite3
import threading

import msgspec
import pytest
import sqlalchemy.exc

from gpt_agent_fsm.local.shared import schema
from gpt_agent_fsm.local.shared.file_owner import FileOwner
from gpt_agent_fsm.local.shared.storage import (
    PageQuery,
    Storage,
    StorageBusyError,
    StorageClosedError,
    UnknownCursorError,
)

PATIENCE = 10.0


@pytest.fixture(params=["memory", "file"])
def storage(request, tmp_path):
    storage = Storage(None if request.param == "memory" else tmp_path / "a.db")
    yield storage
    storage.close()


def test_a_transaction_that_raises_changes_nothing_and_calls_nothing(storage):
    called = []

    def fail():
        with storage.transaction() as tx:
            tx.add("thread", {"id": "thread_1"})
            tx.on_commit(lambda: called.append("rolled back"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with storage.transaction() as tx:
        assert tx.find("thread", "thread_1") is None
        tx.on_commit(lambda: called.append("committed"))
        assert called == []
    assert called == ["committed"]


READS = {
    "children": lambda tx: tx.children("message", "thread_1"),
    "children_before": lambda tx: tx.children_before("message", "thread_1", "none"),
    "history": lambda tx: tx.history("thread_1"),
    "overdue": lambda tx: tx.overdue("message", 2.0),
    "containing": lambda tx: tx.containing("message", b"{broken"),
    "page": lambda tx: tx.page("message", "thread_1", PageQuery()),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_the_log_file_is_gone_after_close_even_if_a_damaged_object_was_read(tmp_path, read):
    storage = Storage(tmp_path / "a.db")
    with storage.transaction() as tx:
        for number in range(3):
            tx.add("message", {"id": f"msg_{number}"}, parent="thread_1", due=1.0)
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as other:
        other.execute("UPDATE objects SET doc = CAST('{broken' AS BLOB)")
        other.commit()
    with pytest.raises(msgspec.DecodeError) as kept, storage.transaction() as tx:
        read(tx)
    storage.close()
    assert not list(tmp_path.glob("*-wal"))
    del kept


def test_a_callback_after_a_commit_may_begin_a_transaction(storage):
    def more():
        with storage.transaction() as tx:
            tx.add("thread", {"id": "thread_1"})

    with storage.transaction() as tx:
        tx.on_commit(more)
    with storage.transaction() as tx:
        assert tx.find("thread", "thread_1") == {"id": "thread_1"}


def test_transactions_of_many_os_threads_lose_nothing(storage):
    with storage.transaction() as tx:
        tx.add("counter", {"id": "c", "n": 0})

    def count():
        for _ in range(50):
            with storage.transaction() as tx:
                doc = tx.find("counter", "c")
                doc["n"] += 1
                tx.save(doc)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    with storage.transaction() as tx:
        assert tx.find("counter", "c")["n"] == 400


def test_ids_are_given_once(storage):
    with storage.transaction() as tx:
        tx.add("thread", {"id": "x"})
        with pytest.raises(sqlalchemy.exc.IntegrityError, match="UNIQUE") as caught:
            tx.add("message", {"id": "x", "secret": "words"})
    assert "'message'" not in str(caught.value)


def test_an_object_is_overdue_from_its_time_on_until_it_is_settled(storage):
    with storage.transaction() as tx:
        tx.add("run", {"id": "late"}, due=10.0)
        tx.add("run", {"id": "later"}, due=20.0)
        tx.add("run", {"id": "never"})
        tx.add("response", {"id": "other"}, due=10.0)
        assert tx.overdue("run", 9.9) == []
        assert tx.overdue("run", 10.0) == [{"id": "late"}]
        assert tx.overdue("run", 100.0) == [{"id": "late"}, {"id": "later"}]
        tx.settle({"id": "late", "done": True})
        tx.save({"id": "later", "seen": True})
        assert tx.overdue("run", 100.0) == [{"id": "later", "seen": True}]
        assert tx.find("run", "late") == {"id": "late", "done": True}


def test_children_latest_and_counts_follow_the_order_of_adding(storage):
    with storage.transaction() as tx:
        for name in "abc":
            tx.add("message", {"id": name}, parent="t")
        tx.add("message", {"id": "d"}, parent="other")
        tx.add("run", {"id": "r"}, parent="t")
        assert [doc["id"] for doc in tx.children("message", "t")] == ["a", "b", "c"]
        assert [doc["id"] for doc in tx.children_before("message", "t", "c")] == ["a", "b"]
        assert [doc["id"] for doc in tx.children_before("message", "t", "r")] == ["a", "b", "c"]
        assert tx.latest("message", "t") == {"id": "c"}
        assert tx.latest("step", "t") is None
        assert tx.count_after("message", "t", "a") == 2
        assert tx.count_after("run", "t", "c") == 1
        assert tx.count_after("run", "t", "unknown") == 0


def test_a_cursor_that_is_not_in_the_list_is_unknown(storage):
    with storage.transaction() as tx:
        tx.add("message", {"id": "a"}, parent="t")
        with pytest.raises(UnknownCursorError):
            tx.page("message", "other", PageQuery(after="a"))
        with pytest.raises(UnknownCursorError):
            tx.page("message", "t", PageQuery(before="b"))


def test_a_closed_storage_begins_no_transaction(storage):
    storage.close()
    storage.close()
    with pytest.raises(StorageClosedError), storage.transaction():
        pass


@contextlib.contextmanager
def locked(path):
    """Lock the file as another program would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_a_transaction_waits_for_the_lock_of_another_program_as_long_as_its_caller_can(tmp_path):
    storage = Storage(tmp_path / "a.db")
    with locked(tmp_path / "a.db"), pytest.raises(StorageBusyError), storage.transaction(0.0):
        pass
    with storage.transaction(0.0) as tx:
        tx.add("thread", {"id": "thread_1"})
    storage.close()


def test_a_transaction_that_waits_for_the_lock_of_another_program_gives_up_when_the_storage_is_closed(tmp_path):
    storage = Storage(tmp_path / "a.db")
    raised = []

    def wait():
        try:
            with storage.transaction():
                pass
        except StorageClosedError as error:
            raised.append(error)

    with locked(tmp_path / "a.db"):
        thread = threading.Thread(target=wait)
        thread.start()
        storage.close()
        thread.join(PATIENCE)
    assert len(raised) == 1


def test_a_file_that_another_program_keeps_locked_cannot_be_opened_and_is_free_again_later(tmp_path, monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.local.shared.storage._STARTING", 0.1)
    Storage(tmp_path / "a.db").close()
    with locked(tmp_path / "a.db"), pytest.raises(sqlalchemy.exc.OperationalError, match="database is locked"):
        Storage(tmp_path / "a.db")
    Storage(tmp_path / "a.db").close()


def test_the_file_is_an_sqlite_database_that_others_may_read(tmp_path):
    path = tmp_path / "a.db"
    storage = Storage(path)
    with storage.transaction() as tx:
        tx.add("thread", {"id": "thread_1"})
    storage.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT id, kind, doc FROM objects").fetchall() == [
        ("thread_1", "thread", b'{"id":"thread_1"}')
    ]
    connection.close()


def test_the_next_server_gets_the_file_only_when_this_one_has_closed_it(tmp_path, monkeypatch):
    path = tmp_path / "a.db"
    left = []
    close = FileOwner.close

    def closes(owner):
        left.append((tmp_path / "a.db-wal").exists())
        close(owner)

    monkeypatch.setattr(FileOwner, "close", closes)
    storage = Storage(path)
    with storage.transaction() as tx:
        tx.add("thread", {"id": "thread_1"})
    storage.close()
    assert left == [False]


def test_overdue_objects_are_found_by_index(storage):
    with storage.transaction() as tx:
        sql = str(schema.DUE.compile(dialect=tx._connection.dialect))
        plan = [row[3] for row in tx._connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", (1.0, "run"))]
    assert plan[0].startswith("SEARCH objects USING INDEX objects_by_kind_and_due"), plan
    assert not [step for step in plan if step.startswith("SCAN")]


def test_the_file_of_an_earlier_version_gets_the_index_that_it_lacks(tmp_path):
    Storage(tmp_path / "a.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as old:
        old.execute("DROP INDEX objects_by_kind_and_due")
        old.execute("CREATE INDEX objects_by_due ON objects (due) WHERE due IS NOT NULL")
    Storage(tmp_path / "a.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as new:
        names = {name for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert names >= {"objects_by_kind_and_due", "objects_by_parent"}
    assert "objects_by_due" not in names


def test_a_database_whose_table_is_another_one_is_refused_and_stays_as_it_was(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as other:
        other.execute("CREATE TABLE objects (id TEXT, mine TEXT)")
    before = (tmp_path / "a.db").read_bytes()
    with pytest.raises(sqlalchemy.exc.DatabaseError, match="no such column"):
        Storage(tmp_path / "a.db")
    assert (tmp_path / "a.db").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]


def test_a_large_transaction_that_is_rolled_back_leaves_nothing_in_the_file_or_its_log(tmp_path):
    storage = Storage(tmp_path / "a.db")

    def fail():
        with storage.transaction() as tx:
            tx.add("thread", {"id": "thread_1", "text": "secret-4711 " * 1_000_000})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not [path.name for path in tmp_path.iterdir() if b"secret-4711" in path.read_bytes()]
    storage.close()

"""Opening a SQLite file: a good one, a bad one, and one of another version."""

import contextlib
import hashlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores import SQLStore, engine, schema
from tests.stores.helpers import (
    an_event,
    commit,
    idle,
    sqlite,
    texts_of,
)


def test_the_file_is_created_with_a_log_and_full_flushes(store, path):
    with sqlite(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("SELECT version, epoch FROM gpt_agent_meta").fetchall() == [(schema.SCHEMA_VERSION, 1)]
    with store._database.writing.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_another_process_reads_while_the_store_writes(store, path):
    commit(store, idle(), an_event())
    query = "SELECT seq FROM gpt_agent_events"
    code = f"import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute({query!r}).fetchall())"
    with sqlite(path) as writing:
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
def test_an_unsupported_url_is_refused_without_quoting_the_password(url):
    with pytest.raises(StoreError, match=r"write it like sqlite:///agents\.db") as caught:
        SQLStore(url)
    assert "pa55" not in texts_of(caught.value)


@pytest.mark.parametrize("path", ["agents.db", "folder/agents.db"])
def test_a_url_with_two_slashes_is_refused_with_the_right_url(path):
    with pytest.raises(StoreError, match=rf"three slashes: sqlite:///{path}$"):
        SQLStore(f"sqlite://{path}")


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"missing/agents.db failed: .* its directory exists"):
        SQLStore(f"sqlite:///{tmp_path}/missing/agents.db")


def test_a_directory_is_not_a_database(tmp_path):
    with pytest.raises(StoreError, match="cannot be opened"):
        SQLStore(f"sqlite:///{tmp_path}")


def test_a_file_of_another_program_is_left_unchanged(path, url):
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(StoreError, match="is not a SQLite database"):
        SQLStore(url)
    assert path.read_bytes() == b"Dear diary, " * 1000


def test_a_damaged_file_is_reported(path, url):
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


def test_a_read_only_file_is_reported(path, url):
    SQLStore(url).close()
    with pytest.raises(StoreError, match="it is read-only; make the file and its directory writable"):
        SQLStore(f"sqlite:///file:{path}?mode=ro&uri=true")


def test_tables_of_a_newer_version_are_refused_and_left_unchanged(path, url):
    with sqlite(path) as other:
        other.execute("CREATE TABLE gpt_agent_meta (id INTEGER, version INTEGER, news TEXT)")
        other.execute("INSERT INTO gpt_agent_meta VALUES (1, ?, 'anything')", [schema.SCHEMA_VERSION + 1])
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    for read_only in (False, True):
        with pytest.raises(StoreError, match=r"created by a newer version of gpt-agent-fsm; upgrade gpt-agent-fsm\."):
            SQLStore(url, read_only=read_only)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_snapshot_of_a_newer_version_is_refused_and_left_unchanged(store, path):
    commit(store, idle())
    commit(store, idle("thread_2"))
    newer = '{"version": 99, "thread_id": "thread_1", "dreams": []}'
    with sqlite(path) as other:
        other.execute("UPDATE gpt_agent_threads SET snapshot = ? WHERE thread_id = 'thread_1'", [newer])
        with pytest.raises(
            StoreError, match="thread_1 was written by a newer version of gpt-agent-fsm; upgrade gpt-agent-fsm"
        ):
            store.load("thread_1")
        assert store.load("thread_2") is not None
        stored = other.execute("SELECT snapshot FROM gpt_agent_threads WHERE thread_id = 'thread_1'").fetchone()
    assert stored == (newer,)


def test_a_failed_opening_leaves_no_connection_open(tmp_path, recwarn):
    with pytest.raises(StoreError):
        SQLStore(f"sqlite:///{tmp_path}/missing/agents.db")
    assert not recwarn.list


def test_a_wrong_parameter_of_the_url_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"A parameter in the URL of the database has a wrong value \(timeout\)"):
        SQLStore(f"sqlite:///{tmp_path}/a.db?timeout=abc")


@pytest.fixture
def read_only_folder(store, path, monkeypatch):
    """The folder of a file on a disk that seems to be read-only."""
    commit(store, idle(), an_event())
    store.close()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    monkeypatch.setattr(engine.os, "statvfs", lambda _: SimpleNamespace(f_flag=engine.os.ST_RDONLY))
    yield path.parent
    path.parent.chmod(0o755)


def test_a_file_on_a_read_only_disk_is_read_without_new_files(read_only_folder, path, url):
    with contextlib.closing(SQLStore(url, read_only=True)) as reader:
        assert reader.load("thread_1").snapshot == idle()
        assert [record.seq for record in reader.history("thread_1")] == [1]
        assert [each.name for each in read_only_folder.iterdir()] == [path.name]

"""Stores of every former format open and continue: `formats/` holds a file of each, written by the library of then.

Each thread of a file lived the story of its name, in the words of `tests.story`; lived today, it has to end up equal.
"""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.objects import RunStatus
from gpt_agent_fsm.machine.queue import Queue
from gpt_agent_fsm.stores import SQLStore, codec, migrations, schema
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler
from tests.story import (
    LOCATE,
    MEASURE,
    Story,
    answer,
    awaiting,
    cancel,
    connect,
    created,
    creating,
    delayed,
    denied,
    due,
    idle,
    needs,
    output,
    page,
    polling,
    posted,
    posting,
    rate_limited,
    reading,
    refused,
    retrying,
    say,
    seen,
    submitting,
    unknown,
)

FORMATS = Path(__file__).parent / "formats"
ONCE = {"request_max_attempts": 1}
LIVES = {
    "idle": idle,
    "nobody asked": Story,
    "queue": lambda: posting().tell(say("Two", "k2"), say("half: \ud83d", "k3")),
    "message in doubt": lambda: posting().tell(say("Two", "k2"), unknown(), due),
    "parked in doubt": lambda: posting(**ONCE).tell(unknown()),
    "run in doubt": lambda: creating().tell(unknown(), due),
    "polling": lambda: polling().tell(say("Two", "k2")),
    "with a handle": lambda: polling().tell(seen(RunStatus.NEEDS_TOOLS, tool_calls=(LOCATE,), handle="h1")),
    "awaiting": lambda: awaiting().tell(output(LOCATE)),
    "outputs accepted": lambda: submitting().tell(needs(LOCATE, MEASURE), due, needs(LOCATE, MEASURE)),
    "calls kept": lambda: awaiting().tell(due, denied()),
    "lost": lambda: awaiting().tell(due, refused(404)),
    "rate limited": rate_limited,
    "retrying, to be cancelled": lambda: retrying().tell(cancel),
    "retry parked": lambda: retrying(**ONCE).tell(delayed()),
    "timed out": lambda: polling().tell(inputs.DeadlinePassed(setting="run_timeout", seconds=30)),
    "reading": lambda: reading().tell(page(answer("msg_2", created_at=1.5), next_after="msg_2")),
    "read": lambda: reading().tell(page(answer("msg_2"))),
    "keys kept": lambda: posting().tell(posted(kept=True), created(key="k1.1")),
    "must check": lambda: polling().tell(denied(), connect),
}
SAID = inputs.AddUserMessage(key="k9", content="Still to be said")


@pytest.fixture
def old_file(tmp_path):
    """A copy of the file of version 1."""
    return Path(shutil.copy(FORMATS / "version_1.db", tmp_path / "agents.db"))


def lived_today(name):
    """Return the snapshot of a thread that lives the same story now, but for what version 1 did not know."""
    snapshot = attrs.evolve(LIVES[name]().snapshot, thread_id=name)
    if name == "retry parked":
        # Which run had failed was forgotten, unless the server was to be told of it.
        outbox = attrs.evolve(snapshot.outbox, owed=attrs.evolve(snapshot.outbox.owed, retry_of=None))
        snapshot = attrs.evolve(snapshot, outbox=outbox)
    # Messages were not numbered.
    return attrs.evolve(snapshot, queue=Queue(snapshot.queue.messages))


@pytest.mark.parametrize("name", LIVES)
def test_a_thread_of_version_1_is_what_it_would_be_today(old_file, name):
    with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store:
        assert store.load(name).snapshot == lived_today(name)
        assert [record.seq for record in store.history(name)] == [1]


def test_what_waited_in_the_inbox_still_waits(old_file):
    with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store:
        assert [command for _, command in store.load("idle").inbox] == [SAID]


def test_a_store_is_brought_up_to_date_once(old_file):
    for _ in range(2):
        with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store:
            assert store.load("queue").snapshot == lived_today("queue")
    with contextlib.closing(sqlite3.connect(old_file)) as connection:
        assert connection.execute("SELECT version FROM gpt_agent_meta").fetchone() == (schema.SCHEMA_VERSION,)


def test_a_runtime_continues_what_an_older_one_left(old_file):
    """The one thread of the file that our server knows gets its message posted and answered."""
    server, scheduler = SimulatedServer(), VirtualScheduler()
    thread_id = server.create_thread(timeout=1)
    with contextlib.closing(sqlite3.connect(old_file)) as connection:
        connection.execute("DELETE FROM gpt_agent_threads WHERE thread_id != 'idle'")
        text = connection.execute("SELECT snapshot FROM gpt_agent_threads").fetchone()[0]
        moved = json.dumps(json.loads(text) | {"thread_id": thread_id})
        connection.execute("UPDATE gpt_agent_threads SET thread_id = ?, snapshot = ?", (thread_id, moved))
        for table in ("inbox", "events"):
            connection.execute(f"DELETE FROM gpt_agent_{table} WHERE thread_id != 'idle'")  # noqa: S608
            connection.execute(f"UPDATE gpt_agent_{table} SET thread_id = ?", (thread_id,))  # noqa: S608
        connection.commit()
    with Runtime(server, store=SQLStore(f"sqlite:///{old_file}"), scheduler=scheduler) as runtime:
        [agent] = runtime.agents
        assert agent.wait(timeout=60) == "idle"
    assert [message.content for message in server.messages(thread_id)] == [
        "Still to be said",
        "You said: Still to be said",
    ]


def test_a_damaged_snapshot_keeps_nobody_else_from_their_threads(old_file):
    with contextlib.closing(sqlite3.connect(old_file)) as connection:
        connection.execute("UPDATE gpt_agent_threads SET snapshot = '{\"version\": 1' WHERE thread_id = 'polling'")
        connection.commit()
    with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store:
        assert store.load("queue").snapshot == lived_today("queue")
        with pytest.raises(StoreError, match="cannot be read"):
            store.load("polling")


@pytest.mark.parametrize("change", [{"version": 3}, {"colour": "red"}])
def test_a_snapshot_that_version_1_did_not_write_is_left_as_it_is_and_refused(old_file, change):
    with contextlib.closing(sqlite3.connect(old_file)) as connection:
        where = "FROM gpt_agent_threads WHERE thread_id = 'polling'"
        text = json.dumps(json.loads(connection.execute(f"SELECT snapshot {where}").fetchone()[0]) | change)
        connection.execute("UPDATE gpt_agent_threads SET snapshot = ? WHERE thread_id = 'polling'", (text,))
        connection.commit()
        with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store, pytest.raises(StoreError):
            store.load("polling")
        assert connection.execute(f"SELECT snapshot {where}").fetchone() == (text,)


def test_a_step_that_fails_half_way_changes_nothing(old_file, monkeypatch):
    def fail(connection):
        work(connection)
        raise RuntimeError

    work = migrations._STEPS[2]
    with monkeypatch.context() as patch:
        patch.setitem(migrations._STEPS, 2, fail)
        with pytest.raises(StoreError, match="RuntimeError"):
            SQLStore(f"sqlite:///{old_file}")
    with contextlib.closing(sqlite3.connect(old_file)) as connection:
        assert connection.execute("SELECT version FROM gpt_agent_meta").fetchone() == (1,)
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'gpt_agent_queue'").fetchall()
    assert tables == []
    with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store:
        assert store.load("queue").snapshot == lived_today("queue")


def test_looking_on_at_an_older_store_says_what_to_do(old_file):
    with pytest.raises(StoreError, match=r"agents\.db was written by an older version .* open it once without"):
        SQLStore(f"sqlite:///{old_file}", read_only=True)
    SQLStore(f"sqlite:///{old_file}").close()
    SQLStore(f"sqlite:///{old_file}", read_only=True).close()


def test_a_store_with_more_threads_than_are_moved_at_once_is_moved_whole(old_file):
    with contextlib.closing(sqlite3.connect(old_file)) as connection:
        [row] = connection.execute("SELECT * FROM gpt_agent_threads WHERE thread_id = 'queue'")
        marks = ", ".join("?" * len(row))
        for number in range(1200):
            connection.execute(f"INSERT INTO gpt_agent_threads VALUES ({marks})", (f"more {number}", *row[1:]))  # noqa: S608
        connection.commit()
    with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store:
        queues = [len(store.load(f"more {number}").snapshot.queue) for number in (0, 499, 500, 1199)]
    assert queues == [3, 3, 3, 3]


def test_tables_of_version_1_on_postgresql_are_brought_up_to_date(old_file, postgresql):
    url = postgresql.new_schema()
    SQLStore(url).close()
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    old = sa.create_engine(f"sqlite:///{old_file}")
    with engine.begin() as connection, old.connect() as source:
        schema.queue.drop(connection)
        connection.execute(schema.meta.update().values(version=1))
        for table in (schema.threads, schema.inbox, schema.events):
            connection.execute(table.insert(), [dict(row) for row in source.execute(sa.select(table)).mappings()])
    engine.dispose()
    old.dispose()
    with contextlib.closing(SQLStore(url)) as store:
        for name in LIVES:
            assert store.load(name).snapshot == lived_today(name)


def test_each_version_before_todays_has_its_file():
    assert {path.stem for path in FORMATS.iterdir()} == {f"version_{n}" for n in range(1, schema.SCHEMA_VERSION)}
    assert codec.SNAPSHOT_VERSION == schema.SCHEMA_VERSION, "snapshots are brought up to date with the tables"

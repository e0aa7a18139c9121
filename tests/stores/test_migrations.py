"""Stores of every former format open and continue: `formats/` holds a file of each, written by the library of its time.

Each thread of a file was driven through the story of its name, in the terms of `tests.story`. The same story with the
current library must give an equal snapshot.
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
from gpt_agent_fsm.machine.objects import Usage
from gpt_agent_fsm.machine.queue import Queue
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.stores import SQLStore, codec, schema
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
    deny_the_poll,
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
    refuse_the_poll,
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
    "calls kept": lambda: deny_the_poll(awaiting().tell(due)),
    "lost": lambda: refuse_the_poll(awaiting().tell(due)),
    "rate limited": rate_limited,
    "retrying, to be cancelled": lambda: retrying().tell(cancel),
    "retry parked": lambda: retrying(**ONCE).tell(delayed()),
    "timed out": lambda: polling().tell(inputs.DeadlinePassed(setting="run_timeout", seconds=30)),
    "reading": lambda: reading().tell(page(answer("msg_2", created_at=1.5), next_after="msg_2")),
    "read": lambda: reading().tell(page(answer("msg_2"))),
    "keys kept": lambda: posting().tell(posted(kept=True), created(key="k1.1")),
    "must check": lambda: deny_the_poll(polling()).tell(connect),
}
SAID = inputs.AddUserMessage(key="k9", content="Still to be said")


@pytest.fixture
def old_file(tmp_path):
    """A copy of the file of version 1."""
    return Path(shutil.copy(FORMATS / "version_1.db", tmp_path / "agents.db"))


def lived_today(name):
    """Return the snapshot of the same story with the current library, without the fields that version 1 lacked."""
    snapshot = attrs.evolve(LIVES[name]().snapshot, thread_id=name)
    if name == "retry parked":
        # Version 1 kept the failed run only if the server needed its id.
        outbox = attrs.evolve(snapshot.outbox, owed=attrs.evolve(snapshot.outbox.owed, retry_of=None))
        snapshot = attrs.evolve(snapshot, outbox=outbox)
    if snapshot.run is not None:
        snapshot = attrs.evolve(snapshot, run=attrs.evolve(snapshot.run, rounds=0))
    # Version 1 did not number messages, and kept neither the last failure nor the usage.
    return attrs.evolve(snapshot, queue=Queue(snapshot.queue.messages), failure=None, usage=Usage())


@pytest.mark.parametrize("name", LIVES)
def test_a_thread_of_version_1_equals_one_of_today(old_file, name):
    with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store:
        assert store.load(name).snapshot == lived_today(name)
        assert [record.seq for record in store.history(name)] == [1]


def test_commands_in_the_inbox_still_wait(old_file):
    with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store:
        assert [command for _, command in store.load("idle").inbox] == [SAID]


def test_a_store_is_migrated_once(old_file):
    for _ in range(2):
        with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store:
            assert store.load("queue").snapshot == lived_today("queue")
    with contextlib.closing(sqlite3.connect(old_file)) as connection:
        assert connection.execute("SELECT version FROM gpt_agent_meta").fetchone() == (schema.SCHEMA_VERSION,)


def test_a_runtime_continues_the_work_of_an_older_one(old_file):
    """The only thread of the file that our server knows gets its message posted and answered."""
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


def test_a_damaged_snapshot_does_not_affect_other_threads(old_file):
    with contextlib.closing(sqlite3.connect(old_file)) as connection:
        connection.execute("UPDATE gpt_agent_threads SET snapshot = '{\"version\": 1' WHERE thread_id = 'polling'")
        connection.commit()
    with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store:
        assert store.load("queue").snapshot == lived_today("queue")
        with pytest.raises(StoreError, match="cannot be read"):
            store.load("polling")


def test_a_read_only_store_of_an_older_version_is_refused_with_advice(old_file):
    with pytest.raises(
        StoreError,
        match=r"agents\.db was written by an older version .* Start the program",
    ):
        SQLStore(f"sqlite:///{old_file}", read_only=True)
    SQLStore(f"sqlite:///{old_file}").close()
    SQLStore(f"sqlite:///{old_file}", read_only=True).close()


def test_a_store_with_several_pages_of_threads_is_migrated_completely(old_file):
    with contextlib.closing(sqlite3.connect(old_file)) as connection:
        [row] = connection.execute("SELECT * FROM gpt_agent_threads WHERE thread_id = 'queue'")
        marks = ", ".join("?" * len(row))
        for number in range(1200):
            connection.execute(f"INSERT INTO gpt_agent_threads VALUES ({marks})", (f"more {number}", *row[1:]))  # noqa: S608
        connection.commit()
    with contextlib.closing(SQLStore(f"sqlite:///{old_file}")) as store:
        queues = [len(store.load(f"more {number}").snapshot.queue) for number in (0, 499, 500, 1199)]
    assert queues == [3, 3, 3, 3]


def test_tables_of_version_1_on_postgresql_are_migrated(old_file, postgresql):
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


def test_each_former_version_has_a_file():
    assert {path.stem for path in FORMATS.iterdir()} == {f"version_{n}" for n in range(1, schema.SCHEMA_VERSION)}
    assert codec.SNAPSHOT_VERSION == schema.SCHEMA_VERSION, "snapshots are migrated with the tables"

"""A damaged row stops its own thread, and no other."""

import pytest

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.machine.queue import Queue, QueuedMessage
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler
from tests.stores.helpers import SECRET, an_event, busy, say, sqlite

DAMAGE = {
    "a snapshot that is not JSON": ("threads", "snapshot", SECRET),
    "a snapshot without meaning": ("threads", "snapshot", "[2]"),
    "a snapshot that is not text": ("threads", "snapshot", b"\xff\xfe{"),
    "a time that is not a number": ("threads", "due", "soon"),
    "a number of records": ("threads", "last_seq", "many"),
    "a number of commands": ("threads", "accepted", "many"),
    "a command": ("inbox", "command", SECRET),
    "a queued message": ("queue", "message", SECRET),
    "an event": ("events", "body", SECRET),
    "an event of no kind": ("events", "kind", ""),
    # SQLite stores these bytes as text, without a check.
    "a snapshot that is not UTF-8": ("threads", "snapshot", '{"\udcff": 1}'),
    "a command that is not UTF-8": ("inbox", "command", '{"\udcff": 1}'),
    "a kind that is not UTF-8": ("events", "kind", "\udcff"),
}


@pytest.fixture(params=DAMAGE.values(), ids=DAMAGE.keys())
def damaged(request, store, path):
    """A store with the threads `bad`, one of whose rows is damaged, and `good`."""
    for thread_id in ("bad", "good"):
        queue = Queue().add(QueuedMessage(key="k", content="Hello"))
        change, events = queue.change_since(Queue()), [an_event(thread_id)] * 3
        store.commit(busy(thread_id, queue=queue), consumed=0, events=events, at=1.0, due=2.0, queue=change)
        store.accept(thread_id, say("Hello"))
    table, column, value = request.param
    if isinstance(value, str):
        value = value.encode(errors="surrogateescape")
    cast = "?" if isinstance(request.param[2], bytes) else "CAST(? AS TEXT)"
    with sqlite(path) as other:
        change = f"UPDATE gpt_agent_{table} SET {column} = {cast} WHERE thread_id = 'bad'"  # noqa: S608
        assert other.execute(change, [value]).rowcount >= 1
    return store


def test_unfinished_leaves_a_damaged_thread_out_and_names_it_in_the_log(damaged, caplog):
    assert set(damaged.unfinished()) == {"good"}
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("bad is not resumed: ")
    assert "cannot be read" in record.getMessage()
    assert SECRET not in caplog.text


def test_load_raises_for_a_damaged_thread_alone(damaged):
    with pytest.raises(StoreError, match="cannot be read"):
        damaged.load("bad")
    assert damaged.load("good") is not None


def test_the_usage_of_the_other_threads_is_known(damaged):
    assert damaged.usage().runs == 0


def test_the_log_file_is_gone_after_close_even_if_damaged_rows_were_read(damaged, path):
    errors = []
    for read in (lambda: damaged.load("bad"), lambda: damaged.history("bad"), damaged.usage):
        try:
            read()
        except StoreError as error:
            errors.append(error)
    damaged.close()
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    del errors


def test_a_runtime_over_a_damaged_thread_drives_the_others(damaged, url):
    server = SimulatedServer()
    with Runtime(server, store=SQLStore(url), scheduler=VirtualScheduler()) as runtime:
        assert [agent.thread_id for agent in runtime.agents] == ["good"]

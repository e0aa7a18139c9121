"""Queues as rows of a database."""

import contextlib

from gpt_agent_fsm.machine.queue import EMPTY, Queue, QueuedMessage
from gpt_agent_fsm.stores import SQLStore, schema
from tests.stores.helpers import busy, idle, say


def test_only_the_queues_of_unfinished_threads_are_read_when_a_runtime_starts(tmp_path):
    queue = Queue().add(QueuedMessage(key="k", content="parked"))
    url = f"sqlite:///{tmp_path}/agents.db"
    with contextlib.closing(SQLStore(url)) as store:
        for thread_id, make in (("parked", idle), ("busy", busy), ("told", idle)):
            change = queue.change_since(EMPTY)
            snapshot = make(thread_id, queue=queue)
            store.commit(snapshot, consumed=0, events=[], at=1.0, due=None, queue=change)
        store.accept("told", say())
        assert {thread_id: saved.snapshot.queue for thread_id, saved in store.unfinished().items()} == {
            "busy": queue,
            "told": queue,
        }
        with store._database.reading.connect() as connection:
            rows = connection.execute(schema.UNFINISHED_QUEUES).all()
    assert [row.thread_id for row in rows] == ["busy", "told"]

"""What handles and workers read of a thread, in one statement."""

import contextlib

import attrs
import pytest

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.machine.queue import Queue, QueuedMessage
from gpt_agent_fsm.stores import SQLStore
from tests.cluster.helpers import query
from tests.stores.helpers import an_event, busy, commit, idle, say

TEXTS = ["plain", 'a "quoted" \\ text\n', "\N{SNOWMAN} and \N{GRINNING FACE}", "half a pair: \ud83d", ""]


@pytest.fixture
def reader(process):
    """The reader of a process that drives a thread with queued messages, commands and four events."""
    process.make_thread()
    process.leases.claim("thread_1")
    queue = Queue()
    for number, text in enumerate(TEXTS):
        queue = queue.add(QueuedMessage(key=f"key_{number}", content=text))
    change, records = queue.change_since(Queue()), [an_event(run_id=f"run_{number}") for number in range(4)]
    process.store.commit(busy(queue=queue), consumed=0, events=records, at=1.5, due=7.25, queue=change)
    for text in TEXTS:
        process.store.accept("thread_1", say(text))
    return process.database.reader


def test_a_thread_is_read_as_a_store_with_several_statements_reads_it(reader, process):
    saved = reader.load("thread_1")
    with contextlib.closing(SQLStore(process.url, read_only=True)) as usual:
        assert saved == usual.load("thread_1")
    assert saved == reader.news("thread_1", after=0, limit=500)
    assert [message.content for message in saved.snapshot.queue] == TEXTS
    assert [command.content for _, command in saved.inbox] == TEXTS


def test_the_records_of_a_thread_that_is_read_are_those_that_were_not_announced(reader, process):
    process.store.announced("thread_1", 3)
    commit(process.store, idle())
    assert [record.seq for record in reader.load("thread_1").unannounced] == [4]


def test_the_news_of_a_thread_has_one_page_of_the_records_after_a_number(reader):
    page = reader.news("thread_1", after=1, limit=2)
    assert list(page.unannounced) == reader.history("thread_1")[1:3]
    assert page == attrs.evolve(reader.load("thread_1"), unannounced=page.unannounced)


def test_there_is_no_news_of_an_unknown_thread(reader):
    assert reader.news("thread_2", after=0, limit=500) is None


def test_damaged_news_is_an_error_that_names_no_content(reader, process):
    query(process.url, "UPDATE gpt_agent_events SET body = '{\"secret\": 1}'")
    with pytest.raises(StoreError, match="An event in the store cannot be read") as caught:
        reader.news("thread_1", after=0, limit=500)
    assert "secret" not in str(caught.value)

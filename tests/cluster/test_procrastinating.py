"""Jobs of Procrastinate: a thread is handed to a worker, and the job ends with the lease."""

import contextlib
import gc
import threading

import pytest
from psycopg_pool import AsyncConnectionPool

from gpt_agent_fsm.cluster import procrastinating as module
from gpt_agent_fsm.cluster.procrastinating import ProcrastinatePlacer
from gpt_agent_fsm.errors import StoreError
from tests.cluster.helpers import PATIENCE, offered, query
from tests.cluster.worlds import wait_until

# The call returns when the connections are closed.
CUT = """
SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class Owner:
    """Takes the threads that are handed to it, and keeps them until a test lets go of them."""

    def __init__(self, refuses=()):
        self.refuses, self.owned, self._changed = refuses, {}, threading.Condition()

    def __call__(self, thread_id, done):
        if thread_id in self.refuses:
            return False
        with self._changed:
            self.owned[thread_id] = done
            self._changed.notify_all()
        return True

    def wait_for(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.owned) >= count, PATIENCE), self.owned


@pytest.fixture
def work(process):
    """Begin to work. The work is closed after the test."""
    with contextlib.ExitStack() as ends:

        def work(own, concurrency=10):
            placing = ProcrastinatePlacer(process.url).work(concurrency, own)
            ends.callback(placing.close)
            return placing

        yield work


def offer(process, *thread_ids):
    with process.database.transaction() as connection:
        connection.exec_driver_sql("SELECT 1")  # every caller writes before it offers, which begins the transaction
        process.placer.offer(connection, thread_ids)


def test_a_thread_that_is_offered_is_handed_over_until_it_is_done(process, work):
    owner = Owner()
    offer(process, "thread_1", "thread_2")
    work(owner)
    owner.wait_for(2)
    assert offered(process.url) == ["thread_1", "thread_2"]
    owner.owned["thread_1"]()
    owner.owned["thread_1"]()
    wait_until(lambda: offered(process.url) == ["thread_2"])
    owner.owned["thread_2"]()
    wait_until(lambda: offered(process.url) == [])


def test_a_thread_that_is_offered_later_is_handed_over(process, work):
    owner = Owner()
    work(owner)
    wait_until(lambda: query(process.url, "SELECT count(*) FROM procrastinate_workers") == [(1,)])
    offer(process, "thread_1")
    owner.wait_for(1)
    assert list(owner.owned) == ["thread_1"]


def test_a_transaction_that_fails_offers_nothing(process):
    with contextlib.suppress(StoreError), process.database.transaction() as connection:
        connection.exec_driver_sql("SELECT 1")
        process.placer.offer(connection, ["thread_1"])
        raise ZeroDivisionError
    assert offered(process.url) == []


def test_the_job_of_a_thread_that_cannot_be_claimed_ends(process, work):
    owner = Owner(refuses={"thread_1"})
    offer(process, "thread_1", "thread_2")
    work(owner)
    owner.wait_for(1)
    wait_until(lambda: offered(process.url) == ["thread_2"])


def test_the_job_of_a_thread_whose_claim_fails_ends(process, work):
    def fail(thread_id, done):
        raise RuntimeError("broken")

    offer(process, "thread_1")
    work(fail)
    wait_until(lambda: offered(process.url) == [])


def test_no_more_threads_are_taken_than_there_is_room_for(process, work):
    owner = Owner()
    offer(process, *(f"thread_{number}" for number in range(5)))
    work(owner, concurrency=2)
    owner.wait_for(2)
    count = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'"
    assert query(process.url, count) == [(2,)]
    owner.owned.popitem()[1]()
    owner.wait_for(2)
    assert len(owner.owned) == 2


def test_work_that_is_stopped_takes_no_thread_and_ends(process, work):
    owner = Owner()
    placing = work(owner)
    offer(process, "thread_1")
    owner.wait_for(1)
    placing.stop()
    placing.stop()
    offer(process, "thread_2")
    placing.close()
    placing.close()
    assert not placing._thread.is_alive()
    assert list(owner.owned) == ["thread_1"]
    owner.owned["thread_1"]()  # the driver ends later than the work


@pytest.mark.parametrize("after", [0.0, 0.02, 0.1])
def test_work_that_is_closed_while_it_begins_leaves_nothing_behind(process, work, after):
    placing = work(Owner())
    placing._thread.join(after)
    placing.close()
    gc.collect()  # a connection or a coroutine that is left warns now
    assert not placing._thread.is_alive()


def test_an_error_of_a_task_that_nobody_awaits_is_no_error_in_the_log(process, work, caplog):
    placing, noted = work(Owner()), threading.Event()

    def fail():
        placing._loop.call_exception_handler({"message": "Task exception was never retrieved", "exception": OSError()})
        noted.set()

    with caplog.at_level("DEBUG"):
        placing._loop.call_soon_threadsafe(fail)
        assert noted.wait(PATIENCE)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio" and record.levelno > 10] == []
    assert "a part of the job queue has failed: OSError" in caplog.text


def test_a_job_is_taken_without_a_question_whether_the_connection_is_there(process, work, monkeypatch):
    asked = []

    async def ask(connection):
        asked.append(connection)

    monkeypatch.setattr(AsyncConnectionPool, "check_connection", staticmethod(ask))
    owner = Owner()
    work(owner)
    for number in (1, 2, 3):
        offer(process, f"thread_{number}")
        owner.wait_for(number)
    assert asked == []


def test_threads_are_taken_after_all_connections_were_cut(process, work):
    owner = Owner()
    work(owner)
    for number in (1, 2):
        offer(process, f"thread_{number}")
        owner.wait_for(number)
        query(process.url, CUT)


def test_threads_that_were_taken_before_the_queue_failed_still_take_their_places(process, work, caplog):
    owner = Owner()
    offer(process, "thread_1", "thread_2")
    placing = work(owner, concurrency=3)
    owner.wait_for(2)
    query(process.url, "ALTER TABLE procrastinate_jobs RENAME TO gone")
    wait_until(lambda: "no threads are taken for a moment" in caplog.text)
    query(process.url, "ALTER TABLE gone RENAME TO procrastinate_jobs")
    query(process.url, "DELETE FROM procrastinate_jobs")
    offer(process, "thread_3", "thread_4", "thread_5")
    wait_until(lambda: query(process.url, "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'") == [(3,)])
    owner.wait_for(3)
    assert placing._places.locked()
    assert len(owner.owned) == 3
    for count, thread_id in ((4, "thread_1"), (5, "thread_2")):
        owner.owned[thread_id]()
        owner.wait_for(count)


def test_a_claim_that_fails_or_is_refused_leaves_its_place(process, work):
    owner = Owner(refuses={"thread_1"})

    def own(thread_id, done):
        if thread_id == "thread_2":
            raise RuntimeError("broken")
        return owner(thread_id, done)

    offer(process, "thread_1", "thread_2", "thread_3")
    work(own, concurrency=1)
    owner.wait_for(1)
    assert list(owner.owned) == ["thread_3"]


def test_the_end_does_not_wait_for_a_query_that_a_frozen_server_never_answers(process, work, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_END", 0.01)
    placing = work(Owner())
    ended = threading.Event()
    monkeypatch.setattr(placing, "_cancel_session", ended.wait)  # the event loop hangs
    placing.close()
    assert placing._thread.is_alive()
    ended.set()


def test_the_tables_are_made_once(process, make_process):
    before = query(process.url, "SELECT 'procrastinate_jobs'::regclass::oid")
    make_process()
    assert query(process.url, "SELECT 'procrastinate_jobs'::regclass::oid") == before

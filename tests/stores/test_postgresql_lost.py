"""A PostgreSQL server that is lost during a commit, and one that no longer answers."""

import contextlib
import threading
import time

import pytest

from gpt_agent_fsm import Runtime, Settings
from gpt_agent_fsm.errors import StoreError, WaitTimeout
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing import SimulatedServer
from tests.stores.helpers import an_event, busy, commit, idle, say
from tests.stores.proxy import Proxy

pytest.importorskip("psycopg")

TIMEOUT = 1.0
# Connecting takes 2 seconds at least, and machines may be busy.
BOUND = 10.0
UNKNOWN = "unknown whether the call took effect; repeat it, and it takes effect once"


@pytest.fixture
def proxy(postgresql):
    with contextlib.closing(Proxy(postgresql.new_schema())) as proxy:
        yield proxy


def insist(call):
    """Return the result of a call to the server that answers, though a busy machine may let it time out."""
    deadline = time.monotonic() + 6 * BOUND
    while True:
        try:
            return call()
        except StoreError:
            if time.monotonic() > deadline:
                raise


@pytest.fixture
def store(proxy):
    store = insist(lambda: SQLStore(proxy.url, timeout=TIMEOUT))
    yield store
    proxy.answering.set()
    proxy.be_back()
    with contextlib.suppress(StoreError):
        store.close()


# --- lost during a commit -------------------------------------------------------------------------------------

PASSED_ON = pytest.mark.parametrize("passed_on", [True, False])


@PASSED_ON
def test_a_commit_that_is_repeated_takes_effect_once(proxy, store, passed_on):
    insist(lambda: commit(store, idle()))
    proxy.cut_next_commit(passed_on=passed_on)
    with pytest.raises(StoreError, match=UNKNOWN):
        commit(store, busy(), an_event())
    # On a busy machine, the proxy may not even refuse the connection in time.
    with pytest.raises(StoreError, match=r"cannot be reached|did not answer"):
        commit(store, busy(), an_event())
    proxy.be_back()
    assert [record.seq for record in insist(lambda: commit(store, busy(), an_event()))] == [1]
    assert [record.seq for record in store.history("thread_1")] == [1]
    assert proxy.lost == 1


@PASSED_ON
def test_a_command_that_raised_for_its_caller_is_not_kept(proxy, store, passed_on):
    insist(lambda: commit(store, idle()))
    proxy.cut_next_commit(passed_on=passed_on)
    with pytest.raises(StoreError, match=UNKNOWN):
        store.accept("thread_1", say())
    proxy.be_back()
    number = insist(lambda: store.accept("thread_1", say()))
    assert store.load("thread_1").inbox == ((number, say()),)


@PASSED_ON
def test_a_mark_that_is_repeated_is_saved(proxy, store, passed_on):
    insist(lambda: commit(store, idle(), an_event()))
    proxy.cut_next_commit(passed_on=passed_on)
    with pytest.raises(StoreError, match=UNKNOWN):
        store.announced("thread_1", 1)
    proxy.be_back()
    store.close()
    with contextlib.closing(SQLStore(proxy.url, read_only=True)) as reader:
        assert reader.load("thread_1").unannounced == ()


def test_a_transaction_that_a_proxy_keeps_open_ends_by_itself(proxy, store):
    insist(lambda: commit(store, idle()))
    proxy.cut_next_commit(passed_on=False, keep_session=True)
    with pytest.raises(StoreError, match=UNKNOWN):
        commit(store, busy(), an_event())
    proxy.be_back()
    started = time.monotonic()
    records = []
    while not records:
        assert time.monotonic() - started < BOUND, "the session still holds its locks"
        with contextlib.suppress(StoreError):
            records = commit(store, busy(), an_event())
    assert [record.seq for record in store.history("thread_1")] == [1]


# --- no answer ------------------------------------------------------------------------------------------------

CALLS = {
    "accept": lambda store: store.accept("thread_1", say()),
    "commit": lambda store: commit(store, busy(), an_event()),
    "announced": lambda store: store.announced("thread_1", 1),
    "load": lambda store: store.load("thread_1"),
    "history": lambda store: store.history("thread_1"),
    "unfinished": lambda store: store.unfinished(),
    "holder": lambda store: store.holder(),
}


def freeze(proxy, store):
    """Let the server answer no more, after every connection of the store was used once."""
    insist(lambda: commit(store, idle(), an_event()))
    insist(lambda: store.load("thread_1"))
    proxy.answering.clear()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_ends_in_time_and_works_again_when_the_server_answers(proxy, store, call):
    freeze(proxy, store)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"did not answer|cannot be reached"):
        call(store)
    assert time.monotonic() - started < BOUND
    ignore_errors(call, store)
    assert time.monotonic() - started < 2 * BOUND
    proxy.answering.set()
    insist(lambda: call(store))
    assert len(store.history("thread_1")) <= 2


def test_closing_and_opening_end_in_time(proxy, store):
    freeze(proxy, store)
    commands = [threading.Thread(target=ignore_errors, args=(CALLS["accept"], store)) for _ in range(20)]
    for command in commands:
        command.start()
    started = time.monotonic()
    ignore_errors(SQLStore.close, store)
    assert time.monotonic() - started < BOUND
    with pytest.raises(StoreError, match=r"did not answer|cannot be reached"):
        SQLStore(proxy.url, timeout=TIMEOUT)
    assert time.monotonic() - started < 2 * BOUND
    for command in commands:
        command.join(BOUND)
        assert not command.is_alive()


def ignore_errors(call, store):
    with contextlib.suppress(StoreError):
        call(store)


def test_a_commit_that_was_not_answered_in_time_takes_effect_once(proxy, store):
    freeze(proxy, store)
    with pytest.raises(StoreError):
        commit(store, busy(), an_event(run_id="run_2"))
    proxy.answering.set()
    assert [record.seq for record in insist(lambda: commit(store, busy(), an_event(run_id="run_2")))] == [2]
    assert len(store.history("thread_1")) == 2


def test_agents_answer_and_a_runtime_closes_while_a_command_waits_for_the_server(proxy):
    settings = Settings(receive_timeout=1.0, heartbeat_interval=0.1)
    runtime = Runtime(SimulatedServer(), settings, SQLStore(proxy.url, timeout=3.0))
    agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="asst_1", last_message_id=None)
    agent.wait(BOUND)
    proxy.answering.clear()
    outcomes = []

    def send():
        try:
            agent.add_user_message("Hello")
        except StoreError as error:
            outcomes.append(error)

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    assert proxy.unanswered.acquire(timeout=BOUND)
    started = time.monotonic()
    assert agent.state == "idle"
    assert agent.last_message_id is None
    with contextlib.suppress(WaitTimeout):
        agent.wait(0.1)
    assert time.monotonic() - started < 2.0, "a question waited for the database"
    runtime.close()
    assert time.monotonic() - started < BOUND
    sending.join(BOUND)
    assert len(outcomes) == 1


# --- what a session promises ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("default", "kept"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("on", "on"), ("remote_apply", "remote_apply")],
)
def test_every_commit_is_flushed_whatever_the_default_is(postgresql, default, kept):
    url = f"{postgresql.new_schema()}%20-csynchronous_commit%3D{default}"
    with contextlib.closing(SQLStore(url)) as store:
        for engine in (store._database.writing, store._database.reading):
            with engine.connect() as connection:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == kept

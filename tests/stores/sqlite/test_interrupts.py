"""An interrupt or a signal handler at any line of a call leaves the store usable."""

import contextlib
import gc
import threading

import pytest

from gpt_agent_fsm import Runtime, Settings
from gpt_agent_fsm.errors import AgentNotAlive, StoreError
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing import SimulatedServer
from tests.stores.helpers import an_event, at_each_line, busy, commit, idle, raise_interrupt, say

PATIENCE = 30


def in_time(work):
    """Do the work in an OS thread of its own, so that a deadlock fails the test."""
    outcomes = []

    def run():
        try:
            outcomes.append(work())
        except BaseException as error:
            outcomes.append(error)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    worker.join(PATIENCE)
    assert outcomes, "a call does not return"
    if isinstance(outcomes[0], BaseException):
        raise outcomes[0]
    return outcomes[0]


def test_an_interrupt_at_any_line_of_accept_leaves_the_store_usable(store):
    commit(store, idle())
    assert in_time(lambda: at_each_line(lambda: store.accept("thread_1", say()), raise_interrupt)) > 10
    number = in_time(lambda: store.accept("thread_1", say("last")))
    assert store.load("thread_1").inbox[-1] == (number, say("last"))
    in_time(lambda: commit(store, idle(), an_event(), consumed=number))
    assert store.load("thread_1").inbox == ()


@pytest.mark.parametrize(
    "call",
    [
        lambda store: commit(store, busy(), an_event()),
        lambda store: store.load("thread_1"),
        lambda store: store.unfinished(),
        lambda store: store.is_owned(),
    ],
    ids=["commit", "load", "unfinished", "is_owned"],
)
def test_an_interrupt_at_any_line_of_a_call_leaves_the_store_usable_for_other_threads(store, call):
    commit(store, idle())
    # An interrupt inside of SQLAlchemy may leave a connection to the garbage collector. It looks at the objects of
    # this test alone: those of the whole session take long.
    gc.freeze()
    try:
        in_time(lambda: at_each_line(lambda: call(store), raise_interrupt, gc.collect))
    finally:
        gc.unfreeze()
    assert in_time(lambda: store.accept("thread_1", say())) == 1
    assert in_time(lambda: store.load("thread_1")) is not None


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.accept("thread_1", say()),
        lambda store: store.history("thread_1"),
        lambda store: store.is_owned(),
        lambda store: store.close(),
    ],
    ids=["accept", "history", "is_owned", "close"],
)
# A connection that is being opened when the handler closes the store is closed by the garbage collector.
# Python 3.13 warns of that.
@pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning")
def test_a_signal_handler_may_close_the_store_at_any_line_of_a_call(url, call):
    stores = []

    def prepare():
        stores.append(SQLStore(url))
        commit(stores[-1], busy())

    def interrupted():
        with contextlib.suppress(StoreError):
            call(stores[-1])

    def close():
        stores[-1].close()

    assert in_time(lambda: at_each_line(interrupted, close, prepare)) > 5
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    "call",
    [lambda agent: agent.add_user_message("Hello"), lambda agent: agent.wait()],
    ids=["add_user_message", "wait"],
)
def test_a_signal_handler_may_close_the_runtime_at_any_line_of_a_call(url, call):
    runtimes, agents, server = [], [], SimulatedServer()
    thread_id = server.create_thread(timeout=1)
    settings = Settings(workers=2, receive_timeout=0.2, heartbeat_interval=0.01)

    def prepare():
        runtimes.append(Runtime(server, settings, SQLStore(url)))
        agents.append(runtimes[-1].connect(thread_id=thread_id, assistant_id="asst_1", last_message_id=None))

    def interrupted():
        with contextlib.suppress(AgentNotAlive, StoreError):
            call(agents[-1])

    def close():
        runtimes[-1].close()

    assert in_time(lambda: at_each_line(interrupted, close, prepare)) > 20
    for runtime in runtimes:
        runtime.close()

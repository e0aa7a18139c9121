"""A process that was forked: everything made before says so, nothing hangs, and the parent is not harmed."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import threading

import pytest

from gpt_agent_fsm import Runtime, Settings, errors, events
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.engine.scheduler import ThreadedScheduler
from gpt_agent_fsm.forks import Origin
from gpt_agent_fsm.local import LocalServer
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.stores import MemoryStore, SQLStore
from gpt_agent_fsm.testing import Linger, SimulatedServer

TIMEOUT = 20
FAST = Settings(heartbeat_interval=0.01, receive_timeout=2.0, request_retry_delay=0.01, workers=2)

# Newer Pythons warn about each fork of a process with OS threads, which these tests need.
pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def until_closed(reader: int) -> str:
    """Return what is written to a pipe until every process has closed it."""
    received = b""
    while select.select([reader], [], [], TIMEOUT)[0]:
        chunk = os.read(reader, 65536)
        if not chunk:
            return received.decode()
        received += chunk
    pytest.fail(f"a child hangs; so far it said: {received.decode()}")


def in_child(work) -> str:
    """Return what `work` returns, or the error that it raises, in a forked process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, str(work()).encode())
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        return until_closed(reader)
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def error_of(call) -> str:
    """Return the name of the error that a call raises, or "none"."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "none"


@contextlib.contextmanager
def all_held(*locks):
    """Have another OS thread hold these locks, as may be the case at the moment of a fork."""
    held, release = threading.Event(), threading.Event()

    def hold():
        with contextlib.ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            release.wait(TIMEOUT)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert held.wait(TIMEOUT)
    try:
        yield
    finally:
        release.set()
        holder.join(TIMEOUT)


@pytest.fixture
def runtime():
    with Runtime(SimulatedServer(lambda _: [Linger(10**6)]), FAST) as made:
        yield made


@pytest.fixture
def agent(runtime):
    return runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)


def locks_of(runtime, agent):
    return [
        agent._own_driver._lock,
        agent._own_driver.announcer._lock,
        runtime._own_roster._lock,
        runtime._own_roster._context.webhooks._lock,
        runtime._own_roster._context.gate._lock,
        runtime.scheduler._lock,
        runtime._store._own_lock,
    ]


def calls_on(runtime, agent):
    """Return every call on a runtime and an agent that needs more than their names."""
    connection = {"thread_id": agent.thread_id, "assistant_id": "a", "last_message_id": None}
    return {
        "add_user_message": lambda: agent.add_user_message("Hello"),
        "submit_tool_output": lambda: agent.submit_tool_output("call_1", 1),
        "set_assistant_id": lambda: agent.set_assistant_id("b"),
        "cancel_run": agent.cancel_run,
        "shutdown": agent.shutdown,
        "wait": lambda: agent.wait(1),
        "state": lambda: agent.state,
        "run_in_progress": lambda: agent.run_in_progress,
        "run_id": lambda: agent.run_id,
        "agent.assistant_id": lambda: agent.assistant_id,
        "last_message_id": lambda: agent.last_message_id,
        "create_thread": runtime.create_thread,
        "connect": lambda: runtime.connect(**connection),
        "connect to another": lambda: runtime.connect(**{**connection, "thread_id": "thread_2"}),
        "get": lambda: runtime.get(agent.thread_id),
        "agents": lambda: runtime.agents,
        "history": lambda: runtime.history(agent.thread_id),
        "handle_webhook": lambda: runtime.handle_webhook({}, b"", "whsec_AAAA"),
    }


def test_every_call_on_what_was_made_before_a_fork_raises_in_the_child_whatever_is_locked(runtime, agent):
    calls = calls_on(runtime, agent)
    with all_held(*locks_of(runtime, agent)):
        said = in_child(lambda: {name: error_of(call) for name, call in calls.items()})
    assert said == str(dict.fromkeys(calls, "UsedAfterFork"))


def test_the_error_says_in_one_sentence_why_and_where_to_make_the_runtime(runtime, agent):
    said = in_child(lambda: agent.add_user_message("Hello"))
    assert said == (
        "UsedAfterFork: This runtime was made before the process was forked, and OS threads, locks and connections do "
        "not survive a fork: make a new runtime in this process, for example in gunicorn's "
        "`post_worker_init` or Celery's `worker_process_init`."
    )
    assert issubclass(errors.UsedAfterFork, RuntimeError)


def test_the_agent_is_not_alive_in_the_child_and_still_says_which_thread_it_is_of(agent):
    thread_id = agent.thread_id
    assert in_child(lambda: (agent.alive, agent.thread_id, repr(agent))) == str(
        (False, thread_id, f"<Agent {thread_id} not alive>")
    )
    assert agent.alive


def test_closing_in_the_child_returns_whatever_is_locked_and_closes_nothing(runtime, agent):
    closed = []
    runtime._backend.close = lambda: closed.append("backend")
    runtime._store.close = lambda: closed.append("store")

    def leave():
        with runtime:
            pass
        runtime.close()
        runtime.scheduler.close(TIMEOUT)
        return closed

    with all_held(*locks_of(runtime, agent)):
        assert in_child(leave) == "[]"


def test_an_error_in_the_child_is_not_hidden_by_the_end_of_the_with_statement(runtime):
    def fail():
        with runtime:
            raise ValueError("mine")

    assert in_child(fail) == "ValueError: mine"


def test_a_runtime_that_is_made_after_the_fork_works(runtime):
    def talk():
        with Runtime(SimulatedServer(), FAST) as own:
            agent = own.connect(thread_id=own.create_thread(), assistant_id="a", last_message_id=None)
            agent.add_user_message("Hello")
            return agent.wait(TIMEOUT)

    assert in_child(talk) == "idle"


@pytest.mark.parametrize("method", ["wake", "wait", "sleep"])
def test_a_scheduler_without_os_threads_says_so(method):
    scheduler = ThreadedScheduler(workers=1)
    arguments = {"wake": [object()], "wait": [lambda: True, threading.Event(), 0], "sleep": [0]}
    try:
        with all_held(scheduler._lock):
            assert in_child(lambda: getattr(scheduler, method)(*arguments[method])).startswith("UsedAfterFork")
    finally:
        scheduler.close(TIMEOUT)


def test_a_child_that_a_handler_forked_does_not_continue_the_conversation():
    reader, writer = os.pipe()
    parent, children = os.getpid(), []

    class Telling(SimulatedServer):
        def post_message(self, thread_id, content, *, key, timeout):
            os.write(writer, f"posted by {'the parent' if os.getpid() == parent else 'a child'}. ".encode())
            return super().post_message(thread_id, content, key=key, timeout=timeout)

    def fork(agent, event):
        if isinstance(event, events.UserMessageAdded) and not children:
            children.append(os.fork())

    with Runtime(Telling(), FAST) as runtime:
        agent = runtime.connect(
            thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None, subscribe=fork
        )
        for word in ("Hello", "Again"):
            agent.add_user_message(word)
        assert agent.wait(TIMEOUT) == "idle"
    os.close(writer)
    try:
        assert until_closed(reader) == "posted by the parent. " * 2
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)


# --- stores, backends and servers ------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "file", "in memory"])
def store(request, tmp_path):
    made = MemoryStore() if request.param == "memory" else SQLStore(f"sqlite:///{tmp_path}/agents.db")
    if request.param == "in memory":
        made.close()
        made = SQLStore("sqlite://")
    yield made
    made.close()


def locks_of_store(store):
    if isinstance(store, MemoryStore):
        return [store._own_lock]
    return [store._writer._mutex]


def test_a_store_that_was_made_before_a_fork_says_so_in_the_child_and_continues_in_the_parent(store):
    with Runtime(SimulatedServer(), FAST, store) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        agent.add_user_message("Hello")
        assert agent.wait(TIMEOUT) == "idle"
        thread_id, saved = agent.thread_id, store.load(agent.thread_id)
        calls = {
            "load": lambda: store.load(thread_id),
            "accept": lambda: store.accept(thread_id, inputs.CancelRun()),
            "commit": lambda: store.commit(saved.snapshot, consumed=0, events=(), at=0.0, due=None),
            "announced": lambda: store.announced(thread_id, 1),
            "history": lambda: store.history(thread_id),
            "unfinished": store.unfinished,
            "a new runtime": lambda: Runtime(SimulatedServer(), FAST, store),
        }
        with all_held(*locks_of_store(store)):
            said = in_child(lambda: [*(error_of(call) for call in calls.values()), store.close()])
        assert said == str(["UsedAfterFork"] * len(calls) + [None])
        agent.add_user_message("Again")
        assert agent.wait(TIMEOUT) == "idle"


def test_the_end_of_a_child_leaves_the_files_of_a_store_alone(tmp_path):
    store = SQLStore(f"sqlite:///{tmp_path}/agents.db")
    with Runtime(SimulatedServer(), FAST, store) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        agent.add_user_message("Hello")
        assert agent.wait(TIMEOUT) == "idle"

        def files():
            return sorted((path.name, path.stat().st_size) for path in tmp_path.iterdir())

        def forget_everything():
            for each in (agent._own_driver._context.store, runtime):
                vars(each).clear()
            gc.collect()
            return files()

        before = files()
        assert in_child(forget_everything) == str(before)
        agent.add_user_message("Again")
        assert agent.wait(TIMEOUT) == "idle"


def test_a_server_of_the_parent_answers_the_child_and_is_not_closed_by_it():
    with LocalServer() as server:
        backend = AssistantsBackend(server.base_url, "key")

        def use():
            with server:
                return bool(AssistantsBackend(server.base_url, "key").create_thread(timeout=TIMEOUT))

        with all_held(server._closing):
            assert in_child(use) == "True"
        assert backend.create_thread(timeout=TIMEOUT)
        backend.close()


def test_a_backend_uses_no_connection_of_the_parent_and_closes_none():
    with LocalServer() as server:
        backend = AssistantsBackend(server.base_url, "key")
        backend.create_thread(timeout=TIMEOUT)
        transport = backend._http._transport
        sessions, lock = list(transport._sessions), transport._lock

        def use():
            backend.close()
            backend.create_thread(timeout=TIMEOUT)
            own = list(transport._sessions)
            backend.close()
            return [session in sessions for session in own]

        with all_held(lock):
            assert in_child(use) == "[False]"
        assert backend.create_thread(timeout=TIMEOUT)
        assert list(transport._sessions) == sessions
        backend.close()


def test_an_object_knows_the_process_that_made_it():
    origin = Origin("thing")
    origin.check()
    assert not origin.was_forked
    assert in_child(lambda: origin.was_forked) == "True"
    assert "This thing was made before" in in_child(origin.check)

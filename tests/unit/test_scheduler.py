"""Real OS threads: the tests wait for events and barriers, and never sleep."""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import threading
import time

import pytest

from gpt_agent_fsm import Runtime, Settings, errors, events, signals
from gpt_agent_fsm.engine import scheduler as scheduling
from gpt_agent_fsm.engine.scheduler import SystemClock, ThreadedScheduler
from gpt_agent_fsm.testing import Answer, Linger, SimulatedServer
from tests.unit.tasks import TIMEOUT, Task


@pytest.fixture
def scheduler():
    made = ThreadedScheduler(workers=2)
    yield made
    made.close(5)
    assert not [thread for thread in made._threads if thread.is_alive()]


def test_a_task_that_is_woken_is_ticked(scheduler):
    task = Task()
    scheduler.wake(task)
    task.wait()


def test_a_task_comes_back_when_it_is_due(scheduler):
    task = Task(lambda: time.monotonic() + 0.02)
    scheduler.wake(task)
    task.wait(2)
    assert task.times[1] - task.times[0] >= 0.02


def test_the_timer_sleeps_until_the_next_task_is_due(scheduler, monkeypatch):
    pauses, wait = queue.SimpleQueue(), scheduler._timer_changed.wait
    monkeypatch.setattr(scheduler._timer_changed, "wait", lambda pause: pauses.put(pause) or wait(pause))
    scheduler.wake(Task(lambda: scheduler.clock.monotonic() + 1000))
    assert 900 < pauses.get(timeout=TIMEOUT) <= 1000


def test_tasks_are_ticked_in_the_order_in_which_they_are_due(scheduler):
    order, done = [], threading.Barrier(4)
    start = time.monotonic()

    def then(name, seconds):
        task = Task(lambda: start + seconds, lambda: order.append(name) or threading.Thread(target=done.wait).start())
        scheduler.wake(task)
        return task

    for name, seconds in (("late", 0.09), ("early", 0.03), ("middle", 0.06)):
        then(name, seconds)
    done.wait(TIMEOUT)
    assert order == ["early", "middle", "late"]


def test_a_task_that_asks_for_now_is_ticked_again_at_once(scheduler):
    task = Task(time.monotonic, time.monotonic)
    scheduler.wake(task)
    task.wait(3)


def test_a_task_is_never_ticked_twice_at_once_and_no_wake_is_lost(scheduler):
    inside, release = threading.Event(), threading.Event()
    running = []

    def first():
        running.append(1)
        inside.set()
        assert release.wait(TIMEOUT)
        running.append(-1)

    def second():
        assert sum(running) == 0
        running.append(2)

    task = Task(first, second)
    scheduler.wake(task)
    assert inside.wait(TIMEOUT)
    scheduler.wake(task)
    scheduler.wake(task)
    other = Task()
    scheduler.wake(other)
    other.wait()
    assert running == [1]
    release.set()
    task.wait(2)
    assert running == [1, -1, 2]


def test_a_wake_takes_the_place_of_the_time_that_was_set(scheduler):
    task = Task(lambda: time.monotonic() + 1000)
    scheduler.wake(task)
    task.wait()
    scheduler.wake(task)
    task.wait()
    assert not scheduler._due


def test_times_that_no_longer_count_are_cleared_away(scheduler):
    task = Task(*[lambda: time.monotonic() + 1000] * 200)
    for _ in range(200):
        scheduler.wake(task)
        task.wait()
    assert len(scheduler._heap) < 100


@pytest.mark.parametrize("tasks", [1, 4])
def test_the_heap_has_at_most_64_entries_more_than_twice_its_tasks(scheduler, tasks):
    every, sizes = [Task() for _ in range(tasks)], []
    for task in every * 100:
        with scheduler._lock:
            scheduler._come_back(task, time.monotonic() + 1000)
            sizes.append(len(scheduler._heap))
    assert max(sizes) == 2 * tasks + 64


def test_a_task_that_raises_kills_no_worker(scheduler, caplog):
    def fail():
        raise ValueError("mine")

    for _ in range(4):
        task = Task(fail)
        scheduler.wake(task)
        task.wait()
    task = Task()
    scheduler.wake(task)
    task.wait()
    assert "a task of the test: a tick failed" in caplog.text


def test_closing_lets_ticks_that_were_asked_for_end_and_names_those_that_hang(caplog):
    scheduler, inside, release = ThreadedScheduler(workers=1), threading.Event(), threading.Event()

    def hang():
        inside.set()
        release.wait(TIMEOUT)

    task = Task(hang)
    scheduler.wake(task)
    assert inside.wait(TIMEOUT)
    before = time.monotonic()
    scheduler.close(0.05)
    assert time.monotonic() - before < 5
    assert "closing without waiting any longer for a task of the test" in caplog.text
    release.set()
    for thread in scheduler._threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def test_nothing_is_ticked_after_closing(scheduler):
    scheduler.close(5)
    task = Task()
    scheduler.wake(task)
    assert task.times == []


def test_sleeping_is_cut_short_by_closing(scheduler):
    thread = threading.Thread(target=scheduler.sleep, args=(1000,))
    thread.start()
    scheduler.close(5)
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_the_clock_returns_the_computers_time(scheduler):
    assert abs(scheduler.clock.time() - time.time()) < 5
    assert abs(scheduler.clock.monotonic() - time.monotonic()) < 5


def test_the_clock_counts_the_time_of_suspension_if_the_system_does(monkeypatch):
    if not hasattr(time, "CLOCK_BOOTTIME"):
        pytest.skip("no such clock here")
    with monkeypatch.context() as patch:
        patch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 7.0}.__getitem__)
        assert SystemClock().monotonic() == 7.0


def test_the_clock_works_on_a_system_without_special_clocks(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(scheduling, "_MONOTONIC", None)
        patch.setattr(time, "monotonic", lambda: 7.0)
        assert SystemClock().monotonic() == 7.0


def test_waiting_without_time_checks_the_condition_and_waits_for_nothing(scheduler):
    class Changed(threading.Event):
        def wait(self, timeout=None):
            raise AssertionError("waited")

    assert not scheduler.wait(lambda: False, Changed(), 0)
    assert scheduler.wait(lambda: True, Changed(), 0)


# --- a runtime on real threads --------------------------------------------------------------------------------

FAST = Settings(heartbeat_interval=0.01, receive_timeout=2.0, request_retry_delay=0.01, workers=4)


def test_many_conversations_at_once_each_keep_their_order():
    server = SimulatedServer()
    with Runtime(server, FAST) as runtime:
        agents = [
            runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
            for _ in range(20)
        ]
        for word in ("one", "two", "three"):
            for agent in agents:
                agent.add_user_message(word)
        for agent in agents:
            assert agent.wait(TIMEOUT) == "idle"
        for agent in agents:
            assert [m.content for m in server.messages(agent.thread_id) if m.role == "user"] == ["one", "two", "three"]
            seqs = [record.seq for record in runtime.history(agent.thread_id)]
            assert seqs == list(range(1, len(seqs) + 1))


def test_two_threads_that_connect_at_once_get_the_same_agent():
    server = SimulatedServer()
    with Runtime(server, FAST) as runtime:
        for _ in range(20):
            thread_id, barrier, got = runtime.create_thread(), threading.Barrier(4), []

            def connect(thread_id=thread_id, barrier=barrier, got=got):
                barrier.wait(TIMEOUT)
                got.append(runtime.connect(thread_id=thread_id, assistant_id="a", last_message_id=None))

            threads = [threading.Thread(target=connect) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(TIMEOUT)
            assert len(got) == 4
            assert len(set(map(id, got))) == 1


class Hanging(SimulatedServer):
    """A server that hangs on some threads until it is released."""

    def __init__(self):
        super().__init__()
        self.hung, self.release, self.slow = threading.Semaphore(0), threading.Event(), set()

    def post_message(self, thread_id, content, *, key, timeout):
        if thread_id in self.slow:
            self.hung.release()
            assert self.release.wait(TIMEOUT)
        return super().post_message(thread_id, content, key=key, timeout=timeout)


def test_a_server_that_hangs_on_one_conversation_delays_no_other():
    server = Hanging()
    with Runtime(server, FAST) as runtime:
        agents = [
            runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None) for _ in range(8)
        ]
        server.slow = {agent.thread_id for agent in agents[:3]}
        for agent in agents:
            agent.add_user_message("Hello")
        for _ in range(3):
            assert server.hung.acquire(timeout=TIMEOUT)
        for agent in agents[3:]:
            assert agent.wait(TIMEOUT) == "idle"
        server.release.set()
        for agent in agents[:3]:
            assert agent.wait(TIMEOUT) == "idle"


def test_an_agent_connected_during_the_last_request_of_its_predecessor_begins_after_it():
    server = Hanging()
    with Runtime(server, FAST) as runtime:
        first = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        server.slow = {first.thread_id}
        first.add_user_message("Hello")
        assert server.hung.acquire(timeout=TIMEOUT)
        first.shutdown()
        second = runtime.connect(thread_id=first.thread_id, assistant_id="a", last_message_id=None)
        assert second is not first
        assert not first.alive
        second.add_user_message("Again")
        assert second.state == "idle"
        server.release.set()
        assert second.wait(TIMEOUT) == "idle"
        said = [m.content for m in server.messages(first.thread_id)]
        assert said == ["Hello", "You said: Hello", "Again", "You said: Again"]


def test_a_handler_that_blocks_is_waited_for_no_longer_than_a_request_and_named(caplog):
    inside, release = threading.Event(), threading.Event()

    def blocking_handler(agent, event):
        if isinstance(event, events.RunStarted):
            inside.set()
            release.wait(TIMEOUT)

    runtime = Runtime(SimulatedServer(), Settings(receive_timeout=0.1, workers=1))
    agent = runtime.connect(
        thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None, subscribe=blocking_handler
    )
    agent.add_user_message("Hello")
    assert inside.wait(TIMEOUT)
    before = time.monotonic()
    runtime.close()
    assert time.monotonic() - before < 5
    assert "blocking_handler" in caplog.text
    release.set()
    for thread in runtime.scheduler._threads:
        thread.join(TIMEOUT)


def test_a_handler_may_close_the_runtime():
    closed = threading.Event()

    def close(agent, event):
        if isinstance(event, events.RunCompleted):
            runtime.close()
            closed.set()

    runtime = Runtime(SimulatedServer(), FAST)
    agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None, subscribe=close)
    agent.add_user_message("Hello")
    assert closed.wait(TIMEOUT)
    for thread in runtime.scheduler._threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def test_closing_ends_every_os_thread_of_the_library():
    before = set(threading.enumerate())
    with Runtime(SimulatedServer(lambda _: [Linger(99), Answer()]), FAST) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        agent.add_user_message("Hello")
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) <= before


def test_a_script_that_forgets_to_close_still_exits():
    code = """
from gpt_agent_fsm import Runtime
from gpt_agent_fsm.testing import SimulatedServer, Linger
runtime = Runtime(SimulatedServer(lambda _: [Linger(999)]))
agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
agent.add_user_message("Hello")
print("end")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT, check=True)
    assert done.stdout == "end\n"
    assert done.stderr == ""


def test_a_time_beyond_what_a_timer_takes_ends_no_thread(scheduler):
    far, soon = Task(lambda: time.monotonic() + 1e12), Task(lambda: time.monotonic() + 0.01)
    scheduler.wake(far)
    far.wait()
    scheduler.wake(soon)
    soon.wait(2)


ANYTHING = [ValueError, SystemExit, GeneratorExit, KeyboardInterrupt]


class BrokenHandler(logging.Handler):
    """A log handler whose log service is down."""

    def emit(self, record):
        raise ConnectionError("the log service is down")


@pytest.fixture
def broken_log():
    """Let the log handler raise for every line that the library logs."""
    logger, handler = logging.getLogger("gpt_agent_fsm"), BrokenHandler()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


def ends_all_its_threads(scheduler):
    """Return whether all OS threads of a scheduler are alive, and end when it is closed."""
    alive = all(thread.is_alive() for thread in scheduler._threads)
    scheduler.close(TIMEOUT)
    return alive and not any(thread.is_alive() for thread in scheduler._threads)


@pytest.mark.parametrize("kind", ANYTHING)
def test_a_task_that_raises_anything_kills_no_worker_and_is_ticked_again(scheduler, monkeypatch, broken_log, kind):
    monkeypatch.setattr(scheduling, "_RECOVERY", 0.01)

    def fail():
        raise kind

    tasks = [Task(fail, fail) for _ in range(4)]
    for task in tasks:
        scheduler.wake(task)
    for task in tasks:
        task.wait(3)
    assert ends_all_its_threads(scheduler)


def test_a_task_that_raises_is_ticked_again_a_second_later():
    class Frozen(SystemClock):
        def monotonic(self):
            return 100.0

    def fail():
        raise ValueError("mine")

    scheduler, task = ThreadedScheduler(workers=1, clock=Frozen()), Task(fail)
    scheduler.wake(task)
    task.wait()
    scheduler.close(TIMEOUT)
    assert scheduler._due == {task: 101.0}


@pytest.mark.parametrize("due", [float("nan"), "soon", object()])
def test_a_task_that_comes_back_at_no_time_is_ticked_again_and_stops_no_timer(scheduler, monkeypatch, caplog, due):
    monkeypatch.setattr(scheduling, "_RECOVERY", 0.01)
    task, other = Task(due), Task(lambda: time.monotonic() + 0.01)
    scheduler.wake(task)
    task.wait(2)
    scheduler.wake(other)
    other.wait(2)
    assert "a task of the test: a tick failed" in caplog.text
    assert ends_all_its_threads(scheduler)


def test_a_task_that_cannot_even_say_what_it_is_kills_no_worker(scheduler, monkeypatch, caplog):
    monkeypatch.setattr(scheduling, "_RECOVERY", 0.01)

    class Mute(Task):
        def describe(self):
            raise SystemExit

    def fail():
        raise ValueError("mine")

    task = Mute(fail)
    scheduler.wake(task)
    task.wait(2)
    assert "Mute: a tick failed" in caplog.text
    assert ends_all_its_threads(scheduler)


class Moody(SystemClock):
    """A clock that is far ahead of the computer's own time, and raises while it is broken."""

    def __init__(self, kind, broken=False):
        self.kind, self.broken = kind, broken

    def monotonic(self):
        if self.broken:
            raise self.kind
        return time.monotonic() + 1000


@pytest.mark.parametrize("kind", ANYTHING)
def test_a_clock_that_raises_stops_neither_the_timer_nor_a_worker(broken_log, kind):
    clock = Moody(kind)
    scheduler, due = ThreadedScheduler(workers=2, clock=clock), clock.monotonic() + 0.02

    def come_back():
        clock.broken = True
        return due

    task = Task(come_back)
    scheduler.wake(task)
    task.wait(2)
    assert task.times[1] + 1000 >= due
    assert ends_all_its_threads(scheduler)


def test_a_clock_that_never_worked_is_replaced_by_the_computers_own_time(broken_log):
    scheduler = ThreadedScheduler(workers=1, clock=Moody(ValueError, broken=True))
    assert abs(scheduler._now() - time.monotonic()) < 0.5
    assert ends_all_its_threads(scheduler)


@pytest.mark.parametrize("kind", ANYTHING)
def test_no_error_of_a_handler_ends_the_conversation(kind, broken_log):
    def broken(agent, event):
        raise kind

    server = SimulatedServer()
    with Runtime(server, FAST) as runtime:
        agent = runtime.connect(
            thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None, subscribe=broken
        )
        with signals.event.connected_to(broken):
            for word in ("one", "two"):
                agent.add_user_message(word)
            assert agent.wait(TIMEOUT) == "idle"
        assert [m.content for m in server.messages(agent.thread_id) if m.role == "user"] == ["one", "two"]
        assert ends_all_its_threads(runtime.scheduler)


def test_a_log_that_is_broken_loses_nothing_of_many_conversations(broken_log):
    class Limited(SimulatedServer):
        """Refuses the first attempt of each message, and does not answer the second."""

        def __init__(self):
            super().__init__()
            self.attempts = {}

        def post_message(self, thread_id, content, *, key, timeout):
            attempt = self.attempts[key] = self.attempts.get(key, 0) + 1
            if attempt == 1:
                raise errors.TransientError(429, None, "slow down")
            posted = super().post_message(thread_id, content, key=key, timeout=timeout)
            if attempt == 2:
                raise ZeroDivisionError("a defect of the backend")
            return posted

    server = Limited()
    with Runtime(server, FAST) as runtime:
        agents = [
            runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None) for _ in range(6)
        ]
        for agent in agents:
            agent.submit_tool_output("call_of_nobody", 1)
            agent.add_user_message("Hello")
        for agent in agents:
            assert agent.wait(TIMEOUT) == "idle"
            assert [m.content for m in server.messages(agent.thread_id)] == ["Hello", "You said: Hello"]
        assert ends_all_its_threads(runtime.scheduler)

"""Requests of several OS threads take turns, but never while one of them waits for the network."""

import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpt_agent_fsm.backends.http import turns
from gpt_agent_fsm.errors import TransientError
from tests.backends.conftest import PATIENCE
from tests.backends.conftest import http as answer

ANSWER = answer({"id": "thread_1"})


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as made:
        yield made


def create(backend, timeout=PATIENCE):
    return backend.create_thread(timeout=timeout)


def test_other_requests_are_answered_while_one_waits_for_its_answer(serve, make, pool):
    arrived, released = threading.Event(), threading.Event()

    def slow_once(connection, _):
        if not arrived.is_set():
            arrived.set()
            assert released.wait(PATIENCE)
        connection.sendall(ANSWER)

    backend = make(serve(slow_once).base_url)
    first = pool.submit(create, backend)
    assert arrived.wait(PATIENCE)
    assert [pool.submit(create, backend).result(PATIENCE) for _ in range(3)] == ["thread_1"] * 3
    assert not first.done()
    released.set()
    assert first.result(PATIENCE) == "thread_1"


def test_other_requests_are_answered_while_the_body_of_one_arrives(serve, make, pool):
    arrived, released = threading.Event(), threading.Event()

    def slow_body_once(connection, _):
        if not arrived.is_set():
            connection.sendall(ANSWER[:-3])
            arrived.set()
            assert released.wait(PATIENCE)
            connection.sendall(ANSWER[-3:])
        else:
            connection.sendall(ANSWER)

    backend = make(serve(slow_body_once).base_url)
    first = pool.submit(create, backend)
    assert arrived.wait(PATIENCE)
    assert pool.submit(create, backend).result(PATIENCE) == "thread_1"
    released.set()
    assert first.result(PATIENCE) == "thread_1"


def test_other_requests_are_answered_while_one_sends_a_long_body(serve, make, pool):
    released, arrived = threading.Event(), threading.Event()
    server = serve(ANSWER)
    read = server.read

    def read_slowly(connection):
        if b"/messages" in connection.recv(200, socket.MSG_PEEK):
            arrived.set()
            assert released.wait(PATIENCE)
        return read(connection)

    server.read = read_slowly
    backend = make(server.base_url)
    long = pool.submit(backend.post_message, "thread_1", "x" * 20_000_000, key="k", timeout=PATIENCE)
    assert arrived.wait(PATIENCE)
    assert pool.submit(create, backend).result(PATIENCE) == "thread_1"
    assert not long.done()
    released.set()
    assert long.result(PATIENCE)[0] == "thread_1"


def test_a_request_that_fails_gives_its_turn_back(serve, make, pool, free_port):
    refused = make(f"http://127.0.0.1:{free_port}/v1")
    for _ in range(2):
        with pytest.raises(TransientError, match="Connection refused"):
            pool.submit(create, refused).result(PATIENCE)
    hung_up = make(serve(lambda *_: False).base_url)
    for _ in range(2):
        with pytest.raises(Exception, match="was closed without an answer"):
            pool.submit(create, hung_up).result(PATIENCE)


def test_a_log_handler_may_make_a_request_during_a_turn(serve, make, pool, caplog):
    backend, asked = make(serve(ANSWER).base_url), []

    class Asks(logging.Handler):
        def emit(self, record):
            if not asked:
                asked.append(record)
                asked.append(create(backend))

    log = logging.getLogger("urllib3.connectionpool")
    caplog.set_level(logging.DEBUG, log.name)
    handler = Asks()
    log.addHandler(handler)
    try:
        assert pool.submit(create, backend).result(PATIENCE) == "thread_1"
    finally:
        log.removeHandler(handler)
    assert asked[1] == "thread_1"


def test_one_os_thread_has_the_turn(pool, monkeypatch):
    monkeypatch.setattr(turns, "_PATIENCE", PATIENCE)
    one, log, begun = turns.Turns(), [], threading.Event()

    def work(name, others):
        with one.taken():
            log.append(f"{name} begins")
            begun.set()
            with turns.paused():
                assert others.wait(PATIENCE)
            log.append(f"{name} ends")

    first, second = threading.Event(), threading.Event()
    slow = pool.submit(work, "slow", first)
    assert begun.wait(PATIENCE)
    second.set()
    pool.submit(work, "quick", second).result(PATIENCE)
    assert log == ["slow begins", "quick begins", "quick ends"]
    with one._lock:
        first.set()
        assert not slow.done()  # it waits for its turn
    slow.result(PATIENCE)
    assert log[-1] == "slow ends"


def test_nobody_waits_long_for_a_turn(pool, monkeypatch):
    monkeypatch.setattr(turns, "_PATIENCE", 0.01)
    one = turns.Turns()

    def work():
        with one.taken():
            pass

    with one._lock:
        pool.submit(work).result(PATIENCE)
    pool.submit(work).result(PATIENCE)
    assert one._lock.acquire(blocking=False)


def test_nobody_waits_long_to_get_a_turn_back(pool, monkeypatch):
    monkeypatch.setattr(turns, "_PATIENCE", 0.01)
    one, paused = turns.Turns(), threading.Event()
    taken = threading.Event()

    def work():
        with one.taken(), turns.paused():
            paused.set()
            assert taken.wait(PATIENCE)

    slow = pool.submit(work)
    assert paused.wait(PATIENCE)
    with one._lock:
        taken.set()
        slow.result(PATIENCE)
    assert one._lock.acquire(blocking=False)


def test_the_main_thread_needs_no_turn():
    one = turns.Turns()
    with one._lock, one.taken(), turns.paused():
        pass


def test_without_the_interpreters_lock_nobody_takes_turns(pool, monkeypatch):
    monkeypatch.setattr(turns, "_has_gil", False)
    one = turns.Turns()

    def work():
        with one.taken():
            return True

    with one._lock:
        assert pool.submit(work).result(PATIENCE)

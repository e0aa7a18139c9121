"""A connection gives each request its own answer, and knows whether any of a request has left."""

import gzip
import json
import threading

import pytest

from gpt_agent_fsm.errors import OutcomeUnknown, TransientError
from gpt_agent_fsm.ports import CallLimits, RunRequest, SystemClock
from tests.backends.conftest import PATIENCE
from tests.backends.conftest import http as answer

RUN = {"id": "run_1", "status": "queued"}
INTERIM = [b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 Whatever"]


def get(backend, timeout=PATIENCE):
    return backend.get_run("t", "r", timeout=timeout)


def post(backend, timeout=PATIENCE):
    return backend.create_run(RunRequest(thread_id="t", assistant_id="a", key="k"), timeout=timeout)


@pytest.fixture(params=["first", "later"])
def make(request, make_new, make_open):
    """Make backends whose next request is the first one over its connection, or a later one."""
    return make_new if request.param == "first" else make_open


@pytest.fixture(params=[get, post])
def request_(request):
    return request.param


# --- one answer to each request -------------------------------------------------------------------------------------


@pytest.mark.parametrize("interim", INTERIM)
def test_interim_answers_are_skipped(make, serve, request_, interim):
    first = b"HTTP/1.1 " + interim + b"\r\nLink: </style.css>; rel=preload\r\n\r\n"
    server = serve(lambda connection, _: connection.sendall(first * 3 + answer(RUN)))
    backend = make(server.base_url)
    assert [request_(backend).id for _ in range(2)] == ["run_1", "run_1"]
    assert server.connections == 1


def test_an_answer_that_comes_late_after_an_interim_one_is_not_given_to_the_next_request(make, serve):
    asked_again = threading.Event()

    def respond(connection, request):
        if b"runs/first" in request:
            connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
            asked_again.wait(PATIENCE)
            connection.sendall(answer({"id": "first", "status": "queued"}))
        else:
            connection.sendall(answer({"id": "second", "status": "queued"}))

    backend = make(serve(respond).base_url)
    with pytest.raises(TransientError, match="not answered"):
        backend.get_run("t", "first", timeout=0.2)
    asked_again.set()
    assert backend.get_run("t", "second", timeout=PATIENCE).id == "second"


def test_another_protocol_is_refused_and_its_connection_is_not_used_again(make, serve, request_):
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n"
    answers = iter([switch + b"something else", answer(RUN)])
    server = serve(lambda connection, _: connection.sendall(next(answers)))
    backend = make(server.base_url)
    with pytest.raises(TransientError) as caught:
        request_(backend)
    assert type(caught.value) is (OutcomeUnknown if request_ is post else TransientError)
    assert request_(backend).id == "run_1"
    assert server.connections == 2


@pytest.mark.parametrize("rest", [b"\r\n", b"x", answer({"id": "somebody_elses", "status": "queued"})])
def test_a_connection_with_more_than_one_answer_is_not_used_again(make, serve, request_, rest):
    server = serve(lambda connection, _: connection.sendall(answer(RUN) + rest))
    backend = make(server.base_url)
    assert [request_(backend).id for _ in range(2)] == ["run_1", "run_1"]
    assert server.connections == 2


def test_an_answer_about_another_thread_is_malformed(make, serve, request_):
    server = serve(lambda connection, _: connection.sendall(answer({**RUN, "thread_id": "thread_2"})))
    with pytest.raises(TransientError, match="about another thread") as caught:
        request_(make(server.base_url))
    assert type(caught.value) is (OutcomeUnknown if request_ is post else TransientError)
    assert getattr(caught.value, "in_flight", True)


@pytest.mark.parametrize("spelling", ["thread_A1", "THREAD_a1", "a1", "thread-a1", None])
def test_a_thread_that_is_spelled_otherwise_is_the_same(make, serve, spelling):
    server = serve(lambda connection, _: connection.sendall(answer({**RUN, "thread_id": spelling})))
    assert make(server.base_url).get_run("thread_a1", "run_1", timeout=PATIENCE).id == "run_1"


# --- whether anything has left --------------------------------------------------------------------------------------

BROKEN = {
    "two lengths": answer(RUN).replace(b"Content-Length", b"Content-Length: 7\r\nContent-Length", 1),
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n",
    "an unknown coding": answer(RUN).replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1),
    "chunks without end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_every_failure_after_the_first_byte_of_a_post_is_an_unknown_outcome(make, serve, broken):
    def respond(connection, _):
        connection.sendall(broken)
        return False

    with pytest.raises(OutcomeUnknown) as caught:
        post(make(serve(respond).base_url))
    assert caught.value.in_flight


def test_nothing_is_sent_for_somebody_who_no_longer_drives_the_thread(make, serve):
    server = serve(lambda connection, _: connection.sendall(answer(RUN)))
    clock = SystemClock()
    limits = CallLimits(deadline=clock.monotonic() + PATIENCE, clock=clock, may_send=lambda: False)
    backend = make(server.base_url)
    with pytest.raises(TransientError, match="another process drives") as caught:
        post(backend, limits)
    assert type(caught.value) is TransientError
    assert server.requests == []
    assert get(backend, limits).id == "run_1", "a request that only reads does no harm"


def test_the_question_whether_to_send_is_asked_once_and_after_connecting(make, serve):
    server = serve(lambda connection, _: connection.sendall(answer(RUN)))
    clock, asked = SystemClock(), []

    def may_send():
        asked.append(server.connections)
        return True

    limits = CallLimits(deadline=clock.monotonic() + PATIENCE, clock=clock, may_send=may_send)
    backend = make(server.base_url)
    backend.post_message("t", "x" * 1_000_000, key="k", timeout=limits)
    assert len(asked) == 1


class StoppedClock(SystemClock):
    """A clock that stands at `now`."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize("connects", [True, False])
def test_nothing_is_sent_by_a_process_that_was_stopped_until_the_deadline(make, serve, connects):
    """The process is stopped in the last question before the first byte."""
    server = serve(lambda connection, _: connection.sendall(answer(RUN)))
    clock, backend = StoppedClock(), make(server.base_url)
    if not connects:
        get(backend)

    def stopped():
        clock.now += 31
        return True

    limits = CallLimits(deadline=130.0, clock=clock, may_send=stopped)
    with pytest.raises(TransientError, match="its deadline had passed") as caught:
        post(backend, limits)
    assert type(caught.value) is TransientError
    assert not any(request.startswith(b"POST") for request in server.requests)


def test_a_request_is_sent_over_the_first_address_that_answers(make, serve, monkeypatch):
    server = serve(lambda connection, _: connection.sendall(answer(RUN)))
    found = [(2, 1, 6, "", ("127.0.0.2", server.port)), (2, 1, 6, "", ("127.0.0.1", server.port))]
    monkeypatch.setattr("socket.getaddrinfo", lambda host, port, *_args, **_how: _addresses(host, port, found))
    assert post(make(f"http://api.test:{server.port}/v1")).id == "run_1"


def _addresses(host, port, found):
    return found if host == "api.test" else [(2, 1, 6, "", (host, port))]


# --- the size of an answer ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_beyond_its_limit_cannot_be_read_and_is_not_read_on(make, serve, request_, packed):
    body = json.dumps({**RUN, "x": "x" * 200_000}).encode()
    headers = {"content_encoding": "gzip"} if packed else {}
    server = serve(lambda connection, _: connection.sendall(answer(gzip.compress(body) if packed else body, **headers)))
    clock, backend = SystemClock(), make(server.base_url)

    def limits(size):
        return CallLimits(deadline=clock.monotonic() + PATIENCE, clock=clock, max_answer_bytes=size)

    assert request_(backend, limits(len(body))).id == "run_1"
    with pytest.raises(TransientError, match=r"more than 100000 bytes; see the setting max_answer_bytes") as caught:
        request_(backend, limits(100_000))
    assert type(caught.value) is (OutcomeUnknown if request_ is post else TransientError)
    assert request_(backend, limits(len(body))).id == "run_1"
    assert server.connections == (1 if packed else 2), "what is packed was small enough to arrive whole"

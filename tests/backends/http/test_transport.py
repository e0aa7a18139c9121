"""A request goes straight to the connections only if `requests` would treat it in the same way."""

import functools
import http.client
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import requests_mock as mocks
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool

from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.backends.http import turns
from gpt_agent_fsm.errors import OutcomeUnknown, TransientError
from gpt_agent_fsm.ports import CallLimits, SystemClock
from tests.backends.conftest import http as answer

THREADS = {AssistantsBackend: "/threads", ResponsesBackend: "/conversations"}


@pytest.fixture(params=THREADS, ids=lambda api: api.__name__)
def api(request):
    return request.param


@pytest.fixture
def server(serve):
    return serve(answer({"id": "thread_of_the_server"}))


@pytest.fixture
def connect(api):
    """Make backends, which are closed at the end of the test."""
    made = []

    def build(base_url, **options):
        options |= {"assistants": {}} if api is ResponsesBackend else {}
        made.append(api(base_url, None if "auth" in options else "sk-test", **options))
        return made[-1]

    yield build
    for each in made:
        each.close()


@pytest.fixture
def built(monkeypatch):
    """The answers that `requests` has built, so that a test sees which way a request has gone."""
    seen, usual = [], HTTPAdapter.build_response

    def build_response(self, request, response):
        seen.append(request)
        return usual(self, request, response)

    monkeypatch.setattr(HTTPAdapter, "build_response", build_response)
    return seen


def session_of(backend):
    return backend._http._session()


class Signature(AuthBase):
    def __call__(self, request):
        request.headers["X-Signature"] = "the signature"
        return request


class Mounted(HTTPAdapter):
    def __init__(self):
        super().__init__()
        self.sent = []

    def send(self, request, *args, **kwargs):
        self.sent.append(request.url)
        return super().send(request, *args, **kwargs)


def test_a_request_goes_straight_to_the_connections(server, connect, built):
    assert connect(server.base_url).create_thread(timeout=5) == "thread_of_the_server"
    assert built == []


def test_both_ways_send_the_same_request(server, connect, monkeypatch):
    parameters, headers = {"api-version": "1 & 2"}, {"X-Mine": "yes", "accept": "application/json; charset=utf-8"}
    backend = connect(server.base_url, params=parameters, headers=headers)
    backend.create_thread(timeout=5)
    monkeypatch.setattr(requests.Session, "send", functools.partialmethod(requests.Session.send))
    backend.create_thread(timeout=5)

    def parts(request):
        head, _, body = request.partition(b"\r\n\r\n")
        first, *rest = head.split(b"\r\n")
        return first, sorted(line.lower() for line in rest), body

    assert parts(server.requests[0]) == parts(server.requests[1])


def test_a_token_that_is_renewed_goes_straight_to_the_connections(server, connect, built):
    tokens = iter(["token-one", "token-two"])
    backend = connect(server.base_url, auth=lambda: next(tokens))
    backend.create_thread(timeout=5)
    backend.create_thread(timeout=5)
    assert built == []
    assert [b"token-one" in server.requests[0], b"token-two" in server.requests[1]] == [True, True]


def test_a_request_with_an_auth_base_goes_through_requests(server, connect, built):
    assert connect(server.base_url, auth=Signature()).create_thread(timeout=5) == "thread_of_the_server"
    assert len(built) == 1
    assert b"X-Signature: the signature" in server.requests[0]


def test_a_global_mocker_sees_every_request(server, api, connect):
    backend = connect(server.base_url)
    assert backend.create_thread(timeout=5) == "thread_of_the_server"
    with mocks.Mocker() as mocker:
        mocker.post(server.base_url + THREADS[api], json={"id": "thread_of_the_mocker"})
        assert backend.create_thread(timeout=5) == "thread_of_the_mocker"
    assert backend.create_thread(timeout=5) == "thread_of_the_server"
    assert len(server.requests) == 2


def test_a_mocker_of_a_session_sees_the_requests_of_the_session(server, api, connect):
    backend = connect(server.base_url)
    with mocks.Mocker(session=session_of(backend)) as mocker:
        mocker.post(server.base_url + THREADS[api], json={"id": "thread_of_the_mocker"})
        assert backend.create_thread(timeout=5) == "thread_of_the_mocker"
    assert backend.create_thread(timeout=5) == "thread_of_the_server"


@pytest.mark.parametrize("prefix", ["http://", "base_url"])
def test_a_mounted_adapter_sends_the_requests(server, connect, prefix):
    backend, mounted = connect(server.base_url), Mounted()
    session_of(backend).mount(server.base_url if prefix == "base_url" else prefix, mounted)
    assert backend.create_thread(timeout=5) == "thread_of_the_server"
    assert len(mounted.sent) == 1


class Meeting(HTTPAdapter):
    """An adapter in which two requests wait for each other: before they are sent, before their answers are read, and
    before they are closed."""

    def __init__(self, meeting):
        super().__init__()
        self.meeting = meeting

    def send(self, *args, **kwargs):
        self.meeting.wait()
        response = super().send(*args, **kwargs)
        for name in ("iter_content", "close"):
            setattr(response, name, waiting(self.meeting, getattr(response, name)))
        return response


def waiting(meeting, function):
    """Return a function that waits for another call before it calls this one."""

    @functools.wraps(function)
    def wait(*args, **kwargs):
        meeting.wait()
        return function(*args, **kwargs)

    return wait


@pytest.fixture
def create_two(server, connect, monkeypatch):
    """Create two threads at the same time, while the OS threads would wait for their turns for very long."""
    monkeypatch.setattr(turns, "_PATIENCE", 600.0)
    backend = connect(server.base_url)

    def create(adapter):
        if adapter is not None:
            session_of(backend).mount("http://", adapter)
        return backend.create_thread(timeout=60)

    def create_both(*adapters):
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(create, adapters)) == ["thread_of_the_server"] * 2

    return create_both


def test_requests_that_wait_in_a_mounted_adapter_do_not_hold_each_other_up(create_two):
    meeting = threading.Barrier(2, timeout=30)
    create_two(Meeting(meeting), Meeting(meeting))


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (requests.Session, "send"),
        (HTTPAdapter, "send"),
        (HTTPConnectionPool, "urlopen"),
        (http.client.HTTPConnection, "putrequest"),
    ],
)
def test_requests_that_wait_in_a_tool_of_others_do_not_hold_each_other_up(create_two, monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, waiting(threading.Barrier(2, timeout=30), getattr(owner, name)))
    create_two(None, None)


@pytest.mark.parametrize("where", [(requests.Session, "send"), (HTTPAdapter, "send")])
def test_a_tool_that_wraps_a_method_of_requests_sees_every_request(server, connect, monkeypatch, where):
    owner, name = where
    usual, seen = getattr(owner, name), []

    @functools.wraps(usual)
    def wrapped(self, request, **kwargs):
        seen.append(request.method)
        return usual(self, request, **kwargs)

    backend = connect(server.base_url)
    backend.create_thread(timeout=5)
    monkeypatch.setattr(owner, name, wrapped)
    backend.create_thread(timeout=5)
    assert seen == ["POST"]


class Proxy:
    """A wrapper that shows all attributes of the function that it wraps, as those of the package `wrapt` do."""

    def __init__(self, wrapped, seen):
        self._wrapped, self._seen = wrapped, seen

    def __getattr__(self, name):
        return getattr(self._wrapped, name)

    def __get__(self, instance, owner):
        def call(request, *args, **kwargs):
            self._seen.append(request.method)
            return self._wrapped(instance, request, *args, **kwargs)

        return call


@pytest.mark.parametrize("owner", [requests.Session, HTTPAdapter])
def test_a_wrapper_that_looks_like_the_method_sees_every_request(server, connect, monkeypatch, owner):
    backend, seen = connect(server.base_url), []
    monkeypatch.setattr(owner, "send", Proxy(owner.send, seen))
    backend.create_thread(timeout=5)
    assert seen == ["POST"]


def test_a_response_hook_of_the_session_is_the_business_of_requests_alone(server, connect):
    backend = connect(server.base_url)
    seen = []
    session_of(backend).hooks["response"].append(lambda response, **_: seen.append(response.status_code))
    backend.create_thread(timeout=5)
    assert seen == []  # neither way calls the hooks of a session for a prepared request


def test_one_connection_serves_both_ways(server, connect, monkeypatch):
    backend = connect(server.base_url)
    backend.create_thread(timeout=5)
    monkeypatch.setattr(requests.Session, "send", functools.partialmethod(requests.Session.send))
    backend.create_thread(timeout=5)
    assert server.connections == 1


def test_each_os_thread_has_a_connection_of_its_own(server, connect):
    backend = connect(server.base_url)
    for _ in range(2):
        thread = threading.Thread(target=backend.create_thread, kwargs={"timeout": 5})
        thread.start()
        thread.join()
    assert server.connections == 2


def test_a_closed_backend_connects_again(server, connect):
    backend = connect(server.base_url)
    backend.create_thread(timeout=5)
    backend.close()
    backend.create_thread(timeout=5)
    assert server.connections == 2


def test_a_server_that_hangs_up_leaves_a_usable_connection(serve, connect):
    ends = iter([False, True])

    def hang_up_once(connection, _):
        if next(ends):
            connection.sendall(answer({"id": "thread_of_the_server"}))
            return True
        return False

    backend = connect(serve(hang_up_once).base_url)
    with pytest.raises(Exception, match="was closed without an answer"):
        backend.create_thread(timeout=5)
    assert backend.create_thread(timeout=5) == "thread_of_the_server"


def test_an_answer_with_two_lengths_is_unusable_and_the_error_says_why(serve, connect):
    backend = connect(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}").base_url)
    with pytest.raises(OutcomeUnknown, match="Content-Length contained multiple unmatching values"):
        backend.create_thread(timeout=5)


def test_a_body_of_unknown_length_is_read_up_to_the_limit(serve, make):
    clock = SystemClock()

    def answer_and_hang_up(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b" " * 3000)
        return False

    backend = make(serve(answer_and_hang_up).base_url)
    limits = CallLimits(deadline=clock.monotonic() + 5, clock=clock, max_answer_bytes=2000)
    with pytest.raises(TransientError, match="has more than 2000 bytes"):
        backend.get_thread("thread_1", timeout=limits)

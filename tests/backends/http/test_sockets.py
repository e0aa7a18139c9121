"""Bytes and time: connections, TLS, and requests without an answer."""

import gc
import gzip
import json
import socket
import ssl
import threading
import time
import zlib

import pytest
from requests.auth import HTTPBasicAuth

from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.backends.http import connection, exchange
from gpt_agent_fsm.errors import OutcomeUnknown, TransientError
from gpt_agent_fsm.ports import RunRequest
from tests.backends.conftest import PATIENCE
from tests.backends.conftest import http as answer

RUN = {"id": "run_1", "status": "queued"}
SOON = 0.2
SOON_WITH_TLS = 1.0  # a handshake is slow when many tests run at once
GENEROUS = 4.0


def get(backend, timeout=PATIENCE):
    return backend.get_run("t", "r", timeout=timeout)


def post(backend, timeout=PATIENCE):
    return backend.create_run(RunRequest(thread_id="t", assistant_id="a", key="k"), timeout=timeout)


def failure_of(request, backend, timeout=PATIENCE):
    """Return the error of a request, which must be of the kind that fits its method."""
    with pytest.raises(TransientError) as caught:
        request(backend, timeout)
    return caught.value


@pytest.fixture(params=["first", "later"])
def make(request, make_new, make_open):
    """Make backends whose next request is the first one over its connection, or a later one."""
    return make_new if request.param == "first" else make_open


@pytest.fixture(params=[get, post])
def request_(request):
    return request.param


def expect_lost(request, seen, words):
    assert words in seen.message
    assert (seen.status, seen.code) == (None, None)
    assert type(seen) is (OutcomeUnknown if request is post else TransientError)
    assert getattr(seen, "in_flight", True) is True
    assert not seen.hopeless


# --- connections ----------------------------------------------------------------------------------------------------


def test_an_os_thread_keeps_its_connection(make, serve):
    server = serve(answer(RUN))
    backend = make(server.base_url)
    for _ in range(3):
        get(backend)
        post(backend)
    assert server.connections == 1


def test_each_os_thread_has_a_connection_of_its_own_and_close_ends_them_all(make_new, serve):
    server = serve(answer(RUN))
    backend = make_new(server.base_url)
    met, closed = threading.Barrier(4), threading.Event()

    def work():
        get(backend)
        met.wait(PATIENCE)
        get(backend)
        met.wait(PATIENCE)
        closed.wait(PATIENCE)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    met.wait(PATIENCE)
    met.wait(PATIENCE)
    assert server.connections == 3
    backend.close()
    for _ in range(3):
        assert server.hung_up.acquire(timeout=PATIENCE)
    closed.set()
    for thread in threads:
        thread.join()


def test_close_is_idempotent_and_a_request_after_it_connects_again(make_new, serve):
    server = serve(answer(RUN))
    backend = make_new(server.base_url)
    backend.close()
    get(backend)
    backend.close()
    backend.close()
    assert get(backend).id == "run_1"
    assert server.connections == 2


def test_a_backend_that_nobody_closed_leaves_no_socket_open(serve, recwarn):
    server = serve(answer(RUN))
    backend = AssistantsBackend(server.base_url)
    thread = threading.Thread(target=get, args=(backend,))
    thread.start()
    thread.join()
    assert server.hung_up.acquire(timeout=PATIENCE)
    get(backend)
    del backend
    gc.collect()
    assert server.hung_up.acquire(timeout=PATIENCE)
    assert not recwarn.list


def test_an_answer_that_ends_the_connection_is_read_and_the_next_request_connects_again(make, serve):
    def once(connection, _):
        connection.sendall(answer(RUN, Connection="close"))
        return False

    server = serve(once)
    backend = make(server.base_url)
    assert [get(backend).id, get(backend).id] == ["run_1", "run_1"]
    assert server.connections == 2


def test_cookies_are_not_sent_back(make, serve):
    server = serve(answer(RUN, Set_Cookie="session=1; Path=/"))
    backend = make(server.base_url)
    get(backend)
    get(backend)
    assert b"cookie" not in server.requests[1].lower()


# --- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_answer_is_read(make, serve, coding, pack):
    server = serve(answer(pack(b'{"id": "run_1", "status": "completed"}'), Content_Encoding=coding))
    assert get(make(server.base_url)).status.value == "completed"
    assert b"Accept-Encoding: gzip, deflate\r\n" in server.requests[0]


def test_a_chunked_answer_is_read_whole(make, serve):
    chunks = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n" + b'{"id": \r\n3\r\n"r"\r\n1\r\n}\r\n0\r\n\r\n'
    )
    server = serve(chunks)
    backend = make(server.base_url)
    assert [get(backend).id, get(backend).id] == ["r", "r"]
    assert server.connections == 1


def test_an_answer_without_a_length_ends_with_its_connection(make, serve):
    def until_closed(connection, _):
        connection.sendall(b'HTTP/1.0 200 OK\r\n\r\n{"id": "r"}')
        return False

    assert get(make(serve(until_closed).base_url)).id == "r"


def test_a_large_answer_is_read_whole(make, serve):
    data = [{"id": f"m{i}", "role": "assistant", "content": "x" * 20_000} for i in range(100)]
    page = make(serve(answer({"data": data})).base_url).list_messages("t", after=None, newest_first=False, timeout=9)
    assert sum(len(message.content) for message in page.messages) == 2_000_000


def test_a_large_message_is_sent_whole(make, serve):
    server = serve(answer({"id": "m"}))
    make(server.base_url).post_message("t", "ü" * 1_000_000, key="k", timeout=PATIENCE)
    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["content"] == "ü" * 1_000_000


# --- no answer ------------------------------------------------------------------------------------------------------


def test_a_refused_connection_sent_nothing_and_leaves_no_doubt(make, free_port, request_):
    seen = failure_of(request_, make(f"http://127.0.0.1:{free_port}/v1"))
    assert type(seen) is TransientError
    assert seen.hopeless
    base_url = f"http://127.0.0.1:{free_port}/v1"
    assert str(seen) == f"No server could be reached at {base_url} (Connection refused); is it running there?"


def test_an_unknown_host_is_named(make, request_, monkeypatch):
    def unknown(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    seen = failure_of(request_, make("http://no-such-host.invalid/v1"))
    assert type(seen) is TransientError
    assert seen.hopeless
    assert seen.message == (
        "The host no-such-host.invalid of http://no-such-host.invalid/v1 is not known "
        "(Name or service not known); is base_url (or OPENAI_BASE_URL) spelled right?"
    )


def test_a_server_that_accepts_no_connection_is_given_up_in_time(make, request_):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        try:
            for _ in range(3):  # fills the queue of pending connections
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(full.getsockname())
            begun = time.monotonic()
            base_url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
            seen = failure_of(request_, make(base_url), SOON)
        finally:
            for each in waiting:
                each.close()
    assert time.monotonic() - begun < GENEROUS
    assert type(seen) is TransientError
    assert seen.hopeless
    assert seen.message == f"No server could be reached at {base_url} within 0.2 seconds; is it running there?"


def test_a_connection_closed_without_an_answer_counts_as_a_lost_answer(make, serve, request_):
    seen = failure_of(request_, make(serve(lambda *_: False).base_url))
    expect_lost(request_, seen, "(it was closed without an answer)")


def test_a_reset_connection_counts_as_a_lost_answer(make, serve, request_):
    def reset(connection, _):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return False

    expect_lost(request_, failure_of(request_, make(serve(reset).base_url)), "(Connection reset by peer)")


def test_a_truncated_answer_counts_as_a_lost_answer(make, serve, request_):
    def half(connection, _):
        connection.sendall(answer(RUN)[:-5])
        return False

    expect_lost(request_, failure_of(request_, make(serve(half).base_url)), "(the answer broke off)")


def test_broken_chunks_count_as_a_lost_answer(make, serve, request_):
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    expect_lost(request_, failure_of(request_, make(server.base_url)), "The connection was lost during")


def test_a_body_that_cannot_be_decompressed_counts_as_a_lost_answer(make, serve, request_):
    server = serve(answer(b"no gzip", Content_Encoding="gzip"))
    expect_lost(request_, failure_of(request_, make(server.base_url)), "The connection was lost during")


@pytest.mark.parametrize(
    "banner", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x15\x03\x03\x00\x02\x02\x32", b"HTTP/1.1 OK\r\n\r\n"]
)
def test_a_server_that_does_not_speak_http_makes_the_address_suspect(make, serve, request_, banner):
    def greet(connection, _):
        connection.sendall(banner)
        return False

    server = serve(greet)
    seen = failure_of(request_, make(server.base_url))
    assert type(seen) is (OutcomeUnknown if request_ is post else TransientError)
    assert seen.hopeless
    assert getattr(seen, "in_flight", True)
    assert seen.message == (
        f"The server at {server.base_url} does not speak HTTP; does base_url need https:// or another port?"
    )


@pytest.mark.parametrize("auth", [None, HTTPBasicAuth("user", "a-passw0rd")], ids=["key", "auth"])
@pytest.mark.parametrize("lost", [get, post])
def test_after_a_lost_connection_each_post_has_a_new_one(serve, lost, auth):
    answered = set()

    def only_once(connection, _):
        # The server closes a connection when the second request comes, and has not announced it.
        if connection in answered:
            connection.shutdown(socket.SHUT_RDWR)
        else:
            answered.add(connection)
            connection.sendall(answer(RUN))

    backend = AssistantsBackend(serve(only_once).base_url, None if auth else "k", auth=auth)
    assert get(backend).id == "run_1"
    failure_of(lost, backend)
    assert [post(backend).id for _ in range(3)] == ["run_1"] * 3
    backend.close()


def test_a_connection_closed_while_idle_is_replaced(make, serve):
    served = threading.Semaphore(0)

    def once(connection, _):
        connection.sendall(answer(RUN))
        connection.shutdown(socket.SHUT_RDWR)
        served.release()
        return False

    server = serve(once)
    backend = make(server.base_url)
    for _ in range(3):
        assert get(backend).id == "run_1"
        assert served.acquire(timeout=PATIENCE)


# --- the deadline ---------------------------------------------------------------------------------------------------


def expect_in_time(request, backend, timeout=SOON):
    begun = time.monotonic()
    seen = failure_of(request, backend, timeout)
    assert timeout * 0.9 <= time.monotonic() - begun < GENEROUS
    return seen


def test_a_silent_server_is_given_up_in_time(make, serve, request_):
    server = serve(lambda *_: server.stopping.wait(PATIENCE))
    seen = expect_in_time(request_, make(server.base_url))
    expect_lost(request_, seen, "was not answered within 0.")  # a busy machine has used some of the time


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n", b" "),
    ],
    ids=["status", "headers", "header", "continue", "body", "endless body", "chunks", "error"],
)
def test_an_answer_that_trickles_is_given_up_in_time(make, serve, request_, head, piece):
    def trickle(connection, _):
        connection.sendall(head)
        server.trickle(connection, piece)

    server = serve(trickle)
    seen = expect_in_time(request_, make(server.base_url))
    expect_lost(request_, seen, "was not answered within 0.")  # a busy machine has used some of the time


def test_each_request_on_a_connection_has_its_own_deadline(make, serve):
    def slow(connection, _):
        server.stopping.wait(0.3)
        connection.sendall(answer(RUN))

    server = serve(slow)
    backend = make(server.base_url)
    for _ in range(4):
        assert get(backend, timeout=1.0).id == "run_1"
    assert server.connections == 1


def test_a_server_that_does_not_take_the_request_is_given_up_in_time(make):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        backend = make(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1")
        begun = time.monotonic()
        with pytest.raises(OutcomeUnknown, match=r"not answered within 0\.2 seconds"):
            backend.post_message("t", "x" * 30_000_000, key="k", timeout=SOON)
    assert time.monotonic() - begun < GENEROUS


@pytest.mark.parametrize("moment", ["before", "while"])
def test_nothing_is_sent_once_the_time_is_over(make_new, serve, monkeypatch, moment):
    server = serve(answer(RUN))
    backend = make_new(server.base_url)
    if moment == "before":
        monkeypatch.setattr(exchange, "seconds_left", lambda: (_ for _ in ()).throw(TimeoutError("timed out")))
    else:
        connect = connection.HTTPConnection.connect

        def slow(self):
            connect(self)
            exchange._current.limits = exchange.limits_of(0)

        monkeypatch.setattr(connection.HTTPConnection, "connect", slow)
    failure = failure_of(post, backend, SOON)
    assert type(failure) is TransientError
    assert "within" in failure.message or "its deadline had passed" in failure.message
    assert server.requests == []


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve_tls(serve, tls):
    """Start servers that speak TLS, and return their base URLs."""

    def start(reply):
        def wrapped(connection, first):
            raise AssertionError("clients begin with TLS")

        server = serve(wrapped)

        def read(connection):
            # The first read of a connection is where TLS begins.
            if not isinstance(connection, ssl.SSLSocket):
                connection = tls.wrap_socket(connection.dup(), server_side=True)
            with connection:
                connection.settimeout(PATIENCE)
                while request := type(server).read(connection):
                    if server.opens(connection, request):
                        continue
                    server.requests.append(request)
                    reply(connection, server)
            return b""

        server.read = read
        return server, f"https://localhost:{server.port}/v1"

    return start


def test_tls_works_with_a_certificate_the_environment_trusts(make, serve_tls, certificate, monkeypatch):
    server, base_url = serve_tls(lambda connection, _: connection.sendall(answer(RUN)))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    backend = make(base_url)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    for _ in range(2):
        assert get(backend).id == "run_1"
        assert post(backend).id == "run_1"
    assert server.connections == 1


def test_the_deadline_holds_under_tls(make, serve_tls, certificate, monkeypatch, request_):
    def trickle(connection, server):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        server.trickle(connection, b" ")

    _, base_url = serve_tls(trickle)
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificate))
    seen = expect_in_time(request_, make(base_url), SOON_WITH_TLS)
    expect_lost(request_, seen, "was not answered within 1 seconds.")


def test_an_untrusted_certificate_says_how_to_trust_it(make, serve_tls, request_):
    server, base_url = serve_tls(lambda *_: None)
    seen = failure_of(request_, make(base_url))
    assert type(seen) is TransientError
    assert seen.hopeless
    assert seen.message.startswith(f"The certificate of {base_url} is not trusted (self")
    assert seen.message.endswith("); name its authority's file in REQUESTS_CA_BUNDLE.")
    assert server.requests == []


def test_a_certificate_for_another_host_says_so(make, serve_tls, certificate, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    server, _ = serve_tls(lambda *_: None)
    seen = failure_of(post, make(f"https://127.0.0.1:{server.port}/v1"))
    assert seen.message.endswith("is not valid for '127.0.0.1'); name the host it was made for.")


def test_a_server_that_answers_tls_in_plain_http_makes_the_scheme_suspect(make, request_):
    listening = socket.create_server(("127.0.0.1", 0))

    def reject():
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer({}, 400))

    thread = threading.Thread(target=reject)
    thread.start()
    base_url = f"https://127.0.0.1:{listening.getsockname()[1]}/v1"
    seen = failure_of(request_, make(base_url))
    thread.join()
    listening.close()
    assert type(seen) is TransientError
    assert seen.hopeless
    assert seen.message.startswith(f"The server at {base_url} does not answer in TLS (")
    assert seen.message.endswith("); does base_url need http:// instead?")


def test_a_plain_port_that_waits_for_the_rest_of_a_request_is_named_long_before_the_deadline(
    make, serve, request_, monkeypatch
):
    monkeypatch.setattr(connection, "_TLS_PATIENCE", 0.1)
    server = serve(lambda connection, _: connection.sendall(answer({}, 404)))
    seen = failure_of(request_, make(f"https://127.0.0.1:{server.port}/v1"), timeout=600)
    assert type(seen) is TransientError
    assert seen.hopeless
    assert seen.message == (
        f"The server at https://127.0.0.1:{server.port}/v1 does not answer in TLS (it speaks plain HTTP); "
        "does base_url need http:// instead?"
    )
    assert b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" in server.requests


@pytest.mark.parametrize("plain", [answer({}, 400), b"", b"SSH-2.0-OpenSSH_9.7\r\n"])
def test_a_server_whose_handshake_is_slow_is_not_taken_for_a_plain_port(make, tls, certificate, monkeypatch, plain):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setattr(connection, "_TLS_PATIENCE", 0.1)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(PATIENCE)

    def stall_once():
        with listening, listening.accept()[0], listening.accept()[0] as probe:
            probe.recv(65536)
            probe.sendall(plain)
            probe.close()
            with tls.wrap_socket(listening.accept()[0], server_side=True) as inner:
                inner.recv(65536)
                inner.sendall(answer({"id": "t"}))

    thread = threading.Thread(target=stall_once, daemon=True)
    thread.start()
    assert make(f"https://localhost:{listening.getsockname()[1]}/v1").get_thread("t", timeout=10) is None
    thread.join()


def test_a_server_that_waits_for_more_than_a_tls_greeting_is_given_up_in_time(make, request_):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        base_url = f"https://127.0.0.1:{deaf.getsockname()[1]}/v1"
        seen = expect_in_time(request_, make(base_url))
    assert type(seen) is TransientError
    assert (
        seen.message
        == f"The server at {base_url} does not answer in TLS (timed out); does base_url need http:// instead?"
    )

"""The short way sends what `http.client` sends, and reads what `http.client` reads."""

import contextlib
import errno
import http.client
import io
import itertools
import json
import logging
import re
import socket
import threading
import time
from types import SimpleNamespace

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import HTTPError
from urllib3.util.ssltransport import SSLTransport

from gpt_agent_fsm.backends.http import exchange
from gpt_agent_fsm.backends.http.connection import Connection, _on_one_line
from gpt_agent_fsm.backends.http.reading import Response, holds_decrypted_bytes
from gpt_agent_fsm.backends.http.short_way import MAX_SHORT, Arriving, Forms, ShortAnswer
from gpt_agent_fsm.backends.http.transport import Incoming
from gpt_agent_fsm.errors import TransientError
from gpt_agent_fsm.local import ChatCompletionsModel, Reply
from gpt_agent_fsm.ports import CallLimits, RunRequest, SystemClock
from tests.backends.conftest import PATIENCE, RUN
from tests.backends.conftest import http as answer
from tests.local.models.chat_completions.questions import request as a_question

LIMIT = 1_000_000


@pytest.fixture
def server(serve):
    return serve(lambda connection, _: connection.sendall(answer(RUN)))


@pytest.fixture
def written(monkeypatch):
    """The requests that `http.client` has written."""
    seen, usual = [], Connection.request

    def request(self, method, url, *args, **options):
        seen.append(f"{method} {url}")
        return usual(self, method, url, *args, **options)

    monkeypatch.setattr(Connection, "request", request)
    return seen


def get(backend, run_id="r"):
    return backend.get_run("t", run_id, timeout=PATIENCE)


def post(backend):
    return backend.create_run(RunRequest(thread_id="t", assistant_id="a", key="k"), timeout=PATIENCE)


# --- requests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [get, post])
@pytest.mark.parametrize(
    "options", [{}, {"headers": {"X-Mine": "Content-Length, 7"}, "params": {"a": "b c"}}, {"headers": {"Host": "me"}}]
)
def test_a_later_request_has_the_bytes_of_the_first(server, make, written, request_, options):
    backend = make(server.base_url, **options)
    for _ in range(3):
        request_(backend)
    assert len(set(server.requests)) == 1
    assert len(written) == server.connections == 1


def test_only_the_first_request_of_a_kind_is_written_by_http_client(server, make, written):
    backend = make(server.base_url)
    for number in range(3):
        get(backend, f"run_{number}")
        backend.post_message("t", "x" * 10**number, key="k", timeout=PATIENCE)
    assert [line.partition(" ")[0] for line in written] == ["GET", "POST"]
    for head, _, body in (request.partition(b"\r\n\r\n") for request in server.requests[1::2]):
        assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head


@given(run_id=st.text(min_size=1))
def test_a_path_is_sent_as_urllib3_writes_it(run_id):
    forms, target = Forms(), f"/v1/{run_id}"
    forms.learn("GET", {}, None, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    head = forms.head("GET", target, {}, None)
    if head is not None:
        written = urllib3.connectionpool._encode_target(target)
        assert head == f"GET {written} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


@pytest.mark.parametrize("run_id", ["a%b", "a b", "\N{SNOWMAN}", "a/b", "a%2f"])
def test_an_unusual_path_is_the_same_in_both_ways(server, make, run_id):
    backend = make(server.base_url)
    get(backend, run_id)
    get(backend, run_id)
    assert len(set(server.requests)) == 1


@pytest.mark.parametrize("target", ["http://h/v1", "", "/a b", "/a\r\nX: y", "/%zz", "/%c3", "/\x7f", "/\N{SNOWMAN}"])
def test_a_target_that_urllib3_may_change_has_no_short_way(target):
    forms = Forms()
    forms.learn("GET", {}, None, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert forms.head("GET", "/", {}, None) == b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    assert forms.head("GET", target, {}, None) is None


def test_forms_of_many_uploads_take_no_more_memory(server, make):
    backend = make(server.base_url)
    for number in range(40):
        backend._http.upload("/files", {}, "a.txt", str(number).encode(), timeout=PATIENCE)
    pool, _ = backend._http._session().route
    connection = pool._get_conn()
    pool._put_conn(connection)
    assert len(connection._forms._forms) <= 16


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (urllib3.HTTPConnectionPool, "urlopen"),
        (urllib3.HTTPConnectionPool, "_make_request"),
        (urllib3.connection.HTTPConnection, "request"),
        (http.client.HTTPConnection, "putrequest"),
        (http.client.HTTPConnection, "send"),
        (http.client.HTTPConnection, "getresponse"),
    ],
)
def test_a_tool_that_wraps_a_method_sees_every_request(server, make, monkeypatch, owner, name):
    seen, usual = [], getattr(owner, name)

    def wrapped(self, *args, **options):
        seen.append(name)
        return usual(self, *args, **options)

    backend = make(server.base_url)
    get(backend)
    monkeypatch.setattr(owner, name, wrapped)
    for _ in range(3):
        get(backend)
    assert len(seen) == 3


def test_a_header_that_a_tool_adds_to_each_request_is_not_kept(server, make, monkeypatch):
    numbers, usual = itertools.count(1), http.client.HTTPConnection.putrequest

    def putrequest(self, *args, **options):
        usual(self, *args, **options)
        self.putheader("X-Trace", f"trace-{next(numbers)}")

    backend = make(server.base_url)
    with monkeypatch.context() as patched:
        patched.setattr(http.client.HTTPConnection, "putrequest", putrequest)
        for _ in range(3):
            get(backend)
    get(backend)
    get(backend)
    assert [re.findall(rb"trace-\d", request) for request in server.requests] == [
        *([f"trace-{number}".encode()] for number in (1, 2, 3)),
        [],
        [],
    ]


def test_a_request_that_the_user_has_framed_is_never_written_from_a_form(server, make, written):
    backend = make(server.base_url, headers={"Transfer-Encoding": "chunked"})
    for _ in range(3):
        get(backend)
    assert len(written) == 3


def test_another_version_of_http_has_no_short_way(server, make, monkeypatch, written):
    monkeypatch.setattr(http.client.HTTPConnection, "_http_vsn_str", "HTTP/1.0")
    backend = make(server.base_url)
    for _ in range(3):
        get(backend)
    assert len(written) == 3


def test_a_root_logger_at_debug_does_not_lengthen_the_way(server, make, caplog, written):
    """The lines of urllib3 about these requests are dropped then."""
    caplog.set_level(logging.DEBUG)
    backend = make(server.base_url)
    for _ in range(3):
        get(backend)
    assert len(written) == 1


def test_urllib3_logs_every_request_for_those_who_want_to_see_them(server, make, caplog):
    caplog.set_level(logging.DEBUG, logger="urllib3.connectionpool")
    backend = make(server.base_url)
    for _ in range(3):
        get(backend)
    assert sum('"GET /v1' in record.getMessage() for record in caplog.records) == 3


def test_http_client_prints_every_request_for_those_who_want_to_see_them(server, make, monkeypatch, capsys):
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    backend = make(server.base_url)
    for _ in range(3):
        get(backend)
    assert capsys.readouterr().out.count("reply: 'HTTP/1.1 200") == 3


# --- answers ----------------------------------------------------------------------------------------------------

BODY = json.dumps(RUN).encode()
USUAL = answer(RUN)
ANSWERS = {
    "usual": USUAL,
    "empty": answer(b""),
    "an error": answer({"error": {"message": "no"}}, 500),
    "headers twice": answer(RUN).replace(b"\r\n\r\n", b"\r\nX-A: 1\r\nx-a: 2\r\n\r\n", 1),
    "kept alive": answer(RUN, Connection="Keep-Alive"),
    "the last": answer(RUN, Connection="close"),
    "more": USUAL + USUAL,
    "a line more": USUAL + b"\r\n",
    "broken off": USUAL[:-1],
    "broken off in the head": USUAL[:20],
    "nothing": b"",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + USUAL,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks and a length": answer(b"1\r\nx\r\n0\r\n\r\n", Transfer_Encoding="chunked"),
    "no length": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    "HTTP/1.0": USUAL.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "no body with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "no words": USUAL.replace(b"200 Status", b"200"),
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "two lengths": answer(RUN).replace(b"\r\n\r\n", b"\r\nContent-Length: 7\r\n\r\n", 1),
    "a length with a sign": answer(b"", Content_Length="+0"),
    "lines without returns": USUAL.replace(b"\r\n", b"\n"),
    "a folded line": USUAL.replace(b"\r\n\r\n", b"\r\nX: a \t\r\n\t b \r\n\r\n", 1),
    "a status too small": USUAL.replace(b"200", b"99"),
    "a status in letters": USUAL.replace(b"200", b"abc"),
    "the last line alone without a return": USUAL.replace(b"\r\n\r\n", b"\r\n\n", 1),
    "many headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 120,
    "large": answer(b"x" * (MAX_SHORT + 1)),
    "many headers": USUAL.replace(b"\r\n\r\n", b"\r\n" + b"X: 1\r\n" * 97 + b"\r\n", 1),
    "too many headers": USUAL.replace(b"\r\n\r\n", b"\r\n" + b"X: 1\r\n" * 98 + b"\r\n", 1),
    "a long line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    "events": answer(b"data: 1\n\n", Content_Type="text/event-stream"),
}


@contextlib.contextmanager
def connected(*pieces, ends):
    """A connection whose next reads give these pieces, and then the end, or else nothing."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection = Connection("h")
    connection.sock = mine
    with mine, theirs:
        for piece in pieces:
            for start in range(0, len(piece), 4096):
                theirs.send(piece[start : start + 4096])
        if ends:
            theirs.shutdown(socket.SHUT_WR)
        yield connection
        connection.close()


def usually(connection):
    connection.request("GET", "/", headers={}, preload_content=False)
    return connection.getresponse()


def briefly(connection):
    exchange.prepare("GET")
    return connection._receive("GET")


def outcome(receive, *pieces, ends=True):
    """Return the parts of an answer, or else its error, and whether its connection can be used again."""
    exchange.begin(PATIENCE if ends else 0.3)
    with connected(*pieces, ends=ends) as connection:
        try:
            got = receive(connection)
            if isinstance(got, ShortAnswer):
                parts = got.status, dict(got.headers), got.body
            else:
                # Only newer versions of urllib3 join the lines of a header.
                headers = {name.lower(): _on_one_line(got.headers[name]) for name in got.headers}
                parts = got.status, headers, Incoming(got).read(LIMIT)
        except (OSError, HTTPError, http.client.HTTPException) as error:
            # urllib3 names the end of the time otherwise, depending on where it comes. For users, it is the same.
            return "timed out" if "timed out" in str(error) else (type(error), str(error))
        with contextlib.suppress(BrokenPipeError, AttributeError):  # shut, or closed
            connection.sock.send(b"the next request")
            return *parts, "can be used again"
        return parts


@pytest.mark.parametrize("received", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_what_http_client_and_urllib3_read(received):
    for cut in {*range(min(len(received), 300) + 1), len(received) // 2, max(len(received) - 1, 0)}:
        pieces = [piece for piece in (received[:cut], received[cut:]) if piece]
        assert outcome(briefly, *pieces) == outcome(usually, *pieces)


@pytest.mark.parametrize("received", ANSWERS.values(), ids=ANSWERS)
def test_no_end_of_the_connection_is_waited_for_without_need(received):
    assert outcome(briefly, received, ends=False) == outcome(usually, received, ends=False)


@pytest.mark.parametrize("received", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 OK\r\n", b"HTTP/1.1 200 OK\nX: y\n"])
def test_an_answer_that_is_unusual_at_its_beginning_is_handed_over_at_once(received):
    assert not Arriving().add(received)


def test_a_defect_of_the_headers_is_a_warning_each_time(caplog):
    for receive in (usually, briefly, briefly):
        outcome(receive, USUAL.replace(b"\r\n\r\n", b"\r\nno colon\r\n\r\n", 1))
    assert sum("Failed to parse headers" in record.getMessage() for record in caplog.records) == 3


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE])
def test_an_answer_is_read_even_if_the_request_could_not_be_sent_whole(monkeypatch, number):
    def send(self, data):
        raise OSError(number, "no")

    monkeypatch.setattr(Connection, "send", send)
    exchange.begin(PATIENCE)
    with connected(USUAL, ends=True) as connection:
        connection._forms.learn("GET", {}, None, b"GET / HTTP/1.1\r\n\r\n")
        assert connection.ask("GET", "/", None, {}, in_pieces=False).status == 200


def test_an_end_of_tls_within_tls_is_an_end():
    """There, urllib3's `recv` returns a zero."""
    exchange.begin(PATIENCE)
    with connected(ends=True) as connection:
        real = connection.sock
        connection.sock = SimpleNamespace(
            recv=lambda _: 0, makefile=real.makefile, gettimeout=real.gettimeout, settimeout=real.settimeout
        )
        with pytest.raises(http.client.RemoteDisconnected):
            briefly(connection)
        connection.sock = real


def test_a_connection_in_tls_within_tls_is_ended_below_both():
    mine, theirs = socket.socketpair()
    with mine, theirs:
        sock = object.__new__(SSLTransport)
        sock.socket = mine
        response = Response(SimpleNamespace(makefile=lambda _: io.BufferedReader(io.BytesIO())))
        response._sock = sock
        response.interrupt()
        assert theirs.recv(1) == b""


def test_an_answer_in_pieces_is_returned_before_its_body_has_arrived():
    exchange.begin(PATIENCE)
    with connected(USUAL[:-5], ends=False) as connection:
        connection._forms.learn("GET", {}, None, b"GET / HTTP/1.1\r\n\r\n")
        response = Incoming(connection.ask("GET", "/", None, {}, in_pieces=True))
        assert response.read_piece() == BODY[:-5]


@pytest.mark.parametrize(("encrypted", "decrypted"), [(1, 0), (0, 1)])
def test_data_that_wait_inside_tls_within_tls_are_found(encrypted, decrypted):
    sock = object.__new__(SSLTransport)
    sock.socket, sock.incoming, sock.sslobj = None, SimpleNamespace(pending=0), SimpleNamespace(pending=lambda: 0)
    assert not holds_decrypted_bytes(sock)
    sock.incoming, sock.sslobj = SimpleNamespace(pending=encrypted), SimpleNamespace(pending=lambda: decrypted)
    assert holds_decrypted_bytes(sock)


@pytest.mark.parametrize("name", ["usual", "empty", "an error", "headers twice", "kept alive", "no words"])
def test_usual_answers_are_read_without_http_client(name):
    exchange.begin(PATIENCE)
    with connected(ANSWERS[name], ends=False) as connection:
        assert isinstance(briefly(connection), ShortAnswer)


def test_a_short_answer_can_be_read_in_pieces(server, make):
    backend = make(server.base_url)
    get(backend)
    exchange.begin(PATIENCE)
    request = backend._http._request("GET", "/threads/t/runs/r", None, {})
    response = backend._http._transport.open(request, PATIENCE)
    pool, _ = backend._http._session().route
    assert pool.pool.qsize() == pool.pool.maxsize, "its connection is free"
    assert [response.read_piece(), response.read_piece(), response.read_piece()] == [BODY, b"", b""]


def test_a_stream_that_its_server_does_not_announce_comes_in_pieces(serve):
    first, last = (
        f'data: {{"choices":[{{"delta":{{"content":"{text}"}},"finish_reason":{end}}}]}}\n\n'.encode()
        for text, end in (("One", "null"), (" two", '"stop"'))
    )
    heard = threading.Event()

    def respond(connection, _):
        whole = answer(first + last)
        connection.sendall(whole.removesuffix(last))
        assert heard.wait(PATIENCE)
        connection.sendall(last)

    server = serve(respond)
    with contextlib.closing(ChatCompletionsModel(server.base_url, timeout=PATIENCE)) as model:
        for _ in range(3):
            heard.clear()
            pieces = model.stream(a_question())
            assert next(pieces) == "One"
            heard.set()
            assert list(pieces) == [" two", Reply("One two")]
    assert server.connections == 1


def by_http_client(head):
    response = http.client.HTTPResponse(SimpleNamespace(makefile=lambda _mode: io.BytesIO(head)), method="GET")
    response.begin()
    return response


LINES = [line + b"\r\n" for line in USUAL.partition(b"\r\n\r\n")[0].splitlines()[1:]] + [
    b"Content-Length: 2\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"X-A:\t b \r\n",
    b"x-a: c\r\n",
    b"X-Folded: a\r\n b\r\n",
    b"no colon\r\n",
    b"X-Empty:\r\n",
    b"X-Return: a\rb\r\n",
    b"X-Letters: \xe9\r\n",
]
STATUS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 503\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 200\tOK\r\n",
]


@given(st.sampled_from(STATUS), st.lists(st.sampled_from(LINES) | st.binary(max_size=12), max_size=6))
def test_a_head_that_is_read_here_is_read_in_the_same_way_by_http_client(status, lines):
    received = status + b"".join(lines) + b"\r\n"
    arriving = Arriving()
    arriving.add(received)
    if arriving._head is None or len(received) > arriving._head.body:
        return
    head = arriving._head
    usual = by_http_client(received)
    together = HTTPHeaderDict(usual.msg.items())
    merged = {name.lower(): together[name] for name in together}
    arriving.add(b"x" * (head.end - head.body))
    assert (head.status, dict(arriving.answer.headers), head.end - head.body) == (usual.status, merged, usual.length)
    assert [usual.will_close, usual.chunked] == [False, False]


def test_a_line_of_blanks_takes_no_time():
    """The steps of a regular expression that can divide the blanks in many ways grow with their square."""
    before = time.thread_time()
    assert not Arriving().add(b"HTTP/1.1 200 OK\r\nX:" + b" " * 60_000 + b"\x00\r\n\r\n")
    assert time.thread_time() - before < 1.0


def test_a_short_answer_beyond_its_limit_is_refused(server, make):
    clock = SystemClock()
    backend = make(server.base_url)
    get(backend)
    limits = CallLimits(deadline=clock.monotonic() + PATIENCE, clock=clock, max_answer_bytes=20)
    with pytest.raises(TransientError, match="has more than 20 bytes"):
        backend.get_run("t", "r", timeout=limits)

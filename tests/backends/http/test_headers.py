"""Headers are parsed as `http.client` parses them."""

import http.client
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_agent_fsm.backends.http import headers

USUAL = (
    b"Content-Type: application/json\r\nContent-Length: 2\r\n"
    b"Set-Cookie: a=1\r\nset-cookie: b=2\r\nX-Request-Id:\t r1 \r\n"
)
UNUSUAL = [
    b"X-Folded: one\r\n two\r\n",
    b"no colon\r\n",
    b": no name\r\n",
    b"Name with spaces: 1\r\n",
    b"X-Control: a\x00b\r\n",
    b"X-Return: a\rb: c\r\n",
    b"From me: 1\r\n",
    b" starts with a space: 1\r\n",
]


class Parsed(http.client.HTTPResponse):
    def __init__(self, head):
        self._said = b"HTTP/1.1 200 OK\r\n" + head
        super().__init__(self, method="GET")

    def makefile(self, _mode):
        return io.BytesIO(self._said)


def parsed(head, begin):
    response = Parsed(head)
    begin(response)
    names = ["content-length", "transfer-encoding", "connection", *dict(response.msg.items())]
    values = [(response.msg.get(name), response.msg.get_all(name), name in response.msg) for name in names]
    facts = (response.length, response.chunked, response.will_close, response.version, bool(response.msg.defects))
    return response.msg.items(), values, facts, response.msg.get_payload() or None


def both(head):
    mine, usual = parsed(head, headers.begin), parsed(head, http.client.HTTPResponse.begin)
    assert mine == usual
    return mine


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b""], ids=["CRLF", "LF", "end of the connection"])
@pytest.mark.parametrize("head", [b"", USUAL, USUAL.replace(b"\r\n", b"\n"), *(USUAL + line for line in UNUSUAL)])
def test_headers_are_parsed_as_http_client_parses_them(head, end):
    both(head + end)


def test_usual_headers_need_no_package_for_letters(monkeypatch):
    monkeypatch.setattr("email.parser.Parser.parsestr", None)
    items, *_ = parsed(USUAL + b"\r\n", headers.begin)
    assert dict(items)["Content-Length"] == "2"


@given(st.lists(st.sampled_from([*USUAL.splitlines(keepends=True), *UNUSUAL]) | st.binary(max_size=12), max_size=6))
def test_any_bytes_are_parsed_as_http_client_parses_them(lines):
    both(b"".join(lines) + b"\r\n")


@pytest.mark.parametrize("head", [b"X: 1\r\n" * 101, b"X: " + b"1" * 70_000 + b"\r\n"], ids=["many", "long"])
def test_the_limits_of_http_client_hold(head):
    with pytest.raises(http.client.HTTPException):
        parsed(head + b"\r\n", headers.begin)

"""The headers that let pages of allowed origins read the answers."""

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest
import requests

from gpt_agent_fsm.local.http.application import MAX_BODY

PAGE = "https://app.example"
PATIENCE = 10.0


def preflight(server, origin=PAGE, **more):
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,openai-beta,x-stainless-os",
    }
    return requests.options(f"{server.base_url}/responses", headers=headers | more, timeout=PATIENCE)


@pytest.mark.parametrize("key", [None, "sk-right"])
def test_a_preflight_needs_no_key_and_allows_what_clients_send(serve, key):
    answer = preflight(serve(allow_origins=[PAGE], api_key=key).server)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE"
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type,openai-beta,x-stainless-os"
    assert answer.headers["Access-Control-Max-Age"] == "600"
    assert "Access-Control-Allow-Private-Network" not in answer.headers
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_preflight_for_a_private_network_is_allowed(serve):
    server = serve(allow_origins=[PAGE]).server
    answer = preflight(server, **{"Access-Control-Request-Private-Network": "true"})
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"


@pytest.mark.parametrize(("key", "status"), [(None, 403), ("sk-right", 401)])
def test_a_preflight_of_another_origin_allows_nothing(serve, key, status):
    answer = preflight(serve(allow_origins=[PAGE], api_key=key).server, "https://evil.example")
    assert answer.status_code == status
    assert not [name for name in answer.headers if name.startswith("Access-Control")]
    assert answer.headers["Vary"] == "Origin"


def test_without_allowed_origins_there_are_no_such_headers(api):
    answer = preflight(api.server)
    assert answer.status_code == 403
    assert not {"Vary", "Access-Control-Allow-Origin"} & set(answer.headers)


@pytest.mark.parametrize("allowed", [PAGE, "*"])
def test_answers_errors_and_streams_can_be_read(serve, allowed):
    server = serve(allow_origins=[allowed]).server
    for path, body, status in (
        ("/responses", {"model": "m", "input": "x"}, 200),
        ("/responses", {"model": "m", "input": "x", "stream": True}, 200),
        ("/responses", {"model": 7}, 400),
        ("/nothing", {}, 404),
    ):
        answer = requests.post(server.base_url + path, json=body, headers={"Origin": PAGE}, timeout=PATIENCE)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, PAGE)
        assert answer.headers["Vary"] == "Origin"
        assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]


REFUSED = {
    "a body that is too large": (f"POST /v1/responses HTTP/1.1\r\nContent-Length: {4 * MAX_BODY + 1}", 413),
    "a line that is not HTTP": ("POST /v1/responses HTTP/1.1\r\nContent-Length: many", 400),
}


@pytest.mark.parametrize(("head", "status"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("origin", [PAGE, "https://evil.example"])
def test_a_page_can_read_why_its_request_was_not_read(serve, head, status, origin):
    server = serve(allow_origins=[PAGE]).server
    address = urlsplit(server.base_url)
    with socket.create_connection((address.hostname, address.port), PATIENCE) as connection:
        connection.sendall(f"{head}\r\nHost: x\r\nOrigin: {origin}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.headers["Vary"]) == (status, "Origin")
        assert answer.headers["Access-Control-Allow-Origin"] == (PAGE if origin == PAGE else None)
        assert json.loads(answer.read())["error"]["type"] == "invalid_request_error"


def test_a_refusal_has_no_such_headers_without_allowed_origins(api):
    size = {"Content-Length": str(4 * MAX_BODY + 1), "Origin": PAGE}
    answer = requests.post(f"{api.server.base_url}/responses", headers=size, timeout=PATIENCE)
    assert answer.status_code == 413
    assert not {"Vary", "Access-Control-Allow-Origin"} & set(answer.headers)


def test_requests_that_no_page_sends_are_answered_as_ever(serve):
    answer = requests.post(f"{serve(allow_origins=[PAGE]).server.base_url}/conversations", json={}, timeout=PATIENCE)
    assert (answer.status_code, "Access-Control-Allow-Origin" in answer.headers) == (200, False)

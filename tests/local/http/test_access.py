"""Who may come in: with a key, with none, and from the pages of other sites."""

import http.client
import socket

import pytest
import requests

from gpt_agent_fsm.access import is_loopback
from gpt_agent_fsm.local import LocalServer
from gpt_agent_fsm.local.http import access

PATIENCE = 10.0


def asked(server, method="POST", path="/v1/responses", *, body=b"", **headers):
    """Return the answer to a request with exactly these headers, and Content-Length if there is a body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    host = {} if "Host" in named else {"Host": f"127.0.0.1:{server._http.port}"}
    length = {"Content-Length": str(len(body))} if body else {}
    lines = [f"{name}: {value}" for name, value in (host | named | length).items()]
    with socket.create_connection(("127.0.0.1", server._http.port), timeout=PATIENCE) as connection:
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Connection: close", *lines, "", ""])
        connection.sendall(head.encode() + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2].decode()


@pytest.fixture
def guarded(serve):
    return serve(api_key="sk-right").server


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer sk-right"},
        {"Authorization": "bearer sk-right"},
        {"AUTHORIZATION": "BEARER   sk-right "},
        {"api-key": "sk-right"},
        {"API-Key": "sk-right"},
        {"Authorization": "Bearer sk-of-something-else", "api-key": "sk-right"},
        {"Authorization": "Bearer sk-right", "api-key": "none"},
        {"Authorization": "Basic eA==", "api-key": "sk-right"},
    ],
)
def test_the_key_comes_in_by_either_header(guarded, headers):
    assert asked(guarded, "GET", "/v1/conversations/conv_x", **headers)[0] == 404


@pytest.mark.parametrize(
    "headers", [{"api-key": "sk-wrong"}, {"api-key": "Bearer sk-right"}, {"X-Api-Key": "sk-right"}]
)
def test_another_key_or_header_does_not(guarded, headers):
    status, answer = asked(guarded, "GET", "/v1/conversations/conv_x", **headers)
    assert status == 401
    assert "sk-" not in answer


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1", "", "[", "x"]
)
def test_a_request_for_another_host_is_refused(api, host):
    status, answer = asked(api.server, "GET", "/v1/conversations/conv_x", Host=host)
    assert (status, "foreign_host" in answer) == (403, True)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "127.9.9.9", "[::1]:80", "a.localhost", "localhost."]
)
def test_a_request_for_this_machine_is_answered(api, host):
    assert asked(api.server, "GET", "/v1/conversations/conv_x", Host=host)[0] == 404


def test_a_request_without_a_host_is_answered_because_no_browser_sends_one(api):
    with socket.create_connection(("127.0.0.1", api.server._http.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /v1/conversations/conv_x HTTP/1.0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.0 404")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "https://127.0.0.1", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_request_from_a_page_of_another_site_is_refused(api, origin, method):
    status, answer = asked(api.server, method, "/v1/conversations/conv_x", Origin=origin)
    assert (status, "foreign_origin" in answer) == (403, True)


def test_a_request_from_a_page_of_the_server_itself_is_answered(api):
    root = api.server.base_url.removesuffix("/v1")
    assert asked(api.server, "GET", "/v1/conversations/conv_x", Origin=root)[0] == 404


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 404), ("none", 404)]
)
def test_a_request_without_an_origin_is_judged_by_what_the_browser_says_of_its_site(api, site, status):
    assert asked(api.server, "GET", "/v1/conversations/conv_x", Sec_Fetch_Site=site)[0] == status


@pytest.mark.parametrize("allowed", ["https://app.example", "*"])
def test_a_page_of_an_allowed_origin_is_answered(serve, allowed):
    server = serve(allow_origins=[allowed]).server
    headers = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    assert asked(server, "GET", "/v1/conversations/conv_x", **headers)[0] == 404
    other = asked(server, "GET", "/v1/conversations/conv_x", Origin="https://app.example.evil.example")[0]
    assert other == (404 if allowed == "*" else 403)


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
def test_a_body_of_a_type_that_pages_send_without_asking_is_refused(api, kind):
    status, answer = asked(api.server, body=b'{"model": "m", "input": "x"}', Content_Type=kind)
    assert (status, "expected application/json" in answer) == (415, True)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"])
def test_a_body_of_json_is_taken(api, kind):
    assert asked(api.server, body=b'{"model": "m", "input": "x"}', Content_Type=kind)[0] == 200


@pytest.mark.parametrize(("path", "status"), [("/v1/files", 400), ("/v1/uploads/upload_1/parts", 501)])
def test_an_upload_of_a_file_is_not_taken_for_a_wrong_type(api, path, status):
    kind = "multipart/form-data; boundary=x"
    assert asked(api.server, path=path, body=b"--x--", Content_Type=kind)[0] == status
    assert asked(api.server, path=path, body=b"--x--", Content_Type=kind, Origin="https://evil.example")[0] == 403
    assert asked(api.server, path=path, body=b"--x--", Content_Type="text/plain")[0] == 415


def test_with_the_key_a_request_may_come_from_anywhere(guarded):
    foreign = {"Host": "models.example", "Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    headers = foreign | {"Content-Type": "text/plain", "api-key": "sk-right"}
    assert asked(guarded, body=b'{"model": "m", "input": "x"}', **headers)[0] == 200


def test_health_is_answered_for_every_host_and_origin(api):
    assert asked(api.server, "GET", "/healthz", Host="evil.example", Origin="https://evil.example")[0] == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity", "deflate"])
@pytest.mark.parametrize("key", [None, "sk-right"])
def test_a_body_in_an_encoding_that_is_not_read_is_refused_by_its_name(serve, encoding, key):
    server = serve(api_key=key).server
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json", "api-key": "sk-right"}
    status, answer = asked(server, body=b"\x1f\x8b", **headers)
    assert (status, f"'{encoding}'" in answer) == (415, True)


def test_a_body_that_is_not_encoded_may_say_so(api):
    headers = {"Content-Encoding": "identity", "Content-Type": "application/json"}
    assert asked(api.server, body=b'{"model": "m", "input": "x"}', **headers)[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.com", ""])  # noqa: S104
def test_a_server_without_a_key_does_not_listen_beyond_loopback(host):
    with pytest.raises(ValueError, match="Without a key anybody who can connect to"):
        LocalServer(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_loopback_needs_no_key(host):
    assert is_loopback(host)


@pytest.mark.parametrize("key", ["", " "])
def test_a_blank_key_is_refused(key):
    with pytest.raises(ValueError, match="An api_key must not be blank"):
        LocalServer(api_key=key)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("http://localhost:3000", "http://localhost:3000"),
        ("HTTPS://App.Example:443", "https://app.example"),
        ("http://[::1]:80", "http://[::1]"),
        ("tauri://localhost", "tauri://localhost"),
        ("*", "*"),
    ],
)
def test_an_origin_is_compared_in_the_form_that_browsers_send(given, sent):
    assert access.origins([given]) == {sent}


@pytest.mark.parametrize(
    "given",
    [
        "",
        "null",
        "localhost:3000",
        "app.example",
        "https://app.example/",
        "https://a@b.example",
        "http://x:y",
        "http://[x",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(given):
    with pytest.raises(ValueError, match="An allowed origin must be"):
        LocalServer(allow_origins=[given])


def test_one_origin_instead_of_a_list_is_refused():
    with pytest.raises(ValueError, match="must be a list of origins"):
        LocalServer(allow_origins="https://app.example")


def test_the_openai_client_of_azure_comes_in(serve):
    server = serve(api_key="sk-right").server
    answer = requests.post(
        f"{server.base_url}/responses?api-version=2025-04-01",
        json={"model": "m", "input": "x"},
        headers={"api-key": "sk-right"},
        timeout=PATIENCE,
    )
    assert answer.json()["status"] == "completed"


@pytest.mark.parametrize("error", [OSError("the directory is down"), SystemExit()])
def test_a_callable_for_the_key_that_raises_is_a_503_and_is_logged(caplog, error):
    def is_valid(_key):
        raise error

    with LocalServer(api_key=is_valid) as server:
        answer = requests.get(f"{server.base_url}/threads/x", headers={"api-key": "k"}, timeout=10)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    assert "The callable for the API key raised" in caplog.text


@pytest.mark.parametrize("header", ["Bearer\tkey", "bearer   key ", "Bearer key"])
def test_any_blanks_may_stand_before_the_key(header):
    with LocalServer(api_key="key") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server._http.port, timeout=10)
        connection.request("GET", "/v1/models", headers={"Authorization": header})
        assert connection.getresponse().status == 501
        connection.close()


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_key_may_have_letters_beyond_ascii(encoding):
    with LocalServer(api_key="clé") as server:
        answer = requests.get(f"{server.base_url}/models", headers={"api-key": "clé".encode(encoding)}, timeout=10)
    assert answer.status_code == 501

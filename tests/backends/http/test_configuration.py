"""The configuration of a backend: addresses, keys, proxies, and the secrets in them that must never be seen."""

import logging
import re
import traceback
from urllib.parse import unquote

import pytest
import requests
from requests.auth import HTTPBasicAuth

from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.errors import AccessDenied, ApiError, OutcomeUnknown, TransientError
from tests.backends.conftest import KEY
from tests.backends.conftest import http as answer

BASE = "http://api.test/v1"


def sent_by(backend, requests_mock):
    requests_mock.register_uri("GET", re.compile(".*"), json={"id": "t"})
    backend.get_thread("t", timeout=5)
    return requests_mock.last_request


# --- the sources of the values --------------------------------------------------------------------------------------


def test_without_anything_it_is_openais_own_address_and_no_key(make, requests_mock):
    sent = sent_by(make(None, None), requests_mock)
    assert sent.url == "https://api.openai.com/v1/threads/t"
    assert not {"Authorization", "OpenAI-Organization", "OpenAI-Project"} & set(sent.headers)


def test_the_environment_gives_address_key_organization_and_project(make, requests_mock, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://env.test/api/")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-env")
    sent = sent_by(make(None, None), requests_mock)
    assert sent.url == "http://env.test/api/threads/t"
    assert sent.headers["Authorization"] == "Bearer sk-env"
    assert sent.headers["OpenAI-Organization"] == "org-env"
    assert sent.headers["OpenAI-Project"] == "proj-env"


def test_arguments_come_before_the_environment(make, requests_mock, monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "http://wrong.test/")
    sent = sent_by(make(BASE, "sk-arg", organization="org", project="proj"), requests_mock)
    assert sent.url == f"{BASE}/threads/t"
    assert sent.headers["Authorization"] == "Bearer sk-arg"
    assert (sent.headers["OpenAI-Organization"], sent.headers["OpenAI-Project"]) == ("org", "proj")


def test_an_empty_environment_variable_is_none(make, requests_mock, monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "")
    sent = sent_by(make("", ""), requests_mock)
    assert sent.url.startswith("https://api.openai.com/v1/")
    assert not {"Authorization", "OpenAI-Organization", "OpenAI-Project"} & set(sent.headers)


def test_azure_takes_its_key_in_a_header_and_its_version_in_the_query(make, requests_mock, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-service")
    backend = make("http://x.test/openai", None, headers={"api-key": "azure-key"}, params={"api-version": "2024-05-01"})
    sent = sent_by(backend, requests_mock)
    assert sent.url == "http://x.test/openai/threads/t?api-version=2024-05-01"
    assert sent.headers["api-key"] == "azure-key"
    assert "Authorization" not in sent.headers
    requests_mock.get("http://x.test/openai/threads/t/messages", json={"data": []})
    backend.list_messages("t", after="a&b", newest_first=False, timeout=5)
    assert requests_mock.last_request.query == "api-version=2024-05-01&limit=100&order=asc&after=a%26b"


def test_given_headers_come_before_our_own_whatever_their_case(make, requests_mock):
    headers = {"openai-beta": "assistants=v3", "AUTHORIZATION": "Basic abc", "User-agent": "mine", "X-More": "1"}
    sent = sent_by(make(headers=headers), requests_mock)
    assert sent.headers["OpenAI-Beta"] == "assistants=v3"
    assert sent.headers["Authorization"] == "Basic abc"
    assert sent.headers["User-Agent"] == "mine"
    assert sent.headers["X-More"] == "1"


def test_each_header_is_sent_once(make, serve):
    server = serve(answer({"id": "t"}))
    make(server.base_url, headers={"openai-beta": "assistants=v3"}).create_thread(timeout=5)
    names = [line.split(b":")[0].lower() for line in server.requests[0].split(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    assert len(names) == len(set(names))
    assert b"openai-beta: assistants=v3" in server.requests[0].lower()


def test_slashes_and_white_space_around_the_base_url_do_not_matter(make, requests_mock):
    assert sent_by(make(f" {BASE}//\n"), requests_mock).url == f"{BASE}/threads/t"
    assert sent_by(make("http://api.test"), requests_mock).url == "http://api.test/threads/t"


def test_the_representation_shows_the_address_alone(make):
    assert repr(make()) == f"AssistantsBackend(base_url={BASE!r})"


# --- invalid values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "base_url",
    [
        "localhost:8000",
        "127.0.0.1:8000/v1",
        "api.test/v1",
        "ftp://api.test/v1",
        "http://",
        "http:///v1",
        "http://:80/v1",
        "http://api.test:port/v1",
        "http://api.test:99999/v1",
        "http://[::1/v1",
        "http://*/v1",
        "http://a..b/v1",
        f"http://{'a' * 64}.test/v1",
        "sk-a-secret-key",
    ],
)
def test_an_invalid_address_is_refused_with_an_example(base_url):
    with pytest.raises(
        ValueError, match=r"base_url .* must look like https://api.example.com/v1, beginning with http"
    ) as caught:
        AssistantsBackend(base_url)
    assert len(base_url) < 10 or base_url not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("base_url", "advice"),
    [
        ("http://user:pass@api.test/v1", "give credentials as api_key or headers"),
        ("http://user@api.test/v1", "give credentials as api_key or headers"),
        ("http://api.test/v1?api-version=1", "queries as params"),
        ("http://api.test/v1?", "queries as params"),
        ("http://api.test/v1#top", "queries as params"),
        ("http://api.test/v 1", "without white space"),
        ("http://api.test/v\t1", "without white space"),
        ("http://api.test/v1/threads", "the part of the address before /threads"),
        ("http://api.test/v1/threads/", "the part of the address before /threads"),
    ],
)
def test_an_address_with_too_much_in_it_says_where_that_belongs(base_url, advice):
    with pytest.raises(ValueError, match=advice) as caught:
        AssistantsBackend(base_url)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["sk-secret\n", " sk-secret", "sk secret", "sk-secrét", "sk-\x00secret", "  ", "sk-\ttab"]
)
def test_a_key_that_cannot_be_sent_is_refused_unseen(key):
    with pytest.raises(
        ValueError, match=r"api_key \(or OPENAI_API_KEY\) .* is there a line break at its end"
    ) as caught:
        AssistantsBackend(BASE, key)
    assert "secr" not in str(caught.value)


def test_a_key_of_the_environment_with_a_line_break_is_refused_unseen(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\n")
    with pytest.raises(ValueError, match="is there a line break at its end") as caught:
        AssistantsBackend(BASE)
    assert "secr" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Key", "se\ncret"),
        ("X-Key", " secret"),
        ("X-Key", "secrét"),
        ("X-Key", None),
        ("X Key", "secret"),
        ("", "secret"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_unseen(name, value):
    with pytest.raises(ValueError, match=f"The header '{name}' must be printable ASCII") as caught:
        AssistantsBackend(BASE, headers={name: value})
    assert "secr" not in str(caught.value)


@pytest.mark.parametrize("option", ["organization", "project"])
def test_an_organization_that_cannot_be_sent_is_refused(option):
    with pytest.raises(ValueError, match="must be printable ASCII"):
        AssistantsBackend(BASE, **{option: "org\n"})


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_missing_file_of_certificates_is_reported_at_once(name, monkeypatch, tmp_path):
    monkeypatch.setenv(name, str(tmp_path / "none.pem"))
    with pytest.raises(ValueError, match=rf"{name} names a file that does not exist: .*none\.pem"):
        AssistantsBackend(BASE)


# --- proxies --------------------------------------------------------------------------------------------------------


@pytest.fixture
def failure():
    """Return the error of a POST."""

    def of(backend):
        with pytest.raises(ApiError) as caught:
            backend.create_thread(timeout=5)
        return caught.value

    return of


def test_a_proxy_of_the_environment_is_used_as_it_was_when_the_backend_was_made(make, serve, monkeypatch):
    proxy = serve(answer({"id": "t"}))
    monkeypatch.setenv("HTTP_PROXY", f"http://user:a-passw0rd@127.0.0.1:{proxy.port}")
    backend = make()
    monkeypatch.delenv("HTTP_PROXY")
    assert backend.create_thread(timeout=5) == "t"
    assert proxy.requests[0].startswith(b"POST http://api.test/v1/threads HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic" in proxy.requests[0]
    backend.get_run("..", ".", timeout=5)
    assert proxy.requests[1].startswith(b"GET http://api.test/v1/threads/%2E%2E/runs/%2E HTTP/1.1\r\n")


def test_no_proxy_goes_past_it(make, serve, monkeypatch, free_port):
    server = serve(answer({"id": "t"}))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert make(server.base_url).create_thread(timeout=5) == "t"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://user:a-passw0rd@127.0.0.1:{port}", "Connection refused"),
        ("socks5://127.0.0.1:{port}", "Missing dependencies for SOCKS support"),
        ("http://", "could be missing the host"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(make, monkeypatch, free_port, failure, scheme, address, reason):
    def without_pysocks(*_args, **_kwargs):
        raise requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")

    monkeypatch.setattr(requests.adapters, "SOCKSProxyManager", without_pysocks)
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", address.format(port=free_port))
    seen = failure(make(f"{scheme}://api.test/v1"))
    assert type(seen) is TransientError
    assert seen.hopeless
    shown = address.format(port=free_port).replace("user:a-passw0rd@", "")
    assert seen.message.startswith(f"{scheme}://api.test/v1 could not be reached through the proxy {shown} (")
    assert seen.message.endswith("); check HTTP_PROXY and HTTPS_PROXY, or name the host in NO_PROXY.")
    assert reason in seen.message
    assert "passw0rd" not in "".join(traceback.format_exception(seen))


def test_a_proxy_without_a_scheme_is_used(make, monkeypatch, serve):
    proxy = serve(answer({"id": "t"}))
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
    assert make().create_thread(timeout=5) == "t"


def test_a_proxy_with_an_invalid_address_is_refused_at_once(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://user:a-passw0rd@[::")
    with pytest.raises(ValueError, match=r"HTTP_PROXY and HTTPS_PROXY must look like http://proxy") as caught:
        AssistantsBackend(BASE)
    assert "passw0rd" not in str(caught.value)


def test_a_base_url_of_another_type_says_what_to_pass():
    class Server:
        base_url = BASE

    with pytest.raises(TypeError, match=r"must look like https://.*, and not be a Server; pass its base_url"):
        AssistantsBackend(Server())
    with pytest.raises(TypeError, match=r"not be a int$"):
        AssistantsBackend(3)


@pytest.mark.parametrize("user", ["user@", "@", ":@", "user:@"])
def test_a_proxy_without_a_password_is_used(make, monkeypatch, serve, user):
    proxy = serve(answer({"id": "t"}))
    monkeypatch.setenv("HTTP_PROXY", f"http://{user}127.0.0.1:{proxy.port}")
    assert make().create_thread(timeout=5) == "t"


@pytest.mark.parametrize("sign", "/#?")
def test_a_sign_in_the_password_of_a_proxy_that_ends_the_host_is_refused_at_once(monkeypatch, sign):
    monkeypatch.setenv("HTTP_PROXY", f"http://user:hunter2{sign}hunter3@127.0.0.1:3128")
    with pytest.raises(ValueError, match="write %2F for /") as caught:
        AssistantsBackend(BASE)
    assert "hunter" not in "".join(traceback.format_exception(caught.value))


def test_a_proxy_that_does_not_let_tls_through_says_why(make, monkeypatch, serve, failure):
    proxy = serve(answer(b"", 501))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    seen = failure(make("https://api.test/v1"))
    assert type(seen) is TransientError
    assert "(Tunnel connection failed: 501 Status)" in seen.message
    assert proxy.requests[0].startswith(b"CONNECT api.test:443 HTTP/1.")


def test_a_silent_proxy_is_given_up_in_time(make, monkeypatch, serve):
    proxy = serve(lambda *_: proxy.stopping.wait(10))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(TransientError, match=r"through the proxy .* \(timed out\)") as caught:
        make("https://api.test/v1").create_thread(timeout=0.3)
    assert type(caught.value) is TransientError


@pytest.mark.parametrize(
    ("trickles", "words"), [(False, None), (True, "was not answered within 1 seconds")], ids=["answers", "trickles"]
)
def test_tls_through_a_proxy_works_and_keeps_to_the_deadline(
    make, monkeypatch, serve, tls, certificate, trickles, words
):
    def tunnel(connection, _):
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with tls.wrap_socket(connection.dup(), server_side=True) as inner:
            while proxy.read(inner):
                if trickles:
                    inner.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                    proxy.trickle(inner, b" ")
                inner.sendall(answer({"id": "t"}))
        return False

    proxy = serve(tunnel)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    backend = make("https://localhost/v1")
    if words is None:
        assert [backend.create_thread(timeout=5), backend.create_thread(timeout=5)] == ["t", "t"]
        assert proxy.connections == 1
    else:
        with pytest.raises(OutcomeUnknown, match=words):
            backend.create_thread(timeout=1.0)


def test_a_proxy_that_wants_a_password_says_where_to_put_it(make, monkeypatch, serve, failure):
    proxy = serve(answer(b"<html>no</html>", 407))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    seen = failure(make())
    assert type(seen) is AccessDenied
    assert seen.message == (
        f"The proxy http://127.0.0.1:{proxy.port} wants a user name and a password; "
        "put them into HTTP_PROXY and HTTPS_PROXY."
    )


@pytest.mark.parametrize(
    ("status", "start"),
    [(502, "POST http://api.test/v1/threads through the proxy {} was answered"), (403, "The API key")],
)
def test_a_page_that_came_through_a_proxy_names_it(make, monkeypatch, serve, failure, status, start):
    proxy = serve(answer(b"<html><title>Blocked</title>", status))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    seen = failure(make())
    assert seen.message.startswith(start.format(f"http://127.0.0.1:{proxy.port}"))
    assert f"through the proxy http://127.0.0.1:{proxy.port}" in seen.message


# --- secrets --------------------------------------------------------------------------------------------------------

ECHOES = [
    {"error": {"message": f"Incorrect API key provided: {KEY}.", "code": KEY, "type": KEY}},
    {"detail": f"{KEY} is wrong"},
    {"error": {"message": "x" * 480 + f" the key {KEY} is wrong"}},
    f"Bearer {KEY}",
    {"id": {"key": KEY}},
]


def everything_seen(error, caplog):
    texts = [str(error), repr(error), "".join(traceback.format_exception(error)), caplog.text]
    return "\n".join(texts + [str(value) for value in vars(error).values()])


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500])
@pytest.mark.parametrize("echo", ECHOES)
def test_a_key_that_the_server_echoes_is_never_seen(backend, requests_mock, caplog, status, echo):
    caplog.set_level(logging.DEBUG)
    headers = {"x-request-id": KEY, "Location": f"http://{KEY}.test/"}
    requests_mock.get(f"{BASE}/threads/t/runs/r", status_code=status, json=echo, headers=headers)
    with pytest.raises(ApiError) as caught:
        backend.get_run("t", "r", timeout=5)
    assert KEY[:10] not in everything_seen(caught.value, caplog)


@pytest.mark.parametrize(
    ("where", "secret"),
    [
        ({"headers": {"api-key": "azure-secret"}}, "azure-secret"),
        ({"headers": {"Authorization": "Bearer token-secret"}}, "token-secret"),
        ({"headers": {"Cookie": "a=cookie-secret; b=2"}}, "a=cookie-secret"),
        ({"params": {"access_token": "param/secret+1"}}, "param/secret+1"),
    ],
)
def test_secrets_in_headers_and_parameters_are_never_seen(make, requests_mock, caplog, where, secret):
    caplog.set_level(logging.DEBUG)
    requests_mock.post(f"{BASE}/threads", status_code=401, json={"error": {"message": f"{secret} is wrong"}})
    with pytest.raises(AccessDenied, match=r"says: \*\*\* is wrong") as caught:
        make(api_key=None, **where).create_thread(timeout=5)
    sent = requests_mock.last_request
    assert secret in unquote(f"{sent.url} {sent.headers}")
    assert secret not in everything_seen(caught.value, caplog)


@pytest.mark.parametrize("auth", [None, HTTPBasicAuth("me", "the password")])
def test_a_secret_in_the_query_is_not_seen_when_the_connection_fails(make, free_port, caplog, auth):
    params = {"subscription-key": "param/secret"}
    backend = make(f"http://127.0.0.1:{free_port}/v1", None if auth else "sk-test", auth=auth, params=params)
    with pytest.raises(TransientError, match="Connection refused") as caught:
        backend.create_thread(timeout=5)
    seen = everything_seen(caught.value, caplog)
    assert "param/secret" not in seen
    assert "param%2Fsecret" not in seen
    # The error of `requests` names the whole URL, so it is not the cause that people see.
    assert (caught.value.__cause__ is None) is (auth is not None)


def test_words_that_are_not_secrets_are_let_through(make, requests_mock):
    said = "a Bearer of the key v1: org-1"
    requests_mock.post(f"{BASE}/threads", status_code=400, json={"error": {"message": said}})
    backend = make(api_key="key", organization="org-1", headers={"Authorization": "Bearer v1", "X-Trace": "of the key"})
    with pytest.raises(ApiError) as caught:
        backend.create_thread(timeout=5)
    assert caught.value.message == said


@pytest.mark.parametrize(("key", "shown"), [("s3cre", "s3cre"), ("s3cret", "***")])
def test_a_key_of_six_characters_is_a_secret(make, requests_mock, key, shown):
    requests_mock.post(f"{BASE}/threads", status_code=400, json={"detail": f"Not {key}"})
    with pytest.raises(ApiError) as caught:
        make(api_key=key).create_thread(timeout=5)
    assert caught.value.message == f"Not {shown}"


def test_a_key_that_an_assistant_repeats_reaches_nobody(backend, requests_mock):
    requests_mock.get(f"{BASE}/threads/t/messages", json={"data": [{"id": "m", "content": f"It is {KEY}"}]})
    page = backend.list_messages("t", after=None, newest_first=False, timeout=5)
    assert page.messages[0].content == "It is ***"

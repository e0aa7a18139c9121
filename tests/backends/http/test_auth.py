"""Credentials that are asked for before each request: `auth=`."""

import asyncio
import logging
import re
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

from gpt_agent_fsm import Assistant
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.errors import AccessDenied, ApiError, OutcomeUnknown
from gpt_agent_fsm.ports import CallLimits
from tests.backends.conftest import BASE_URL
from tests.backends.conftest import http as answer

TOKEN = "a-t0ken/that+is=secret"
THREADS = f"{BASE_URL}/threads"
REFUSED = {"status_code": 401, "json": {"error": {"message": "The token has expired.", "code": "expired"}}}


def tokens(*given):
    """Return a callable that returns these tokens in turn; an exception is raised."""
    left = iter(given)

    def auth():
        token = next(left)
        if isinstance(token, Exception):
            raise token
        return token

    return auth


def sent_tokens(requests_mock):
    return [request.headers.get("Authorization") for request in requests_mock.request_history]


def everything_seen(error, caplog):
    texts = [str(error), repr(error), "".join(traceback.format_exception(error)), caplog.text]
    return "\n".join(texts + [str(value) for value in vars(error).values()])


@pytest.fixture
def with_auth(make):
    return lambda auth, **kwargs: make(
        kwargs.pop("base_url", BASE_URL), kwargs.pop("api_key", None), auth=auth, **kwargs
    )


# --- a token before each request ------------------------------------------------------------------------------------


def test_the_token_is_asked_for_before_each_request_and_not_earlier(with_auth, requests_mock):
    requests_mock.post(THREADS, json={"id": "t"})
    backend = with_auth(tokens("token-1", "token-2"))
    for _ in range(2):
        backend.create_thread(timeout=5)
    assert sent_tokens(requests_mock) == ["Bearer token-1", "Bearer token-2"]


def test_the_other_backend_sends_the_token_as_well(requests_mock):
    requests_mock.post(f"{BASE_URL}/conversations", json={"id": "conv_1"})
    backend = ResponsesBackend(BASE_URL, auth=tokens("token-1"), assistants={})
    assert backend.create_thread(timeout=5) == "conv_1"
    assert sent_tokens(requests_mock) == ["Bearer token-1"]


def test_publish_sends_the_token_with_each_of_its_requests(with_auth, requests_mock):
    requests_mock.get(re.compile("/assistants"), json={"data": []})
    requests_mock.post(f"{BASE_URL}/assistants", json={"id": "asst_1"})
    backend = with_auth(tokens("token-1", "token-2"))
    assert backend.publish(Assistant("gpt-4o", name="Guide")) == "asst_1"
    assert sent_tokens(requests_mock) == ["Bearer token-1", "Bearer token-2"]


def test_the_key_of_the_environment_is_not_sent_to_the_service_of_the_token(with_auth, requests_mock, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-service")
    requests_mock.post(THREADS, json={"id": "t"})
    with_auth(tokens("token-1")).create_thread(timeout=5)
    assert sent_tokens(requests_mock) == ["Bearer token-1"]


# --- a token that is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_token_is_asked_for_once_more(with_auth, requests_mock, method):
    requests_mock.register_uri(method, re.compile("/threads"), [REFUSED, {"json": {"id": "t"}}])
    backend = with_auth(tokens("token-1", "token-2"))
    if method == "GET":
        backend.get_thread("t", timeout=5)
    else:
        assert backend.create_thread(timeout=5) == "t"
    assert sent_tokens(requests_mock) == ["Bearer token-1", "Bearer token-2"]


def test_a_token_that_is_refused_twice_is_access_denied_and_names_auth(with_auth, requests_mock):
    requests_mock.post(THREADS, **REFUSED)
    with pytest.raises(AccessDenied, match=r"check auth; the server says: The token has expired") as caught:
        with_auth(tokens("token-1", "token-2")).create_thread(timeout=5)
    assert (caught.value.status, caught.value.code) == (401, "expired")
    assert "api_key" not in caught.value.message
    assert len(requests_mock.request_history) == 2


@pytest.mark.parametrize("status", [403, 407, 429, 500])
def test_no_other_status_asks_for_another_token(with_auth, requests_mock, status):
    requests_mock.post(THREADS, status_code=status, json={"error": {"message": "no"}})
    with pytest.raises(ApiError):
        with_auth(tokens("token-1")).create_thread(timeout=5)


def test_a_fixed_key_that_is_refused_is_not_sent_again(backend, requests_mock):
    requests_mock.post(THREADS, **REFUSED)
    with pytest.raises(AccessDenied):
        backend.create_thread(timeout=5)
    assert len(requests_mock.request_history) == 1


def test_both_attempts_share_one_deadline(with_auth, serve):
    def first_refuses_then_hangs(connection, _):
        if len(server.requests) == 1:
            connection.sendall(answer({"error": {"message": "expired"}}, 401))
        else:
            server.stopping.wait(10)

    server = serve(first_refuses_then_hangs)
    backend = with_auth(tokens("token-1", "token-2"), base_url=server.base_url)
    with pytest.raises(OutcomeUnknown, match="was not answered within") as caught:
        backend.create_thread(timeout=0.5)
    assert caught.value.in_flight


class HandClock:
    now = 0.0

    def monotonic(self):
        return self.now

    time = monotonic


def test_a_token_that_comes_after_the_deadline_is_not_sent(with_auth, requests_mock):
    clock = HandClock()

    def slow():
        clock.now += 10.0
        return "token-1"

    with pytest.raises(AccessDenied, match="auth took longer than the request may take, so the request was not sent"):
        with_auth(slow).create_thread(timeout=CallLimits(deadline=10.0, clock=clock))
    assert requests_mock.request_history == []


# --- auth that returns no token ---------------------------------------------------------------------------------------


def test_an_exception_of_auth_is_access_denied_and_nothing_is_sent(with_auth, requests_mock):
    failure = LookupError("the vault is closed")
    with pytest.raises(AccessDenied, match=r"auth raised LookupError, so the request was not sent\.") as caught:
        with_auth(tokens(failure)).create_thread(timeout=5)
    assert caught.value.__cause__ is failure
    assert (caught.value.status, requests_mock.request_history) == (None, [])


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
def test_an_exception_of_auth_that_ends_the_program_does_so_on_the_main_thread_only(with_auth, requests_mock, error):
    def auth():
        raise error

    def create_thread():
        with pytest.raises(AccessDenied, match=f"auth raised {type(error).__name__}, so the request was not sent"):
            backend.create_thread(timeout=5)
        return True

    backend = with_auth(auth)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(create_thread).result(timeout=30)
    with pytest.raises(type(error)):
        backend.create_thread(timeout=5)
    assert requests_mock.request_history == []


def with_cause():
    error = LookupError("It has expired.")
    error.__cause__ = ValueError(TOKEN)
    return error


def with_note():
    error = LookupError("It has expired.")
    error.add_note(f"The token is {TOKEN}.")
    return error


@pytest.mark.parametrize("failure", [with_cause(), with_note(), ExceptionGroup("many", [ValueError(TOKEN)])])
def test_an_exception_that_shows_a_token_beside_its_text_is_not_shown_as_the_cause(with_auth, requests_mock, failure):
    requests_mock.post(THREADS, json={"id": "t"})
    backend = with_auth(tokens(TOKEN, failure))
    backend.create_thread(timeout=5)
    with pytest.raises(AccessDenied) as caught:
        backend.create_thread(timeout=5)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_an_exception_that_repeats_a_token_is_not_shown_as_the_cause(with_auth, requests_mock, caplog):
    requests_mock.post(THREADS, json={"id": "t"})
    backend = with_auth(tokens(TOKEN, LookupError(f"{TOKEN} has expired")))
    backend.create_thread(timeout=5)
    with pytest.raises(AccessDenied, match="auth raised LookupError") as caught:
        backend.create_thread(timeout=5)
    assert caught.value.__cause__ is None
    assert TOKEN not in f"{caught.value} {caplog.text}"


def test_an_exception_when_a_refused_token_is_asked_for_again_is_access_denied(with_auth, requests_mock):
    requests_mock.post(THREADS, **REFUSED)
    with pytest.raises(AccessDenied, match="auth raised LookupError"):
        with_auth(tokens("token-1", LookupError())).create_thread(timeout=5)
    assert len(requests_mock.request_history) == 1


@pytest.mark.parametrize("token", [None, b"token", 7, ("token", 3600)])
def test_something_else_than_text_is_refused_by_its_type(with_auth, token, requests_mock):
    with pytest.raises(AccessDenied, match=f"auth must return a token as str, not {type(token).__name__}, so"):
        with_auth(lambda: token).create_thread(timeout=5)
    assert requests_mock.request_history == []


@pytest.mark.parametrize("token", ["", " ", "secret token", "secret\r\nX-Evil: 1", "sécret", "secret\x00"])
def test_a_token_that_cannot_be_sent_is_refused_unseen(with_auth, token, requests_mock, caplog):
    with pytest.raises(AccessDenied, match="auth must return a token of printable ASCII without white space") as caught:
        with_auth(lambda: token).create_thread(timeout=5)
    assert "cret" not in everything_seen(caught.value, caplog).replace("secrets", "")
    assert requests_mock.request_history == []


async def async_token():
    return TOKEN


class AsyncToken:
    async def __call__(self):
        return TOKEN


def generated_token():
    yield TOKEN


class NoAuth(AuthBase):
    def __call__(self):
        return TOKEN


@pytest.mark.parametrize(
    ("auth", "words"),
    [
        (TOKEN, "auth must be a callable that returns a bearer token, or a requests AuthBase, not str; give a fixed"),
        (("user", "password"), "not tuple"),
        (HTTPBasicAuth, "not a class"),
        (async_token, r"auth cannot be called as auth\(\): it must not be async, because nothing would await it"),
        (AsyncToken(), "it must not be async"),
        (generated_token, "it must not be a generator function"),
        (lambda scope: TOKEN, r"auth cannot be called as auth\(\): missing a required argument: 'scope'"),
        (NoAuth(), r"auth cannot be called as auth\(request\): too many positional arguments"),
    ],
)
def test_an_object_that_gives_no_token_is_refused_at_once_and_unseen(auth, words):
    for make in (AssistantsBackend, lambda *args, **kwargs: ResponsesBackend(*args, **kwargs, assistants={})):
        with pytest.raises(ValueError, match=words) as caught:
            make(BASE_URL, auth=auth)
        assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("other", [{"api_key": "sk-key-1"}, {"headers": {"AUTHORIZATION": "Bearer x"}}])
def test_auth_beside_other_credentials_is_refused_at_once(other):
    with pytest.raises(ValueError, match="Give either auth, or api_key or the header Authorization, not both"):
        AssistantsBackend(BASE_URL, auth=tokens(), **other)


# --- an AuthBase ------------------------------------------------------------------------------------------------------


class Signature(AuthBase):
    """Signs a request as some gateways want it."""

    def __init__(self, key="a-signing-key", header="X-Signature"):
        self.key = key
        self.header = header

    def __call__(self, request):
        request.headers[self.header] = f"Hmac {self.key}:{request.method}:{len(request.body or b'')}"
        return request


def test_an_auth_of_requests_signs_each_request_as_it_is_sent(with_auth, requests_mock):
    requests_mock.post(f"{THREADS}/t/messages", json={"id": "m"})
    with_auth(Signature()).post_message("t", "Hello", key="k", timeout=5)
    sent = requests_mock.last_request
    assert sent.headers["X-Signature"] == f"Hmac a-signing-key:POST:{len(sent.body)}"


def test_an_auth_of_requests_is_asked_once_more_after_a_refusal(with_auth, requests_mock):
    requests_mock.post(THREADS, [REFUSED, {"json": {"id": "t"}}])
    with_auth(HTTPBasicAuth("user", "passw0rd")).create_thread(timeout=5)
    assert sent_tokens(requests_mock) == ["Basic dXNlcjpwYXNzdzByZA=="] * 2


def test_digest_authentication_answers_the_challenge_of_the_server(with_auth, serve):
    challenge = 'Digest realm="agents", nonce="abc", qop="auth", algorithm=MD5'

    def challenges(connection, request):
        signed = b"authorization: digest" in request.lower()
        connection.sendall(answer({"id": "t"}) if signed else answer({}, 401, WWW_Authenticate=challenge))

    server = serve(challenges)
    backend = with_auth(HTTPDigestAuth("user", "passw0rd"), base_url=server.base_url)
    assert [backend.create_thread(timeout=5) for _ in range(3)] == ["t"] * 3
    assert len(server.requests) == 4


class Broken(Signature):
    def __init__(self, result):
        super().__init__()
        self._result = result

    def __call__(self, request):
        request.headers["X-Signature"] = "secret\r\nX-Evil: 1"
        return request if self._result == "request" else self._result


@pytest.mark.parametrize(
    ("result", "words"),
    [(None, "auth must return the request, not NoneType"), ("request", "auth must add headers of printable ASCII")],
)
def test_an_auth_of_requests_with_a_defect_is_access_denied(with_auth, requests_mock, result, words):
    with pytest.raises(AccessDenied, match=f"{words}, so the request was not sent"):
        with_auth(Broken(result)).create_thread(timeout=5)
    assert requests_mock.request_history == []


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 400, 401, 429, 500])
def test_a_token_that_the_server_echoes_is_never_seen(with_auth, requests_mock, caplog, status):
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"{TOKEN} is wrong", "code": TOKEN}}
    requests_mock.post(THREADS, status_code=status, json=echo, headers={"x-request-id": TOKEN})
    backend = with_auth(lambda: TOKEN)
    with pytest.raises(ApiError) as caught:
        backend.create_thread(timeout=5)
    assert TOKEN not in everything_seen(caught.value, caplog) + repr(backend)


def test_a_former_token_that_the_server_echoes_is_never_seen(with_auth, requests_mock):
    requests_mock.post(THREADS, [REFUSED, {"status_code": 400, "json": {"detail": f"{TOKEN} was wrong"}}])
    with pytest.raises(ApiError, match=r"^\*\*\* was wrong") as caught:
        with_auth(tokens(TOKEN, "token-2")).create_thread(timeout=5)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("auth", "secret"),
    [
        (HTTPBasicAuth("user", "passw0rd"), "passw0rd"),
        (HTTPBasicAuth("user", "passw0rd"), "dXNlcjpwYXNzdzByZA=="),
        (Signature(), "a-signing-key"),
        (Signature(header="X-Proof"), "a-signing-key:POST:2"),
    ],
)
def test_a_secret_of_an_auth_of_requests_that_the_server_echoes_is_never_seen(with_auth, requests_mock, auth, secret):
    requests_mock.post(THREADS, status_code=400, json={"detail": f"{secret} is wrong"})
    with pytest.raises(ApiError, match=r"^\*\*\* is wrong"):
        with_auth(auth).create_thread(timeout=5)


def test_a_token_is_never_seen_even_if_many_requests_with_other_tokens_are_made_before_the_answer(
    with_auth, requests_mock
):
    def answer_late(_request, _context):
        for number in range(50):
            backend.get_thread(f"t{number}", timeout=5)
        return {"detail": f"{TOKEN} is wrong"}

    requests_mock.get(re.compile("/threads"), json={"id": "t"})
    requests_mock.post(THREADS, status_code=400, json=answer_late)
    backend = with_auth(tokens(TOKEN, *(f"token-{number}" for number in range(50))))
    with pytest.raises(ApiError, match=r"^\*\*\* is wrong"):
        backend.create_thread(timeout=5)


class SignedUrl(AuthBase):
    """Signs the address instead of the headers."""

    def __call__(self, request):
        request.prepare_url(request.url, {"proof": "a-signed-value"})
        return request


def test_a_secret_that_auth_adds_to_the_address_is_never_seen(with_auth, requests_mock, caplog):
    requests_mock.post(THREADS, status_code=400, json={"detail": "a-signed-value is wrong for /v1"})
    with pytest.raises(ApiError, match=r"^\*\*\* is wrong for /v1"):
        with_auth(SignedUrl(), params={"version": "/v1"}).create_thread(timeout=5)
    requests_mock.post(THREADS, exc=requests.ConnectionError("Max retries exceeded with url: ?proof=a-signed-value"))
    with pytest.raises(ApiError) as caught:
        with_auth(SignedUrl()).create_thread(timeout=5)
    assert "a-signed-value" not in everything_seen(caught.value, caplog)


class Typed(AuthBase):
    """Sets headers that are no secrets, too, as some signatures do."""

    def __call__(self, request):
        request.headers.update({"Content-Type": "application/json", "Host": "agents.example.com"})
        request.headers["X-Proof"] = "a-proof-1"
        return request


def test_words_that_auth_adds_and_that_are_no_secrets_stay_in_the_answers(with_auth, requests_mock):
    text = "Send application/json to agents.example.com, says a-proof-1"
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    message = {"id": "m", "object": "thread.message", "role": "assistant", "content": content}
    requests_mock.get(re.compile("/messages"), json={"data": [message], "has_more": False})
    (heard,) = with_auth(Typed()).list_messages("t", after=None, newest_first=False, timeout=5).messages
    assert heard.content == text.replace("a-proof-1", "***")


def test_a_request_that_auth_has_changed_leaves_the_next_one_alone(with_auth, requests_mock):
    class Once(AuthBase):
        calls = 0

        def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            self.calls += 1
            if self.calls == 1:
                request.headers["X-Once"] = "1"
                request.register_hook("response", lambda response, **_: hooked.append(response))
            return request

    hooked = []
    requests_mock.post(THREADS, json={"id": "t"})
    backend = with_auth(Once())
    for _ in range(2):
        backend.create_thread(timeout=5)
    assert len(hooked) == 1
    assert "X-Once" not in requests_mock.last_request.headers

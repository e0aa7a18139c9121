"""The record of the requests that a server got."""

import threading

import pytest
import requests

from gpt_agent_fsm.local import LocalServer

BETA = {"OpenAI-Beta": "assistants=v2"}


@pytest.fixture
def seen():
    return []


@pytest.fixture
def base_url(seen):
    with LocalServer(on_request=seen.append, api_key="sk-secret") as server:
        yield server.base_url


def ask(method, url, **how):
    headers = {"Authorization": "Bearer sk-secret", **BETA, **how.pop("headers", {})}
    return requests.request(method, url, headers=headers, timeout=10, **how)


def test_a_request_is_recorded_with_its_body_and_status(base_url, seen):
    ask("POST", f"{base_url}/threads", json={"metadata": {"a": "b"}})
    (one,) = seen
    assert (one.method, one.path, one.query, one.status) == ("POST", "/threads", {}, 200)
    assert one.body == {"metadata": {"a": "b"}}
    assert one.headers["OpenAI-Beta"] == "assistants=v2"
    ask("GET", f"{base_url}/assistants?limit=5&limit=7&order=asc")
    assert (seen[1].body, seen[1].query) == (None, {"limit": "7", "order": "asc"})


def test_refused_requests_are_recorded_as_well(base_url, seen):
    ask("GET", f"{base_url}/threads/thread_x")
    ask("GET", f"{base_url}/nowhere")
    requests.get(f"{base_url}/threads/thread_x", timeout=10)
    assert [one.status for one in seen] == [404, 404, 401]


def test_invalid_json_is_recorded_as_it_came(base_url, seen):
    assert ask("POST", f"{base_url}/threads", data=b"{").status_code == 400
    assert seen[0].body == b"{"


def test_the_key_is_not_recorded(base_url, seen):
    ask("GET", f"{base_url}/assistants")
    assert "sk-secret" not in repr(seen[0]) + repr(seen[0].headers)


def test_headers_and_parameters_whose_name_suggests_a_secret_are_not_recorded(base_url, seen):
    secrets = (
        "Api-Key",
        "X-Api-Key",
        "Cookie",
        "Proxy-Authorization",
        "X-Auth-Token",
        "X-Amz-Security-Token",
        "X-Secret",
    )
    others = {"Idempotency-Key": "once", "X-Stainless-Os": "Linux"}
    headers = dict.fromkeys(secrets, "sk-secret") | others
    ask(
        "GET", f"{base_url}/assistants?api-key=sk-secret&code=sk-secret&access_token=sk-secret&limit=5", headers=headers
    )
    assert seen[0].query == {"limit": "5"}
    assert "sk-secret" not in repr(seen[0].headers)
    assert {name: seen[0].headers[name] for name in others} == others


def test_json_nested_too_deeply_is_recorded_as_it_came(base_url, seen):
    deep = b'{"metadata":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    assert ask("POST", f"{base_url}/threads", data=deep).status_code == 400
    assert seen[0].body == deep


@pytest.mark.parametrize("error", [ValueError("broken"), TypeError(), SystemExit(), pytest.fail.Exception("no")])
def test_a_callback_that_raises_is_logged_and_breaks_no_request(caplog, error):
    def report(_request):
        raise error

    with LocalServer(on_request=report) as server:
        answer = ask("POST", f"{server.base_url}/threads", json={})
        assert answer.status_code == 200
        assert ask("GET", f"{server.base_url}/threads/{answer.json()['id']}").status_code == 200
    assert "on_request raised" in caplog.text


def test_callbacks_that_take_their_time_keep_no_other_request_waiting():
    go, reached = threading.Event(), threading.Semaphore(0)

    def report(request):
        if request.path == "/slow":
            reached.release()
            assert go.wait(10)

    with LocalServer(on_request=report) as server:
        slow = [threading.Thread(target=ask, args=("GET", f"{server.base_url}/slow")) for _ in range(9)]
        for each in slow:
            each.start()
        assert all(reached.acquire(timeout=10) for _ in slow)
        assert ask("POST", f"{server.base_url}/threads", json={}).status_code == 200
        go.set()
        for each in slow:
            each.join(10)


@pytest.mark.parametrize(
    "name",
    [
        *("Ocp-Apim-Subscription-Key", "X-Functions-Key", "X-Access-Key", "X-Passwd", "X-Passphrase", "X-Bearer"),
        *("X-Jwt-Assertion", "X-Session-Id", "X-Api-Key", "Api-Key", "Proxy-Authorization"),
    ],
)
def test_a_header_whose_name_suggests_a_secret_is_left_out(base_url, seen, name):
    ask("GET", f"{base_url}/x", headers={name: "s3cret"}, params={name.lower(): "s3cret", "access_key": "s3cret"})
    assert "s3cret" not in repr((seen[0].headers, seen[0].query))


def test_of_the_page_before_only_the_path_is_kept_and_a_key_that_is_no_secret_as_well(base_url, seen):
    given = {"Referer": "http://localhost/a?api_key=s3cret", "Idempotency-Key": "abc"}
    ask("GET", f"{base_url}/x", headers=given)
    assert (seen[0].headers["Referer"], seen[0].headers["Idempotency-Key"]) == ("http://localhost/a", "abc")

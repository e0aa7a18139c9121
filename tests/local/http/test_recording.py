"""The record of the requests that a server got."""

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

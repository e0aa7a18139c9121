"""Access, the form of errors, and the log."""

import json
import logging

import pytest
import requests

from gpt_agent_fsm.local.http.application import MAX_BODY


def test_health_is_answered_outside_the_api_without_a_key(serve):
    api = serve(api_key="sk-right")
    root = api.server.base_url.removesuffix("/v1")
    assert requests.get(f"{root}/healthz", timeout=10).json() == {"status": "ok"}


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic sk-right", "sk-right"])
def test_a_missing_key_is_a_401_that_says_how_to_send_it(serve, header):
    api = serve(api_key="sk-right")
    headers = {} if header is None else {"Authorization": header}
    error = api.error("POST", "/threads", 401, headers=headers)
    assert error["message"].startswith("You didn't provide an API key.")


@pytest.mark.parametrize("key", ["sk-wrong", "sk-right-and-more", "schlüssel"])
def test_a_wrong_key_is_a_401_that_does_not_repeat_it(serve, key):
    api = serve(api_key="sk-right")
    error = api.error("POST", "/threads", 401, headers={"Authorization": f"Bearer {key}".encode("latin-1")})
    assert error["code"] == "invalid_api_key"
    assert "sk-" not in json.dumps(error)


def test_the_right_key_is_accepted_and_without_a_key_everybody_is(serve):
    guarded = serve(api_key="sk-right").post("/threads", headers={"Authorization": "Bearer sk-right"})
    open_to_all = serve().post("/threads", headers={"Authorization": "Bearer whatever"})
    assert guarded["object"] == open_to_all["object"] == "thread"


def test_a_callable_is_asked_with_each_token_whether_it_is_valid(serve):
    valid = {"token-1"}
    api = serve(api_key=valid.__contains__)
    headers = {"Authorization": "Bearer token-1"}
    assert api.post("/threads", headers=headers)["object"] == "thread"
    valid.clear()
    assert api.error("POST", "/threads", 401, headers=headers)["code"] == "invalid_api_key"


def test_unknown_paths_need_the_key_as_well(serve):
    error = serve(api_key="sk-right").error("GET", "/nothing", 401)
    assert error["message"].startswith("You didn't provide an API key.")


@pytest.mark.parametrize("header", [None, "assistants=v1", "assistants=v22", ""])
def test_the_beta_header_must_be_there(api, header):
    error = api.error("POST", "/threads", 400, headers={"OpenAI-Beta": header})
    assert error["code"] == "invalid_beta"
    assert error["message"].startswith("You must provide the 'OpenAI-Beta' header to access the Assistants API.")


def test_the_beta_header_may_name_more(api):
    assert api.post("/threads", headers={"OpenAI-Beta": "realtime=v1, assistants=v2"})["object"] == "thread"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/threads/a/b/c/d", 404),
        ("GET", "//threads", 404),
        ("PUT", "/threads", 405),
        ("DELETE", "/threads", 405),
        ("GET", "/threads/%00", 404),
        ("GET", "/threads/%ff%ed%a0%80", 404),
        ("GET", "/threads/x%2fy", 404),
        ("GET", "/threads/" + "x" * 5000, 404),
    ],
)
def test_unknown_paths_and_ids_are_a_json_error(api, method, path, status):
    assert api.error(method, path, status)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"7",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"metadata": {"a": "\\ud800"}}',
        b'{"metadata": NaN}',
        b'{"tool_resources": {"x": 1e999}}',
        b'{"tool_resources": ' + b"[" * 100_000,
        b'{"tool_resources": {"x": ' + b"[" * 500 + b"]" * 500 + b"}}",
        b'{"tool_resources": ' + b'{"x":' * 101 + b"1" + b"}" * 102,
        b"a=b&c=d",
    ],
)
def test_an_unreadable_body_is_a_400(api, body):
    assert api.error("POST", "/threads", 400, data=body)["message"].startswith(("We could not", "The JSON", "Invalid"))


def test_a_body_with_many_brackets_side_by_side_is_accepted(api):
    resources = {"other": {"ids": [{"n": [number]} for number in range(300)]}}
    assert api.post("/threads", {"tool_resources": resources})["tool_resources"] == resources


def test_numbers_too_large_for_a_database_column_are_returned_unchanged(api):
    resources = {"x": {"n": 12345678901234567890123}}
    assert api.post("/threads", {"tool_resources": resources})["tool_resources"] == resources


@pytest.mark.parametrize("size", [MAX_BODY + 1, 4 * MAX_BODY])
def test_a_body_that_is_too_large_is_a_413(api, size):
    # Half of these are refused by the application, half by the server below it, which reads nothing of them.
    headers = {"Content-Length": str(size)} if size > 2 * MAX_BODY else {}
    data = b"" if headers else b" " * size
    request = requests.Request("POST", f"{api.server.base_url}/threads", data=data).prepare()
    request.headers.update({**api.session.headers, **headers})
    response = api.session.send(request, timeout=10)
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_failure_of_the_server_is_a_json_500_that_only_refers_to_the_log(api, monkeypatch, caplog):
    def broken(*_args):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("gpt_agent_fsm.local.assistants.objects.thread", broken)
    error = api.error("POST", "/threads", 500)
    assert error["type"] == "server_error"
    assert "secret" not in error["message"]
    assert "ZeroDivisionError" in caplog.text


def test_a_server_that_closes_answers_503(api):
    api.server._storage.close()
    assert api.error("POST", "/threads", 503)["type"] == "server_error"


def test_every_answer_has_a_request_id_of_its_own(api):
    url = f"{api.server.base_url}/threads"
    ids = {api.session.post(url, timeout=10).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(each.startswith("req_") for each in ids)


def test_the_log_has_one_line_per_request_and_no_message_text(api, caplog):
    with caplog.at_level(logging.DEBUG):
        thread = api.thread("a secret wish")
        api.see(api.run(thread), "completed")
        api.error("POST", f"/threads/{thread}/messages", 400, json={"role": "a secret role"})
    assert "POST /v1/threads 200" in caplog.text
    assert "secret" not in caplog.text
    own = [record.name for record in caplog.records if not record.name.startswith(("urllib3", "gpt_agent_fsm.local"))]
    assert own == []


def test_a_path_cannot_make_lines_of_its_own_in_the_log(serve, caplog):
    api = serve(request_log_level=logging.INFO)
    with caplog.at_level(logging.INFO):
        api.error("GET", "/threads/x%0A2026%20INFO%20all%20is%20well", 404)
    [message] = [record.getMessage() for record in caplog.records]
    assert message.startswith("GET /v1/threads/x%0A2026%20INFO%20all%20is%20well 404 ")


def test_at_info_nothing_is_logged_for_a_request(api, caplog):
    with caplog.at_level(logging.INFO):
        api.thread("x")
    assert caplog.records == []

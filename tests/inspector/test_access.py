"""Who may see the pages, and who may press the buttons."""

import logging

import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from gpt_agent_fsm.inspector import inspector
from gpt_agent_fsm.stores import MemoryStore
from tests.inspector.conftest import TOKEN

ACTIONS = ("cancel", "discard", "approve", "deny")
PATHS = ("/", "/rows", "/thread?id=thread_1", "/events", "/colours.css", "/static/live.js", "/thread/cancel", "/x")


# --- the site ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.1.1", "[", ""])
def test_a_foreign_host_is_refused_on_every_path(world, path, host):
    answer = world.client.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "which is not one of the inspector" in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8090", "localhost:1", "LOCALHOST", "[::1]:80", "a.localhost"])
def test_each_name_of_this_machine_may_be_used(world, host):
    assert world.client.get("/", headers={"Host": host}).status_code == 200


def test_other_names_may_be_allowed():
    client = inspector(MemoryStore(), hosts=["inspector.example"]).test_client()
    assert client.get("/", headers={"Host": "inspector.example:443"}).status_code == 200
    assert client.get("/", headers={"Host": "localhost"}).status_code == 200
    assert client.get("/", headers={"Host": "other.example"}).status_code == 403


def test_one_string_is_not_a_list_of_hosts():
    with pytest.raises(ValueError, match="hosts must be a list of names, such as"):
        inspector(MemoryStore(), hosts="inspector.example")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:81", "https://127.0.0.1", ""])
@pytest.mark.parametrize("path", ["/", "/events", "/rows"])
def test_a_foreign_origin_is_refused(world, origin, path):
    answer = world.client.get(path, headers={"Origin": origin, "Host": "localhost:80"})
    assert answer.status_code == 403
    assert "a page of another site" in answer.text


@pytest.mark.parametrize("action", ACTIONS)
def test_a_foreign_origin_cannot_press_a_button_even_with_the_token(world, action):
    agent = world.talk("Refund")
    data = {"id": agent.thread_id, "token": TOKEN, "call": agent.open_approvals[0].id}
    answer = world.client.post(f"/thread/{action}", data=data, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    world.scheduler.advance(5)
    assert agent.state == "awaiting_tools"
    assert agent.open_approvals


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_own_origin_may_press_a_button(world, scheme):
    agent = world.talk("Refund")
    headers = {"Host": "localhost:8090", "Origin": f"{scheme}://localhost:8090"}
    data = {"id": agent.thread_id, "token": TOKEN}
    assert world.client.post("/thread/cancel", data=data, headers=headers).status_code == 303


# --- the token -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "ü"])
def test_a_button_needs_the_token(world, action, token):
    agent = world.talk("Refund")
    data = {"id": agent.thread_id, "call": agent.open_approvals[0].id}
    answer = world.client.post(f"/thread/{action}", data=data | ({} if token is None else {"token": token}))
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "It is shown where the inspector was started." in answer.text
    world.scheduler.advance(5)
    assert agent.state == "awaiting_tools"
    assert agent.open_approvals


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_token_may_come_in_the_header(world, scheme):
    agent = world.talk("Refund")
    headers = {"Authorization": f"{scheme} {TOKEN}"}
    assert world.client.post("/thread/cancel", data={"id": agent.thread_id}, headers=headers).status_code == 303
    headers = {"Authorization": f"Basic {TOKEN}"}
    assert world.client.post("/thread/cancel", data={"id": agent.thread_id}, headers=headers).status_code == 401


def test_a_token_in_the_address_does_not_count(world):
    agent = world.talk("Refund")
    answer = world.client.post(f"/thread/cancel?token={TOKEN}", data={"id": agent.thread_id})
    assert answer.status_code == 401


def test_without_a_token_each_inspector_makes_one_that_cannot_be_guessed():
    tokens = {inspector(MemoryStore()).token for _ in range(3)}
    assert len(tokens) == 3
    assert min(map(len, tokens)) >= 32


@pytest.mark.parametrize("token", ["", "  "])
def test_a_blank_token_is_refused(token):
    with pytest.raises(ValueError, match="the token is blank"):
        inspector(MemoryStore(), token=token)


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_changes_by_a_get_request(world, action):
    agent = world.talk("Refund")
    query = {"id": agent.thread_id, "token": TOKEN, "call": agent.open_approvals[0].id}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = world.client.get(f"/thread/{action}", query_string=query, headers=headers)
    assert answer.status_code == 405
    world.scheduler.advance(5)
    assert agent.open_approvals


def test_a_body_that_is_too_large_is_refused(world):
    assert world.client.post("/thread/deny", data={"token": TOKEN, "note": "x" * 100_000}).status_code == 413


# --- headers and logs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_each_answer_allows_only_scripts_and_styles_of_the_inspector(world, path):
    with world.client.get(path) as answer:
        headers = answer.headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_no_page_has_a_script_or_a_style_inside_or_anything_from_another_host(world):
    import re

    for page in (world.client.get("/").text, world.page_of(world.talk("Refund")), world.client.get("/x").text):
        assert re.findall(r"<script([^>]*)>", page) == [' src="/static/live.js" defer']
        assert "<style" not in page
        assert not re.search(r"\s(style|on\w+)=", page)
        assert not re.search(r'(src|href|action)="(https?:)?//', page)


def test_the_log_has_no_token_and_no_text_of_a_message(world, caplog):
    caplog.set_level(logging.DEBUG)
    agent = world.talk("Refund")
    call = agent.open_approvals[0].id
    world.page_of(agent)
    world.press(agent, "deny", call=call, note="a secret note", by="a secret name")
    world.press(agent, "cancel", token="a wrong token")
    ours = [record.getMessage() for record in caplog.records if "inspector" in record.name]
    assert ours == [f"{agent.thread_id}: deny, by the inspector"]
    for secret in (TOKEN, "a wrong token", "secret", '"order"', "Refund"):
        assert secret not in caplog.text


def test_a_defect_is_logged_and_shown_without_its_details(world, caplog, monkeypatch):
    monkeypatch.setattr(world.app._source, "rows", lambda: 1 / 0)
    answer = world.client.get("/")
    assert answer.status_code == 500
    assert "The log of the program says why." in answer.text
    assert "ZeroDivisionError" not in answer.text
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "ZeroDivisionError" in caplog.text


# --- below a prefix ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_every_link_of_an_inspector_below_a_prefix_has_the_prefix(world, slash):
    import re

    agent = world.talk("Refund")
    whole = Client(DispatcherMiddleware(lambda *_: [], {"/admin/inspector": world.app}))
    page = whole.get(f"/admin/inspector{slash}", follow_redirects=True).text
    thread = whole.get(f"/admin/inspector/thread?id={agent.thread_id}").text
    links = re.findall(r'(?:href|src|action|formaction|data-events|data-rows|data-refresh)="([^"#]+)', page + thread)
    assert len(links) > 15
    assert [link for link in links if not link.startswith("/admin/inspector/")] == []
    for link in re.findall(r'(?:href|src)="(/[^"]+)"', page):
        with whole.get(link.replace("&amp;", "&")) as answer:
            assert answer.status_code == 200
    answer = whole.post("/admin/inspector/thread/cancel", data={"id": agent.thread_id, "token": TOKEN})
    assert answer.headers["Location"].startswith("/admin/inspector/thread?id=")


def test_a_proxy_may_send_a_key_of_its_own(world):
    agent, headers = world.talk("Ask"), {"Authorization": "Bearer of-the-proxy"}
    data = {"id": agent.thread_id, "token": TOKEN}
    assert world.client.post("/thread/cancel", data=data, headers=headers).status_code == 303
    assert world.client.post("/thread/cancel", data={**data, "token": "x"}, headers=headers).status_code == 401

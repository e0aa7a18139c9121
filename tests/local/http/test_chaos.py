"""Faults on demand: their effects on the client and on the server."""

import json
import socket
import time

import pytest
import requests

from gpt_agent_fsm.local import Chaos
from gpt_agent_fsm.local.http.chaos import FAULTS, HEADER, REQUEST_FAULTS, ChaosApplication
from tests.local.stand_ins import PATIENCE, Gate, Speaker

QUIET = Chaos(7, rate=0, delay=0.01)
"""No fault unless a request asks for one."""


def ask(api, fault, method="POST", path="/threads", **kwargs):
    url = api.server.base_url + path
    kwargs = {"json": {"metadata": {"a": "b"}}} | kwargs if method == "POST" else kwargs
    return api.session.request(method, url, headers={HEADER: fault}, timeout=PATIENCE, **kwargs)


def made(api):
    """Return the number of assistants: each request below creates one."""
    return len(api.get("/assistants")["data"])


def attempt(api, fault):
    return ask(api, fault, path="/assistants", json={"model": "m"})


def test_a_fault_depends_only_on_the_seed_and_the_number_of_the_request():
    first, again, other = ([Chaos(seed, rate=0.5).fault(number) for number in range(200)] for seed in (1, 1, 2))
    assert first == again != other
    assert set(first) == {None, *REQUEST_FAULTS}
    assert 60 < sum(fault is not None for fault in first) < 140


def test_a_rate_of_nothing_and_of_everything():
    assert {Chaos(1, rate=0).fault(number) for number in range(50)} == {None}
    assert {Chaos(1, rate=1, faults=["garbage"]).fault(number) for number in range(50)} == {"garbage"}
    assert {Chaos(1, rate=1, faults=()).fault(number) for number in range(50)} == {None}


@pytest.mark.parametrize("options", [{"rate": 1.1}, {"rate": -0.1}, {"faults": ["flood"]}])
def test_invalid_chaos_is_a_value_error(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Chaos(1, **options)


def test_an_unknown_fault_is_named_in_one_sentence():
    with pytest.raises(ValueError, match=r"must be among latency, .*, not 'rate_limit'") as raised:
        Chaos(1, faults=["rate_limit"])
    assert len(raised.value.args) == 1


def test_two_servers_with_the_same_seed_answer_the_same(serve):
    def statuses():
        api = serve(chaos=Chaos(5, rate=0.6, delay=0.001))
        seen = []
        for _ in range(30):
            try:
                response = api.session.post(f"{api.server.base_url}/threads", json={}, timeout=PATIENCE)
                seen.append((response.status_code, len(response.content)))
            except requests.ConnectionError:
                seen.append("dropped")
        return seen

    first = statuses()
    assert first == statuses()
    assert {"dropped", 200, 429} <= {each if each == "dropped" else each[0] for each in first}


def test_a_rate_limit_says_when_to_come_back(serve):
    api = serve(chaos=Chaos(7, rate=0, retry_after=3))
    response = attempt(api, "rate-limit")
    assert (response.status_code, response.headers["Retry-After"]) == (429, "3")
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    assert made(api) == 0


@pytest.mark.parametrize(("fault", "effects"), [("error-before", 0), ("error-after", 1)])
def test_an_error_comes_before_or_after_the_effect(serve, fault, effects):
    api = serve(chaos=QUIET)
    response = attempt(api, fault)
    assert response.status_code in (500, 502, 503)
    assert response.json()["error"]["type"] == "server_error"
    assert made(api) == effects


@pytest.mark.parametrize(("fault", "effects"), [("drop-before", 0), ("drop-after", 1)])
def test_a_connection_is_dropped_before_or_after_the_effect(serve, fault, effects, caplog):
    api = serve(chaos=QUIET)
    with pytest.raises(requests.ConnectionError):
        attempt(api, fault)
    assert made(api) == effects
    assert caplog.records == []


def test_garbage_comes_after_the_effect_in_several_forms(serve):
    api = serve(chaos=QUIET)
    bodies = [attempt(api, "garbage") for _ in range(20)]
    assert {response.status_code for response in bodies} == {200}
    assert len({response.content for response in bodies}) > 2
    for response in bodies:
        with pytest.raises((ValueError, TypeError, KeyError)):
            json.loads(response.content)["id"] + ""
    assert made(api) == 20


def test_latency_is_at_most_the_delay_and_the_request_succeeds(serve):
    api = serve(chaos=QUIET)
    assert attempt(api, "latency").json()["object"] == "assistant"


def test_a_client_that_waits_in_vain_does_not_keep_the_server_from_closing(serve):
    api = serve(chaos=Chaos(7, rate=0, delay=1e6))
    dispatcher = api.server._http._dispatcher
    head = f"GET /v1/threads HTTP/1.1\r\nHost: localhost\r\n{HEADER}: latency\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.server._http.port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        deadline = time.monotonic() + PATIENCE
        while len(dispatcher.threads) < 9:
            assert time.monotonic() < deadline
        began = time.monotonic()
        api.server.close()
        assert time.monotonic() - began < 2


def test_the_fault_lists_items_late_and_without_it_all_are_listed(serve):
    api = serve(chaos=Chaos(7, rate=0, item_lag=1000.0))
    conversation = api.conversation({"role": "user", "content": "before"})
    api.answered("Hello", conversation=conversation)
    path = f"/conversations/{conversation}/items"
    late = ask(api, "late-items", "GET", path).json()
    assert [item["content"][0]["text"] for item in late["data"]] == ["before"]
    assert len(api.items(conversation)) == 3


def test_a_stream_is_dropped_after_its_first_event_and_the_run_continues(serve):
    gate = Gate()
    api = serve(Speaker("Hel", gate, "lo"), chaos=QUIET)
    thread = api.thread("Hi")
    body = {"assistant_id": "asst_1", "stream": True}
    response = ask(api, "drop-after", path=f"/threads/{thread}/runs", json=body, stream=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        assert response.content
    gate.open()
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    api.see(run, "completed")


@pytest.mark.parametrize("fault", ["error-after", "garbage"])
def test_a_stream_may_never_begin_and_the_run_continues(serve, fault):
    api = serve(chaos=QUIET)
    thread = api.thread("Hi")
    body = {"assistant_id": "asst_1", "stream": True}
    response = ask(api, fault, path=f"/threads/{thread}/runs", json=body)
    assert "event-stream" not in response.headers["content-type"]
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    api.see(run, "completed")


def test_an_unknown_fault_is_refused(serve):
    response = ask(serve(chaos=QUIET), "flood")
    assert (response.status_code, response.json()["error"]["param"]) == (400, HEADER)


def test_without_chaos_nobody_can_ask_for_a_fault(api):
    assert ask(api, "drop-before").status_code == 200


def test_health_is_spared(serve):
    api = serve(chaos=Chaos(1, rate=1, faults=["drop-before"]))
    root = api.server.base_url.removesuffix("/v1")
    assert requests.get(f"{root}/healthz", timeout=PATIENCE).json() == {"status": "ok"}


@pytest.mark.parametrize("fault", ["garbage", "error-after"])
def test_any_application_may_stand_behind_it(fault):
    def application(_environ, start):
        start("200 OK", [])(b"")
        return [b"fine"]

    heads = []
    environ = {"PATH_INFO": "/v1/threads", f"HTTP_{HEADER.upper().replace('-', '_')}": fault}
    body = ChaosApplication(application, QUIET)(environ, lambda *head: heads.append(head))
    assert b"fine" not in b"".join(body)
    assert len(heads) == 1


def test_a_fault_without_code_is_a_clear_error_and_not_another_fault(monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.local.http.chaos.FAULTS", (*FAULTS, "new"))
    application = ChaosApplication(lambda environ, start_response: [], QUIET)
    environ = {"PATH_INFO": "/v1/threads", f"HTTP_{HEADER.upper().replace('-', '_')}": "new"}
    with pytest.raises(LookupError, match="the fault 'new' has no branch here"):
        application(environ, lambda *_: None)

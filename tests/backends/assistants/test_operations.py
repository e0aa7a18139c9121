"""The requests of the nine operations, and their reading of the documented answers."""

import pytest

from gpt_agent_fsm.machine.objects import Message, MessagePage, Run, ToolCall, Usage
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.ports import Backend, RunRequest, ToolOutputsRequest

BASE = "http://api.test/v1"
THREAD = f"{BASE}/threads/thread_1"
RUN = {"id": "run_1", "object": "thread.run", "status": "queued", "assistant_id": "asst_1", "created_at": 1}
QUEUED = Run(id="run_1", status=RunStatus.ACTIVE, assistant_id="asst_1")


def the_request(api):
    assert api.call_count == 1
    return api.last_request


def test_the_backend_is_one(backend):
    assert isinstance(backend, Backend)


def test_create_thread_posts_an_empty_object_and_returns_the_id(backend, requests_mock):
    requests_mock.post(f"{BASE}/threads", json={"id": "thread_1", "object": "thread"})
    assert backend.create_thread(timeout=5) == "thread_1"
    assert the_request(requests_mock).json() == {}
    assert the_request(requests_mock).query == ""
    # The time that has passed since the call is subtracted.
    assert 0 < the_request(requests_mock).timeout <= 5


def test_get_thread_reads_the_thread_and_returns_nothing(backend, requests_mock):
    requests_mock.get(THREAD, json={"id": "thread_1"})
    assert backend.get_thread("thread_1", timeout=5) is None
    assert the_request(requests_mock).body is None
    assert the_request(requests_mock).query == ""


def test_list_runs_asks_for_the_newest_first(backend, requests_mock):
    requests_mock.get(f"{THREAD}/runs", json={"data": [RUN, RUN | {"id": "run_0", "status": "completed"}]})
    runs = backend.list_runs("thread_1", limit=7, timeout=5).runs
    assert [(run.id, run.status) for run in runs] == [("run_1", RunStatus.ACTIVE), ("run_0", RunStatus.COMPLETED)]
    assert the_request(requests_mock).qs == {"limit": ["7"], "order": ["desc"]}


@pytest.mark.parametrize("statuses", [("completed", "in_progress"), ("completed", "completed", "completed")])
def test_the_newest_run_is_found_on_a_server_that_lists_the_oldest_first(backend, requests_mock, statuses):
    runs = [RUN | {"id": f"run_{number}", "status": status} for number, status in enumerate(statuses)]

    def listed(request, context):
        after, limit = request.qs.get("after", [None])[0], int(request.qs["limit"][0])
        start = next((place + 1 for place, run in enumerate(runs) if run["id"] == after), 0)
        return {"data": runs[start : start + limit], "has_more": start + limit < len(runs)}

    requests_mock.get(f"{THREAD}/runs", json=listed)
    assert [run.id for run in backend.list_runs("thread_1", limit=1, timeout=5).runs] == [runs[-1]["id"]]


@pytest.mark.parametrize(
    ("metadata", "kept"), [({"gpt_agent_fsm_key": "k1"}, True), ({}, False), ({"gpt_agent_fsm_key": "other"}, False)]
)
def test_post_message_sends_role_content_and_key_and_returns_whether_the_key_was_kept(
    backend, requests_mock, metadata, kept
):
    requests_mock.post(f"{THREAD}/messages", json={"id": "msg_1", "role": "user", "metadata": metadata})
    assert backend.post_message("thread_1", "Grüße 🌍", key="k1", timeout=5) == ("msg_1", kept)
    body = {"role": "user", "content": "Grüße 🌍", "metadata": {"gpt_agent_fsm_key": "k1"}}
    assert the_request(requests_mock).json() == body


def test_create_run_sends_the_assistant_and_the_key(backend, requests_mock):
    requests_mock.post(f"{THREAD}/runs", json=RUN)
    assert backend.create_run(RunRequest(thread_id="thread_1", assistant_id="asst_1", key="k2"), timeout=5) == QUEUED
    body = {"assistant_id": "asst_1", "metadata": {"gpt_agent_fsm_key": "k2"}}
    assert the_request(requests_mock).json() == body


def test_get_run_reads_everything_the_core_needs(backend, requests_mock):
    calls = [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}]
    answer = RUN | {
        "status": "requires_action",
        "required_action": {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}},
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        "metadata": {"gpt_agent_fsm_key": "k2"},
    }
    requests_mock.get(f"{THREAD}/runs/run_1", json=answer)
    assert backend.get_run("thread_1", "run_1", timeout=5) == Run(
        id="run_1",
        status=RunStatus.NEEDS_TOOLS,
        assistant_id="asst_1",
        tool_calls=(ToolCall(id="call_1", name="look", arguments='{"at": 1}'),),
        usage=Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3),
        key="k2",
    )
    assert the_request(requests_mock).body is None
    assert the_request(requests_mock).query == ""


def test_submit_tool_outputs_sends_all_of_them_in_order(backend, requests_mock):
    requests_mock.post(f"{THREAD}/runs/run_1/submit_tool_outputs", json=RUN)
    outputs = (("call_2", "2"), ("call_1", '"a"'))
    request = ToolOutputsRequest(thread_id="thread_1", run_id="run_1", outputs=outputs)
    assert backend.submit_tool_outputs(request, timeout=5) == QUEUED
    outputs = [{"tool_call_id": "call_2", "output": "2"}, {"tool_call_id": "call_1", "output": '"a"'}]
    assert the_request(requests_mock).json() == {"tool_outputs": outputs}


@pytest.mark.parametrize(
    ("after", "newest_first", "query"),
    [
        (None, False, {"limit": ["100"], "order": ["asc"]}),
        ("msg_1", False, {"limit": ["100"], "order": ["asc"], "after": ["msg_1"]}),
        (None, True, {"limit": ["100"], "order": ["desc"]}),
    ],
)
def test_list_messages_asks_for_full_pages_in_the_direction_of_reading(
    backend, requests_mock, after, newest_first, query
):
    content = [{"type": "text", "text": {"value": "Hi", "annotations": []}}]
    message = {"id": "msg_2", "role": "assistant", "content": content, "run_id": "run_1", "assistant_id": "asst_1"}
    requests_mock.get(
        f"{THREAD}/messages",
        json={"data": [message | {"created_at": 12.5, "metadata": {"gpt_agent_fsm_key": "k"}}], "has_more": False},
    )
    page = backend.list_messages("thread_1", after=after, newest_first=newest_first, timeout=5)
    expected = Message(
        id="msg_2", role="assistant", content="Hi", run_id="run_1", assistant_id="asst_1", key="k", created_at=12.5
    )
    assert page == MessagePage(messages=(expected,), next_after=None)
    assert the_request(requests_mock).qs == query


def test_cancel_run_posts_an_empty_object(backend, requests_mock):
    requests_mock.post(f"{THREAD}/runs/run_1/cancel", json=RUN | {"status": "cancelling"})
    assert backend.cancel_run("thread_1", "run_1", timeout=5).status is RunStatus.CANCELLING
    assert the_request(requests_mock).json() == {}


def test_a_post_has_the_headers_of_its_body(backend, requests_mock):
    requests_mock.post(f"{BASE}/threads", json={"id": "thread_1"})
    backend.create_thread(timeout=5)
    headers = the_request(requests_mock).headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Length"] == "2"
    assert headers["Authorization"] == "Bearer sk-a-secret-key"
    assert headers["OpenAI-Beta"] == "assistants=v2"
    assert headers["Accept"] == "application/json"
    assert headers["User-Agent"].startswith("gpt-agent-fsm/")


def test_a_get_after_a_post_carries_nothing_of_it(backend, requests_mock):
    requests_mock.post(f"{BASE}/threads", json={"id": "thread_1"})
    requests_mock.get(THREAD, json={"id": "thread_1"})
    backend.create_thread(timeout=5)
    backend.get_thread("thread_1", timeout=5)
    sent = requests_mock.last_request
    assert sent.body is None
    assert not {"Content-Type", "Content-Length", "Cookie"} & set(sent.headers)


ODD_IDS = ["thread_" + "x" * 700, "a/b", "a?b=c", "100%", "a%2Fb", "a b", "füñf", "a#b", "a+b&c=d", ".", "..", "\ud83d"]


@pytest.mark.parametrize("odd", ODD_IDS)
def test_any_id_is_one_segment_of_the_path(make, serve, odd):
    server = serve(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"id":"r"}')
    backend = make(server.base_url)
    backend.get_run(odd, odd, timeout=5)
    path = server.requests[0].split(b" ")[1]
    segments = path.split(b"/")
    assert [segments[1], segments[2], segments[4]] == [b"v1", b"threads", b"runs"]
    assert segments[3] == segments[5]
    assert len(segments) == 6
    assert not set(path) & set(b" ?#")
    from urllib.parse import unquote

    assert unquote(segments[3].decode(), errors="surrogatepass") == odd


@pytest.mark.parametrize("odd", ODD_IDS)
def test_any_id_is_one_value_in_the_query(make, serve, odd):
    server = serve(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data":[]}')
    make(server.base_url).list_messages("t", after=odd, newest_first=False, timeout=5)
    from urllib.parse import parse_qs

    query = server.requests[0].split(b" ")[1].decode().partition("?")[2]
    assert parse_qs(query, errors="surrogatepass") == {"limit": ["100"], "order": ["asc"], "after": [odd]}


def test_the_ids_of_a_server_may_be_hundreds_of_characters_long(backend, requests_mock):
    long = "run_" + "é/" * 400
    requests_mock.post(f"{THREAD}/runs", json=RUN | {"id": long})
    assert backend.create_run(RunRequest(thread_id="thread_1", assistant_id="asst_1", key="k"), timeout=5).id == long


def test_decisions_about_calls_of_the_server_are_sent_as_azure_takes_them(backend, requests_mock):
    requests_mock.post(f"{THREAD}/runs/run_1/submit_tool_outputs", json=RUN)
    decisions = (("c", '{"approve": true}'), ("d", '{"approve": false, "reason": "no"}'))
    for outputs in ((), (("e", "1"),)):
        request = ToolOutputsRequest(thread_id="thread_1", run_id="run_1", outputs=outputs, decisions=decisions)
        backend.submit_tool_outputs(request, timeout=5)
    approvals = [{"tool_call_id": "c", "approve": True}, {"tool_call_id": "d", "approve": False}]
    assert [request.json() for request in requests_mock.request_history] == [
        {"tool_approvals": approvals},
        {"tool_outputs": [{"tool_call_id": "e", "output": "1"}], "tool_approvals": approvals},
    ]

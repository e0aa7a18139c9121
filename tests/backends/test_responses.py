"""What each operation sends to conversations and responses, and what it makes of the answers."""

import pytest

from gpt_agent_fsm import Assistant, FunctionTool, errors
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.machine.objects import Message, Run, RunStatus, ToolCall, Usage
from gpt_agent_fsm.ports import Backend

from .conftest import KEY

BASE = "http://api.test/v1"
CONVERSATION = f"{BASE}/conversations/conv_1"
ITEMS = f"{CONVERSATION}/items"
RESPONSES = f"{BASE}/responses"
ASSISTANTS = {
    "asst_1": Assistant("gpt-4o", "Be brief.", [FunctionTool("measure")]),
    "asst_2": Assistant("gpt-4o-mini", options={"reasoning": {"effort": "low"}}),
}
CALL = ToolCall(id="call_1", name="measure", arguments='{"x":1}')
QUEUED = {"id": "resp_1", "object": "response", "status": "queued", "output": [], "metadata": {}}
ANSWER = {
    "id": "msg_2",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
}
NO_OUTPUT = {"error": {"message": "No tool output found for function call call_1.", "param": "input"}}
LOCKED = {"error": {"message": "Another process is at work.", "code": "conversation_locked"}}


def asked(call_id="call_1"):
    number = call_id.removeprefix("call_")
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "call_id": call_id,
        "name": "measure",
        "arguments": '{"x":1}',
        "status": "completed",
    }


def told(call_id="call_1", output="1"):
    return {"id": f"fco_{call_id}", "type": "function_call_output", "call_id": call_id, "output": output}


def said(text="Hello", message_id="msg_1"):
    return {
        "id": message_id,
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": text}],
    }


def response(response_id="resp_1", status="completed", *output, **fields):
    return QUEUED | {"id": response_id, "status": status, "output": list(output)} | fields


@pytest.fixture
def backend():
    made = ResponsesBackend(BASE, KEY, assistants=ASSISTANTS)
    yield made
    made.close()


@pytest.fixture
def api(requests_mock):
    """A conversation that can be read and noted on; what happens to its items is up to the test."""
    requests_mock.get(CONVERSATION, json={"id": "conv_1", "metadata": {"title": "Weather"}})
    requests_mock.post(CONVERSATION, json={"id": "conv_1"})
    return requests_mock


def holds(api, *items):
    """Let the conversation hold items, the oldest first."""
    api.get(ITEMS, json={"data": list(items)[::-1], "has_more": False})


def sent(api, method="POST"):
    return [(r.url.removeprefix(BASE), r.json()) for r in api.request_history if r.method == method]


def test_the_backend_is_one(backend):
    assert isinstance(backend, Backend)
    assert repr(backend) == "ResponsesBackend(base_url='http://api.test/v1', assistants=['asst_1', 'asst_2'])"


# --- how it is made -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("assistants", [None, [], {"a": "gpt-4o"}, {1: ASSISTANTS["asst_1"]}, ASSISTANTS["asst_1"]])
def test_assistants_that_are_no_mapping_to_assistants_are_refused(assistants):
    with pytest.raises(ValueError, match="must map assistant ids to"):
        ResponsesBackend(BASE, KEY, assistants=assistants)


def test_options_that_the_backend_sets_itself_are_refused():
    with pytest.raises(ValueError, match="'asst_1' must leave conversation, input out of its options"):
        ResponsesBackend(BASE, KEY, assistants={"asst_1": Assistant("m", options={"input": 1, "conversation": 2})})


@pytest.mark.parametrize("end", ["responses", "conversations", "threads"])
def test_an_address_that_ends_with_a_resource_says_where_it_should_end(end):
    with pytest.raises(ValueError, match="ending where /responses begins"):
        ResponsesBackend(f"{BASE}/{end}", KEY, assistants={})


def test_the_environment_gives_address_and_key(monkeypatch, requests_mock):
    monkeypatch.setenv("OPENAI_BASE_URL", BASE)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    requests_mock.post(f"{BASE}/conversations", json={"id": "conv_1"})
    assert ResponsesBackend(assistants={}).create_thread(timeout=5) == "conv_1"
    assert requests_mock.last_request.headers["Authorization"] == f"Bearer {KEY}"
    assert "OpenAI-Beta" not in requests_mock.last_request.headers


# --- threads and messages -------------------------------------------------------------------------------------------


def test_a_thread_is_a_conversation(backend, api):
    assert backend.get_thread("conv_1", timeout=5) is None
    api.get(f"{BASE}/conversations/conv_2", status_code=404, json={"error": {"message": "Conversation not found."}})
    with pytest.raises(errors.InvalidThreadId, match="knows no thread 'conv_2'"):
        backend.get_thread("conv_2", timeout=5)
    api.get(
        f"{BASE}/conversations/x", status_code=400, json={"error": {"message": "no such", "param": "conversation_id"}}
    )
    with pytest.raises(errors.InvalidThreadId):
        backend.get_thread("x", timeout=5)
    api.get(f"{BASE}/conversations/y", status_code=400, json={"error": {"message": "Bad header"}})
    with pytest.raises(errors.RequestRefused) as refused:
        backend.get_thread("y", timeout=5)
    assert not isinstance(refused.value, errors.InvalidThreadId)


def test_a_message_is_added_as_an_item(backend, api):
    api.post(ITEMS, json={"object": "list", "data": [said()]})
    assert backend.post_message("conv_1", "Hello", key="k", timeout=5) == ("msg_1", False)
    content = [{"type": "input_text", "text": "Hello"}]
    assert sent(api) == [
        ("/conversations/conv_1/items", {"items": [{"type": "message", "role": "user", "content": content}]})
    ]


@pytest.mark.parametrize("data", [[], [{"type": "message"}], None])
def test_a_message_without_an_id_is_one_of_unknown_outcome(backend, api, data):
    api.post(ITEMS, json={"data": data})
    with pytest.raises(errors.OutcomeUnknown):
        backend.post_message("conv_1", "Hello", key="k", timeout=5)


def test_a_locked_conversation_is_a_busy_thread(backend, api):
    api.post(ITEMS, status_code=400, json=LOCKED)
    with pytest.raises(errors.ThreadBusy) as busy:
        backend.post_message("conv_1", "Hello", key="k", timeout=5)
    assert busy.value.locked


def test_messages_are_the_items_that_are_messages_and_pages_go_on_after_the_last_item(backend, api):
    api.get(ITEMS, json={"data": [said(), asked(), ANSWER, told()], "has_more": True})
    page = backend.list_messages("conv_1", after="msg_0", newest_first=False, timeout=5)
    assert page.messages == (
        Message(id="msg_1", role="user", content="Hello"),
        Message(id="msg_2", role="assistant", content="Hi"),
    )
    assert page.next_after == "fco_call_1"
    assert api.last_request.qs == {"limit": ["100"], "order": ["asc"], "after": ["msg_0"]}
    backend.list_messages("conv_1", after=None, newest_first=True, timeout=5)
    assert api.last_request.qs == {"limit": ["100"], "order": ["desc"]}


def test_a_page_without_a_message_is_not_the_end(backend, api):
    page = {"data": [asked(), told()], "has_more": True}
    api.get(ITEMS, [{"json": page}, {"json": {"data": [ANSWER], "has_more": False}}])
    listed = backend.list_messages("conv_1", after=None, newest_first=False, timeout=5)
    assert ([message.id for message in listed.messages], listed.next_after) == (["msg_2"], None)
    api.get(ITEMS, json=page)
    assert backend.list_messages("conv_1", after=None, newest_first=False, timeout=5).messages == ()


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_run_is_a_background_stored_response_that_the_conversation_is_noted_with(backend, api):
    api.post(RESPONSES, json=QUEUED | {"metadata": {"gpt_agent_fsm_key": "k.1", "gpt_agent_fsm_assistant": "asst_1"}})
    run = backend.create_run("conv_1", "asst_1", key="k.1", timeout=5)
    assert run == Run(id="resp_1", status=RunStatus.ACTIVE, assistant_id="asst_1", key="k.1", handle="resp_1")
    function = {
        "type": "function",
        "name": "measure",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }
    assert sent(api) == [
        (
            "/responses",
            {
                "background": True,
                "model": "gpt-4o",
                "instructions": "Be brief.",
                "tools": [function],
                "conversation": "conv_1",
                "store": True,
                "metadata": {"gpt_agent_fsm_key": "k.1", "gpt_agent_fsm_assistant": "asst_1"},
            },
        ),
        ("/conversations/conv_1", {"metadata": {"title": "Weather", "gpt_agent_fsm_run": "resp_1"}}),
    ]


def test_options_are_sent_as_they_are_and_what_is_empty_is_left_out(backend, api):
    api.post(RESPONSES, json=QUEUED)
    backend.create_run("conv_1", "asst_2", key="k.1", timeout=5)
    body = sent(api)[0][1]
    assert body["reasoning"] == {"effort": "low"}
    assert not {"instructions", "tools", "input", "temperature", "top_p"} & set(body)


def test_a_run_whose_note_can_not_be_left_goes_on(backend, api):
    api.post(RESPONSES, json=QUEUED)
    for trouble in ({"status_code": 400, "json": LOCKED}, {"status_code": 500}, {"text": "garbage"}):
        api.post(CONVERSATION, **trouble)
        assert backend.create_run("conv_1", "asst_1", key="k.1", timeout=5).id == "resp_1"


def test_an_assistant_nobody_has_described_is_named_with_those_who_were(backend):
    with pytest.raises(errors.AccessDenied, match="no assistant 'asst_9'; it knows 'asst_1', 'asst_2'") as denied:
        backend.create_run("conv_1", "asst_9", key="k.1", timeout=5)
    assert denied.value.code == "unknown_assistant"
    with pytest.raises(errors.AccessDenied, match="it knows none at all"):
        ResponsesBackend(BASE, KEY, assistants={}).create_run("conv_1", "a", key="k.1", timeout=5)


def test_an_assistant_that_is_added_later_is_known(api):
    assistants = {}
    backend = ResponsesBackend(BASE, KEY, assistants=assistants)
    assistants["asst_1"] = Assistant("gpt-4o")
    api.post(RESPONSES, json=QUEUED)
    assert backend.create_run("conv_1", "asst_1", key="k.1", timeout=5).id == "resp_1"


@pytest.mark.parametrize(
    ("status", "complaint"),
    [
        (400, {"error": {"message": "{'errors': [{'loc': ['body', 'input'], 'msg': 'Field required'}]}"}}),
        (400, {"error": {"message": "json error: missing field `input` at line 1"}}),
        (422, {"detail": [{"loc": ["body", "input"], "msg": "Field required"}]}),
        (400, {"error": {"message": 'One of "input" or "previous_response_id" must be provided.'}}),
    ],
)
def test_a_server_that_wants_an_input_gets_an_empty_one_from_then_on(backend, api, status, complaint):
    api.post(RESPONSES, [{"status_code": status, "json": complaint}, {"json": QUEUED}, {"json": QUEUED}])
    backend.create_run("conv_1", "asst_1", key="k.1", timeout=5)
    backend.create_run("conv_1", "asst_1", key="k.2", timeout=5)
    bodies = [body for path, body in sent(api) if path == "/responses"]
    assert [body.get("input") for body in bodies] == [None, [], []]


def test_another_complaint_is_no_call_for_an_empty_input(backend, api):
    api.post(RESPONSES, status_code=400, json={"error": {"message": "Unknown model"}})
    with pytest.raises(errors.RequestRefused, match="Unknown model"):
        backend.create_run("conv_1", "asst_1", key="k.1", timeout=5)
    assert len(sent(api)) == 1


# --- calls that an ended run has left open --------------------------------------------------------------------------


def test_calls_that_nobody_will_answer_are_closed_so_that_a_run_can_begin(backend, api):
    holds(api, said(), asked("call_1"), asked("call_2"), told("call_2"), said("More", "msg_3"))
    api.post(RESPONSES, [{"status_code": 400, "json": NO_OUTPUT}, {"json": QUEUED}])
    api.post(ITEMS, json={"data": []})
    assert backend.create_run("conv_1", "asst_1", key="k.1", timeout=5).id == "resp_1"
    (added,) = [body["items"] for path, body in sent(api) if path.endswith("/items")]
    assert [item["call_id"] for item in added] == ["call_1"]
    assert "was ended" in added[0]["output"]


def test_more_calls_than_a_request_may_bring_are_closed_in_several(backend, api):
    holds(api, said(), *[asked(f"call_{n}") for n in range(45)])
    api.post(RESPONSES, [{"status_code": 400, "json": NO_OUTPUT}, {"json": QUEUED}])
    api.post(ITEMS, json={"data": []})
    backend.create_run("conv_1", "asst_1", key="k.1", timeout=5)
    added = [body["items"] for path, body in sent(api) if path.endswith("/items")]
    assert [len(items) for items in added] == [20, 20, 5]
    assert [item["call_id"] for items in added for item in items] == [f"call_{n}" for n in range(45)]


@pytest.mark.parametrize("items", [[said()], [said(), asked()]], ids=["not listed yet", "answered meanwhile"])
def test_calls_that_can_not_be_closed_now_are_a_reason_to_try_again(backend, api, items):
    holds(api, *items)
    api.post(RESPONSES, status_code=400, json=NO_OUTPUT)
    api.post(ITEMS, status_code=400, json={"error": {"message": "No tool call found"}})
    with pytest.raises(errors.TransientError) as transient:
        backend.create_run("conv_1", "asst_1", key="k.1", timeout=5)
    assert not isinstance(transient.value, errors.OutcomeUnknown)


# --- a run that failed for rate is started again --------------------------------------------------------------------


def given(api, *items):
    api.get(f"{RESPONSES}/resp_0/input_items", json={"data": list(items)[::-1], "has_more": False})


def test_a_repetition_brings_the_outputs_along_that_the_failed_response_was_given(backend, api):
    holds(api, said(), asked("call_1"), asked("call_2"))
    given(api, told("call_1", "21"), told("call_2", "22"), said())
    api.post(RESPONSES, json=QUEUED)
    backend.create_run("conv_1", "asst_1", key="k.2", repeats="resp_0", timeout=5)
    body = sent(api)[0][1]
    assert [(item["call_id"], item["output"]) for item in body["input"]] == [("call_1", "21"), ("call_2", "22")]


def test_a_repetition_of_a_first_turn_has_no_input(backend, api):
    holds(api, said())
    given(api)
    api.post(RESPONSES, json=QUEUED)
    backend.create_run("conv_1", "asst_1", key="k.2", repeats="resp_0", timeout=5)
    assert "input" not in sent(api)[0][1]


def test_a_repetition_whose_outcome_is_there_already_is_not_sent(backend, api):
    holds(api, said(), asked(), told(), ANSWER)
    given(api, told())
    run = backend.create_run("conv_1", "asst_1", key="k.2", repeats="resp_0", timeout=5)
    assert (run.id, run.status, run.key, run.inferred) == ("msg_2", RunStatus.COMPLETED, "k.2", True)
    assert [message.content for message in run.messages] == ["Hi"]
    assert sent(api) == []


def test_a_repetition_that_is_refused_looks_again_and_closes_no_call_of_its_own(backend, api):
    holds(api, said(), asked())
    given(api, told())
    api.post(RESPONSES, status_code=400, json={"error": {"message": "No tool call found for call_1"}})
    with pytest.raises(errors.TransientError):
        backend.create_run("conv_1", "asst_1", key="k.2", repeats="resp_0", timeout=5)
    assert [path for path, _ in sent(api)] == ["/responses"]


def forgotten(api):
    api.get(f"{RESPONSES}/resp_0/input_items", status_code=404, json={"error": {"message": "Not found"}})


def test_calls_of_a_failed_response_that_was_forgotten_are_closed_and_not_asked_for_again(backend, api):
    holds(api, said(), asked())
    forgotten(api)
    assert last(backend, key="k.2", repeats="resp_0") is None
    api.post(RESPONSES, json=QUEUED)
    assert backend.create_run("conv_1", "asst_1", key="k.2", repeats="resp_0", timeout=5).id == "resp_1"
    (item,) = sent(api)[0][1]["input"]
    assert (item["call_id"], "was ended" in item["output"]) == ("call_1", True)


def test_a_failed_first_turn_that_was_forgotten_is_repeated_as_it_was(backend, api):
    holds(api, said())
    forgotten(api)
    api.post(RESPONSES, json=QUEUED)
    assert backend.create_run("conv_1", "asst_1", key="k.2", repeats="resp_0", timeout=5).id == "resp_1"
    assert "input" not in sent(api)[0][1]


def test_an_assistant_that_is_put_wrong_later_is_told(api):
    assistants = {}
    backend = ResponsesBackend(BASE, KEY, assistants=assistants)
    assistants["asst_1"] = "gpt-4o"
    with pytest.raises(errors.AccessDenied, match="no assistant 'asst_1'"):
        backend.create_run("conv_1", "asst_1", key="k.1", timeout=5)
    assistants["asst_1"] = Assistant("m", options={"stream": True})
    with pytest.raises(errors.AccessDenied, match="must leave stream out of its options"):
        backend.create_run("conv_1", "asst_1", key="k.1", timeout=5)


def test_instructions_that_the_server_repeats_are_not_told(backend, api):
    refusal = {"error": {"message": "Can not do this: Be brief. Sorry."}}
    api.post(RESPONSES, status_code=400, json=refusal)
    with pytest.raises(errors.RequestRefused) as refused:
        backend.create_run("conv_1", "asst_1", key="k.1", timeout=5)
    assert "Be brief" not in str(refused.value)


# --- a look at a run ------------------------------------------------------------------------------------------------


def look(backend, api, seen, run_id="resp_1", **how):
    api.get(f"{RESPONSES}/{seen['id']}", json=seen)
    return backend.get_run("conv_1", run_id, **({"handle": seen["id"]} | how), timeout=5)


def test_a_completed_response_with_calls_needs_tools(backend, api):
    run = look(backend, api, response("resp_1", "completed", asked(), ANSWER))
    assert (run.status, run.tool_calls, run.messages) == (RunStatus.NEEDS_TOOLS, (CALL,), ())


def test_a_completed_response_brings_its_answer_along(backend, api):
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    seen = response("resp_1", "completed", {"type": "reasoning", "id": "rs_1"}, ANSWER, usage=usage)
    run = look(backend, api, seen)
    assert run == Run(
        id="resp_1",
        status=RunStatus.COMPLETED,
        usage=Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7),
        handle="resp_1",
        messages=(Message(id="msg_2", role="assistant", content="Hi", run_id="resp_1"),),
    )


def test_a_later_link_of_the_chain_goes_by_the_run_and_counts_what_came_before(backend, api):
    metadata = {"gpt_agent_fsm_run": "resp_1", "gpt_agent_fsm_usage": "3/4/7", "gpt_agent_fsm_assistant": "asst_1"}
    usage = {"input_tokens": 10, "output_tokens": 20}
    run = look(backend, api, response("resp_2", "completed", ANSWER, metadata=metadata, usage=usage))
    assert (run.id, run.handle, run.assistant_id) == ("resp_1", "resp_2", "asst_1")
    assert run.usage == Usage(prompt_tokens=13, completion_tokens=24, total_tokens=37)


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        ("queued", {}, (RunStatus.ACTIVE, "", "")),
        ("in_progress", {}, (RunStatus.ACTIVE, "", "")),
        (None, {}, (RunStatus.ACTIVE, "", "")),
        (None, {"output": [ANSWER]}, (RunStatus.COMPLETED, "", "")),
        (None, {"error": {"code": "x", "message": "y"}}, (RunStatus.FAILED, "x", "y")),
        ("cooling", {}, (RunStatus.ACTIVE, "", "")),
        ("cooling", {"error": {"code": "x", "message": "y"}}, (RunStatus.FAILED, "x", "y")),
        (
            "failed",
            {"error": {"code": "server_error", "message": "Sorry"}},
            (RunStatus.FAILED, "server_error", "Sorry"),
        ),
        ("failed", {"error": "Sorry"}, (RunStatus.FAILED, "failed", "Sorry")),
        (
            "failed",
            {"error": {"code": "rate_limit_exceeded", "message": "Rate limit reached for m"}},
            (RunStatus.RATE_LIMITED, "rate_limit_exceeded", "Rate limit reached for m"),
        ),
        (
            "failed",
            {"error": {"code": "rate_limit_exceeded", "message": "You exceeded your current quota, ..."}},
            (RunStatus.OUT_OF_QUOTA, "rate_limit_exceeded", "You exceeded your current quota, ..."),
        ),
        ("cancelled", {}, (RunStatus.FAILED, "cancelled", "The run ended as cancelled; the server gave no message.")),
        (
            "incomplete",
            {"incomplete_details": {"reason": "max_output_tokens"}, "output": [asked()]},
            (
                RunStatus.FAILED,
                "max_output_tokens",
                "The run ended as incomplete (max_output_tokens); the server gave no message.",
            ),
        ),
    ],
)
def test_what_a_status_means(backend, api, status, fields, expected):
    run = look(backend, api, response("resp_1", status, **fields))
    assert (run.status, run.code, run.message) == expected


def test_what_makes_no_sense_is_left_out(backend, api):
    call = {"type": "function_call", "id": 7, "name": None, "arguments": {"x": 1}}
    odd = response("resp_1", "completed", "text", {"type": "function_call"}, call, usage=[], metadata="x", error=0)
    run = look(backend, api, odd)
    assert run.tool_calls == (ToolCall(id="7", name="", arguments='{"x": 1}'),)
    assert run.usage == Usage()
    for lie in ("1/x/2", "1/²/3", "1/2/" + "9" * 5000, 5):
        run = look(backend, api, response("resp_1", "completed", metadata={"gpt_agent_fsm_usage": lie}, output="none"))
        assert (run.status, run.usage) == (RunStatus.COMPLETED, Usage())
    api.get(f"{RESPONSES}/resp_1", json=[])
    with pytest.raises(errors.TransientError, match="not what the API promises"):
        backend.get_run("conv_1", "resp_1", handle="resp_1", timeout=5)


def test_a_run_without_a_handle_stands_as_the_conversation_tells(backend, api):
    holds(api, said(), asked("call_1"), told("call_1"), asked("call_2"))
    run = backend.get_run("conv_1", "run_1", timeout=5)
    assert (run.id, run.status, [call.id for call in run.tool_calls]) == ("run_1", RunStatus.NEEDS_TOOLS, ["call_2"])
    holds(api, said(), asked(), told(), ANSWER)
    run = backend.get_run("conv_1", "run_1", timeout=5)
    assert (run.status, run.messages[0].content, run.handle) == (RunStatus.COMPLETED, "Hi", None)


def test_a_run_that_left_nothing_is_asked_for_by_its_id(backend, api):
    holds(api, said())
    api.get(f"{RESPONSES}/resp_1", json=QUEUED)
    assert backend.get_run("conv_1", "resp_1", timeout=5).handle == "resp_1"
    api.get(f"{RESPONSES}/resp_1", status_code=404, json={"error": {"message": "Not found"}})
    with pytest.raises(errors.RequestRefused):
        backend.get_run("conv_1", "resp_1", timeout=5)


@pytest.mark.parametrize(
    ("items", "status", "calls", "handle"),
    [
        ([said(), asked()], RunStatus.NEEDS_TOOLS, ["call_1"], "resp_1"),
        ([said()], RunStatus.NEEDS_TOOLS, ["call_1"], "resp_1"),
        ([said(), asked(), told(), ANSWER], RunStatus.COMPLETED, [], None),
        ([said(), asked(), told(), asked("call_2")], RunStatus.NEEDS_TOOLS, ["call_2"], None),
        ([said(), asked(), told(), ANSWER, said("More", "msg_3")], RunStatus.COMPLETED, [], None),
        ([said(), asked(), told()], RunStatus.NEEDS_TOOLS, ["call_1"], "resp_1"),
        ([said(), asked(), told(), ANSWER | {"status": "in_progress"}], RunStatus.NEEDS_TOOLS, ["call_1"], "resp_1"),
    ],
    ids=[
        "still waits",
        "not listed yet",
        "went on to its end",
        "went on to other calls",
        "is long over",
        "listed and not gone on yet",
        "in the middle of its answer",
    ],
)
def test_outputs_in_doubt_are_told_by_the_conversation(backend, api, items, status, calls, handle):
    holds(api, *items)
    run = look(backend, api, response("resp_1", "completed", asked()), in_doubt=True)
    assert (run.status, [call.id for call in run.tool_calls], run.handle) == (status, calls, handle)


def test_a_run_that_was_started_twice_gives_way_to_the_answer_that_is_there(backend, api):
    holds(api, said(), ANSWER)
    api.get(f"{RESPONSES}/resp_1/input_items", json={"data": []})
    api.post(f"{RESPONSES}/resp_1/cancel", json=response("resp_1", "cancelled"))
    run = look(backend, api, QUEUED, in_doubt=True)
    assert (run.id, run.status, run.messages[0].content) == ("resp_1", RunStatus.COMPLETED, "Hi")
    assert [path for path, _ in sent(api)] == ["/responses/resp_1/cancel"]


def test_what_a_run_says_itself_is_no_sign_of_another(backend, api):
    holds(api, said(), ANSWER)
    api.get(f"{RESPONSES}/resp_1/input_items", json={"data": []})
    run = look(backend, api, response("resp_1", "in_progress", ANSWER), in_doubt=True)
    assert (run.status, sent(api)) == (RunStatus.ACTIVE, [])


def test_a_run_that_was_started_once_after_all_goes_on(backend, api):
    holds(api, said())
    api.get(f"{RESPONSES}/resp_1/input_items", json={"data": []})
    assert look(backend, api, QUEUED, in_doubt=True).status is RunStatus.ACTIVE
    assert sent(api) == []


def test_a_second_run_that_can_be_cancelled_no_more_is_followed(backend, api):
    holds(api, said(), ANSWER)
    api.get(f"{RESPONSES}/resp_1/input_items", json={"data": []})
    api.post(f"{RESPONSES}/resp_1/cancel", status_code=400, json={"error": {"message": "completed"}})
    run = look(backend, api, QUEUED, in_doubt=True)
    assert (run.status, run.handle) == (RunStatus.ACTIVE, "resp_1")


# --- outputs ----------------------------------------------------------------------------------------------------


def submit(backend, handle="resp_1"):
    outputs = [("call_1", "21"), ("call_2", "22")]
    return backend.submit_tool_outputs("conv_1", "resp_1", outputs, assistant_id="asst_1", handle=handle, timeout=5)


def test_outputs_are_the_input_of_the_response_that_goes_on_with_the_run(backend, api):
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    look(backend, api, response("resp_1", "completed", asked(), usage=usage))
    api.post(RESPONSES, json=QUEUED | {"id": "resp_2"})
    run = submit(backend)
    assert (run.id, run.handle, run.status) == ("resp_1", "resp_2", RunStatus.ACTIVE)
    body = sent(api)[0][1]
    assert [(i["type"], i["call_id"], i["output"]) for i in body["input"]] == [
        ("function_call_output", "call_1", "21"),
        ("function_call_output", "call_2", "22"),
    ]
    assert body["metadata"] == {
        "gpt_agent_fsm_run": "resp_1",
        "gpt_agent_fsm_assistant": "asst_1",
        "gpt_agent_fsm_usage": "1/2/3",
    }
    assert body["conversation"] == "conv_1"
    assert sent(api)[-1][1]["metadata"]["gpt_agent_fsm_run"] == "resp_2"


def test_outputs_that_are_refused_because_they_are_there_have_arrived(backend, api):
    holds(api, said(), asked("call_1"), asked("call_2"), told("call_1"), told("call_2"), ANSWER)
    api.get(f"{RESPONSES}/resp_1", json=response("resp_1"))
    api.post(RESPONSES, status_code=400, json={"error": {"message": "No tool call found"}})
    assert submit(backend).status is RunStatus.COMPLETED
    holds(api, said(), asked("call_1"), asked("call_2"), told("call_1"))
    with pytest.raises(errors.RequestRefused):
        submit(backend)


def test_outputs_go_out_although_the_response_that_asked_for_them_is_gone(backend, api):
    api.get(f"{RESPONSES}/resp_1", status_code=404, json={"error": {"message": "Not found"}})
    api.post(RESPONSES, json=QUEUED | {"id": "resp_2"})
    assert submit(backend).handle == "resp_2"


def test_what_a_run_took_is_asked_for_where_this_process_has_not_seen_it(backend, api):
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    api.get(f"{RESPONSES}/resp_1", json=response("resp_1", "completed", asked(), usage=usage))
    api.post(RESPONSES, json=QUEUED | {"id": "resp_2"})
    submit(backend)
    assert sent(api)[0][1]["metadata"]["gpt_agent_fsm_usage"] == "1/2/3"
    submit(backend, handle=None)
    assert "gpt_agent_fsm_usage" in sent(api)[2][1]["metadata"]


def test_tokens_are_counted_on_a_server_that_blocks_and_keeps_no_metadata(backend, api):
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    look(backend, api, response("resp_1", "completed", asked(), usage=usage))
    api.post(RESPONSES, json={"id": "resp_2", "status": "completed", "output": [asked("call_3")], "usage": usage})
    run = submit(backend)
    assert (run.status, run.usage.total_tokens) == (RunStatus.NEEDS_TOOLS, 6)
    api.post(RESPONSES, json={"id": "resp_3", "status": "completed", "output": [ANSWER], "usage": usage})
    assert submit(backend, handle="resp_2").usage.total_tokens == 9


def test_only_so_many_runs_are_remembered(backend, api, monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.backends.responses.backend._MAX_REMEMBERED", 2)
    for number in range(5):
        look(backend, api, response(f"resp_{number}", "completed", asked()), run_id=f"resp_{number}")
    assert list(backend._usages) == ["resp_3", "resp_4"]


# --- the end of a run -----------------------------------------------------------------------------------------------


def cancel(backend, **how):
    return backend.cancel_run("conv_1", "resp_1", **({"handle": "resp_2"} | how), timeout=5)


def test_the_last_response_of_the_chain_is_cancelled(backend, api):
    api.post(f"{RESPONSES}/resp_2/cancel", json=response("resp_2", "cancelled"))
    run = cancel(backend)
    assert (run.id, run.status, run.code) == ("resp_1", RunStatus.FAILED, "cancelled")


@pytest.mark.parametrize("status", [400, 409])
def test_a_run_that_waits_for_tools_is_cancelled_by_answering_them(backend, api, status):
    holds(api, said(), asked("call_1"), told("call_1"))
    api.post(f"{RESPONSES}/resp_2/cancel", status_code=status, json={"error": {"message": "completed"}})
    api.get(f"{RESPONSES}/resp_2", json=response("resp_2", "completed", asked("call_1"), asked("call_2")))
    api.post(ITEMS, json={"data": []})
    run = cancel(backend)
    assert (run.id, run.status, run.code) == ("resp_1", RunStatus.FAILED, "cancelled")
    (added,) = [body["items"] for path, body in sent(api) if path.endswith("/items")]
    assert [item["call_id"] for item in added] == ["call_2"]


def test_a_run_that_is_over_can_not_be_cancelled(backend, api):
    api.post(f"{RESPONSES}/resp_2/cancel", status_code=400, json={"error": {"message": "completed"}})
    api.get(f"{RESPONSES}/resp_2", json=response("resp_2", "completed", ANSWER))
    with pytest.raises(errors.RequestRefused, match="completed"):
        cancel(backend)


def test_trouble_on_the_way_to_a_cancel_is_told_as_it_is(backend, api):
    api.post(f"{RESPONSES}/resp_2/cancel", status_code=503, json={"error": {"message": "later"}})
    with pytest.raises(errors.TransientError, match="later"):
        cancel(backend)


def test_a_run_without_a_handle_is_cancelled_by_what_it_waits_for_or_else_by_its_id(backend, api):
    holds(api, said(), asked())
    api.post(ITEMS, json={"data": []})
    assert cancel(backend, handle=None).code == "cancelled"
    holds(api, said())
    api.post(f"{RESPONSES}/resp_1/cancel", json=response("resp_1", "cancelled"))
    assert cancel(backend, handle=None).code == "cancelled"
    assert sent(api)[-1][0] == "/responses/resp_1/cancel"


# --- the last run of a conversation ---------------------------------------------------------------------------------


def noted(api, seen=None, response_id="resp_1"):
    api.get(CONVERSATION, json={"id": "conv_1", "metadata": {"gpt_agent_fsm_run": response_id}})
    if seen is None:
        api.get(f"{RESPONSES}/{response_id}", status_code=404, json={"error": {"message": "Not found"}})
    else:
        api.get(f"{RESPONSES}/{response_id}", json=seen)


def last(backend, **how):
    page = backend.list_runs("conv_1", limit=1, **how, timeout=5)
    assert len(page.runs) <= 1
    return next(iter(page.runs), None)


def test_a_conversation_without_a_note_has_no_run_but_tells_its_newest_message(backend, api):
    holds(api)
    assert backend.list_runs("conv_1", limit=1, timeout=5).newest_message_id == ""
    holds(api, said(), ANSWER)
    page = backend.list_runs("conv_1", limit=1, timeout=5)
    assert (page.runs, page.newest_message_id) == ((), "msg_2")


def test_the_run_of_the_note_is_found(backend, api):
    holds(api, said())
    noted(api, QUEUED)
    assert last(backend).handle == "resp_1"


def test_calls_that_stand_open_are_a_run_also_where_the_note_is_out_of_date(backend, api):
    holds(api, said(), ANSWER, said("More", "msg_3"), asked())
    noted(api, response("resp_0", "completed", ANSWER), "resp_0")
    assert (last(backend).id, last(backend).status) == ("fc_1", RunStatus.NEEDS_TOOLS)


def test_a_note_about_a_response_that_is_gone_is_none(backend, api):
    holds(api, said())
    noted(api)
    assert last(backend) is None


def test_calls_that_stand_open_are_a_run_also_without_a_note(backend, api):
    holds(api, said(), asked())
    run = last(backend)
    assert (run.id, run.status, run.inferred) == ("fc_1", RunStatus.NEEDS_TOOLS, True)


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([said(), asked()], RunStatus.NEEDS_TOOLS),
        ([said()], RunStatus.NEEDS_TOOLS),
        ([said(), asked(), told(), ANSWER], RunStatus.COMPLETED),
        ([said(), asked(), told(), said("More", "msg_3")], None),
    ],
    ids=["waits", "not listed yet", "was gone on with", "is long over"],
)
def test_a_noted_run_that_asked_for_tools_stands_as_the_conversation_tells(backend, api, items, status):
    holds(api, *items)
    noted(api, response("resp_1", "completed", asked()))
    run = last(backend)
    assert (run and run.status) == status


def test_a_run_in_doubt_is_found_by_its_key_or_by_what_it_left(backend, api):
    holds(api, said(), ANSWER)
    noted(api, response("resp_1", "completed", ANSWER, metadata={"gpt_agent_fsm_key": "k.1"}))
    assert last(backend, key="k.1").id == "resp_1"
    run = last(backend, key="k.2")
    assert (run.id, run.key, run.status) == ("msg_2", "k.2", RunStatus.COMPLETED)


def test_a_run_in_doubt_that_left_nothing_is_not_found(backend, api):
    holds(api, ANSWER, said())
    noted(api, response("resp_1", "completed", ANSWER))
    assert last(backend, key="k.2").key is None


def test_calls_of_the_run_that_is_repeated_are_no_sign_of_the_repetition(backend, api):
    holds(api, said(), asked())
    noted(api, response("resp_0", "failed"), "resp_0")
    given(api, told())
    assert last(backend, key="k.2", repeats="resp_0").key is None
    holds(api, said(), asked(), told(), asked("call_2"))
    run = last(backend, key="k.2", repeats="resp_0")
    assert (run.key, [call.id for call in run.tool_calls]) == ("k.2", ["call_2"])


def test_what_a_noted_run_left_since_is_known_to_be_inferred(backend, api):
    holds(api, said(), asked(), told(), asked("call_2"))
    noted(api, response("resp_1", "completed", asked()))
    run = last(backend)
    assert (run.id, [call.id for call in run.tool_calls], run.inferred) == ("resp_1", ["call_2"], True)

"""Requests for approvals: a person decides about a call that the server would make itself."""

import pytest

from gpt_agent_fsm import Assistant, Runtime, Settings
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.local import ApprovalRequest, LocalServer, Reply, ScriptedModel, ToolCall
from gpt_agent_fsm.stores import SQLStore
from tests.local.event_streams import names, response_stream, run_stream, wait_until
from tests.local.responses.asking import HELLO, outputs_for, refused, said_in
from tests.local.schemas import checked, checked_event
from tests.local.stand_ins import PATIENCE, Recorder

ASK = ApprovalRequest("delete", {"name": "a.txt"}, "files")
ASKED = {"name": "delete", "arguments": '{"name":"a.txt"}', "server_label": "files"}
SCRIPT = """
rules:
  - when: delete
    steps:
      - approve: {name: delete, arguments: {name: a.txt}, server: files}
      - say: "It was {approved}."
"""


def requests_in(response):
    return [item for item in response["output"] if item["type"] == "mcp_approval_request"]


def decisions_for(response, *values, **more):
    return [
        {"type": "mcp_approval_response", "approval_request_id": item["id"], "approve": value} | more
        for item, value in zip(requests_in(response), values, strict=True)
    ]


def decide(api, run, *values, expect=200):
    action = run["required_action"]["submit_tool_approval"]
    given = [
        {"tool_call_id": call["id"], "approve": value} for call, value in zip(action["tool_calls"], values, strict=True)
    ]
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    return api.call("POST", path, json={"tool_approvals": given}, expect=expect)


def test_a_response_asks_for_an_approval_in_the_form_of_the_document(serve):
    api = serve(Recorder(Reply("May I?", (ASK,)), "Done."))
    conversation = api.conversation()
    first = checked("Response", api.answered("Hello", conversation=conversation))
    [request] = requests_in(first)
    assert (first["status"], said_in(first["output"])) == ("completed", ["May I?"])
    assert {name: request[name] for name in ASKED} == ASKED
    second = checked("Response", api.answered(decisions_for(first, True), conversation=conversation))
    assert said_in(second["output"]) == ["Done."]
    listed = checked("ConversationItemList", api.get(f"/conversations/{conversation}/items"))
    assert [item["type"] for item in listed["data"][::-1]] == [
        *("message", "message", "mcp_approval_request", "mcp_approval_response", "message")
    ]
    checked("ResponseItemList", api.get(f"/responses/{second['id']}/input_items"))


@pytest.mark.parametrize(
    ("approve", "reason", "content"),
    [
        (True, None, "Approved."),
        (True, "once", "Approved: once"),
        (False, None, "Denied."),
        (False, "keep it", "Denied: keep it"),
    ],
)
def test_a_model_sees_the_decision_of_a_response_as_the_output_of_a_call(serve, approve, reason, content):
    model = Recorder([ASK, ToolCall("get")], "Done.", "Bye.")
    api = serve(model)
    first = api.answered("Hello")
    given = [*decisions_for(first, approve, reason=reason), *outputs_for(first, "12")]
    second = api.answered(given, previous_response_id=first["id"])
    request = model.requests[1]
    assert [message["content"] for message in request.messages] == ["Hello", "", content, "12"]
    call = request.messages[1]["tool_calls"][0]
    assert call["function"] == {"name": "delete", "arguments": '{"name":"a.txt"}'}
    assert request.messages[2]["tool_call_id"] == call["id"]
    assert (request.outputs, request.decisions, request.approvals) == (["12"], [approve], {call["id"]: approve})
    api.answered("Bye", previous_response_id=second["id"])
    assert (model.requests[2].decisions, model.requests[2].approvals) == ([], {call["id"]: approve})


def test_every_request_for_an_approval_needs_exactly_one_response(serve):
    api = serve(Recorder([ASK, ASK], "Done."))
    first = api.answered("Hello")
    first_id, second_id = (item["id"] for item in requests_in(first))
    both = decisions_for(first, True, False)

    def refusal(given):
        error = refused(api, {"previous_response_id": first["id"], "input": given})
        assert error["param"] == "input"
        return error["message"]

    assert refusal("Never mind.") == f"No approval response found for MCP approval request {first_id}."
    assert refusal(both[:1]) == f"No approval response found for MCP approval request {second_id}."
    assert refusal([*both, both[0]]) == f"Duplicate approval response found for MCP approval request {first_id}."
    assert "No approval request found" in refusal([*both, both[0] | {"approval_request_id": "mcpr_x"}])
    for wrong, param in (({"approve": None}, "approve"), ({"approve": "yes"}, "approve"), ({"reason": 5}, "reason")):
        error = refused(api, {"previous_response_id": first["id"], "input": [both[0] | wrong]})
        assert error["param"] == f"input[0].{param}"
    assert api.answered(both, previous_response_id=first["id"])["status"] == "completed"


def test_a_client_may_send_the_request_itself_or_refer_to_it(serve):
    model = Recorder([ASK], "One.", "Two.", "Three.")
    api = serve(model)
    first = api.answered("Hello")
    [request], answer = requests_in(first), decisions_for(first, True)
    api.answered([HELLO, request, *answer])
    api.answered([HELLO, {"type": "item_reference", "id": request["id"]}, *answer])
    conversation = api.conversation(HELLO, request, *answer)
    api.answered(conversation=conversation)
    for seen in model.requests[1:]:
        assert [message["content"] for message in seen.messages] == ["Hello", "", "Approved."]
        assert seen.decisions == [True]


def test_a_run_asks_for_an_approval_in_the_form_of_azure(serve):
    model = Recorder(Reply("May I?", (ASK, ASK)), "Done.")
    api = serve(model)
    run = api.play("Hello")
    assert run["status"] == "requires_action"
    assert run["required_action"]["type"] == "submit_tool_approval"
    calls = run["required_action"]["submit_tool_approval"]["tool_calls"]
    assert [call | {"id": ""} for call in calls] == [{"id": "", "type": "mcp"} | ASKED] * 2
    decide(api, run, True, False)
    api.see(run, "completed")
    request = model.requests[1]
    assert [message["content"] for message in request.messages] == ["Hello", "May I?", "Approved.", "Denied."]
    assert (request.outputs, request.decisions) == ([], [True, False])
    [step] = [
        each
        for each in api.get(f"/threads/{run['thread_id']}/runs/{run['id']}/steps")["data"]
        if each["type"] == "tool_calls"
    ]
    assert [call["approved"] for call in step["step_details"]["tool_calls"]] == [True, False]


def test_a_run_that_waits_for_approvals_takes_all_of_them_and_nothing_else(serve):
    api = serve(Recorder([ASK, ASK], "Done."))
    run = api.play("Hello")
    ids = [call["id"] for call in run["required_action"]["submit_tool_approval"]["tool_calls"]]
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    one, two = ({"tool_call_id": call_id, "approve": True} for call_id in ids)
    for body, param in (
        ({}, "tool_outputs"),
        ({"tool_approvals": [one]}, "tool_approvals"),
        ({"tool_approvals": [one, one]}, "tool_approvals"),
        ({"tool_outputs": [{"tool_call_id": each, "output": ""} for each in ids]}, "tool_outputs"),
        ({"tool_approvals": [one, {"tool_call_id": ids[1]}]}, "tool_approvals[1].approve"),
        ({"tool_approvals": [one, two | {"headers": 5}]}, "tool_approvals[1].headers"),
    ):
        assert api.error("POST", path, 400, json=body)["param"] == param
    api.post(path, {"tool_approvals": [one, two | {"headers": {"a": "b"}}], "tool_outputs": []})
    api.see(run, "completed")


def test_a_run_that_waits_for_outputs_takes_no_approvals(serve):
    api = serve(Recorder([ToolCall("get")], "Done."))
    run = api.play("Hello")
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    given = {"tool_approvals": [{"tool_call_id": call["id"], "approve": True}]}
    assert api.error("POST", path, 400, json=given)["param"] == "tool_approvals"


def test_a_turn_of_a_run_with_calls_and_approvals_is_an_error_of_the_model(serve):
    api = serve(Recorder([ASK, ToolCall("get")]))
    assert "has both" in api.play("Hello")["last_error"]["message"]


def test_a_request_for_an_approval_without_a_server_is_an_error_of_the_model(serve):
    api = serve(Recorder([ApprovalRequest("delete", {}, " ")]))
    assert "must have a server_label" in api.play("Hello")["last_error"]["message"]


def test_streams_have_the_requests_for_approvals(serve):
    api = serve(lambda _request: [ASK])
    events = [(name, checked_event(name, data)) for name, data in response_stream(api)]
    added, done = (data["item"] for name, data in events if "output_item" in name)
    assert added == done == events[-1][1]["response"]["output"][0]
    events = list(run_stream(api, "Hello"))
    assert names(events)[-2:] == ["thread.run.requires_action", "done"]
    assert events[-2][1]["required_action"]["type"] == "submit_tool_approval"
    assert "thread.run.step.delta" in names(events)


@pytest.mark.parametrize(("approve", "answer"), [(True, "It was approved."), (False, "It was denied.")])
def test_a_script_asks_for_an_approval_and_says_how_it_was_decided(serve, approve, answer):
    api = serve(ScriptedModel.from_yaml(SCRIPT))
    run = api.play("delete it")
    decide(api, run, approve)
    api.see(run, "completed")
    assert api.texts(run["thread_id"])[-1] == answer
    first = api.answered("delete it")
    second = api.answered(decisions_for(first, approve), previous_response_id=first["id"])
    assert said_in(second["output"]) == [answer]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"approve": {}}, "rules[0].steps[0].approve.name must be text"),
        ({"approve": {"name": "a", "server": 5}}, "rules[0].steps[0].approve.server must be text"),
        ({"approve": {"name": "a", "host": "b"}}, "unknown key 'host'; known are name, arguments, server"),
        (
            {"approve": [{"name": "a"}], "call": {"name": "a"}},
            "exactly one of 'say', 'refuse', 'call', 'approve' and 'fail'",
        ),
    ],
)
def test_a_wrong_request_for_an_approval_in_a_script_is_named(step, words):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the words follow
        ScriptedModel([{"when": "x", "steps": [step, {"say": "y"}]}])
    assert words in str(raised.value)


def test_a_script_must_not_end_with_a_request_for_an_approval():
    with pytest.raises(ValueError, match="must end with 'say'"):
        ScriptedModel([{"when": "x", "approve": {"name": "a"}}])


@pytest.mark.parametrize("wire", ["assistants", "responses"])
@pytest.mark.parametrize("approve", [True, False])
def test_an_agent_decides_after_a_restart_of_itself_and_of_the_server(tmp_path, wire, approve):
    settings = Settings(heartbeat_interval=0.05)
    store = f"sqlite:///{tmp_path / 'agents.db'}"

    def runtime(server):
        if wire == "assistants":
            backend = AssistantsBackend(server.base_url, "any-key")
        else:
            backend = ResponsesBackend(server.base_url, "any-key", assistants={"asst_1": Assistant(model="m")})
        return Runtime(backend, settings, store=SQLStore(store))

    def serve(port=0):
        return LocalServer(ScriptedModel.from_yaml(SCRIPT), database=tmp_path / "server.db", port=port)

    with serve() as server, runtime(server) as first:
        port = server._http.port
        agent = first.start("asst_1")
        agent.add_user_message("delete it")
        wait_until(lambda: agent.open_approvals)
        [request] = agent.open_approvals
        assert (request.name, request.arguments) == ("delete", {"name": "a.txt"})
        thread_id = agent.thread_id
    with serve(port) as server, runtime(server) as second:
        agent = second.get(thread_id)
        wait_until(lambda: agent.open_approvals)
        assert [each.id for each in agent.open_approvals] == [request.id]
        if approve:
            agent.approve(request.id, by="ann")
        else:
            agent.deny(request.id, "keep it")
        agent.wait(PATIENCE)
        said = [
            each.event for each in second.history(thread_id) if type(each.event).__name__ == "AssistantMessageAdded"
        ]
    assert said[-1].content == ("It was approved." if approve else "It was denied.")

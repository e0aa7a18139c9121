"""Creating a run, and the obstacles."""

import pytest

from gpt_agent_fsm import Assistant, errors
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.machine.objects import Run
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.ports import RunRequest, ToolOutputsRequest
from tests.backends.conftest import KEY
from tests.backends.responses.samples import (
    ANSWER,
    BASE,
    CONVERSATION,
    ITEMS,
    LOCKED,
    NO_OUTPUT,
    QUEUED,
    RESPONSES,
    asked,
    given,
    holds,
    last,
    said,
    sent,
    told,
)

# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_run_is_a_stored_background_response_whose_id_is_noted_in_the_conversation(backend, api):
    api.post(RESPONSES, json=QUEUED | {"metadata": {"gpt_agent_fsm_key": "k.1", "gpt_agent_fsm_assistant": "asst_1"}})
    run = backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
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


def test_a_run_whose_id_a_store_keeps_is_not_noted_in_the_conversation(backend, api):
    api.post(RESPONSES, json=QUEUED)
    api.get(CONVERSATION, json={"id": "conv_1", "metadata": {}})
    backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1", durable=True), timeout=5)
    request = ToolOutputsRequest(
        thread_id="conv_1", run_id="resp_1", outputs=(("call_1", "21"),), assistant_id="asst_1", durable=True
    )
    backend.submit_tool_outputs(request, timeout=5)
    assert [path for path, _ in sent(api)] == ["/responses", "/responses"]


def test_options_are_sent_as_they_are_and_empty_fields_are_left_out(backend, api):
    api.post(RESPONSES, json=QUEUED)
    backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_2", key="k.1"), timeout=5)
    body = sent(api)[0][1]
    assert body["reasoning"] == {"effort": "low"}
    assert not {"instructions", "tools", "input", "temperature", "top_p"} & set(body)


def test_a_run_whose_note_cannot_be_saved_continues(backend, api):
    api.post(RESPONSES, json=QUEUED)
    for trouble in ({"status_code": 400, "json": LOCKED}, {"status_code": 500}, {"text": "garbage"}):
        api.post(CONVERSATION, **trouble)
        assert (
            backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5).id
            == "resp_1"
        )


def test_an_unknown_assistant_is_named_with_the_known_ones(backend):
    with pytest.raises(errors.AccessDenied, match="no assistant 'asst_9'; it has 'asst_1', 'asst_2'") as denied:
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_9", key="k.1"), timeout=5)
    assert denied.value.code == "unknown_assistant"
    with pytest.raises(errors.AccessDenied, match="it has none at all"):
        ResponsesBackend(BASE, KEY, assistants={}).create_run(
            RunRequest(thread_id="conv_1", assistant_id="a", key="k.1"), timeout=5
        )


def test_an_assistant_that_is_added_later_is_known(api):
    assistants = {}
    backend = ResponsesBackend(BASE, KEY, assistants=assistants)
    assistants["asst_1"] = Assistant("gpt-4o")
    api.post(RESPONSES, json=QUEUED)
    assert (
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5).id == "resp_1"
    )


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
    backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
    backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.2"), timeout=5)
    bodies = [body for path, body in sent(api) if path == "/responses"]
    assert [body.get("input") for body in bodies] == [None, [], []]


def test_another_refusal_does_not_lead_to_an_empty_input(backend, api):
    api.post(RESPONSES, status_code=400, json={"error": {"message": "Unknown model"}})
    with pytest.raises(errors.RequestRefused, match="Unknown model"):
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
    assert len(sent(api)) == 1


# --- open calls of an ended run -------------------------------------------------------------------------------------


def test_calls_that_nobody_will_answer_are_closed_so_that_a_run_can_begin(backend, api):
    holds(api, said(), asked("call_1"), asked("call_2"), told("call_2"), said("More", "msg_3"))
    api.post(RESPONSES, [{"status_code": 400, "json": NO_OUTPUT}, {"json": QUEUED}])
    api.post(ITEMS, json={"data": []})
    assert (
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5).id == "resp_1"
    )
    (added,) = [body["items"] for path, body in sent(api) if path.endswith("/items")]
    assert [item["call_id"] for item in added] == ["call_1"]
    assert "was ended" in added[0]["output"]


def test_many_open_calls_are_closed_in_several_requests(backend, api):
    holds(api, said(), *[asked(f"call_{n}") for n in range(45)], said("More", "msg_3"))
    api.post(RESPONSES, [{"status_code": 400, "json": NO_OUTPUT}, {"json": QUEUED}])
    api.post(ITEMS, json={"data": []})
    backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
    added = [body["items"] for path, body in sent(api) if path.endswith("/items")]
    assert [len(items) for items in added] == [20, 20, 5]
    assert [item["call_id"] for items in added for item in items] == [f"call_{n}" for n in range(45)]


MORE = said("More", "msg_3")


@pytest.mark.parametrize(
    "items", [[said()], [said(), asked(), MORE]], ids=["not listed yet", "answered before the search"]
)
def test_a_run_is_delayed_while_open_calls_cannot_be_closed(backend, api, items):
    holds(api, *items)
    api.post(RESPONSES, status_code=400, json=NO_OUTPUT)
    api.post(ITEMS, status_code=400, json={"error": {"message": "No tool call found"}})
    with pytest.raises(errors.TransientError) as transient:
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
    assert not isinstance(transient.value, errors.OutcomeUnknown)


def test_a_run_was_not_created_if_it_is_only_unknown_whether_open_calls_were_closed(backend, api):
    holds(api, said(), asked(), said("Two", "msg_3"))
    api.post(RESPONSES, status_code=400, json=NO_OUTPUT)
    api.post(ITEMS, status_code=500, json={"error": {"message": "Sorry"}})
    with pytest.raises(errors.TransientError) as raised:
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k"), timeout=5)
    assert not isinstance(raised.value, errors.OutcomeUnknown)


def test_calls_behind_the_message_are_those_of_an_earlier_attempt_and_are_not_closed(backend, api):
    holds(api, said(), asked("call_1"), asked("call_2"))
    api.post(RESPONSES, status_code=400, json=NO_OUTPUT)
    run = backend.create_run(
        RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1", may_exist=True), timeout=5
    )
    assert (run.status, run.key, run.inferred) == (RunStatus.NEEDS_TOOLS, "k.1", True)
    assert [call.id for call in run.tool_calls] == ["call_1", "call_2"]
    assert [path for path, _ in sent(api)] == ["/responses"]


def test_calls_of_a_run_that_has_ended_are_closed_even_if_the_new_run_may_exist(backend, api):
    holds(api, said(), asked("call_1"))
    api.post(RESPONSES, [{"status_code": 400, "json": NO_OUTPUT}, {"json": QUEUED}])
    api.post(ITEMS, json={"data": []})
    run = backend.create_run(
        RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1", may_exist=True, ended_calls=("call_1",)),
        timeout=5,
    )
    assert run.id == QUEUED["id"]
    assert [item["call_id"] for path, body in sent(api) if path.endswith("/items") for item in body["items"]] == [
        "call_1"
    ]


# --- a rate limited run is started again ----------------------------------------------------------------------------


def test_a_repetition_sends_the_outputs_that_the_failed_response_received(backend, api):
    holds(api, said(), asked("call_1"), asked("call_2"))
    given(api, said(), told("call_1", "21"), told("call_2", "22"))
    api.post(RESPONSES, json=QUEUED)
    backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.2", retry_of="resp_0"), timeout=5)
    body = sent(api)[0][1]
    assert [(item["call_id"], item["output"]) for item in body["input"]] == [("call_1", "21"), ("call_2", "22")]


def test_outputs_of_earlier_runs_that_a_server_lists_as_input_are_not_sent_again(backend, api):
    holds(api, said(), asked("call_1"))
    given(api, asked("call_0"), told("call_0", "old"), said(), asked("call_1"), told("call_1", "21"))
    api.post(RESPONSES, json=QUEUED)
    backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.2", retry_of="resp_0"), timeout=5)
    assert [(item["call_id"], item["output"]) for item in sent(api)[0][1]["input"]] == [("call_1", "21")]


def test_a_repetition_of_a_first_turn_has_no_input(backend, api):
    holds(api, said())
    given(api)
    api.post(RESPONSES, json=QUEUED)
    backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.2", retry_of="resp_0"), timeout=5)
    assert "input" not in sent(api)[0][1]


def test_a_repetition_whose_outcome_is_there_already_is_not_sent(backend, api):
    holds(api, said(), asked(), told(), ANSWER)
    given(api, told())
    run = backend.create_run(
        RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.2", retry_of="resp_0"), timeout=5
    )
    assert (run.id, run.status, run.key, run.inferred) == ("msg_2", RunStatus.COMPLETED, "k.2", True)
    assert [message.content for message in run.messages] == ["Hi"]
    assert sent(api) == []


def test_a_repetition_does_not_take_a_call_that_was_answered_for_an_open_one(backend, api):
    holds(api, said(), asked("call_1"))
    given(api)
    repeated = RunRequest(
        thread_id="conv_1", assistant_id="asst_1", key="k.2", retry_of="resp_0", ended_calls=("call_1",)
    )
    with pytest.raises(errors.TransientError):
        backend.create_run(repeated, timeout=5)
    assert sent(api) == []


def test_a_repetition_that_is_refused_searches_again_and_closes_no_call_of_its_own(backend, api):
    holds(api, said(), asked())
    given(api, told())
    api.post(RESPONSES, status_code=400, json={"error": {"message": "No tool call found for call_1"}})
    with pytest.raises(errors.TransientError):
        backend.create_run(
            RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.2", retry_of="resp_0"), timeout=5
        )
    assert [path for path, _ in sent(api)] == ["/responses"]


@pytest.mark.parametrize("message", ["The text is refused.", "The context is too long.", "The model is being moved."])
def test_a_repetition_that_is_refused_for_another_reason_is_refused(backend, api, message):
    holds(api, said())
    given(api)
    api.post(RESPONSES, status_code=400, json={"error": {"message": message, "param": "prompt"}})
    with pytest.raises(errors.RequestRefused) as caught:
        backend.create_run(
            RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.2", retry_of="resp_0"), timeout=5
        )
    assert caught.value.param == "prompt"
    assert [path for path, _ in sent(api)] == ["/responses"]


def forgotten(api):
    api.get(f"{RESPONSES}/resp_0/input_items", status_code=404, json={"error": {"message": "Not found"}})


def test_calls_of_a_failed_response_that_was_forgotten_are_closed_and_not_asked_for_again(backend, api):
    holds(api, said(), asked())
    forgotten(api)
    assert last(backend, key="k.2", retry_of="resp_0") is None
    api.post(RESPONSES, json=QUEUED)
    assert (
        backend.create_run(
            RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.2", retry_of="resp_0"), timeout=5
        ).id
        == "resp_1"
    )
    (item,) = sent(api)[0][1]["input"]
    assert (item["call_id"], "was ended" in item["output"]) == ("call_1", True)


def test_a_failed_first_turn_that_was_forgotten_is_repeated_as_it_was(backend, api):
    holds(api, said())
    forgotten(api)
    api.post(RESPONSES, json=QUEUED)
    assert (
        backend.create_run(
            RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.2", retry_of="resp_0"), timeout=5
        ).id
        == "resp_1"
    )
    assert "input" not in sent(api)[0][1]


def test_an_assistant_that_becomes_invalid_later_is_reported(api):
    assistants = {}
    backend = ResponsesBackend(BASE, KEY, assistants=assistants)
    assistants["asst_1"] = "gpt-4o"
    with pytest.raises(errors.AccessDenied, match="no assistant 'asst_1'"):
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
    assistants["asst_1"] = Assistant("m", options={"stream": True})
    with pytest.raises(errors.AccessDenied, match="must leave stream out of its options"):
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)


def test_instructions_that_the_server_repeats_are_not_shown(backend, api):
    refusal = {"error": {"message": "Cannot do this: Be brief. Sorry."}}
    api.post(RESPONSES, status_code=400, json=refusal)
    with pytest.raises(errors.RequestRefused) as refused:
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
    assert "Be brief" not in str(refused.value)


# --- answers to the requests of others ------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["conv_2", {"id": "conv_2"}])
def test_an_answer_about_another_conversation_leaves_the_creation_in_doubt(backend, api, named):
    api.post(RESPONSES, json=QUEUED | {"conversation": named})
    with pytest.raises(errors.OutcomeUnknown, match=r"another conversation \(conv_2\)") as caught:
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
    assert caught.value.in_flight


@pytest.mark.parametrize("named", ["conv_1", {"id": "conv_1"}, "CONV_1", "1", None, {}])
def test_an_answer_may_name_the_conversation_in_any_way_or_not_at_all(backend, api, named):
    api.post(RESPONSES, json=QUEUED | {"conversation": named})
    run = backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)
    assert run.id == "resp_1"


def test_an_answer_with_the_key_of_another_run_leaves_the_creation_in_doubt(backend, api):
    api.post(RESPONSES, json=QUEUED | {"metadata": {"gpt_agent_fsm_key": "k.2"}})
    with pytest.raises(errors.OutcomeUnknown, match="another gpt_agent_fsm_key"):
        backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.1"), timeout=5)


def test_a_poll_that_is_answered_about_another_conversation_is_repeated(backend, api):
    api.get(f"{RESPONSES}/resp_1", json=QUEUED | {"conversation": "conv_2"})
    with pytest.raises(errors.TransientError, match="another conversation"):
        backend.get_run("conv_1", "resp_1", handle="resp_1", timeout=5)


# --- the options of a run -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "begins_with", "continues_with"),
    [
        ("required", "required", None),
        ({"type": "function", "name": "f"}, {"type": "function", "name": "f"}, None),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}, None),
        ("none", "none", "none"),
        ("auto", "auto", "auto"),
    ],
)
def test_a_tool_that_must_be_called_is_named_until_it_was_called(backend, api, choice, begins_with, continues_with):
    holds(api, said(), asked())
    api.post(RESPONSES, json=QUEUED)
    options = {"tool_choice": choice, "max_output_tokens": 300}
    backend.create_run(RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k", options=options), timeout=5)
    outputs = ToolOutputsRequest(
        thread_id="conv_1", run_id="resp_1", outputs=(("call_1", "1"),), assistant_id="asst_1", options=options
    )
    backend.submit_tool_outputs(outputs, timeout=5)
    bodies = [body for path, body in sent(api) if path == "/responses"]
    assert [body.get("tool_choice") for body in bodies] == [begins_with, continues_with]
    assert {body["max_output_tokens"] for body in bodies} == {300}


def test_a_repetition_that_sends_outputs_names_no_tool_that_must_be_called(backend, api):
    holds(api, said(), asked())
    given(api, told())
    api.post(RESPONSES, json=QUEUED)
    options = {"tool_choice": "required"}
    request = RunRequest(thread_id="conv_1", assistant_id="asst_1", key="k.2", retry_of="resp_0", options=options)
    backend.create_run(request, timeout=5)
    (body,) = (body for path, body in sent(api) if path == "/responses")
    assert "input" in body
    assert "tool_choice" not in body

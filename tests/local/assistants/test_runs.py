"""The life of a run, as a client sees it."""

import itertools
import threading
import time

import pytest

from gpt_agent_fsm.local import ModelError, ModelRequest, Reply, ToolCall
from tests.local.stand_ins import PATIENCE, Recorder, Waiting


def idle(api):
    """Wait until no worker of the server calls a model or stores its answer."""
    deadline = time.monotonic() + PATIENCE
    while api.server._workers._asking:
        assert time.monotonic() < deadline


def path(run, *more):
    return "/".join((f"/threads/{run['thread_id']}/runs/{run['id']}", *more))


def test_a_run_is_queued_and_ends_with_an_answer_that_is_a_message(api):
    thread = api.thread("Hello")
    run = api.run(thread)
    assert (run["status"], run["started_at"], run["usage"]) == ("queued", None, None)
    assert run["expires_at"] == run["created_at"] + 600
    done = api.see(run, "completed")
    assert done["started_at"] >= run["created_at"]
    assert done["completed_at"] >= done["started_at"]
    assert (done["last_error"], done["required_action"], done["expires_at"]) == (None, None, None)
    assert done["usage"]["total_tokens"] == done["usage"]["prompt_tokens"] + done["usage"]["completion_tokens"] >= 2
    [answer, _] = api.get(f"/threads/{thread}/messages")["data"]
    assert (answer["role"], answer["run_id"], answer["assistant_id"]) == ("assistant", run["id"], "asst_1")
    assert answer["content"] == [{"type": "text", "text": {"value": "You said: Hello", "annotations": []}}]


def test_the_model_is_asked_with_what_the_assistant_and_the_thread_hold(serve):
    model = Recorder("Hi.", "Bye.")
    api = serve(model)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    made = api.post("/assistants", {"model": "gpt-x", "instructions": "Be kind.", "tools": tools, "temperature": 0.5})
    thread = api.thread("Hello")
    run = api.see(api.run(thread, assistant_id=made["id"]), "completed")
    assert (run["instructions"], run["model"], run["tools"], run["temperature"]) == ("Be kind.", "gpt-x", tools, 0.5)
    api.post(f"/threads/{thread}/messages", {"role": "user", "content": "Go away"})
    api.see(api.run(thread, assistant_id=made["id"]), "completed")
    hello = {"role": "user", "content": "Hello"}
    assert model.requests[0] == ModelRequest("Be kind.", [hello], tools, "gpt-x", temperature=0.5)
    said = [hello, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Go away"}]
    assert model.requests[1] == ModelRequest("Be kind.", said, tools, "gpt-x", temperature=0.5)


def test_a_run_may_override_what_its_assistant_says(serve):
    model = Recorder("Hi.")
    api = serve(model)
    tools = [{"type": "function", "function": {"name": "f"}}]
    made = api.post("/assistants", {"model": "gpt-x", "instructions": "Be kind.", "tools": tools})
    more = [{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Help"}]
    run = api.run(
        api.thread("Hello"),
        assistant_id=made["id"],
        instructions="Be rude.",
        additional_instructions="Be brief.",
        model="gpt-y",
        tools=[],
        metadata={"a": "b"},
        additional_messages=more,
        temperature=0.1,
        tool_choice="none",
        max_completion_tokens=1000,
    )
    assert (run["metadata"], run["temperature"], run["max_completion_tokens"]) == ({"a": "b"}, 0.1, 1000)
    assert run["tool_choice"] == "none"
    api.see(run, "completed")
    hello = {"role": "user", "content": "Hello"}
    asked = ModelRequest("Be rude.\nBe brief.", [hello, *more], [], "gpt-y", temperature=0.1, max_tokens=1000)
    assert model.requests == [asked]


def test_an_assistant_that_was_never_created_has_no_instructions_and_no_tools(serve):
    model = Recorder("Hi.")
    api = serve(model)
    run = api.see(api.run(api.thread("Hello"), assistant_id="asst_made_up"), "completed")
    assert run["assistant_id"] == "asst_made_up"
    assert (model.requests[0].instructions, model.requests[0].tools) == ("", [])


def test_a_deleted_assistant_and_an_invalid_id_are_unknown(api):
    gone = api.post("/assistants", {"model": "m"})["id"]
    api.delete(f"/assistants/{gone}")
    thread = api.thread("Hello")
    advice = "; the id of an assistant begins with asst_"
    for unknown, end in ((gone, ""), ("thread_1", advice), ("x", advice)):
        error = api.error("POST", f"/threads/{thread}/runs", 404, json={"assistant_id": unknown})
        assert error["message"] == f"No assistant found with id '{unknown}'{end}."
    assert api.get(f"/threads/{thread}/runs")["data"] == []


def test_tools_are_called_and_their_outputs_reach_the_model(serve):
    model = Recorder([ToolCall("get", {"city": "Oslo"}), ToolCall("get", "{odd")], [ToolCall("put", {})], "Done.")
    api = serve(model)
    run = api.play("Weather?")
    assert (run["status"], run["required_action"]["type"]) == ("requires_action", "submit_tool_outputs")
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "get", "arguments": '{"city":"Oslo"}'},
        {"name": "get", "arguments": "{odd"},
    ]
    assert {call["type"] for call in calls} == {"function"}
    assert len({call["id"] for call in calls}) == 2
    answered = api.submit(run, "12", "")
    assert (answered["status"], answered["required_action"]) == ("queued", None)
    again = api.see(run, "requires_action")
    assert [call["function"]["name"] for call in again["required_action"]["submit_tool_outputs"]["tool_calls"]] == [
        "put"
    ]
    api.submit(again, "ok")
    done = api.see(run, "completed")
    assert api.texts(run["thread_id"]) == ["Weather?", "Done."]
    last = model.requests[2].messages
    assert [message["role"] for message in last] == ["user", "assistant", "tool", "tool", "assistant", "tool"]
    assert last[1] == {"role": "assistant", "content": "", "tool_calls": calls}
    assert last[2:4] == [
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "12"},
        {"role": "tool", "tool_call_id": calls[1]["id"], "content": ""},
    ]
    assert model.requests[2].outputs == ["12", "", "ok"]
    steps = api.get(path(run, "steps"))["data"]
    assert done["usage"]["prompt_tokens"] == sum(step["usage"]["prompt_tokens"] for step in steps) >= 3


def test_the_tool_calls_of_an_earlier_run_stay_in_the_context_of_the_model(serve):
    model = Recorder([ToolCall("get")], "Done.", "Again.")
    api = serve(model)
    run = api.play("one")
    api.submit(run, "1")
    api.see(run, "completed")
    api.post(f"/threads/{run['thread_id']}/messages", {"role": "user", "content": "two"})
    api.see(api.run(run["thread_id"]), "completed")
    messages = model.requests[2].messages
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", "one"),
        ("assistant", ""),
        ("tool", "1"),
        ("assistant", "Done."),
        ("user", "two"),
    ]
    assert [call["id"] for call in messages[1]["tool_calls"]] == [messages[2]["tool_call_id"]]
    assert model.requests[2].outputs == []


def test_calls_that_never_got_their_outputs_are_left_out_of_the_context_but_their_text_stays(serve):
    model = Recorder(Reply("Wait.", (ToolCall("get"),)), "Again.")
    api = serve(model)
    run = api.play("one")
    api.post(f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
    api.see(run, "cancelled")
    api.see(api.run(run["thread_id"]), "completed")
    assert model.requests[1].messages == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "Wait."},
    ]


def test_the_calls_after_the_first_of_the_last_messages_are_in_the_context(serve):
    model = Recorder([ToolCall("get")], "Done.", "Again.", "Once more.")
    api = serve(model)
    run = api.play("one")
    api.submit(run, "1")
    api.see(run, "completed")
    for number, expected in ((2, ["one", "", "1", "Done."]), (1, ["Again."])):
        strategy = {"type": "last_messages", "last_messages": number}
        api.see(api.run(run["thread_id"], truncation_strategy=strategy), "completed")
        assert [message["content"] for message in model.requests[-1].messages] == expected


def test_the_steps_of_a_run_list_its_tool_calls_and_messages(serve):
    api = serve(Recorder([ToolCall("get", {})], "Done."))
    run = api.play("Weather?")
    [waiting] = api.get(path(run, "steps"))["data"]
    assert (waiting["type"], waiting["status"]) == ("tool_calls", "in_progress")
    api.submit(run, "12")
    api.see(run, "completed")
    [calls, message] = api.get(path(run, "steps"), params={"order": "asc"})["data"]
    assert (calls["status"], message["status"]) == ("completed", "completed")
    assert calls["step_details"]["tool_calls"][0]["function"]["output"] == "12"
    listed = api.get(f"/threads/{run['thread_id']}/messages")["data"]
    assert message["step_details"]["message_creation"]["message_id"] == listed[0]["id"]
    assert api.get(path(run, "steps", calls["id"])) == calls
    assert api.error("GET", path(run, "steps", "step_x"), 404)["message"] == "No run step found with id 'step_x'."
    assert "No run found" in api.error("GET", f"/threads/{run['thread_id']}/runs/run_x/steps", 404)["message"]


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        ["first"],
        ["first", "first"],
        ["first", "other"],
        ["first", "second", "other"],
        ["first", "second", "second"],
    ],
)
def test_outputs_must_be_those_that_were_asked_for_all_at_once(serve, outputs):
    api = serve(Recorder([ToolCall("a"), ToolCall("b")], "Done."))
    run = api.play("go")
    first, second = (call["id"] for call in run["required_action"]["submit_tool_outputs"]["tool_calls"])
    names = {"first": first, "second": second, "other": "call_x"}
    given = [{"tool_call_id": names[name], "output": "1"} for name in outputs]
    error = api.error("POST", path(run, "submit_tool_outputs"), 400, json={"tool_outputs": given})
    got = [names[name] for name in outputs]
    assert error["message"] == f"Expected tool outputs for call_ids ['{first}', '{second}'], got {got}"
    api.submit(api.see(run, "requires_action"), "1", "2")
    api.see(run, "completed")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "tool_outputs"),
        ({"tool_outputs": "x"}, "tool_outputs"),
        ({"tool_outputs": [{"output": "x"}]}, "tool_outputs[0].tool_call_id"),
        ({"tool_outputs": [{"tool_call_id": "call_1", "output": {"a": 1}}]}, "tool_outputs[0].output"),
    ],
)
def test_outputs_of_another_shape_are_refused(serve, body, param):
    api = serve(Recorder([ToolCall("a")]))
    run = api.play("go")
    assert api.error("POST", path(run, "submit_tool_outputs"), 400, json=body)["param"] == param


def test_a_run_that_does_not_wait_takes_no_outputs(api):
    run = api.play("Hello")
    error = api.error("POST", path(run, "submit_tool_outputs"), 400, json={"tool_outputs": []})
    assert error["message"] == 'Runs in status "completed" do not accept tool outputs.'


def test_outputs_arrive_once_when_two_clients_send_them(serve):
    api = serve(Recorder([ToolCall("a")], "Done."))
    run = api.play("go")
    api.submit(run, "1")
    api.submit(run, "1", expect=400)
    api.see(run, "completed")
    assert api.texts(run["thread_id"]) == ["go", "Done."]


def test_a_model_error_fails_the_run_and_the_message_stays(serve):
    model = Recorder(ModelError("rate_limit_exceeded", "Rate limit reached for gpt."), "Now.")
    api = serve(model)
    run = api.play("Hello")
    assert run["status"] == "failed"
    assert run["last_error"] == {"code": "rate_limit_exceeded", "message": "Rate limit reached for gpt."}
    assert run["failed_at"] >= run["started_at"]
    assert (run["usage"], run["expires_at"], run["completed_at"]) == (None, None, None)
    api.see(api.run(run["thread_id"]), "completed")
    assert api.texts(run["thread_id"]) == ["Hello", "Now."]


def test_a_failure_after_tool_calls_ends_the_run(serve):
    api = serve(Recorder([ToolCall("a")], ModelError("server_error", "Broken.")))
    run = api.play("go")
    api.submit(run, "1")
    assert api.see(run, "failed")["last_error"]["message"] == "Broken."
    assert [step["status"] for step in api.get(path(run, "steps"))["data"]] == ["completed"]


@pytest.mark.parametrize(("answer", "words"), [(None, "must return"), (ValueError("secret"), "raised ValueError")])
def test_a_broken_model_fails_the_run_as_a_server_error(serve, answer, words):
    run = serve(Recorder(answer)).play("Hello")
    assert (run["status"], run["last_error"]["code"]) == ("failed", "server_error")
    assert words in run["last_error"]["message"]
    assert "secret" not in run["last_error"]["message"]


def test_attempts_are_counted_per_user_message(serve):
    broken = ModelError("server_error", "Broken.")
    model = Recorder(broken, broken, "Hi.", "Bye.")
    api = serve(model)
    thread = api.thread("one")
    for _ in range(3):
        api.see(api.run(thread), "completed", "failed")
    api.post(f"/threads/{thread}/messages", {"role": "user", "content": "two"})
    api.see(api.run(thread), "completed")
    assert [request.attempt for request in model.requests] == [1, 2, 3, 1]


def test_attempts_are_counted_even_if_the_user_said_nothing(serve):
    model = Recorder("a", "b")
    api = serve(model)
    thread = api.thread()
    for _ in range(2):
        api.see(api.run(thread), "completed")
    assert [(request.attempt, request.user_message) for request in model.requests] == [(1, ""), (2, "")]


@pytest.mark.parametrize("status", ["in_progress", "requires_action"])
def test_an_active_run_locks_its_thread_and_no_other(serve, waiting, status):
    api = serve(waiting if status == "in_progress" else Recorder([ToolCall("a")]))
    thread = api.thread("Hello")
    run = api.see(api.run(thread), status)
    error = api.error("POST", f"/threads/{thread}/messages", 400, json={"role": "user", "content": "x"})
    assert error["message"] == f"Can't add messages to {thread} while a run {run['id']} is active."
    assert error["type"] == "invalid_request_error"
    body = {"assistant_id": "asst_1", "additional_messages": [{"role": "user", "content": "x"}]}
    error = api.error("POST", f"/threads/{thread}/runs", 400, json=body)
    assert error["message"] == f"Thread {thread} already has an active run {run['id']}."
    assert api.texts(thread) == ["Hello"]
    api.post(f"/threads/{api.thread('other')}/messages", {"role": "user", "content": "x"})


def test_of_many_clients_at_once_one_starts_the_run(serve, waiting):
    api = serve(waiting)
    thread = api.thread("Hello")
    barrier = threading.Barrier(8)
    statuses = []

    def start():
        barrier.wait(PATIENCE)
        url = f"{api.server.base_url}/threads/{thread}/runs"
        statuses.append(api.session.post(url, json={"assistant_id": "asst_1"}, timeout=PATIENCE).status_code)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(PATIENCE)
    assert sorted(statuses) == [200] + [400] * 7


def test_a_run_that_waits_for_tools_passes_through_cancelling(serve):
    api = serve(Recorder([ToolCall("a")]))
    run = api.play("go")
    stopped = api.post(path(run, "cancel"))
    assert (stopped["status"], stopped["required_action"]) == ("cancelling", None)
    done = api.see(run, "cancelled")
    assert done["cancelled_at"] >= done["created_at"]
    assert [step["status"] for step in api.get(path(run, "steps"))["data"]] == ["cancelled"]
    api.post(f"/threads/{run['thread_id']}/messages", {"role": "user", "content": "x"})


def test_a_cancel_is_passed_to_the_model_and_its_answer_is_discarded(serve):
    model = Waiting()
    api = serve(model)
    run = api.run(api.thread("Hello"))
    assert model.called.wait(PATIENCE)
    api.post(path(run, "cancel"))
    assert model.returned.wait(PATIENCE)
    api.see(run, "cancelled")
    assert api.texts(run["thread_id"]) == ["Hello"]


def test_a_run_is_cancelled_even_while_its_model_hangs(serve, waiting):
    api = serve(waiting)
    run = api.run(api.thread("Hello"))
    assert waiting.called.wait(PATIENCE)
    api.post(path(run, "cancel"))
    api.see(run, "cancelled")
    waiting.go.set()
    idle(api)
    assert (api.see(run, "cancelled")["status"], api.texts(run["thread_id"])) == ("cancelled", ["Hello"])


def test_an_answer_that_arrives_while_its_run_is_being_cancelled_is_discarded(serve, waiting, monkeypatch):
    api = serve(waiting)
    for name in ("interrupt", "schedule"):
        monkeypatch.setattr(api.server._workers, name, lambda _what: None)
    run = api.run(api.thread("Hello"))
    assert waiting.called.wait(PATIENCE)
    api.post(path(run, "cancel"))
    error = api.error("POST", path(run, "cancel"), 400)
    assert error["message"] == "Cannot cancel run with status 'cancelling'."
    error = api.error("POST", f"/threads/{run['thread_id']}/messages", 400, json={"role": "user", "content": "x"})
    assert error["message"].endswith("is active.")
    waiting.go.set()
    idle(api)
    assert (api.see(run, "cancelling")["status"], api.texts(run["thread_id"])) == ("cancelling", ["Hello"])


def test_a_run_has_started_when_its_first_turn_did(serve, monkeypatch):
    clock = itertools.count(1000)
    monkeypatch.setattr("gpt_agent_fsm.local.ids.now", lambda: next(clock))
    api = serve(Recorder([ToolCall("a")], "Done."))
    run = api.play("go")
    api.submit(run, "1")
    assert api.see(run, "completed")["started_at"] == run["started_at"]


def test_a_run_that_has_ended_cannot_be_cancelled(api):
    run = api.play("Hello")
    assert api.error("POST", path(run, "cancel"), 400)["message"] == "Cannot cancel run with status 'completed'."
    assert "No run found" in api.error("POST", path(run | {"id": "run_x"}, "cancel"), 404)["message"]


@pytest.mark.parametrize("model", [Waiting(), lambda _request: [ToolCall("a")]])
def test_a_run_expires_in_any_state(serve, model):
    api = serve(model, run_expires_after=0.2)
    run = api.run(api.thread("Hello"))
    done = api.see(run, "expired")
    assert (done["required_action"], done["completed_at"]) == (None, None)
    assert done["expires_at"] is not None
    assert {step["status"] for step in api.get(path(run, "steps"))["data"]} <= {"expired"}
    api.post(f"/threads/{run['thread_id']}/messages", {"role": "user", "content": "x"})


def test_a_run_that_nobody_polls_expires_and_its_model_is_cancelled(serve):
    model = Waiting()
    api = serve(model, run_expires_after=0.05)
    api.run(api.thread("Hello"))
    assert model.returned.wait(PATIENCE)


def test_an_expired_run_takes_no_outputs_and_locks_nothing(serve):
    api = serve(lambda _request: [ToolCall("a")], run_expires_after=0.001)
    run = api.run(api.thread("Hello"))
    error = api.error("POST", path(run, "submit_tool_outputs"), 400, json={"tool_outputs": []})
    assert error["message"] == 'Runs in status "expired" do not accept tool outputs.'
    assert "expired" in api.error("POST", path(run, "cancel"), 400)["message"]
    assert [each["status"] for each in api.get(f"/threads/{run['thread_id']}/runs")["data"]] == ["expired"]
    api.run(run["thread_id"])


def test_a_run_is_changed_in_its_metadata_only(api):
    run = api.play("Hello")
    changed = api.post(path(run), {"metadata": {"a": "b"}, "status": "failed"})
    assert changed == run | {"metadata": {"a": "b"}} == api.get(path(run))


def test_runs_are_listed_newest_first(api):
    thread = api.thread("Hello")
    runs = [api.see(api.run(thread), "completed")["id"] for _ in range(3)]
    assert [run["id"] for run in api.get(f"/threads/{thread}/runs")["data"]] == runs[::-1]
    page = api.get(f"/threads/{thread}/runs", params={"limit": 1, "order": "asc", "after": runs[0]})
    assert ([run["id"] for run in page["data"]], page["has_more"]) == ([runs[1]], True)


def test_a_thread_and_its_run_are_created_in_one_request(api):
    body = {
        "assistant_id": "asst_1",
        "thread": {"messages": [{"role": "user", "content": "Hi"}], "metadata": {"a": "b"}},
    }
    run = api.see(api.post("/threads/runs", body), "completed")
    assert api.texts(run["thread_id"]) == ["Hi", "You said: Hi"]
    assert api.get(f"/threads/{run['thread_id']}")["metadata"] == {"a": "b"}
    assert api.post("/threads/runs", {"assistant_id": "asst_1"})["status"] == "queued"


def test_a_run_that_is_refused_leaves_no_thread_and_no_messages_behind(api):
    thread = api.thread()
    more = [{"role": "user", "content": "x"}, {"role": "user"}]
    body = {"assistant_id": "asst_1", "additional_messages": more}
    assert api.error("POST", f"/threads/{thread}/runs", 400, json=body)["param"] == "additional_messages[1].content"
    assert api.texts(thread) == []
    assert api.error("POST", "/threads/runs", 400, json={"thread": {}})["param"] == "assistant_id"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "assistant_id"),
        ({"assistant_id": 7}, "assistant_id"),
        ({"assistant_id": "asst_1", "instructions": 7}, "instructions"),
        ({"assistant_id": "asst_1", "additional_instructions": []}, "additional_instructions"),
        ({"assistant_id": "asst_1", "model": {}}, "model"),
        ({"assistant_id": "asst_1", "tools": 7}, "tools"),
        ({"assistant_id": "asst_1", "metadata": 7}, "metadata"),
        ({"assistant_id": "asst_1", "additional_messages": "x"}, "additional_messages"),
        ({"assistant_id": "asst_1", "stream": "yes"}, "stream"),
    ],
)
def test_an_invalid_run_is_refused_with_its_param(api, body, param):
    assert api.error("POST", f"/threads/{api.thread()}/runs", 400, json=body)["param"] == param


def test_deleting_a_thread_cancels_its_model(serve):
    model = Waiting()
    api = serve(model)
    thread = api.thread("Hello")
    api.run(thread)
    assert model.called.wait(PATIENCE)
    api.delete(f"/threads/{thread}")
    assert model.returned.wait(PATIENCE)


def test_a_completed_run_is_never_seen_without_its_answer(serve):
    api = serve()
    for number in range(20):
        run = api.see(api.run(api.thread(str(number))), "completed")
        assert api.texts(run["thread_id"])[-1] == f"You said: {number}"

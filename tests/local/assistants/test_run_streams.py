"""Runs as server-sent events: their order, their pace, and their data."""

import itertools

import pytest

from gpt_agent_fsm.local import ModelError, Reply, ToolCall, Usage
from gpt_agent_fsm.local.assistants.events import RunEvents
from tests.local.event_streams import BEGINS, ENDS, deltas, names, response_stream, run_stream, until, wait_until
from tests.local.stand_ins import PATIENCE, Recorder, Speaker


def test_a_thread_and_its_run_are_streamed_in_the_documented_order(serve):
    api = serve(Speaker("Hel", "", "lo"))
    thread = {"messages": [{"role": "user", "content": "Hi"}]}
    body = {"assistant_id": "asst_1", "thread": thread, "stream": True}
    events = list(api.stream("POST", "/threads/runs", json=body))
    assert names(events) == [
        "thread.created",
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        *BEGINS,
        "thread.message.delta",
        "thread.message.delta",
        *ENDS,
    ]
    assert deltas(events) == ["Hel", "lo"]
    told = dict(events)
    assert told["done"] == "[DONE]"
    statuses = [told[f"thread.run.{name}"]["status"] for name in ("created", "queued", "in_progress", "completed")]
    assert statuses == ["queued", "queued", "in_progress", "completed"]
    assert told["thread.message.in_progress"]["content"] == []


def test_the_last_events_match_the_stored_objects(serve):
    api = serve(Speaker("Hel", "lo"))
    told = dict(run_stream(api, "Hi"))
    run = told["thread.run.completed"]
    path = f"/threads/{run['thread_id']}"
    assert api.get(f"{path}/runs/{run['id']}") == run
    assert api.get(f"{path}/messages/{told['thread.message.created']['id']}") == told["thread.message.completed"]
    step = told["thread.run.step.completed"]
    assert api.get(f"{path}/runs/{run['id']}/steps/{step['id']}") == step
    assert told["thread.message.delta"]["id"] == told["thread.message.completed"]["id"]
    assert told["thread.run.step.created"]["id"] == step["id"]
    assert api.texts(run["thread_id"]) == ["Hi", "Hello"]


def test_a_message_and_its_step_were_created_when_the_first_piece_came(serve, monkeypatch):
    clock = itertools.count(1000)
    monkeypatch.setattr("gpt_agent_fsm.local.ids.now", lambda: next(clock))
    told = dict(run_stream(serve(Speaker("Hel", "lo")), "Hi"))
    for begun, ended in (
        ("thread.message.created", "thread.message.completed"),
        ("thread.run.step.created", "thread.run.step.completed"),
    ):
        assert told[begun]["created_at"] == told[ended]["created_at"] < told[ended]["completed_at"]


def test_a_model_that_answers_at_once_is_one_delta(api):
    events = list(run_stream(api, "Hi"))
    assert deltas(events) == ["You said: Hi"]
    assert names(events)[:3] == ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
    assert names(events)[3:] == [*BEGINS, "thread.message.delta", *ENDS]


@pytest.mark.parametrize("ask", [run_stream, response_stream])
def test_pieces_arrive_while_the_model_is_still_answering(serve, gate, ask):
    stream = ask(serve(Speaker("Hel", gate, "lo")), "Hi")
    early = list(itertools.takewhile(lambda event: not event[0].endswith("delta"), stream))
    assert gate.reached.wait(PATIENCE)
    assert "thread.run.in_progress" in names(early) or "response.in_progress" in names(early)
    gate.open()
    assert deltas(list(stream)) == ["lo"]


def test_tool_calls_are_streamed_and_so_is_the_turn_after_their_outputs(serve):
    api = serve(Recorder([ToolCall("get", {"a": 1}), ToolCall("put")], "Done."))
    events = list(run_stream(api, "Hi"))
    delta = "thread.run.step.delta"
    assert names(events)[3:] == [*BEGINS[:2], delta, delta, "thread.run.requires_action", "done"]
    run = dict(events)["thread.run.requires_action"]
    assert api.get(f"/threads/{run['thread_id']}/runs/{run['id']}") == run
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    told = [data["delta"]["step_details"]["tool_calls"] for name, data in events if name == delta]
    assert told == [[{"index": 0} | calls[0]], [{"index": 1} | calls[1]]]
    body = {"tool_outputs": [{"tool_call_id": call["id"], "output": "1"} for call in calls], "stream": True}
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    events = list(api.stream("POST", path, json=body))
    assert names(events) == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
        *BEGINS,
        "thread.message.delta",
        *ENDS,
    ]
    assert events[0][1]["step_details"]["tool_calls"][0]["function"]["output"] == "1"


def test_a_model_may_say_something_before_its_tool_calls(serve):
    model = Recorder(Reply("Let me see.", (ToolCall("get"),), usage=Usage(5, 6)), "Done.")
    api = serve(model)
    events = list(run_stream(api, "Hi"))
    assert names(events)[3:] == [
        *BEGINS,
        "thread.message.delta",
        *ENDS[:2],
        *BEGINS[:2],
        "thread.run.step.delta",
        "thread.run.requires_action",
        "done",
    ]
    run = dict(events)["thread.run.requires_action"]
    assert api.texts(run["thread_id"]) == ["Hi", "Let me see."]
    api.submit(run, "1")
    done = api.see(run, "completed")
    [_, said, output] = model.requests[1].messages
    assert (said["content"], said["tool_calls"][0]["function"]["name"], output["content"]) == (
        "Let me see.",
        "get",
        "1",
    )
    assert done["usage"]["prompt_tokens"] == 5 + 1 + len("HiLet me see.1") // 4


def test_a_message_that_the_client_deletes_during_a_run_is_not_sent_to_the_model(serve):
    model = Recorder(Reply("Let me see.", (ToolCall("get"),)), "Done.")
    api = serve(model)
    run = api.play("Hi")
    [message, _] = api.get(f"/threads/{run['thread_id']}/messages")["data"]
    api.delete(f"/threads/{run['thread_id']}/messages/{message['id']}")
    api.submit(run, "1")
    api.see(run, "completed")
    assert model.requests[1].messages[1]["content"] == ""


@pytest.mark.parametrize("pieces", [(), ("Hel", "lo")])
def test_a_failure_is_streamed_and_the_text_before_it_is_dropped(serve, pieces):
    api = serve(Speaker(*pieces, ModelError("rate_limit_exceeded", "Slow down.")))
    events = list(run_stream(api, "Hi"))
    broken = ["thread.message.incomplete", "thread.run.step.failed"]
    assert names(events)[-2 - 2 * bool(pieces) :] == [*broken[: len(pieces)], "thread.run.failed", "done"]
    told = dict(events)
    run = told["thread.run.failed"]
    assert run["last_error"] == {"code": "rate_limit_exceeded", "message": "Slow down."}
    assert api.texts(run["thread_id"]) == ["Hi"]
    if pieces:
        assert told["thread.message.incomplete"]["incomplete_details"] == {"reason": "run_failed"}
        assert told["thread.message.incomplete"]["content"][0]["text"]["value"] == "Hello"
        assert told["thread.run.step.failed"]["last_error"] == run["last_error"]


def test_a_run_that_is_cancelled_during_its_answer_ends_its_stream(serve, gate):
    api = serve(Speaker("Hel", gate, "lo"))
    stream = run_stream(api, "Hi")
    run = until(stream, "thread.run.in_progress")
    until(stream, "thread.message.delta")
    api.post(f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
    assert names(stream) == [
        "thread.message.incomplete",
        "thread.run.step.cancelled",
        "thread.run.cancelling",
        "thread.run.cancelled",
        "done",
    ]


def test_an_answer_that_comes_before_the_cancelling_is_done_does_not_end_the_stream(serve, gate, monkeypatch):
    api = serve(Speaker(gate, "late"))
    workers = api.server._workers
    chores = []
    with monkeypatch.context() as patch:
        patch.setattr(workers, "schedule", chores.append)
        patch.setattr(workers, "interrupt", lambda _work_id: None)
        stream = run_stream(api, "Hi")
        run = until(stream, "thread.run.in_progress")
        api.post(f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
        gate.open()
        wait_until(lambda: not workers._asking)
        assert workers.turn_of(run["id"]) is not None
    workers.schedule(chores.pop())
    assert names(stream)[-2:] == ["thread.run.cancelled", "done"]


def test_a_run_that_expires_ends_its_stream(serve, gate):
    api = serve(Speaker("Hel", gate), run_expires_after=1.0)
    events = list(run_stream(api, "Hi"))
    assert names(events)[-4:] == ["thread.message.incomplete", "thread.run.step.expired", "thread.run.expired", "done"]


def test_an_answer_that_is_longer_than_asked_for_is_cut_in_the_stream_as_well(serve):
    api = serve(Speaker("x" * 1000, "y" * 1000, "z"))
    events = list(run_stream(api, "Hi", max_completion_tokens=256))
    assert names(events)[-4:] == [
        "thread.message.incomplete",
        "thread.run.step.completed",
        "thread.run.incomplete",
        "done",
    ]
    assert deltas(events) == ["x" * 1000, "y" * 23]
    run = dict(events)["thread.run.incomplete"]
    assert run["incomplete_details"] == {"reason": "max_completion_tokens"}
    assert (run["usage"]["completion_tokens"], run["completed_at"]) == (256, None)
    assert api.texts(run["thread_id"])[-1] == "x" * 1000 + "y" * 23
    events = list(response_stream(api, max_output_tokens=256))
    assert deltas(events) == ["x" * 1000, "y" * 23]
    assert events[-1][1]["response"]["output"][0]["content"][0]["text"] == "x" * 1000 + "y" * 23


def test_tool_calls_that_somebody_else_has_answered_are_still_streamed(serve):
    api = serve(Recorder([ToolCall("get")], "Done."))
    stream = run_stream(api, "Hi")
    queued = until(stream, "thread.run.queued")
    run = api.see(queued, "requires_action")
    api.submit(run, "1")
    api.see(run, "completed")
    events = list(stream)
    assert names(events)[-3:] == ["thread.run.step.delta", "thread.run.requires_action", "done"]
    assert events[-2][1]["required_action"] == run["required_action"]


def test_a_message_that_is_deleted_before_it_is_streamed_is_left_out(serve, monkeypatch):
    api = serve()
    delete = RunEvents._steps

    def steps(self, tx):
        tx.delete(self._turn.message_id)
        return delete(self, tx)

    monkeypatch.setattr(RunEvents, "_steps", steps)
    assert names(run_stream(api, "Hi"))[3:] == ["thread.run.completed", "done"]

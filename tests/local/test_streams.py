"""Answers as server-sent events: their order, their pace, and what becomes of streams that end badly."""

import contextlib
import itertools
import socket
import struct
import time

import pytest

from gpt_agent_fsm.local import ChatCompletionsModel, ModelError, Reply, ToolCall, Usage
from gpt_agent_fsm.local.assistants.events import RunEvents
from gpt_agent_fsm.local.http import streams
from tests.local import chat_server as chat
from tests.local.stand_ins import PATIENCE, Gate, Recorder, Speaker, Waiting

BEGINS = [
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
]
ENDS = ["thread.message.completed", "thread.run.step.completed", "thread.run.completed", "done"]


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.open()


def names(events):
    return [name for name, _ in events]


def run_stream(api, *said, **options):
    body = {"assistant_id": "asst_1", "stream": True} | options
    return api.stream("POST", f"/threads/{api.thread(*said)}/runs", json=body)


def response_stream(api, said="Hello", **options):
    return api.stream("POST", "/responses", json={"model": "m", "input": said, "stream": True} | options)


def until(stream, name):
    """Read on to the first event with this name, and return its data."""
    return next(data for each, data in stream if each == name)


def deltas(events):
    if any(name.startswith("response.") for name in names(events)):
        return [data["delta"] for name, data in events if name == "response.output_text.delta"]
    pieces = [data["delta"]["content"] for name, data in events if name == "thread.message.delta"]
    return [content[0]["text"]["value"] for content in pieces]


def wait_until(question):
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline


# --- runs -----------------------------------------------------------------------------------------------------------


def test_a_thread_and_its_run_are_told_in_the_documented_order(serve):
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


def test_what_is_told_at_the_end_is_what_is_stored(serve):
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
def test_pieces_arrive_while_the_model_is_still_at_work(serve, gate, ask):
    stream = ask(serve(Speaker("Hel", gate, "lo")), "Hi")
    early = list(itertools.takewhile(lambda event: not event[0].endswith("delta"), stream))
    assert gate.reached.wait(PATIENCE)
    assert "thread.run.in_progress" in names(early) or "response.in_progress" in names(early)
    gate.open()
    assert deltas(list(stream)) == ["lo"]


def test_tool_calls_are_told_and_so_is_the_turn_after_their_outputs(serve):
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


def test_a_model_may_say_something_ahead_of_its_tool_calls(serve):
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


def test_a_message_that_the_client_has_deleted_meanwhile_is_not_told_to_the_model(serve):
    model = Recorder(Reply("Let me see.", (ToolCall("get"),)), "Done.")
    api = serve(model)
    run = api.play("Hi")
    [message, _] = api.get(f"/threads/{run['thread_id']}/messages")["data"]
    api.delete(f"/threads/{run['thread_id']}/messages/{message['id']}")
    api.submit(run, "1")
    api.see(run, "completed")
    assert model.requests[1].messages[1]["content"] == ""


@pytest.mark.parametrize("pieces", [(), ("Hel", "lo")])
def test_a_failure_is_told_and_what_was_said_before_is_not_kept(serve, pieces):
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


def test_a_run_that_is_cancelled_amid_its_answer_ends_its_stream(serve, gate):
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


def test_tool_calls_that_somebody_else_has_answered_already_are_told_all_the_same(serve):
    api = serve(Recorder([ToolCall("get")], "Done."))
    stream = run_stream(api, "Hi")
    queued = until(stream, "thread.run.queued")
    run = api.see(queued, "requires_action")
    api.submit(run, "1")
    api.see(run, "completed")
    events = list(stream)
    assert names(events)[-3:] == ["thread.run.step.delta", "thread.run.requires_action", "done"]
    assert events[-2][1]["required_action"] == run["required_action"]


def test_a_message_that_is_deleted_before_it_is_told_is_not_told(serve, monkeypatch):
    api = serve()
    delete = RunEvents._steps

    def steps(self, tx):
        tx.delete(self._turn.message_id)
        return delete(self, tx)

    monkeypatch.setattr(RunEvents, "_steps", steps)
    assert names(run_stream(api, "Hi"))[3:] == ["thread.run.completed", "done"]


# --- responses ------------------------------------------------------------------------------------------------------


def test_a_response_is_told_in_the_documented_order(serve):
    api = serve(Speaker("Hel", "lo"))
    events = list(response_stream(api))
    assert names(events) == [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [data["type"] for _, data in events] == names(events)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    done = events[-1][1]["response"]
    assert api.get(f"/responses/{done['id']}") == done
    assert events[-2][1]["item"] == done["output"][0]
    assert events[3][1]["item"] | {"status": "completed", "content": done["output"][0]["content"]} == done["output"][0]
    assert {data["item_id"] for _, data in events if "item_id" in data} == {done["output"][0]["id"]}


def test_text_and_function_calls_of_a_response_are_told_one_after_the_other(serve):
    api = serve(Recorder(Reply("Let me see.", (ToolCall("get", {"a": 1}), ToolCall("put")))))
    events = list(response_stream(api))
    call = [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    assert names(events)[-9:] == [*call, *call, "response.completed"]
    output = events[-1][1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    assert [data["output_index"] for name, data in events if name == "response.output_item.done"] == [0, 1, 2]
    done = [data for name, data in events if name == "response.function_call_arguments.done"]
    assert [(each["name"], each["arguments"]) for each in done] == [("get", '{"a":1}'), ("put", "{}")]


def test_a_stream_can_be_taken_up_again_where_it_was(serve, tmp_path):
    path = tmp_path / "local.db"
    api = serve(Speaker("Hel", "lo", " you"), database=path)
    events = list(response_stream(api, background=True))
    response = events[0][1]["response"]["id"]
    for client in (api, serve(database=path)):
        for number in range(-1, len(events)):
            params = {"stream": "true"} | ({} if number < 0 else {"starting_after": number})
            again = list(client.stream("GET", f"/responses/{response}", params=params))
            assert again == events[number + 1 :]
        api.server.close()


def test_a_response_under_way_can_be_followed_by_others(serve, gate):
    api = serve(Speaker("Hel", gate, "lo"))
    first = response_stream(api, background=True)
    response = next(first)[1]["response"]["id"]
    until(first, "response.output_text.delta")
    second = api.stream("GET", f"/responses/{response}", params={"stream": "true", "starting_after": 4})
    name, data = next(second)
    assert (name, data["delta"], data["sequence_number"]) == ("response.output_text.delta", "Hel", 5)
    gate.open()
    assert list(first) == list(second)


def test_a_response_that_was_not_streamed_can_be_read_as_a_stream(api):
    done = api.answered("Hello")
    events = list(api.stream("GET", f"/responses/{done['id']}", params={"stream": "true"}))
    assert (deltas(events), events[-1][1]["response"]) == (["You said: Hello"], done)


@pytest.mark.parametrize("value", ["x", "1.5"])
def test_a_place_to_go_on_that_is_no_number_is_refused(api, value):
    done = api.answered("Hello")
    params = {"stream": "true", "starting_after": value}
    assert api.error("GET", f"/responses/{done['id']}", 400, params=params)["param"] == "starting_after"


def test_a_failure_amid_a_response_is_told_and_can_be_read_again(serve):
    api = serve(Speaker("Hel", "lo", ModelError("server_error", "It broke.")))
    events = list(response_stream(api, background=True))
    assert names(events)[-3:] == ["response.output_text.delta", "response.output_text.delta", "response.failed"]
    failed = events[-1][1]["response"]
    assert (failed["error"]["message"], failed["output"]) == ("It broke.", [])
    again = list(api.stream("GET", f"/responses/{failed['id']}", params={"stream": "true"}))
    assert names(again) == names(events)
    assert deltas(again) == ["Hel", "lo"]


def test_a_response_that_is_cancelled_or_deleted_ends_its_stream(serve, gate):
    api = serve(Speaker("Hel", gate, "lo"))
    for end, expected in (("/cancel", "response.cancelled"), ("", "error")):
        stream = response_stream(api, background=True)
        response = next(stream)[1]["response"]["id"]
        until(stream, "response.output_text.delta")
        api.call("POST" if end else "DELETE", f"/responses/{response}{end}")
        [(name, data)] = list(stream)
        assert (name, data["sequence_number"]) == (expected, 6)
    assert data["message"] == f"Response with id '{response}' not found."


# --- ends -----------------------------------------------------------------------------------------------------------


def test_a_thread_that_is_deleted_ends_its_stream_with_an_error(serve, gate):
    api = serve(Speaker("Hel", gate, "lo"))
    stream = run_stream(api, "Hi")
    run = until(stream, "thread.run.in_progress")
    api.delete(f"/threads/{run['thread_id']}")
    name, data = list(stream)[-1]
    assert (name, data["error"]["message"]) == ("error", f"No run found with id '{run['id']}'.")


@pytest.mark.parametrize("ask", [run_stream, response_stream])
def test_a_server_that_closes_ends_its_streams_with_an_error(serve, gate, ask):
    api = serve(Speaker("Hel", gate, "lo"))
    stream = ask(api, "Hi")
    next(stream)
    assert gate.reached.wait(PATIENCE)
    workers = api.server._workers
    workers.close(0.0)
    name, data = list(stream)[-1]
    assert (name, data.get("error", data)["message"]) == ("error", "The server is closing.")


@pytest.mark.parametrize("ask", [run_stream, response_stream])
def test_a_database_that_is_closed_ends_streams_with_an_error(serve, gate, ask):
    api = serve(Speaker("Hel", gate, "lo"))
    stream = ask(api, "Hi")
    next(stream)
    assert gate.reached.wait(PATIENCE)
    api.server._storage.close()
    api.server._workers.close(0.0)
    name, data = list(stream)[-1]
    assert (name, data.get("error", data)["message"]) == ("error", "The server is closing.")


@pytest.mark.parametrize("abrupt", [False, True])
def test_a_client_that_hangs_up_does_not_hurt_the_run_and_gives_its_thread_back(serve, gate, monkeypatch, abrupt):
    monkeypatch.setattr(streams, "KEEP_ALIVE", 0.01)
    api = serve(Speaker("Hel", gate, "lo"))
    thread = api.thread("Hi")
    body = b'{"assistant_id": "asst_1", "stream": true}'
    connection = socket.create_connection(("127.0.0.1", api.server._http.port), timeout=PATIENCE)
    head = f"POST /v1/threads/{thread}/runs HTTP/1.1\r\nHost: x\r\nOpenAI-Beta: assistants=v2\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert gate.reached.wait(PATIENCE)
    dispatcher = api.server._http._dispatcher
    wait_until(lambda: len(dispatcher.threads) == 9)
    if abrupt:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    wait_until(lambda: len(dispatcher.threads) == 8)
    gate.open()
    [run] = api.get(f"/threads/{thread}/runs")["data"]
    api.see(run, "completed")
    assert api.texts(thread) == ["Hi", "Hello"]


@pytest.mark.parametrize("ask", [run_stream, response_stream])
def test_a_stream_that_has_nothing_to_tell_keeps_its_connection_busy(serve, monkeypatch, ask):
    monkeypatch.setattr(streams, "KEEP_ALIVE", 0.01)
    paused = []
    encode = streams.encode
    monkeypatch.setattr(streams, "_COMMENT", b": a pause\n\n")
    model = Waiting(heeds_cancel=False)
    api = serve(model)
    lines = []

    def told(name, data):
        paused.append(name)
        return encode(name, data)

    monkeypatch.setattr(streams, "encode", told)
    body = {"assistant_id": "asst_1", "model": "m", "input": "x", "stream": True}
    path = "/threads/runs" if ask is run_stream else "/responses"
    with api.session.post(api.server.base_url + path, json=body, stream=True, timeout=PATIENCE) as response:
        for line in response.iter_lines(chunk_size=1):
            lines.append(line)
            if lines.count(b": a pause") == 3:
                model.go.set()
    assert paused[-1] in ("done", "response.completed")


def test_streams_keep_no_other_requests_from_being_answered(serve, gate):
    api = serve(Speaker("Hel", gate, "lo"))
    opened = [run_stream(api, str(number)) for number in range(12)]
    for stream in opened:
        until(stream, "thread.message.delta")
    api.thread()
    gate.open()
    assert [names(stream)[-1] for stream in opened] == ["done"] * 12


def test_what_is_refused_is_a_json_error_and_no_stream(api):
    body = {"assistant_id": "asst_1", "stream": True}
    assert api.error("POST", "/threads/thread_x/runs", 404, json=body)["message"].startswith("No thread found")
    assert api.error("POST", "/responses", 400, json={"stream": True})["param"] == "model"
    assert api.error("POST", "/responses", 400, json={"model": "m", "input": "x", "stream": 7})["param"] == "stream"
    assert api.error("POST", "/conversations", 400, json={"stream": True})["param"] == "stream"


# --- models behind a server -----------------------------------------------------------------------------------------


@pytest.fixture
def behind(serve):
    """Start a server whose model is asked at a chat-completions server that plays this script."""
    with contextlib.ExitStack() as stack:

        def start(*script):
            upstream = stack.enter_context(chat.ChatServer(*script))
            model = ChatCompletionsModel(upstream.base_url, "llama3", timeout=PATIENCE)
            stack.callback(model.close)
            return serve(model), upstream

        yield start


USAGE = {"prompt_tokens": 70, "completion_tokens": 20, "total_tokens": 90}


@pytest.mark.parametrize("ask", [run_stream, response_stream])
def test_a_chat_completions_model_is_streamed_through_as_it_works(behind, gate, ask):
    counted = chat.event({"choices": [], "usage": USAGE})
    api, upstream = behind(chat.stream("Hel", gate, "lo", chat.piece({}, "stop"), counted, chat.DONE, finish=None))
    stream = ask(api, "Hi")
    early = list(itertools.takewhile(lambda event: not event[0].endswith("delta"), stream))
    gate.open()
    events = list(stream)
    assert deltas(events) == ["lo"]
    assert len(early) > 2
    assert upstream.requests[0].body["stream"] is True
    done = dict(events).get("thread.run.completed")
    if done:
        assert done["usage"] == USAGE
    else:
        used = events[-1][1]["response"]["usage"]
        assert (used["input_tokens"], used["output_tokens"], used["total_tokens"]) == (70, 20, 90)


def test_what_nobody_wants_in_pieces_is_asked_for_as_a_whole_with_its_usage(behind):
    api, upstream = behind(chat.say("Hello.", usage=USAGE), chat.say("Hello.", usage=USAGE))
    assert api.play("Hi")["usage"] == USAGE
    assert api.answered("Hi")["usage"]["total_tokens"] == 90
    assert [asked.body["stream"] for asked in upstream.requests] == [False, False]


@pytest.mark.parametrize(
    ("finish", "run_reason", "message_reason", "response_reason"),
    [
        ("length", "max_completion_tokens", "max_tokens", "max_output_tokens"),
        ("content_filter", "content_filter", "content_filter", "content_filter"),
    ],
)
def test_an_answer_that_ends_too_soon_is_incomplete(behind, finish, run_reason, message_reason, response_reason):
    short = chat.completion({"content": "Once upon"}, finish)
    api, _ = behind(short, short)
    run = api.play("Hi", until=("incomplete",))
    assert (run["incomplete_details"], run["completed_at"]) == ({"reason": run_reason}, None)
    [message, _] = api.get(f"/threads/{run['thread_id']}/messages")["data"]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": message_reason})
    assert message["content"][0]["text"]["value"] == "Once upon"
    response = api.answered("Hi", "incomplete")
    assert (response["incomplete_details"], response["output"][0]["status"]) == (
        {"reason": response_reason},
        "incomplete",
    )


def test_a_model_is_told_how_much_it_may_say_and_what_it_has_counted_is_not_cut(behind):
    text = "x" * 2000
    counted = {"prompt_tokens": 1, "completion_tokens": 256, "total_tokens": 257}
    short = chat.completion({"content": text}, "length", usage=counted)
    pieces = [text[:1000], text[1000:], chat.piece({}, "length"), chat.event({"choices": [], "usage": counted})]
    api, upstream = behind(short, chat.stream(*pieces, chat.DONE, finish=None), short)
    run = api.see(api.run(api.thread("Hi"), max_completion_tokens=256), "incomplete")
    assert (api.texts(run["thread_id"])[-1], run["usage"]) == (text, counted)
    events = list(run_stream(api, "Hi", max_completion_tokens=256))
    assert (deltas(events), names(events)[-2]) == ([text[:1000], "x" * 23, "x" * 977], "thread.run.incomplete")
    assert api.answered("Hi", "incomplete", max_output_tokens=256)["output"][0]["content"][0]["text"] == text
    assert [asked.body["max_tokens"] for asked in upstream.requests] == [256] * 3


def test_a_failure_of_the_chat_completions_server_amid_a_stream_fails_the_run(behind):
    api, _ = behind(chat.stream("Hel", chat.HANG_UP, finish=None))
    events = list(run_stream(api, "Hi"))
    assert names(events)[-2:] == ["thread.run.failed", "done"]
    assert events[-2][1]["last_error"]["code"] == "server_error"


def test_a_chat_completions_model_is_let_go_when_its_run_is_cancelled(behind):
    api, upstream = behind(chat.stream("Hel", chat.SILENCE, finish=None))
    stream = run_stream(api, "Hi")
    run = until(stream, "thread.run.in_progress")
    until(stream, "thread.message.delta")
    api.post(f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
    assert names(stream)[-2:] == ["thread.run.cancelled", "done"]
    assert upstream.hung_up.acquire(timeout=PATIENCE)

"""Responses as server-sent events: their order, and reading them again."""

import pytest

from gpt_agent_fsm.local import ModelError, Reply, ScriptedModel, ToolCall
from tests.local.event_streams import deltas, names, response_stream, run_stream, until
from tests.local.stand_ins import Recorder, Speaker


def test_a_response_is_streamed_in_the_documented_order(serve):
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


def test_a_model_may_yield_its_answer_in_pieces(serve, gate):
    def model(request):
        yield "Hel"
        if request.user_message == "stream":
            gate()
        yield "lo"

    api = serve(model)
    assert api.answered("no stream")["output"][0]["content"][0]["text"] == "Hello"
    stream = response_stream(api, "stream")
    assert until(stream, "response.output_text.delta")["delta"] == "Hel"
    gate.open()
    assert deltas(list(stream)) == ["lo"]


def test_a_script_may_say_its_answer_in_pieces(serve):
    script = ScriptedModel(otherwise={"say": "{message}", "pieces": 3})
    assert deltas(list(response_stream(serve(script), "Hello!"))) == ["He", "ll", "o!"]
    assert deltas(list(run_stream(serve(script), "Hello!"))) == ["He", "ll", "o!"]


def test_text_and_function_calls_of_a_response_are_streamed_one_after_the_other(serve):
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


def test_a_stream_can_be_resumed_where_it_was(serve, tmp_path):
    path = tmp_path / "local.db"
    api = serve(Speaker("Hel", "lo", " you"), database=path)
    events = list(response_stream(api, background=True))
    response = events[0][1]["response"]["id"]
    for _ in ("the same server", "the next one on the file"):
        for number in range(-1, len(events)):
            params = {"stream": "true"} | ({} if number < 0 else {"starting_after": number})
            again = list(api.stream("GET", f"/responses/{response}", params=params))
            assert again == events[number + 1 :]
        api.server.close()
        api = serve(database=path)


def test_a_response_in_progress_can_be_followed_by_others(serve, gate):
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
def test_a_starting_place_that_is_not_a_number_is_refused(api, value):
    done = api.answered("Hello")
    params = {"stream": "true", "starting_after": value}
    assert api.error("GET", f"/responses/{done['id']}", 400, params=params)["param"] == "starting_after"


def test_a_failure_during_a_response_is_streamed_and_can_be_read_again(serve):
    api = serve(Speaker("Hel", "lo", ModelError("server_error", "It broke.")))
    events = list(response_stream(api, background=True))
    assert names(events)[-3:] == ["response.output_text.delta", "response.output_text.delta", "response.failed"]
    failed = events[-1][1]["response"]
    assert (failed["error"]["message"], failed["output"]) == ("It broke.", [])
    again = list(api.stream("GET", f"/responses/{failed['id']}", params={"stream": "true"}))
    assert names(again) == names(events)
    assert deltas(again) == ["Hel", "lo"]


def resumed(api, response, after):
    return list(api.stream("GET", f"/responses/{response}", params={"stream": "true", "starting_after": after}))


@pytest.mark.parametrize("ending", ["/cancel", "restart"])
def test_a_client_that_has_seen_more_events_than_are_left_still_gets_the_end(serve, tmp_path, gate, ending):
    path = tmp_path / "local.db"
    api = serve(Speaker("Hel", "lo", gate, " you"), database=path)
    stream = response_stream(api, background=True)
    response = next(stream)[1]["response"]["id"]
    until(stream, "response.output_text.delta")
    assert until(stream, "response.output_text.delta")["sequence_number"] == 6
    if ending == "restart":
        api.server.close()
        api = serve(lambda _request: "Hi.", database=path)
        end = api.follow({"id": response}, "completed")
    else:
        end = api.post(f"/responses/{response}/cancel")
    whole = resumed(api, response, -1)
    assert [data["sequence_number"] for _, data in whole] == list(range(len(whole)))
    # A client may have seen exactly as many events as there are now: they need not be the same ones.
    for after in (len(whole) - 1, len(whole) + 7):
        [(name, data)] = resumed(api, response, after)
        assert (name, data["sequence_number"]) == (f"response.{end['status']}", after + 1)
        assert data["response"] == end


def test_a_response_that_was_streamed_is_streamed_again_after_a_restart(serve, tmp_path, gate):
    path = tmp_path / "local.db"
    first = serve(Speaker("Hel", gate, "lo"), database=path)
    stream = response_stream(first, background=True)
    response = next(stream)[1]["response"]["id"]
    until(stream, "response.output_text.delta")
    first.server.close()
    second = serve(Speaker("Good", gate, " day"), database=path)
    again = second.stream("GET", f"/responses/{response}", params={"stream": "true", "starting_after": 2})
    assert until(again, "response.output_text.delta")["delta"] == "Good"
    gate.open()
    rest = list(again)
    assert deltas(rest) == [" day"]
    assert rest[-1][1]["response"]["output"][0]["content"][0]["text"] == "Good day"


def test_the_error_of_a_closing_server_reaches_every_client(serve, tmp_path, gate):
    api = serve(Speaker("Hel", gate, "lo"), database=tmp_path / "local.db")
    stream = response_stream(api, background=True)
    response = next(stream)[1]["response"]["id"]
    until(stream, "response.output_text.delta")
    api.server._workers.close(0.0)
    assert [(name, data["sequence_number"]) for name, data in resumed(api, response, 100)] == [("error", 101)]


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

"""The embedded server's streams with a chat-completions model behind it."""

import contextlib
import itertools

import pytest

from gpt_agent_fsm.local import ChatCompletionsModel
from tests.local import chat_server as chat
from tests.local.event_streams import deltas, names, response_stream, run_stream, until
from tests.local.stand_ins import PATIENCE


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


def test_an_answer_that_is_not_streamed_is_requested_whole_with_its_usage(behind):
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


def test_a_model_receives_its_token_limit_and_an_answer_with_counted_tokens_is_not_cut(behind):
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


def test_a_failure_of_the_chat_completions_server_during_a_stream_fails_the_run(behind):
    api, _ = behind(chat.stream("Hel", chat.HANG_UP, finish=None))
    events = list(run_stream(api, "Hi"))
    assert names(events)[-2:] == ["thread.run.failed", "done"]
    assert events[-2][1]["last_error"]["code"] == "server_error"


def test_a_chat_completions_model_is_released_when_its_run_is_cancelled(behind):
    api, upstream = behind(chat.stream("Hel", chat.SILENCE, finish=None))
    stream = run_stream(api, "Hi")
    run = until(stream, "thread.run.in_progress")
    until(stream, "thread.message.delta")
    api.post(f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
    assert names(stream)[-2:] == ["thread.run.cancelled", "done"]
    assert upstream.hung_up.acquire(timeout=PATIENCE)

"""The streams of runs, as bytes from a server: both APIs, split at every byte, broken, late, wrong, and refused."""

import contextlib
import threading

import attrs
import pytest

from gpt_agent_fsm import Assistant
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.backends.http.event_stream import EventStream, first_events
from gpt_agent_fsm.backends.http.text_stream import StreamSwitch
from gpt_agent_fsm.errors import ApiError, OutcomeUnknown, RequestRefused, TransientError
from gpt_agent_fsm.ports import CallLimits, RunStatus, StreamingBackend, SystemClock
from tests.backends.conftest import KEY, PATIENCE, RUN
from tests.backends.conftest import http as answer
from tests.backends.streaming import (
    CREATE,
    OUTPUTS,
    RESPONSE,
    Api,
    create,
    event,
    numbered,
    stream_of,
    texts,
)


@pytest.fixture(params=["assistants", "responses"])
def api(request):
    made = []

    def make(base_url):
        if request.param == "assistants":
            made.append(AssistantsBackend(base_url, KEY))
        else:
            made.append(ResponsesBackend(base_url, KEY, assistants={"a": Assistant("m"), "b": Assistant("n")}))
        return made[-1]

    found = Api(request.param, make)
    yield found
    for each in (*found.streams, *made):
        each.close()


# --- what is read ---------------------------------------------------------------------------------------


def test_both_backends_have_streams(api, respond):
    assert isinstance(api.backend(respond(b"")), StreamingBackend)


def test_a_run_is_created_as_a_stream_and_its_text_comes_in_pieces(api, respond):
    server = respond(stream_of(*api.say("Hello ", "you", "!")))
    run, stream = create(api, server)
    assert (run.id, run.status) == ("run_1" if api.wire == "assistants" else "resp_1", RunStatus.ACTIVE)
    assert texts(stream) == ["Hello ", "you", "!"]
    asked = next(request for request in server.requests if b'"stream":true' in request)
    assert b"text/event-stream" in asked


def test_a_run_is_continued_as_a_stream(api, respond):
    run, stream = api.backend(respond(stream_of(*api.say("Hello ", "you")))).submit_tool_outputs_streamed(
        OUTPUTS, timeout=PATIENCE
    )
    assert run.id == "run_1"
    assert texts(stream) == ["Hello ", "you"]


def test_a_stream_may_be_split_anywhere(api, respond):
    whole = b"".join([b": hello\n\n", *api.say("Héllo ", " you", "\n☃")])
    server = respond(stream_of(*(whole[n : n + 1] for n in range(len(whole)))))
    _, stream = create(api, server)
    assert texts(stream) == ["Héllo ", " you", "\n☃"]


def test_pieces_come_when_the_server_sends_them(api, respond):
    told = threading.Event()
    first, *rest = api.say("Hello ", "you")

    def then(connection, request):
        told.wait(PATIENCE)
        connection.sendall(stream_of(*rest).split(b"\r\n\r\n", 1)[1])

    _, stream = create(api, respond(stream_of(first, ends=False), then))
    told.set()
    assert texts(stream) == ["Hello ", "you"]


def test_a_server_that_answers_without_a_stream_is_understood(api, respond):
    run, stream = create(api, respond(answer(RUN if api.wire == "assistants" else RESPONSE)))
    assert run.status is RunStatus.ACTIVE
    assert stream is None


def test_a_secret_that_the_server_repeats_is_removed(api, respond):
    _, stream = create(api, respond(stream_of(*api.say(f"Your key is {KEY}."))))
    assert "".join(texts(stream)) == "Your key is ***."


# --- what goes wrong ------------------------------------------------------------------------------------------


def test_a_stream_that_breaks_off_raises_a_transient_error(api, respond):
    first, hello, *_ = api.say("Hello ", "you")
    _, stream = create(api, respond(stream_of(first, hello, ends=False), lambda *_: False))
    assert stream.next_piece(silence=PATIENCE).text == "Hello "
    with pytest.raises(TransientError):
        stream.next_piece(silence=PATIENCE)


def test_a_stream_that_ends_before_its_last_event_has_broken_off(api, respond):
    first, hello, *_ = api.say("Hello ", "you")
    _, stream = create(api, respond(stream_of(first, hello)))
    assert stream.next_piece(silence=PATIENCE).text == "Hello "
    with pytest.raises(TransientError, match="ended before"):
        stream.next_piece(silence=PATIENCE)


def test_a_silent_stream_raises_after_the_silence(api, respond):
    first, hello, *_ = api.say("Hello ", "you")
    _, stream = create(api, respond(stream_of(first, hello, ends=False)))
    assert stream.next_piece(silence=PATIENCE).text == "Hello "
    with pytest.raises(TransientError, match=r"not answered within|timed out"):
        stream.next_piece(silence=0.1)


@pytest.mark.parametrize(("timeout", "named"), [(0.5, 0.5), (CallLimits(deadline=1e9, clock=SystemClock()), None)])
def test_a_failure_names_the_silence_or_the_time_of_the_whole_request(timeout, named):
    class Response:
        def read_piece(self):
            raise TimeoutError

    silences = []

    def explained(silence):
        silences.append(silence)
        return contextlib.nullcontext()

    stream = EventStream(Response(), explained, lambda body: body, 100, lambda: None)
    with pytest.raises(TimeoutError):
        stream.next_event(timeout)
    assert silences == [named]


def test_comments_are_no_silence(api, respond):
    first, hello, *rest = api.say("Hello ", "you")
    ended = threading.Event()

    def then(connection, request):
        for _ in range(12):
            ended.wait(0.05)
            connection.sendall(b"9\r\n: alive\n\n\r\n")
        connection.sendall(stream_of(*rest).split(b"\r\n\r\n", 1)[1])

    _, stream = create(api, respond(stream_of(first, hello, ends=False), then))
    found = []
    while (said := stream.next_piece(silence=0.4)) is not None:
        found.append(said.text)
    assert found == ["Hello ", "you"]


def test_a_run_whose_first_event_never_comes_is_in_doubt(api, respond):
    server = respond(stream_of(b": wait\n\n", ends=False))
    with pytest.raises(OutcomeUnknown):
        api.backend(server).create_run_streamed(CREATE, timeout=0.3)


@pytest.mark.parametrize("events", [[], [event("error", {"error": {"message": "Sorry"}})], [event("done", "[DONE]")]])
def test_a_stream_that_names_no_run_leaves_it_in_doubt(api, respond, events):
    with pytest.raises(OutcomeUnknown, match="names no r") as caught:
        create(api, respond(stream_of(*events)))
    assert caught.value.in_flight


@pytest.mark.parametrize("events", [[], [b": hello\n\n"], [b"data: {"]])
def test_a_stream_that_breaks_off_before_it_names_a_run_leaves_it_in_doubt(api, respond, events):
    with pytest.raises(OutcomeUnknown) as caught:
        create(api, respond(stream_of(*events, ends=False), lambda *_: False))
    assert caught.value.in_flight


def test_a_failure_before_the_first_event_is_never_taken_for_a_request_without_effect():
    class Failing:
        def next_event(self, timeout):
            raise TransientError(None, None, "It broke.")

    with pytest.raises(OutcomeUnknown, match="It broke") as caught:
        list(first_events(Failing(), None))
    assert caught.value.in_flight


def test_the_run_of_another_thread_is_not_taken_and_its_stream_is_closed(api, respond):
    hung_up = threading.Event()

    def then(connection, request):
        if not connection.recv(1):
            hung_up.set()
        return False

    first = event("thread.run.created", {**RUN, "thread_id": "other"})
    if api.wire == "responses":
        first = numbered(0, "response.created", response={**RESPONSE, "conversation": "other"})
    with pytest.raises(OutcomeUnknown, match="about another"):
        create(api, respond(stream_of(first, ends=False), then))
    assert hung_up.wait(PATIENCE)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, {"error": {"message": "No.", "param": "stream", "type": "invalid_request_error"}}),
        (400, {"error": {"message": "Unsupported parameter."}}),
        (405, {"detail": "Method Not Allowed"}),
        (406, {"error": {"message": "Not acceptable."}}),
        (422, {"detail": [{"loc": ["body", "stream"], "msg": "extra fields not permitted"}]}),
    ],
)
def test_a_server_that_refuses_streams_is_asked_without_from_then_on(api, respond, status, said):
    server = respond(answer(said, status), other=RUN if api.wire == "assistants" else RESPONSE)
    backend = api.backend(server)
    for _ in range(2):
        run, stream = backend.create_run_streamed(CREATE, timeout=PATIENCE)
        assert (run.status, stream) == (RunStatus.ACTIVE, None)
    assert len([each for each in server.requests if b'"stream":true' in each]) == 1


def test_a_refusal_for_one_assistant_does_not_end_the_streams_of_another(api, respond):
    def streamed(request):
        refused = {"error": {"message": "This model cannot stream."}}
        is_first = b'"assistant_id":"a"' in request or b'"model":"m"' in request
        return answer(refused, 400) if is_first else stream_of(*api.say("Hello"))

    server = respond(streamed, other=RUN if api.wire == "assistants" else RESPONSE)
    backend = api.backend(server)
    assert backend.create_run_streamed(CREATE, timeout=PATIENCE)[1] is None
    _, stream = backend.create_run_streamed(attrs.evolve(CREATE, assistant_id="b"), timeout=PATIENCE)
    api.streams.append(stream)
    assert texts(stream) == ["Hello"]


def test_an_hour_after_a_refusal_a_stream_is_tried_again():
    now, asked = [0.0], []

    def streamed():
        asked.append(now[0])
        raise RequestRefused(400, None, "No.")

    switch = StreamSwitch(lambda: now[0])
    for moment in (0.0, 3599.0, 3601.0):
        now[0] = moment
        assert switch.make("m", streamed, lambda: "plain") == "plain"
    assert asked == [0.0, 3601.0]


def test_a_refusal_for_one_model_does_not_end_the_streams_of_another(api, respond):
    def streamed(request):
        refused = {"error": {"message": "This model cannot stream."}}
        return answer(refused, 400) if b'"model":"big"' in request else stream_of(*api.say("Hello"))

    server = respond(streamed, other=RUN if api.wire == "assistants" else RESPONSE)
    backend = api.backend(server)
    assert backend.create_run_streamed(attrs.evolve(CREATE, options={"model": "big"}), timeout=PATIENCE)[1] is None
    _, stream = backend.create_run_streamed(CREATE, timeout=PATIENCE)
    api.streams.append(stream)
    assert texts(stream) == ["Hello"]


def test_a_refusal_that_is_not_about_the_stream_does_not_end_the_streams(api, respond):
    refused = {"error": {"message": "Could not load https://x/stream.png.", "type": "invalid_request_error"}}
    server = respond(answer(refused, 400))
    ours = server._answer

    def handle(connection, request):
        if b'"assistant_id"' in request or b"POST /v1/responses" in request:
            connection.sendall(answer(refused, 400))
            return None
        return ours(connection, request)

    server._answer = handle
    backend = api.backend(server)
    for _ in range(2):
        with pytest.raises(RequestRefused, match="Could not load"):
            backend.create_run_streamed(CREATE, timeout=PATIENCE)
    assert len([each for each in server.requests if b'"stream":true' in each]) == 2


def test_a_stream_that_is_closed_ends_a_read_in_another_thread(api, respond):
    first, hello, *_ = api.say("Hello ", "you")
    _, stream = create(api, respond(stream_of(first, hello, ends=False)))
    assert stream.next_piece(silence=PATIENCE).text == "Hello "
    ended = threading.Event()

    def read():
        with contextlib.suppress(ApiError):
            stream.next_piece(silence=PATIENCE * 6)
        ended.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    stream.close()
    stream.close()
    assert ended.wait(PATIENCE)
    reader.join(PATIENCE)


def test_a_connection_whose_stream_was_read_to_its_end_is_used_again(api, respond):
    server = respond(stream_of(*api.say("Hello ", "you")), other=RUN if api.wire == "assistants" else RESPONSE)
    backend = api.backend(server)
    _, stream = backend.create_run_streamed(CREATE, timeout=PATIENCE)
    assert texts(stream) == ["Hello ", "you"]
    used = server.connections
    backend.get_run("t", "run_1", handle="resp_1", timeout=PATIENCE)
    assert server.connections == used


def test_a_stream_that_is_too_long_is_given_up(api, respond):
    clock = SystemClock()
    limits = CallLimits(deadline=clock.monotonic() + PATIENCE, clock=clock, max_answer_bytes=2000)
    server = respond(stream_of(*api.say(*["Hello "] * 100)))
    _, stream = api.backend(server).create_run_streamed(CREATE, timeout=limits)
    with pytest.raises(TransientError, match="max_answer_bytes"):
        texts(stream)
    stream.close()

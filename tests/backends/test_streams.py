"""The streams of runs, as bytes from a server: both APIs, split at every byte, broken, late, wrong, and refused."""

import contextlib
import json
import threading

import attrs
import pytest

from gpt_agent_fsm import Assistant
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.backends.http.event_stream import first_events
from gpt_agent_fsm.backends.http.text_stream import StreamSwitch
from gpt_agent_fsm.errors import ApiError, OutcomeUnknown, RequestRefused, TransientError
from gpt_agent_fsm.ports import CallLimits, RunRequest, RunStatus, StreamingBackend, SystemClock, ToolOutputsRequest
from tests.backends.conftest import KEY, PATIENCE
from tests.backends.conftest import http as answer

RUN = {"id": "run_1", "object": "thread.run", "thread_id": "t", "status": "queued"}
RESPONSE = {"id": "resp_1", "status": "queued", "conversation": "t", "metadata": {}}
CREATE = RunRequest(thread_id="t", assistant_id="a", key="k")
OUTPUTS = ToolOutputsRequest(thread_id="t", run_id="run_1", outputs=(("call_1", "21"),), assistant_id="a")


def event(name, data):
    text = data if isinstance(data, str) else json.dumps(data)
    return f"event: {name}\ndata: {text}\n\n".encode()


def delta(text, message_id="msg_1", index=0, **content):
    content = {"index": index, "type": "text", "text": {"value": text}} | content
    data = {"id": message_id, "object": "thread.message.delta", "delta": {"content": [content]}}
    return event("thread.message.delta", data)


def message(kind, text="", message_id="msg_1", **fields):
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    data = {"id": message_id, "object": "thread.message", "role": "assistant", "thread_id": "t", "content": content}
    return event(f"thread.message.{kind}", {**data, **fields})


RUN_CREATED = event("thread.run.created", RUN)
DONE = event("done", "[DONE]")


def numbered(number, kind, **fields):
    return event(kind, {"type": kind, "sequence_number": number, **fields})


def piece(number, text, item_id="msg_1", part=0, place=0):
    fields = {"item_id": item_id, "output_index": place, "content_index": part, "delta": text}
    return numbered(number, "response.output_text.delta", **fields)


def completed(number, *texts, kind="response.completed"):
    content = [{"type": "output_text", "text": text} for text in texts]
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": content}
    return numbered(number, kind, response={**RESPONSE, "status": "completed", "output": [item] if texts else []})


RESPONSE_CREATED = numbered(0, "response.created", response=RESPONSE)


def stream_of(*events, ends=True):
    """Return an HTTP answer of these events, in chunks; without an end if it should break off."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(f"{len(each):x}\r\n".encode() + each + b"\r\n" for each in events)
    return head + chunks + (b"0\r\n\r\n" if ends else b"")


class Api:
    """One wire: its backend, and the events that say the same in it."""

    def __init__(self, wire, make):
        self.wire = wire
        self.streams = []
        self._make = make
        self.first = RUN_CREATED if wire == "assistants" else RESPONSE_CREATED

    def backend(self, server):
        return self._make(server.base_url)

    def say(self, *texts):
        """Return the events of a message that comes in these pieces, up to the end of the stream."""
        if self.wire == "assistants":
            return [self.first, *(delta(text) for text in texts), DONE]
        pieces = [piece(number, text) for number, text in enumerate(texts, 1)]
        return [self.first, *pieces, completed(len(texts) + 1, "".join(texts))]


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


@pytest.fixture
def respond(serve):
    """Start a server that answers the request for a stream with bytes, and the others as these wires need it."""

    def start(streamed, then=lambda connection, request: None, other=None):
        def handle(connection, request):
            line = request.split(b"\r\n", 1)[0]
            if b'"stream":true' in request or b"stream=true" in line:
                connection.sendall(streamed(request) if callable(streamed) else streamed)
                return then(connection, request)
            body = {"id": "t", "metadata": {}} if b"/conversations" in line else other or RUN
            connection.sendall(answer(body))
            return None

        return serve(handle)

    return start


def texts(stream):
    found = []
    while (said := stream.next_piece(silence=PATIENCE)) is not None:
        found.append(said.text)
    return found


def create(api, server):
    run, stream = api.backend(server).create_run_streamed(CREATE, timeout=PATIENCE)
    if stream is not None:
        api.streams.append(stream)
    return run, stream


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


# --- the events of the Assistants API -----------------------------------------------------------------------------


@pytest.fixture
def assistants(respond):
    made = []

    def start(*events):
        made.append(AssistantsBackend(respond(stream_of(RUN_CREATED, *events, DONE)).base_url, KEY))
        return made[-1].create_run_streamed(CREATE, timeout=PATIENCE)[1]

    yield start
    for each in made:
        each.close()


def test_the_texts_of_two_parts_are_joined_by_a_newline(assistants):
    image = delta("", index=1, type="image_file", image_file={"file_id": "file_1"})
    events = [delta("a"), image, delta("b", index=2), delta("c", index=2)]
    assert texts(assistants(*events)) == ["a", "\nb", "c"]


def test_a_message_that_comes_whole_adds_what_its_pieces_lack(assistants):
    events = [message("created"), delta("Hel"), message("completed", "Hello"), message("completed", "Hi", "msg_2")]
    assert texts(assistants(*events)) == ["Hel", "lo", "Hi"]


def test_a_message_that_is_whole_but_differs_adds_nothing(assistants):
    assert texts(assistants(delta("Bye"), message("completed", "Hello"))) == ["Bye"]


def test_messages_of_other_threads_and_of_the_user_are_left_out(assistants):
    foreign = message("created", message_id="x", thread_id="other")
    own = message("created", message_id="y", role="user")
    assert texts(assistants(foreign, delta("a", "x"), own, delta("b", "y"), delta("c"))) == ["c"]


def test_events_without_a_name_are_known_by_their_object(respond, make):
    unnamed = [each.replace(b"event: ", b": ") for each in (RUN_CREATED, delta("Hello"))]
    backend = make(respond(stream_of(*unnamed, DONE)).base_url)
    run, stream = backend.create_run_streamed(CREATE, timeout=PATIENCE)
    assert run.id == "run_1"
    assert texts(stream) == ["Hello"]


def test_events_that_make_no_sense_are_left_out(assistants):
    odd = [event("thread.message.delta", text) for text in ("{", "[]", '"x"', "null", '{"id": "m", "delta": 1}')]
    assert texts(assistants(*odd, event("ping", "{}"), delta("Hello"))) == ["Hello"]


def test_a_run_of_this_api_cannot_be_streamed_later(make, respond):
    backend = make(respond(b"").base_url)
    assert backend.open_stream("t", "run_1", handle=None, after=None, timeout=1) is None


def test_a_broken_stream_of_this_api_is_not_continued(make, respond):
    backend = make(respond(stream_of(RUN_CREATED, ends=False), lambda *_: False).base_url)
    _, stream = backend.create_run_streamed(CREATE, timeout=PATIENCE)
    with pytest.raises(TransientError):
        stream.next_piece(silence=PATIENCE)
    assert not stream.resume(timeout=PATIENCE)
    stream.close()


# --- the events of the Responses API --------------------------------------------------------------------------------


@pytest.fixture
def responses(respond):
    made = []

    def start(*events, then=lambda connection, request: None, **options):
        server = respond(lambda request: stream_of(*events, **options), then)
        made.append(ResponsesBackend(server.base_url, KEY, assistants={"a": Assistant("m")}))
        return made[-1]

    yield start
    for each in made:
        each.close()


def created(backend):
    return backend.create_run_streamed(CREATE, timeout=PATIENCE)[1]


def test_a_broken_stream_is_continued_after_its_last_event(respond):
    begun = stream_of(RESPONSE_CREATED, piece(1, "Hello "), ends=False)
    rest = stream_of(piece(1, "Hello "), piece(2, "you"), completed(3, "Hello you"))
    server = respond(
        lambda request: rest if b"starting_after=1" in request else begun,
        lambda connection, request: None if b"starting_after" in request else False,
    )
    backend = ResponsesBackend(server.base_url, KEY, assistants={"a": Assistant("m")})
    stream = created(backend)
    assert stream.next_piece(silence=PATIENCE).text == "Hello "
    with pytest.raises(TransientError):
        stream.next_piece(silence=PATIENCE)
    assert stream.resume(timeout=PATIENCE)
    assert texts(stream) == ["you"]
    backend.close()


def test_a_stream_that_breaks_after_its_first_event_is_continued_after_it(respond):
    server = respond(
        lambda request: (
            stream_of(piece(1, "Hello"), completed(2, "Hello"))
            if b"starting_after=0" in request
            else stream_of(RESPONSE_CREATED, ends=False)
        ),
        lambda connection, request: None if b"starting_after" in request else False,
    )
    backend = ResponsesBackend(server.base_url, KEY, assistants={"a": Assistant("m")})
    stream = created(backend)
    assert stream.position == 0
    with pytest.raises(TransientError):
        stream.next_piece(silence=PATIENCE)
    assert stream.resume(timeout=PATIENCE)
    assert texts(stream) == ["Hello"]
    backend.close()


def test_a_part_whose_beginning_was_not_read_is_left_out(respond):
    other = piece(7, "x", item_id="msg_2", place=1)
    server = respond(stream_of(piece(6, "two", part=1), other, completed(8, "one", "two")))
    backend = ResponsesBackend(server.base_url, KEY, assistants={"a": Assistant("m")})
    stream = backend.open_stream("t", "run_1", handle="resp_2", after=5, timeout=PATIENCE)
    assert texts(stream) == ["x"]
    backend.close()


def test_the_pieces_have_the_numbers_of_their_events(responses):
    stream = created(responses(RESPONSE_CREATED, piece(1, "Hello "), piece(2, "you"), completed(3, "Hello you")))
    assert [stream.next_piece(silence=PATIENCE).position for _ in range(2)] == [1, 2]
    stream.close()


def test_where_events_are_missing_the_stream_is_continued_before_them(respond):
    broken = stream_of(RESPONSE_CREATED, piece(1, "One "), piece(3, "three"), completed(4, "One two three"))
    rest = stream_of(piece(2, "two "), piece(3, "three"), completed(4, "One two three"))
    server = respond(lambda request: rest if b"starting_after=1" in request else broken)
    backend = ResponsesBackend(server.base_url, KEY, assistants={"a": Assistant("m")})
    _, stream = backend.create_run_streamed(CREATE, timeout=PATIENCE)
    assert stream.next_piece(silence=PATIENCE).text == "One "
    with pytest.raises(TransientError, match="missing after number 1"):
        stream.next_piece(silence=PATIENCE)
    assert stream.resume(timeout=PATIENCE)
    assert texts(stream) == ["two ", "three"]
    backend.close()


def test_a_server_that_leaves_out_numbers_is_still_read(respond):
    events = [
        RESPONSE_CREATED,
        piece(10, "One "),
        piece(20, "two "),
        piece(30, "three"),
        completed(40, "One two three"),
    ]
    server = respond(lambda request: stream_of(*(events[1:] if b"starting_after=0" in request else events)))
    backend = ResponsesBackend(server.base_url, KEY, assistants={"a": Assistant("m")})
    _, stream = backend.create_run_streamed(CREATE, timeout=PATIENCE)
    with pytest.raises(TransientError, match="missing after number 0"):
        stream.next_piece(silence=PATIENCE)
    assert stream.resume(timeout=PATIENCE)
    assert texts(stream) == ["One ", "two ", "three"]
    backend.close()


def test_an_event_that_comes_again_is_left_out(responses):
    events = [RESPONSE_CREATED, piece(1, "a"), piece(1, "a"), piece(2, "b"), piece(1, "a"), completed(3, "ab")]
    assert texts(created(responses(*events))) == ["a", "b"]


def test_the_end_of_a_response_adds_what_its_pieces_lack(responses):
    assert texts(created(responses(RESPONSE_CREATED, piece(1, "Hel"), completed(2, "Hello")))) == ["Hel", "lo"]


def test_the_parts_of_a_message_are_joined_by_a_newline(responses):
    events = [RESPONSE_CREATED, piece(1, "a"), piece(2, "b", part=1), completed(3, "a", "b")]
    assert texts(created(responses(*events))) == ["a", "\nb"]


def test_another_message_at_the_place_of_the_first_ends_the_stream(responses):
    stream = created(responses(RESPONSE_CREATED, piece(1, "One "), piece(2, "three", item_id="msg_2"), ends=False))
    assert texts(stream) == ["One "]


def test_a_message_that_ends_at_the_place_of_another_ends_the_stream(responses):
    again = {"id": "msg_2", "type": "message", "content": [{"type": "output_text", "text": "One two"}]}
    done = numbered(2, "response.output_item.done", output_index=0, item=again)
    assert texts(created(responses(RESPONSE_CREATED, piece(1, "One "), done, ends=False))) == ["One "]
    end = numbered(2, "response.completed", response={**RESPONSE, "output": [again]})
    assert texts(created(responses(RESPONSE_CREATED, piece(1, "One "), end))) == ["One "]


def test_a_second_message_of_the_output_is_read(responses):
    events = [RESPONSE_CREATED, piece(1, "One"), piece(2, "Two", item_id="msg_2", place=1), completed(3)]
    assert texts(created(responses(*events))) == ["One", "Two"]


@pytest.mark.parametrize("kind", ["response.failed", "response.incomplete", "response.cancelled"])
def test_every_end_of_a_response_ends_the_stream(responses, kind):
    stream = created(responses(RESPONSE_CREATED, completed(1, kind=kind), ends=False))
    assert stream.next_piece(silence=PATIENCE) is None


def test_after_an_error_in_the_middle_a_stream_can_be_continued_where_it_broke(respond):
    broken = stream_of(RESPONSE_CREATED, piece(1, "Hello "), numbered(2, "error", code="server_error", message="Sorry"))
    rest = stream_of(piece(2, "you"), completed(3, "Hello you"))
    server = respond(lambda request: rest if b"starting_after=1" in request else broken)
    backend = ResponsesBackend(server.base_url, KEY, assistants={"a": Assistant("m")})
    _, stream = backend.create_run_streamed(CREATE, timeout=PATIENCE)
    assert stream.next_piece(silence=PATIENCE).text == "Hello "
    with pytest.raises(TransientError, match="broken off"):
        stream.next_piece(silence=PATIENCE)
    assert stream.resume(timeout=PATIENCE)
    assert texts(stream) == ["you"]
    backend.close()


def test_an_error_that_comes_again_at_the_same_place_ends_a_stream(respond):
    server = respond(stream_of(RESPONSE_CREATED, numbered(1, "error", code="server_error", message="Sorry")))
    backend = ResponsesBackend(server.base_url, KEY, assistants={"a": Assistant("m")})
    _, stream = backend.create_run_streamed(CREATE, timeout=PATIENCE)
    with pytest.raises(TransientError, match="broken off"):
        stream.next_piece(silence=PATIENCE)
    assert stream.resume(timeout=PATIENCE)
    assert stream.next_piece(silence=PATIENCE) is None
    backend.close()


def test_an_error_without_a_number_ends_a_stream(responses):
    first = event("response.created", {"type": "response.created", "response": RESPONSE})
    stream = created(responses(first, event("error", {"type": "error", "message": "Sorry"}), ends=False))
    assert stream.next_piece(silence=PATIENCE) is None


def test_the_stream_of_a_response_can_be_opened_later(respond):
    server = respond(stream_of(piece(6, "you"), completed(7, "Hello you")))
    backend = ResponsesBackend(server.base_url, KEY, assistants={"a": Assistant("m")})
    stream = backend.open_stream("t", "run_1", handle="resp_2", after=5, timeout=PATIENCE)
    assert texts(stream) == ["you"]
    assert b"GET /v1/responses/resp_2?stream=true&starting_after=5 " in server.requests[-1]
    whole = backend.open_stream("t", "run_1", handle=None, after=None, timeout=PATIENCE)
    assert b"GET /v1/responses/run_1?stream=true " in server.requests[-1]
    whole.close()
    backend.close()


def test_a_response_that_was_not_created_as_a_stream_has_none(respond):
    refused = {"error": {"message": "This response was not created with stream=true.", "param": "stream"}}
    backend = ResponsesBackend(respond(answer(refused, 400)).base_url, KEY, assistants={"a": Assistant("m")})
    with pytest.raises(RequestRefused):
        backend.open_stream("t", "run_1", handle="resp_2", after=None, timeout=PATIENCE)
    backend.close()


def test_a_server_that_ignores_the_wish_for_a_stream_of_an_old_response_has_none(respond):
    backend = ResponsesBackend(respond(answer(RESPONSE)).base_url, KEY, assistants={"a": Assistant("m")})
    assert backend.open_stream("t", "run_1", handle="resp_2", after=None, timeout=PATIENCE) is None
    backend.close()

"""The events of streamed runs, as each API sends them."""

import pytest

from gpt_agent_fsm import Assistant
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.errors import RequestRefused, TransientError
from tests.backends.conftest import KEY, PATIENCE
from tests.backends.conftest import http as answer
from tests.backends.streaming import (
    CREATE,
    DONE,
    RESPONSE,
    RESPONSE_CREATED,
    RUN_CREATED,
    completed,
    delta,
    event,
    message,
    numbered,
    piece,
    stream_of,
    texts,
)

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

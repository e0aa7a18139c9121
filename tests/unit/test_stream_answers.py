"""`Agent.stream`, streams on OS threads, and slow handlers of pieces."""

from __future__ import annotations

import threading

import pytest

from gpt_agent_fsm import Runtime, Settings, errors, events, signals
from gpt_agent_fsm.engine.inquiry import Inquiry
from gpt_agent_fsm.engine.streams import Reading, Streams
from gpt_agent_fsm.errors import RequestRefused
from gpt_agent_fsm.ports import Piece
from gpt_agent_fsm.testing import Answer, Call, Fail, Linger
from tests.unit.stream_worlds import BROKEN, PLAN, RATE, SLOW, StreamingServer, say


@pytest.fixture
def world(make_world):
    return make_world()


# --- stream() -----------------------------------------------------------------------------------------------


def stream(world, *script, plan=PLAN, **options):
    world.server.scripts.append(script)
    world.plans.append(list(plan))
    return world.connect().stream("Hi", timeout=600, **options)


def test_stream_yields_the_pieces_and_then_has_the_answer(world):
    pieces = stream(world, "Hello ", "you")
    assert list(pieces) == ["Hello ", "you"]
    assert pieces.answer.text == "Hello you"
    assert list(pieces) == []
    assert world.server.options(world.thread_id) == [{}]


def test_stream_asks_for_a_stream_for_this_message_alone(world):
    list(stream(world, "Hello ", "you"))
    world.server.scripts.append(["Hello ", "you"])
    world.connect().ask("Hi", timeout=600)
    assert len(world.server.streams) == 1


@pytest.mark.parametrize("is_parked", [False, True])
def test_a_stream_that_is_closed_while_another_os_thread_reads_it_ends_the_loop(world, is_parked):
    pieces = stream(world, plan=[Linger(1000), Answer("Hello you")])

    def close():
        pieces._question._inquiry.is_parked = is_parked
        pieces.close()

    world.scheduler.call_later(5, close)
    assert list(pieces) == []
    assert world.scheduler.clock.monotonic() < 10
    with pytest.raises(RuntimeError, match="it has ended without an answer"):
        pieces.answer  # noqa: B018 - the property raises


@pytest.mark.parametrize("script", [[], [BROKEN], ["Hello ", BROKEN], ["Hell"]])
def test_the_text_that_the_stream_has_missed_comes_with_the_message(world, script):
    pieces = stream(world, *script)
    assert "".join(pieces) == pieces.answer.text == "Hello you"


def test_without_streams_the_whole_text_is_the_only_piece(world):
    agent = world.connect()
    pieces = agent.stream("Hi", timeout=600)
    assert list(pieces) == ["Hello you"]


def test_a_stream_that_says_something_else_yields_no_more(world):
    pieces = stream(world, "Bye")
    assert list(pieces) == ["Bye"]
    assert pieces.answer.text == "Hello you"


def test_a_run_that_is_started_again_yields_only_what_continues_the_text(world):
    world.server.scripts += [["Hello ", "y"], ["Hello ", "you"]]
    world.plans += [[Linger(2), RATE], [SLOW, Answer("Hello you")]]
    pieces = world.connect().stream("Hi", timeout=600)
    assert list(pieces) == ["Hello ", "y", "ou"]
    assert pieces.answer.text == "Hello you"


def test_the_messages_of_a_run_are_joined_as_in_the_answer(world):
    world.server.scripts += [["Just a mo", "ment"], ["Hello ", "you"]]
    world.plans.append([Linger(3), Call((("measure", "{}"),)), SLOW, Answer("Hello you")])
    agent = world.connect()

    def measure(sender, event):
        agent.submit_tool_output(event.id, 21)

    with signals.tool_call_requested.connected_to(measure):
        pieces = agent.stream("Hi", timeout=600)
        said = list(pieces)
    assert len(world.server.streams) == 2
    assert said[:2] == ["Just a mo", "ment"]
    assert pieces.answer.text == "Hello you"


def test_several_messages_are_separated_by_a_newline(world):
    pieces = stream(world, ("m1", "One"), ("m2", "Two"), ("m2", "!"), plan=[Linger(9), Answer("One\nTwo!")])
    assert list(pieces) == ["One", "\nTwo", "!"]


def test_stream_raises_what_ask_raises(world):
    pieces = stream(world, "Hello ", plan=[Linger(2), Fail(code="server_error", message="Sorry")])
    assert next(pieces) == "Hello "
    with pytest.raises(errors.RunError, match="Sorry"):
        list(pieces)
    with pytest.raises(RuntimeError, match="ended without an answer"):
        _ = pieces.answer


def test_stream_ends_after_its_timeout_and_the_conversation_continues(world):
    world.plans.append([Linger(50), Answer("Hello you")])
    agent = world.connect()
    with pytest.raises(errors.WaitTimeout, match="has not answered after 5 seconds"):
        list(agent.stream("Hi", timeout=5))
    assert agent.wait(timeout=600) == "idle"


def test_the_answer_cannot_be_read_before_the_end(world):
    pieces = stream(world, "Hello ", "you")
    with pytest.raises(RuntimeError, match="read all of its pieces first"):
        _ = pieces.answer
    list(pieces)
    assert pieces.answer.text == "Hello you"


def test_a_loop_that_is_left_early_follows_the_message_no_longer(world):
    agent = world.connect()
    world.server.scripts.append(["Hello ", "you"])
    world.plans.append([SLOW, Answer("Hello you")])
    with agent.stream("Hi", timeout=600) as pieces:
        assert next(pieces) == "Hello "
        assert len(agent._driver.announcer.inquiries) == 1
    assert agent._driver.announcer.inquiries == ()
    assert list(pieces) == []
    assert agent.wait(timeout=600) == "idle"


def test_a_stream_that_nobody_reads_follows_the_message_no_longer(world):
    agent = world.connect()
    pieces = agent.stream("Hi", timeout=600)
    assert len(agent._driver.announcer.inquiries) == 1
    del pieces
    assert agent._driver.announcer.inquiries == ()


def test_a_wrong_argument_of_stream_is_refused_at_once_and_nothing_is_sent(world):
    agent = world.connect()
    with pytest.raises(ValueError, match="must not be blank"):
        agent.stream(" ")
    with pytest.raises(ValueError, match="timeout"):
        agent.stream("Hi", timeout="soon")
    assert agent._driver.announcer.inquiries == ()
    assert agent.wait(timeout=1) == "idle"


def test_stream_in_a_handler_is_refused(world):
    agent, caught = world.connect(), []

    def handle(sender, event):
        with pytest.raises(errors.WaitInHandler):
            agent.stream("Hi")
        caught.append(True)

    with signals.run_completed.connected_to(handle):
        agent.ask("Hi", timeout=600)
    assert caught == [True]


def test_the_pieces_of_a_stream_cannot_be_waited_for_in_a_handler(world):
    agent, caught = world.connect(), []
    pieces = stream(world, plan=[Linger(3), Answer("Hello you")])

    def handle(sender, event):
        with pytest.raises(errors.WaitInHandler, match="the answer was waited for inside a handler"):
            next(pieces)
        caught.append(True)

    with signals.run_started.connected_to(handle):
        agent.wait(timeout=600)
    assert caught == [True]


# --- on OS threads ----------------------------------------------------------------------------------------


def reading(stream):
    return Reading("thread_1", "run_1", None, stream=stream)


def test_a_stream_is_read_on_a_thread_of_its_own_until_it_is_closed():
    woken, waits, closed = threading.Semaphore(0), threading.Event(), threading.Event()

    class Blocking:
        def next_piece(self, *, silence):
            if not waits.is_set():
                waits.set()
                return Piece(message_id="m", text="Hello")
            closed.wait(10)
            return None

        def close(self):
            closed.set()

    streams = Streams(1, lambda: None, lambda thread_id: woken.release())
    assert streams.reserve()
    assert not streams.reserve()
    read = reading(Blocking())
    streams.read(read)
    assert woken.acquire(timeout=10)
    assert [piece.text for piece in read.take()] == ["Hello"]
    read.close()
    assert woken.acquire(timeout=10)
    assert read.has_ended
    assert streams.reserve()


def test_a_thread_is_woken_once_for_all_pieces_that_wait():
    read = reading(None)
    assert [read.add(Piece(message_id="m", text=text)) for text in "abc"] == [True, False, False]
    assert [piece.text for piece in read.take()] == ["a", "b", "c"]
    assert read.add(Piece(message_id="m", text="d"))


def test_pieces_that_nobody_takes_are_joined_so_that_they_do_not_fill_the_memory():
    read, sent = reading(None), [str(number) for number in range(1000)]
    for number, text in enumerate(sent):
        read.add(Piece(message_id="m", text=text, position=number))
    pieces = list(read.take())
    assert len(pieces) == 32
    assert "".join(piece.text for piece in pieces) == "".join(sent)
    assert pieces[-1].position == 999


def test_after_the_end_of_the_runtime_there_is_no_place_for_a_stream():
    streams = Streams(2, lambda: None, lambda thread_id: None)
    assert streams.reserve()
    streams.close()
    assert not streams.reserve()


def test_pieces_that_have_come_together_do_not_wait_for_the_next_poll(make_world):
    world = make_world(heartbeat_interval=100.0)
    world.server.scripts.append(["a"])
    world.plans.append([SLOW, Answer("Hello you")])
    agent = world.connect(stream=True, subscribe=world.hear)
    agent.add_user_message("Hi")
    world.scheduler.advance(1.0)
    for _ in range(30):
        agent._driver._listener._reading.add(Piece(message_id="msg_9", text="b"))
    world.runtime._own_roster.tick_soon(world.thread_id)
    world.scheduler.settle()
    assert world.texts == ["a", *["b"] * 30]


def test_a_caller_is_told_of_each_piece_as_soon_as_the_handlers_have_heard_it():
    told = []
    inquiry = Inquiry("thread_1", "k", lambda: told.append(inquiry.text.take()))
    inquiry.hear(events.UserMessageAdded(id="msg_1", thread_id="thread_1", content="Hi", key="k"))
    inquiry.hear(events.RunStarted(id="run_1", thread_id="thread_1", assistant_id="asst_1"))
    for index, text in enumerate(["Hello ", "you"]):
        inquiry.hear(
            events.AssistantMessageDelta(
                thread_id="thread_1", run_id="run_1", message_id="msg_2", index=index, text=text
            )
        )
    assert told == ["Hello ", "you"]


def test_failures_of_creations_that_began_before_the_rest_do_not_prolong_it():
    now = [0.0]
    streams = Streams(99, lambda: None, lambda thread_id: None, now=lambda: now[0])
    for _ in range(9):
        streams.note_creation(has_failed=True)
    assert streams.is_resting
    now[0] = 61.0
    assert not streams.is_resting


def test_after_a_refusal_for_good_the_next_run_is_a_stream_again(world):
    world.server.failure = errors.OutcomeUnknown(502, None, "Bad gateway.", in_flight=True)
    plainly = world.server.create_run

    def refuse(request, *, timeout):
        world.server.create_run = plainly
        raise RequestRefused(400, "content_filter", "No.")

    world.server.create_run = refuse
    agent = world.connect(stream=True)
    with pytest.raises(errors.RunError, match="No"):
        agent.ask("Hi", timeout=600)
    world.server.failure = None
    assert say(world, "Hello ", "you") == ["Hello ", "you"]


# --- slow handlers ------------------------------------------------------------------------------------------


@pytest.fixture
def threaded():
    """Return a streaming server, and an agent on OS threads."""
    server = StreamingServer(lambda text: [Linger(1000), Answer("Hello you")])
    with Runtime(server, Settings(heartbeat_interval=0.05)) as runtime:
        thread_id = runtime.create_thread()
        yield server, runtime.connect(thread_id=thread_id, assistant_id="a", last_message_id=None)


def test_a_command_waits_for_one_piece_and_not_for_all_that_have_come(threaded):
    server, agent = threaded
    server.scripts.append(["a"] * 20)
    order, heard, go = [], threading.Event(), threading.Event()
    cancel = server.cancel_run

    def cancelled(*args, **kwargs):
        order.append("cancel")
        return cancel(*args, **kwargs)

    def hear(sender, event):
        order.append("piece")
        heard.set()
        go.wait(10)

    server.cancel_run = cancelled
    with signals.assistant_message_delta.connected_to(hear):
        agent.stream("Hi")
        assert heard.wait(10)
        agent.cancel_run()
        go.set()
        agent.wait(timeout=10)
    assert order[:2] == ["piece", "cancel"]


def test_a_piece_is_yielded_while_a_handler_of_the_next_piece_runs(threaded):
    server, agent = threaded
    server.scripts.append(["Hello ", "you"])
    got, in_time = threading.Event(), []

    def hear(sender, event):
        if event.index == 0:
            server.streams[0].ended.wait(10)  # so that both pieces wait for this tick
        else:
            in_time.append(got.wait(10))

    with signals.assistant_message_delta.connected_to(hear):
        pieces = agent.stream("Hi", timeout=20)
        assert next(pieces) == "Hello "
        got.set()
        assert next(pieces) == "you"
    assert in_time == [True]

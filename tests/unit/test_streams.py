"""Streams: the text of a run in pieces, as a hint beside the polls."""

from __future__ import annotations

import threading

import pytest

from gpt_agent_fsm import Runtime, Settings, errors, events, signals
from gpt_agent_fsm.engine.inquiry import Inquiry
from gpt_agent_fsm.engine.streams import Reading, Streams
from gpt_agent_fsm.errors import RequestRefused, TransientError
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.ports import Piece
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Call, Fail, Linger, SimulatedServer, VirtualScheduler

NEWS = "an event without a text, and then a break"
BROKEN = TransientError(None, None, "The connection was lost.")
SLOW = Linger(60)
PLAN = (SLOW, Answer("Hello you"))
RATE = Fail(RunStatus.RATE_LIMITED, message="Rate limit reached")


class FakeStream:
    """A stream that says what a test wants, one thing after the other: a text, an error, or None for its end.

    Its pieces belong to the next message of the server, unless the test names another message.
    """

    def __init__(self, server, says, after=None):
        self.says, self.closed, self.resumed = list(says), False, 0
        self.ended = threading.Event()
        self._server = server
        self._position = 0 if after is None else after

    @property
    def position(self):
        return self._position if self._server.can_resume else None

    def next_piece(self, *, silence):
        assert silence > 0
        said = self.says.pop(0) if self.says and not self.closed else None
        if said == NEWS:
            self._position += 1
            said = BROKEN
        if isinstance(said, Exception):
            raise said
        if said is None:
            return None
        self._position += 1
        message_id, text = said if isinstance(said, tuple) else (self._server.next_message, said)
        position = self._position if self._server.can_resume else None
        return Piece(message_id=message_id, text=text, position=position)

    def resume(self, *, timeout):
        assert timeout.seconds_left > 0
        self.resumed += 1
        return self._server.can_resume

    def close(self):
        self.closed = True
        self.ended.set()


class StreamingServer(SimulatedServer):
    """A server whose runs are streams. `scripts` are what the next streams say."""

    def __init__(self, plan):
        super().__init__(plan)
        self.scripts, self.streams, self.opened, self.polls = [], [], [], 0
        self.can_resume = False
        self.failure, self.creations = None, []

    @property
    def next_message(self):
        return f"msg_{self._count + 1}"

    def _stream(self, after=None):
        script = self.scripts.pop(0) if self.scripts else None
        if script is None:
            return None
        self.streams.append(FakeStream(self, script, after))
        return self.streams[-1]

    def create_run(self, request, *, timeout):
        self.creations.append("plain")
        return super().create_run(request, timeout=timeout)

    def create_run_streamed(self, request, *, timeout):
        self.creations.append("streamed")
        if self.failure is not None:
            raise self.failure
        return super().create_run(request, timeout=timeout), self._stream()

    def submit_tool_outputs_streamed(self, request, *, timeout):
        return self.submit_tool_outputs(request, timeout=timeout), self._stream()

    def open_stream(self, thread_id, run_id, *, handle, after, timeout):
        self.opened.append((run_id, after))
        return self._stream(after)

    def get_run(self, *args, **kwargs):
        self.polls += 1
        return super().get_run(*args, **kwargs)


class World:
    def __init__(self, **settings):
        self.plans, self.deltas = [], []
        self.server = StreamingServer(lambda text: self.plans.pop(0) if self.plans else [Answer("Hello you")])
        self.store, self.settings = MemoryStore(), Settings(**settings)
        self.scheduler = VirtualScheduler()
        self.heard = []
        self.thread_id = self.server.create_thread(timeout=1)
        self.start()

    def start(self):
        self.runtime = Runtime(self.server, self.settings, self.store, scheduler=self.scheduler)

    def restart(self):
        self.runtime.close()
        self.scheduler.restart()
        self.start()

    def connect(self, **options):
        options = {"assistant_id": "asst_1", "last_message_id": None, "thread_id": self.thread_id, **options}
        return self.runtime.connect(**options)

    def hear(self, agent, event):
        self.heard.append(event)

    @property
    def texts(self):
        return [event.text for event in self.heard if isinstance(event, events.AssistantMessageDelta)]

    @property
    def names(self):
        return [type(event).__name__ for event in self.heard if not isinstance(event, events.StateChanged)]


@pytest.fixture
def make_world():
    made = []

    def make(**settings):
        made.append(World(**settings))
        return made[-1]

    yield make
    for world in made:
        world.runtime.close()


@pytest.fixture
def world(make_world):
    return make_world()


def say(world, *script, plan=PLAN, **options):
    """Ask in a streamed thread, and return the pieces that its subscriber has heard when everything has settled."""
    world.server.scripts.append(script)
    world.plans.append(list(plan))
    agent = world.connect(stream=True, subscribe=world.hear, **options)
    agent.add_user_message("Hi")
    agent.wait(timeout=600)
    return world.texts


# --- who hears the pieces -------------------------------------------------------------------------------


def test_the_pieces_of_a_message_come_before_the_message(world):
    assert say(world, "Hello ", "you") == ["Hello ", "you"]
    assert world.names == [
        "UserMessageAdded",
        "RunStarted",
        "AssistantMessageDelta",
        "AssistantMessageDelta",
        "RunCompleted",
        "AssistantMessageAdded",
    ]
    message = world.heard[-1]
    deltas = [event for event in world.heard if isinstance(event, events.AssistantMessageDelta)]
    assert [delta.index for delta in deltas] == [0, 1]
    assert {(delta.message_id, delta.run_id, delta.thread_id) for delta in deltas} == {
        (message.message_id, message.run_id, world.thread_id)
    }


def test_pieces_are_no_part_of_the_history(world):
    say(world, "Hello ", "you")
    kept = [type(record.event) for record in world.runtime.history(world.thread_id)]
    assert events.AssistantMessageAdded in kept
    assert events.AssistantMessageDelta not in kept


def test_the_signal_of_pieces_sends_them_and_the_signal_of_all_events_does_not(world):
    pieces, everything = [], []

    def hear_piece(agent, event):
        pieces.append(event.text)

    def hear_all(agent, event):
        everything.append(type(event))

    with signals.assistant_message_delta.connected_to(hear_piece), signals.event.connected_to(hear_all):
        say(world, "Hello ", "you")
    assert pieces == ["Hello ", "you"]
    assert events.AssistantMessageAdded in everything
    assert events.AssistantMessageDelta not in everything


def test_a_subscriber_hears_pieces_only_if_its_own_connect_asked_for_them(world):
    others = []
    world.connect(subscribe=lambda agent, event: others.append(type(event)))
    assert say(world, "Hello ", "you") == ["Hello ", "you"]
    assert events.AssistantMessageAdded in others
    assert events.AssistantMessageDelta not in others


def test_without_a_wish_no_run_is_a_stream(world):
    world.server.scripts.append(["Hello ", "you"])
    agent = world.connect(subscribe=world.hear)
    assert agent.ask("Hi", timeout=600).text == "Hello you"
    assert world.server.streams == []


def test_the_wish_for_streams_is_kept_with_the_thread_until_it_is_taken_back(world):
    say(world, "Hello ", "you")
    world.restart()
    agent = world.connect()
    world.server.scripts += [["Hello ", "you"], ["Hello ", "you"]]
    agent.ask("Again", timeout=600)
    assert len(world.server.streams) == 2
    world.connect(stream=False)
    agent.ask("And again", timeout=600)
    assert len(world.server.streams) == 2


@pytest.mark.parametrize("stream", [1, "yes"])
def test_a_wish_that_is_not_true_or_false_is_refused(world, stream):
    with pytest.raises(TypeError, match="stream must be True, False or None"):
        world.connect(stream=stream)


# --- a stream is only a hint ------------------------------------------------------------------------------


def test_late_pieces_of_a_message_are_dropped(world):
    world.server.scripts.append(["Hello ", *[f"piece {n}" for n in range(200)]])
    world.plans.append([Answer("Hello you")])
    agent = world.connect(stream=True, subscribe=world.hear)
    agent.add_user_message("Hi")
    agent.wait(timeout=600)
    world.scheduler.advance(60.0)
    assert world.names[-1] == "AssistantMessageAdded"
    assert 1 <= len(world.texts) < 200


def test_pieces_that_come_under_another_id_are_announced_before_the_message(world):
    assert say(world, ("other", "Hello ")) == ["Hello "]
    assert world.names[-1] == "AssistantMessageAdded"


def test_a_run_that_fails_drops_the_pieces_that_wait(world):
    texts = say(world, *["a"] * 500, plan=[Fail()])
    assert len(texts) < 500
    assert "AssistantMessageDelta" not in world.names[world.names.index("RunFailed") :]


@pytest.mark.parametrize("script", [[BROKEN], ["Hello ", BROKEN], ["Hello ", RuntimeError("a defect")], []])
def test_a_stream_that_breaks_costs_only_pieces(world, script):
    texts = say(world, *script)
    assert texts == [said for said in script if isinstance(said, str)]
    assert world.heard[-1].content == "Hello you"


def test_a_server_that_answers_without_a_stream_is_polled(world):
    world.plans.append([Answer("Hello you")])
    assert world.connect(stream=True).ask("Hi", timeout=600).text == "Hello you"


def test_a_broken_stream_is_continued_where_the_api_can(world):
    world.server.can_resume = True
    assert say(world, "Hello ", BROKEN, BROKEN, "you") == ["Hello ", "you"]
    (stream,) = world.server.streams
    assert stream.resumed == 2


def test_a_stream_may_break_any_number_of_times_if_pieces_come_in_between(world):
    world.server.can_resume = True
    assert say(world, *["a", BROKEN] * 10, "b") == ["a"] * 10 + ["b"]
    (stream,) = world.server.streams
    assert stream.closed


def test_a_stream_that_breaks_again_and_again_is_given_up(world):
    world.server.can_resume = True
    assert say(world, "Hello ", *[BROKEN] * 50) == ["Hello "]
    (stream,) = world.server.streams
    assert stream.resumed == 5
    assert stream.closed


def test_a_stream_whose_events_have_no_text_is_not_given_up(world):
    world.server.can_resume = True
    assert say(world, *[NEWS] * 20, "Hello you") == ["Hello you"]


def test_a_stream_that_is_closed_while_it_is_opened_is_not_read(world):
    stream = FakeStream(world.server, ["Hello "])

    def open_():
        read.close()
        return stream

    ended, streams = threading.Event(), Streams(1, lambda: None, lambda thread_id: ended.set())
    read = Reading("thread_1", "run_1", None, open_=open_)
    assert streams.reserve()
    streams.read(read)
    assert ended.wait(10)
    assert (stream.closed, stream.says, read.has_pieces) == (True, ["Hello "], False)


def test_a_handler_of_pieces_that_stops_the_agent_hears_no_more(world):
    stopped = []

    def stop(agent, event):
        agent.shutdown()
        stopped.append(event)

    world.server.scripts.append(["a"] * 500)
    world.plans.append([SLOW, Answer("Hello you")])
    agent = world.connect(stream=True)
    with signals.assistant_message_delta.connected_to(stop):
        agent.add_user_message("Hi")
        world.scheduler.advance(100.0)
    assert len(stopped) == 1
    assert not agent.alive


def test_a_defect_of_a_stream_is_logged_with_its_traceback(world, caplog):
    say(world, RuntimeError("a defect"))
    (record,) = (record for record in caplog.records if record.name == "gpt_agent_fsm.engine.streams")
    assert record.levelname == "ERROR"
    assert record.exc_info is not None


def test_while_a_stream_is_read_a_run_is_polled_less_and_its_end_causes_a_poll(world):
    say(world, *["a"] * 300, plan=[Linger(3), Answer("Hello you")])
    streamed = world.server.polls, world.scheduler.clock.monotonic()
    world.connect(stream=False)
    world.plans.append([Linger(3), Answer("Hello you")])
    agent = world.connect()
    agent.ask("Hi", timeout=600)
    assert streamed[0] == world.server.polls - streamed[0] == 4
    polled = world.scheduler.clock.monotonic() - streamed[1]
    assert streamed[1] > 4 * polled


def test_the_end_of_a_stream_causes_a_poll_at_once(world):
    started = world.scheduler.clock.monotonic()
    say(world, "Hello ", "you", plan=[Answer("Hello you")])
    assert world.scheduler.clock.monotonic() - started < world.settings.heartbeat_interval


def test_a_stopped_agent_closes_its_stream(world):
    world.server.scripts.append(["a"] * 500)
    world.plans.append([SLOW])
    agent = world.connect(stream=True)
    agent.add_user_message("Hi")
    world.scheduler.advance(2.0)
    (stream,) = world.server.streams
    assert not stream.closed
    agent.shutdown()
    world.scheduler.settle()
    assert stream.closed


# --- servers that fail only for streams ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        errors.OutcomeUnknown(501, None, "Not implemented.", hopeless=True, in_flight=True),
        errors.OutcomeUnknown(None, None, "The connection was lost.", in_flight=True),
        TransientError(503, "server_is_overloaded", "Overloaded."),
    ],
)
def test_a_run_that_cannot_be_created_as_a_stream_is_created_without_one(world, failure):
    world.server.failure = failure
    assert say(world, "Hello ", "you") == []
    assert world.heard[-1].content == "Hello you"
    assert world.server.creations == ["streamed", "plain"]


def test_after_a_failed_creation_the_next_run_is_a_stream_again(world):
    world.server.failure = errors.OutcomeUnknown(502, None, "Bad gateway.", in_flight=True)
    world.connect(stream=True).ask("Hi", timeout=600)
    world.server.failure = None
    assert say(world, "Hello ", "you") == ["Hello ", "you"]
    assert world.server.creations == ["streamed", "plain", "streamed"]


def test_a_rate_limit_does_not_end_a_stream(world):
    world.server.failure = TransientError(429, "rate_limit_exceeded", "Slow down.", retry_after=5.0)
    world.connect(stream=True).add_user_message("Hi")
    world.scheduler.advance(2.0)
    world.server.failure = None
    world.connect().wait(timeout=600)
    assert set(world.server.creations) == {"streamed"}


def test_while_every_stream_fails_none_is_tried_for_a_minute(world):
    world.server.failure = errors.OutcomeUnknown(502, None, "Bad gateway.", in_flight=True)
    agent = world.connect(stream=True)
    for _ in range(5):
        agent.ask("Hi", timeout=600)
    assert world.server.creations.count("streamed") == 3
    world.scheduler.advance(61.0)
    for _ in range(5):
        agent.ask("Hi", timeout=600)
    assert world.server.creations.count("streamed") == 4
    world.scheduler.advance(61.0)
    agent.ask("Hi", timeout=600)
    assert world.server.creations.count("streamed") == 4
    world.server.failure = None
    world.scheduler.advance(61.0)
    for _ in range(5):
        agent.ask("Hi", timeout=600)
    assert world.server.creations.count("streamed") == 9


# --- how many, and after a restart ---------------------------------------------------------------------------


def test_more_runs_than_places_are_polled_and_a_place_becomes_free_again(make_world):
    world = make_world(streams=1)
    second = world.server.create_thread(timeout=1)
    world.server.scripts += [["a"] * 30, ["b"], ["c"]]
    world.plans += [[SLOW, Answer("Hello you")], [Answer("Hello you")]]
    agents = [world.connect(thread_id=thread_id, stream=True) for thread_id in (world.thread_id, second)]
    agents[0].add_user_message("Hi")
    world.scheduler.advance(1.0)
    assert agents[1].ask("Hi", timeout=600).text == "Hello you"
    assert len(world.server.streams) == 1
    agents[0].wait(timeout=600)
    agents[1].ask("Hi", timeout=600)
    assert len(world.server.streams) == 2


def test_without_places_nothing_is_a_stream(make_world):
    world = make_world(streams=0)
    assert say(world, "Hello ", "you") == []
    assert world.heard[-1].content == "Hello you"


def test_a_run_that_is_not_created_gives_its_place_back(make_world):
    world = make_world(streams=1)
    world.server.failure = RequestRefused(400, "content_filter", "No.")
    agent = world.connect(stream=True)
    with pytest.raises(errors.RunError, match="No"):
        agent.ask("Hi", timeout=600)
    world.server.failure = None
    world.server.scripts.append(["Hello ", "you"])
    agent.ask("Hi", timeout=600)
    assert len(world.server.streams) == 1


def test_after_a_restart_a_stream_continues_after_the_pieces_that_were_announced(world):
    world.server.can_resume = True
    world.server.scripts += [["Hello ", "you", *[" and you"] * 500], [" too"]]
    world.plans.append([Linger(100), Answer("Hello you")])
    agent = world.connect(stream=True, subscribe=world.hear)
    agent.add_user_message("Hi")
    world.scheduler.advance(2.0)
    before = len(world.texts)
    assert 2 <= before < 500
    world.restart()
    world.connect(stream=True, subscribe=world.hear)
    world.scheduler.advance(2.0)
    assert world.server.opened == [("run_3", before)]
    deltas = [event for event in world.heard if isinstance(event, events.AssistantMessageDelta)]
    assert [delta.index for delta in deltas] == list(range(before + 1))
    assert deltas[-1].text == " too"


def test_after_a_crash_at_most_the_pieces_since_the_last_poll_come_again(world):
    world.server.can_resume = True
    world.server.scripts += [["a"] * 500, []]
    world.plans.append([Linger(100), Answer("Hello you")])
    agent = world.connect(stream=True, subscribe=world.hear)
    agent.add_user_message("Hi")
    world.scheduler.advance(12.0)
    polls, announced = world.server.polls, len(world.texts)
    assert polls == 2
    saved = world.store.load(world.thread_id).snapshot.run.heard
    assert announced / 2 < saved.position < announced
    assert saved.pieces == saved.position


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

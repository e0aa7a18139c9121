"""Streams: the text of a run in pieces, as a hint beside the polls."""

from __future__ import annotations

import threading

import pytest

from gpt_agent_fsm import errors, events, signals
from gpt_agent_fsm.engine.streams import Reading, Streams
from gpt_agent_fsm.errors import RequestRefused, TransientError
from gpt_agent_fsm.testing import Answer, Fail, Linger
from tests.unit.stream_worlds import BROKEN, NEWS, SLOW, FakeStream, say


@pytest.fixture
def world(make_world):
    return make_world()


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

"""Which pieces of a stream are announced, and when the stream is closed."""

from types import SimpleNamespace

import attrs
import pytest

from gpt_agent_fsm.engine.listener import Listener
from gpt_agent_fsm.events import AssistantMessageAdded
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.objects import Run
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import Piece
from tests.story import polling, run, running

CREATE = effects.CreateRun(key="k", assistant_id="a")


class ByHand:
    """The streams of a runtime, of which nothing is read until a test adds pieces."""

    is_resting = False

    def __init__(self):
        self.readings, self.places = [], 0

    def reserve(self):
        self.places += 1
        return True

    def give_back(self):
        self.places -= 1

    def note_creation(self, *, has_failed):
        assert not has_failed

    def read(self, reading):
        self.readings.append(reading)


class Backend:
    def create_run_streamed(self, request, *, timeout):
        return Run(id="run_1", status=RunStatus.ACTIVE), SimpleNamespace(close=lambda: None)

    submit_tool_outputs_streamed = create_run_streamed

    def open_stream(self, *args, **kwargs):
        return None


def added(message_id, run_id="run_1"):
    return AssistantMessageAdded(
        message_id=message_id, thread_id="thread_1", run_id=run_id, assistant_id="a", content="x"
    )


def piece(message_id, text):
    return Piece(message_id=message_id, text=text)


def create(listener, request=CREATE):
    maker = listener.maker_for(request, attrs.evolve(polling().snapshot, stream=True))
    answer = maker.create_run(None, timeout=1)
    listener.made(request, maker, inputs.RunCreated(run=answer))


@pytest.fixture
def streams():
    return ByHand()


@pytest.fixture
def listener(streams):
    made = Listener(Backend(), streams, "thread_1")
    create(made)
    return made


def say(streams, *pieces):
    for each in pieces:
        streams.readings[-1].add(piece(*each))


def texts(deltas):
    return [delta.text for delta in deltas]


def test_before_a_message_only_the_pieces_up_to_its_last_one_are_announced(listener, streams):
    say(streams, ("m1", "a"), ("m1", "b"), ("m2", "c"))
    assert texts(listener.deltas_before(added("m1"))) == ["a", "b"]
    assert texts(listener.deltas()) == ["c"]


def test_pieces_of_a_message_that_was_announced_whole_are_dropped(listener, streams):
    say(streams, ("m1", "a"))
    assert texts(listener.deltas_before(added("m1"))) == ["a"]
    say(streams, ("m1", "b"), ("m2", "c"))
    assert texts(listener.deltas()) == ["c"]


def test_before_a_message_of_which_no_piece_is_known_all_pieces_are_announced(listener, streams):
    say(streams, ("another id", "a"))
    assert texts(listener.deltas_before(added("m1"))) == ["a"]


def test_pieces_of_the_next_message_wait_while_the_message_before_them_is_announced(listener, streams):
    say(streams, ("m1", "a"))
    assert texts(listener.deltas()) == ["a"]
    say(streams, ("m2", "b"))
    assert texts(listener.deltas_before(added("m1"))) == []
    assert texts(listener.deltas()) == ["b"]


def test_a_message_of_another_run_changes_nothing(listener, streams):
    say(streams, ("m1", "a"))
    assert texts(listener.deltas_before(added("m1", run_id="run_0"))) == []
    assert texts(listener.deltas()) == ["a"]


def test_the_pieces_of_a_run_that_is_over_are_dropped_and_its_stream_is_closed(listener, streams):
    listener.follow(polling().snapshot)
    assert not streams.readings[0].closed.is_set()
    say(streams, ("m1", "a"))
    listener.follow(Snapshot(thread_id="thread_1", assistant_id="a"))
    assert streams.readings[0].closed.is_set()
    assert texts(listener.deltas()) == []
    assert not listener.is_open


def test_the_pieces_that_wait_come_before_a_message_of_a_run_that_is_over(listener, streams):
    say(streams, ("m1", "a"))
    listener.follow(Snapshot(thread_id="thread_1", assistant_id="a"))
    assert texts(listener.deltas_before(added("m1"))) == ["a"]


def test_when_a_run_continues_in_another_answer_the_pieces_that_wait_are_kept(listener, streams):
    say(streams, ("m1", "a"))
    create(listener, effects.SubmitToolOutputs(run_id="run_1", outputs=()))
    say(streams, ("m2", "b"))
    deltas = list(listener.deltas())
    assert [(delta.text, delta.index) for delta in deltas] == [("a", 0), ("b", 0)]
    assert streams.readings[0].closed.is_set()


def test_the_position_of_a_piece_of_the_former_answer_is_not_that_of_the_next(listener, streams):
    streams.readings[-1].add(Piece(message_id="m1", text="a", position=57))
    create(listener, effects.SubmitToolOutputs(run_id="run_1", outputs=()))
    assert texts(listener.deltas()) == ["a"]
    snapshot = polling().snapshot
    assert listener.noted(snapshot) is snapshot


def test_the_stream_of_a_run_that_this_process_did_not_create_is_opened_once(streams):
    listener = Listener(Backend(), streams, "thread_1")
    snapshot = attrs.evolve(running().snapshot, stream=True)
    listener.follow(snapshot)
    listener.follow(snapshot)
    (reading,) = streams.readings
    assert reading.run_id == snapshot.run.id
    assert not reading.closed.is_set()


def test_no_stream_is_opened_for_a_run_that_was_created_without_one(streams):
    listener = Listener(object(), streams, "thread_1")
    assert listener.maker_for(CREATE, attrs.evolve(polling().snapshot, stream=True)) is None
    listener.made(CREATE, None, inputs.RunCreated(run=run()))
    listener = Listener(Backend(), streams, "thread_1")
    listener.made(CREATE, None, inputs.RunCreated(run=run()))
    listener.follow(attrs.evolve(polling().snapshot, stream=True))
    assert streams.readings == []


def test_the_end_of_a_stream_that_was_never_open_is_not_told(streams):
    listener = Listener(Backend(), streams, "thread_1")
    listener.follow(attrs.evolve(running().snapshot, stream=True))
    streams.readings[0].has_ended = True
    assert not listener.take_end()


def test_the_end_of_a_stream_is_told_once(listener, streams):
    assert not listener.take_end()
    streams.readings[0].has_ended = True
    assert [listener.take_end(), listener.take_end()] == [True, False]


def test_only_requests_that_create_or_continue_a_run_are_made_as_streams(streams):
    listener = Listener(Backend(), streams, "thread_1")
    assert listener.maker_for(effects.GetRun(run_id="run_1"), attrs.evolve(polling().snapshot, stream=True)) is None
    assert streams.places == 0

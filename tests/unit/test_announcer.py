"""Each subscriber is called for each record once and in order, whether the record is old or new."""

import threading
from types import SimpleNamespace

import pytest

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.engine.announcer import Announcer
from gpt_agent_fsm.engine.listener import Listener
from gpt_agent_fsm.engine.streams import Streams
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.ports import Record, Saved

THREAD = "thread_1"


class Journal:
    """The two methods of a store that an announcer calls. It has the records 1 to `last`."""

    def __init__(self, last):
        self.records = [
            Record(seq=n, at=0.0, event=events.ToolCallOutputSubmissionFailed(thread_id=THREAD, run_id=f"run_{n}"))
            for n in range(1, last + 1)
        ]
        self.noted = []

    def history(self, thread_id, after):
        return self.records[after:]

    def announced(self, thread_id, seq):
        self.noted.append(seq)


class Subscriber:
    """A handler whose second parameter is not called `event`, as a subscriber may do. Keeps the numbers it heard."""

    def __init__(self, log=None):
        self.heard = []
        self.log = [] if log is None else log

    def __call__(self, agent, what):
        self.heard.append(what.run_id)
        self.log.append((self, what.run_id))


def runs(*numbers):
    return [f"run_{number}" for number in numbers]


def always():
    return True


def delta(text, index):
    return events.AssistantMessageDelta(thread_id=THREAD, run_id="run_1", message_id="m", index=index, text=text)


def added(text):
    return events.AssistantMessageAdded(
        message_id="m", thread_id=THREAD, run_id="run_1", assistant_id="a", content=text
    )


def no_stream():
    """Return the listener of a thread whose backend has no streams."""
    return Listener(None, Streams(0, lambda: None, lambda thread_id: None), THREAD)


@pytest.fixture
def journal():
    return Journal(last=3)


@pytest.fixture
def announcer(journal):
    """An announcer that must announce all three records."""
    made = Announcer(THREAD, journal, no_stream(), threading.RLock())
    made.add(journal.records)
    return made


REPLAYS = [(0, runs(1, 2, 3)), (1, runs(2, 3)), (2, runs(3)), (3, []), (9, [])]


@pytest.mark.parametrize(("replay_after", "expected"), [(None, runs(1, 2, 3)), *REPLAYS])
def test_an_early_subscriber_hears_each_record_after_its_number_once(announcer, replay_after, expected):
    subscriber = Subscriber()
    announcer.join(subscriber, replay_after)
    announcer.announce(always)
    assert subscriber.heard == expected


@pytest.mark.parametrize(("replay_after", "expected"), [(None, []), *REPLAYS])
def test_a_late_subscriber_hears_each_record_after_its_number_once(announcer, replay_after, expected):
    subscriber = Subscriber()
    announcer.announce(always)
    announcer.join(subscriber, replay_after)
    announcer.announce(always)
    assert subscriber.heard == expected


def test_a_replay_that_fails_continues_where_it_stopped(journal, announcer):
    announcer.announce(always)
    subscriber, history, fails = Subscriber(), journal.history, [True]

    def failing(thread_id, after):
        for record in history(thread_id, after):
            if record.seq == 3 and fails:
                fails.clear()
                raise StoreError("The file is locked.")
            yield record

    journal.history = failing
    announcer.join(subscriber, 0)
    with pytest.raises(StoreError):
        announcer.announce(always)
    announcer.announce(always)
    assert subscriber.heard == runs(1, 2, 3)


def test_a_replay_ends_when_the_agent_is_stopped(announcer):
    announcer.announce(always)
    subscriber = Subscriber()
    announcer.join(subscriber, 0)
    announcer.announce(lambda: not subscriber.heard)
    assert subscriber.heard == runs(1)
    announcer.announce(always)
    assert subscriber.heard == runs(1, 2, 3)


def test_a_subscriber_whose_number_is_too_high_hears_all_new_records(announcer, journal):
    announcer.announce(always)
    subscriber = Subscriber()
    announcer.join(subscriber, 2**70)
    announcer.announce(always)
    announcer.add(Journal(last=4).records[3:])
    announcer.announce(always)
    assert subscriber.heard == runs(4)


def test_two_new_subscribers_hear_the_history_in_the_order_in_which_they_came(announcer):
    announcer.announce(always)
    log = []
    first, second = Subscriber(log), Subscriber(log)
    announcer.join(first, 1)
    announcer.join(second, 0)
    announcer.announce(always)
    assert log == [(first, "run_2"), (first, "run_3"), (second, "run_1"), (second, "run_2"), (second, "run_3")]


def test_an_announcer_that_takes_over_announces_only_the_rest(journal):
    announcer, old, new = Announcer(THREAD, journal, no_stream(), threading.RLock()), Subscriber(), Subscriber()
    snapshot = Snapshot(thread_id=THREAD, assistant_id="a")
    announcer.take_over(Saved(snapshot=snapshot, unannounced=tuple(journal.records[2:]), last_seq=3))
    announcer.join(old, None)
    announcer.join(new, 0)
    announcer.announce(always)
    assert old.heard == runs(3)
    assert new.heard == runs(1, 2, 3)
    assert journal.noted == [3]


def test_the_store_is_told_once_how_far_the_announcer_came(announcer, journal):
    announcer.announce(always)
    announcer.announce(always)
    assert journal.noted == [3]


def test_the_work_is_done_only_when_neither_a_record_nor_a_new_subscriber_waits(announcer):
    assert not announcer.is_done
    announcer.announce(always)
    assert announcer.is_done
    announcer.join(Subscriber(), None)
    assert announcer.is_done
    announcer.join(Subscriber(), 0)
    assert not announcer.is_done
    announcer.announce(always)
    assert announcer.is_done


def test_the_rest_is_announced_by_the_next_call(announcer, journal):
    subscriber = Subscriber()
    announcer.join(subscriber, None)
    announcer.announce(lambda: not subscriber.heard)
    assert subscriber.heard == runs(1)
    assert journal.noted == [1]
    announcer.announce(always)
    assert subscriber.heard == runs(1, 2, 3)
    assert journal.noted == [1, 3]


def test_receivers_of_a_signal_get_the_event_by_keyword(announcer):
    heard = []

    def receiver(sender, **named):
        heard.append(named["event"].run_id)

    with signals.event.connected_to(receiver):
        announcer.announce(always)
    assert heard == runs(1, 2, 3)


def test_the_end_is_announced_to_subscribers_who_still_wait_for_the_history(announcer):
    ended = []
    announcer.join(lambda agent, what: ended.append(("old", what.reason)), None)
    announcer.join(lambda agent, what: ended.append(("new", what.reason)), 0)
    announcer.announce_end(events.AgentStopped(thread_id=THREAD, reason="shutdown"))
    assert ended == [("old", "shutdown"), ("new", "shutdown")]


def test_the_pieces_of_a_message_that_wait_are_announced_right_before_the_message(journal):
    pieces = [delta("a", 0), delta("b", 1)]
    listener = SimpleNamespace(deltas_before=lambda event: pieces, deltas=lambda: iter(()))
    announcer, heard, others = Announcer(THREAD, journal, listener, threading.RLock()), [], []
    announcer.join(lambda sender, event: heard.append(event), None, stream=True)
    announcer.join(lambda sender, event: others.append(event), None)
    started, message = journal.records[0], Record(seq=2, at=0.0, event=added("ab"))
    announcer.add([started, message])
    announcer.announce(always)
    assert heard == [started.event, *pieces, message.event]
    assert others == [started.event, message.event]


def test_nothing_follows_a_piece_whose_handler_stops_the_agent(journal):
    listener = SimpleNamespace(deltas_before=lambda event: [delta("a", 0), delta("b", 1)], deltas=lambda: iter(()))
    announcer, heard = Announcer(THREAD, journal, listener, threading.RLock()), []
    announcer.join(lambda sender, event: heard.append(event), None, stream=True)
    announcer.add([Record(seq=1, at=0.0, event=added("ab"))])
    announcer.announce(lambda: not heard)
    assert heard == [delta("a", 0)]
    assert not announcer.is_done


def test_the_pieces_that_wait_are_announced_after_the_records(journal):
    pieces = [delta("a", 0)]
    listener = SimpleNamespace(deltas_before=lambda event: [], deltas=lambda: iter(pieces))
    announcer, heard = Announcer(THREAD, journal, listener, threading.RLock()), []
    announcer.join(lambda sender, event: heard.append(event), None, stream=True)
    announcer.add(journal.records)
    announcer.announce(lambda: not heard)
    assert heard == [journal.records[0].event]
    announcer.announce(always)
    assert heard == [*(record.event for record in journal.records), *pieces]


def test_some_pieces_are_announced_at_once_and_the_others_stay(journal):
    waiting = [delta("a", number) for number in range(20)]

    def deltas():
        while waiting:
            yield waiting.pop(0)

    announcer, heard = (
        Announcer(THREAD, journal, SimpleNamespace(deltas=deltas, is_reading=True), threading.RLock()),
        [],
    )
    announcer.join(lambda sender, event: heard.append(event), None, stream=True)
    announcer.announce(always)
    assert (len(heard), len(waiting)) == (8, 12)
    announcer.announce(always, lambda: len(heard) < 10)
    assert (len(heard), len(waiting)) == (10, 10)


# --- whether anybody listens ----------------------------------------------------------------------------------


def test_records_that_wait_are_unheard_only_if_nobody_followed_them_and_nobody_has_subscribed_since(journal):
    announcer = Announcer(THREAD, journal, no_stream(), threading.RLock())
    assert announcer.is_unheard([])
    announcer.add(journal.records[:1], unheard=True)
    assert announcer.is_unheard([journal.records[1].event])
    announcer.add(journal.records[1:2])
    assert not announcer.is_unheard([])
    announcer.announce(always)
    assert announcer.is_unheard([])
    announcer.add(journal.records[2:], unheard=True)
    announcer.join(Subscriber(), None)
    assert not announcer.is_unheard([])


def test_events_are_heard_by_subscribers_and_by_receivers_of_their_signal(announcer, journal):
    announcer.announce(always)
    happened = [journal.records[0].event]
    with signals.tool_call_output_submission_failed.connected_to(lambda _, event: None):
        assert not announcer.is_unheard(happened)
        assert announcer.is_unheard([added("Hi")])
    assert announcer.is_unheard(happened)
    announcer.join(Subscriber(), 0)
    assert not announcer.is_unheard([])

"""What processes tell each other: payloads that fit, what is heard, and what happens when a connection breaks."""

import json
import logging
import threading

import attrs
import psycopg
import pytest
from psycopg import sql

from gpt_agent_fsm.cluster import news
from gpt_agent_fsm.cluster.news import Ear, Herald
from gpt_agent_fsm.events import AssistantMessageDelta
from tests.cluster.helpers import PATIENCE, query

LIMIT = 8000
"""PostgreSQL refuses a payload of this many bytes."""
CHANNEL = "gpt_agent_tests"


def piece(text="Hel", **changes):
    values = {"thread_id": "thread_1", "run_id": "run_1", "message_id": "msg_1", "index": 0, "text": text, **changes}
    return AssistantMessageDelta(**values)


class Sent:
    """Keeps what a herald sends, and lets a test wait for it. While `blocked` is set, sending blocks."""

    def __init__(self, error=None):
        self.calls, self.error = [], error
        self.condition = threading.Condition()

    def __call__(self, payloads):
        with self.condition:
            self.calls.append(payloads)
            self.condition.notify_all()
        if self.error is not None:
            raise self.error

    @property
    def notes(self):
        return [json.loads(payload) for payloads in self.calls for payload in payloads]

    def wait_for(self, condition):
        with self.condition:
            assert self.condition.wait_for(condition, PATIENCE), self.calls


class Heard:
    """Keeps what an ear hears, and lets a test wait for it."""

    def __init__(self):
        self.notes, self.condition = [], threading.Condition()

    def note(self, *what):
        with self.condition:
            self.notes.append(what)
            self.condition.notify_all()

    def thread_changed(self, thread_id):
        self.note("changed", thread_id)

    def piece_came(self, delta):
        self.note("piece", delta)

    def news_was_lost(self):
        self.note("lost")

    def wait_for(self, *what, times=1):
        with self.condition:
            assert self.condition.wait_for(lambda: self.notes.count(what) >= times, PATIENCE), self.notes


# --- the herald -----------------------------------------------------------------------------------------------


@pytest.fixture
def sent():
    return Sent()


@pytest.fixture
def herald(sent):
    herald = Herald(sent, "me")
    yield herald
    herald.close()


@pytest.mark.parametrize("length", [1, 30, 500, 1000, 3000])
@pytest.mark.parametrize("letter", ["x", '"', "\\", "\N{SNOWMAN}", "\U0001f600", "\x01"])
@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_payloads_fit_for_any_number_and_length_of_ids(count, letter, length):
    ids = [letter * length + str(number) for number in range(count)]
    payloads = list(news._notes("host-0x7f0000000000" * 3, ids))
    assert all(len(payload.encode()) < LIMIT for payload in payloads)
    told = [thread_id for payload in payloads for thread_id in json.loads(payload)["changed"]]
    assert told == [thread_id for thread_id in ids if len(json.dumps(thread_id)) < 6900]


def test_an_id_that_no_payload_can_carry_is_left_out_and_the_others_are_told():
    payloads = list(news._notes("me", ["thread_1", "x" * LIMIT, "thread_2"]))
    assert [json.loads(payload)["changed"] for payload in payloads] == [["thread_1"], ["thread_2"]]


@pytest.mark.parametrize("letter", ["x", "\N{SNOWMAN}", "\U0001f600"])
def test_a_piece_that_is_too_long_is_left_out(letter):
    pieces = [piece("Hel"), piece(letter * LIMIT), piece("lo", index=2)]
    payloads = list(news._payloads("me", [("piece", attrs.asdict(each)) for each in pieces]))
    assert [json.loads(payload)["piece"]["text"] for payload in payloads] == ["Hel", "lo"]
    assert all(len(payload.encode()) < LIMIT for payload in payloads)


def test_many_changes_become_few_notes(herald, sent):
    for number in range(1000):
        herald.tell(f"thread_{number % 10}")
    sent.wait_for(lambda: sum(len(note["changed"]) for note in sent.notes) >= 10)
    herald.close()
    assert {each for note in sent.notes for each in note["changed"]} == {f"thread_{number}" for number in range(10)}
    assert len(sent.calls) < 500
    assert {note["from"] for note in sent.notes} == {"me"}


def test_pieces_are_sent_in_order(herald, sent):
    for index in range(50):
        herald.relay(piece(str(index), index=index))
    herald.close()
    assert [note["piece"]["index"] for note in sent.notes] == list(range(50))


def test_the_rest_is_sent_at_the_end(herald, sent):
    herald.tell("thread_1")
    herald.relay(piece())
    herald.close()
    herald.close()
    assert len(sent.notes) == 2
    assert not herald._thread.is_alive()


def test_news_that_cannot_be_sent_is_lost_and_the_next_is_sent(caplog):
    sent = Sent(error=RuntimeError("no connection"))
    herald = Herald(sent, "me")
    herald.tell("thread_1")
    sent.wait_for(lambda: len(sent.calls) == 1)
    sent.error = None
    herald.tell("thread_2")
    herald.close()
    assert [note["changed"] for note in sent.notes][-1] == ["thread_2"]
    assert "news for other processes was lost, and they look later: no connection" in caplog.text


# --- the ear --------------------------------------------------------------------------------------------------


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def ear(postgresql, heard):
    def connect():
        return psycopg.connect(postgresql.url, autocommit=True, application_name="an ear")

    ear = Ear(connect, CHANNEL, "me", heard)
    yield ear
    ear.close()


@pytest.fixture
def say(postgresql, ear, heard):
    """Send payloads to the ear, after it has begun to listen."""
    heard.wait_for("lost")

    def say(*payloads):
        with psycopg.connect(postgresql.url, autocommit=True) as connection:
            for payload in payloads:
                connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, payload])

    return say


def note(sender="somebody", **what):
    return json.dumps({"from": sender, **what})


def test_the_news_of_others_is_heard_and_ones_own_is_not(say, heard):
    own, others = (list(news._notes(name, ["thread_1", "thread_2"])) for name in ("me", "you"))
    delta = piece("\N{SNOWMAN}")
    mine, theirs = (list(news._payloads(name, [("piece", attrs.asdict(delta))])) for name in ("me", "you"))
    say(*own, *mine, *others, *theirs)
    heard.wait_for("piece", delta)
    assert heard.notes == [("lost",), ("changed", "thread_1"), ("changed", "thread_2"), ("piece", delta)]


def test_notes_that_are_not_understood_are_ignored(say, heard, caplog):
    caplog.set_level(logging.DEBUG, "gpt_agent_fsm")
    odd = ["", "7", "null", "[]", "{", "no JSON", "{}", note(changed=7), note(piece=7), note(piece={"text": "x"})]
    say(*odd, note(news_of_a_newer_version=1), note(changed=["thread_1"]))
    heard.wait_for("changed", "thread_1")
    assert heard.notes == [("lost",), ("changed", "thread_1")]
    assert {record.levelno for record in caplog.records if record.name == news.__name__} == {logging.DEBUG}


def test_a_lost_connection_is_reported_once_and_everything_is_looked_at_again(say, heard, postgresql, caplog):
    with psycopg.connect(postgresql.url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'an ear'")
    heard.wait_for("lost", times=2)
    say(note(changed=["thread_1"]))
    heard.wait_for("changed", "thread_1")
    [warning] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.getMessage().startswith("news of other processes is not heard for a moment: ")
    assert heard.notes.count(("lost",)) == 2


def test_a_hearer_that_fails_does_not_end_the_ear(say, heard, monkeypatch):
    broken = threading.Event()

    def fail(thread_id):
        broken.set()
        raise RuntimeError("broken")

    monkeypatch.setattr(heard, "thread_changed", fail)
    say(note(changed=["thread_1"]))
    assert broken.wait(PATIENCE)
    monkeypatch.undo()
    heard.wait_for("lost", times=2)
    say(note(changed=["thread_2"]))
    heard.wait_for("changed", "thread_2")


def test_an_ear_that_is_closed_hears_nothing_and_ends(say, ear, heard):
    ear.close()
    ear.close()
    assert not ear._thread.is_alive()
    say(note(changed=["thread_1"]))
    assert heard.notes == [("lost",)]


def test_each_channel_has_its_own_news(url, heard, ear, postgresql, say):
    name = sql.Identifier(CHANNEL + "_2").as_string(None)
    query(url, f"NOTIFY {name}, '{note(changed=['thread_1'])}'")
    say(note(changed=["thread_2"]))
    heard.wait_for("changed", "thread_2")
    assert ("changed", "thread_1") not in heard.notes

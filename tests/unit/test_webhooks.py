"""Webhooks: which ones are accepted, which thread each wakes, and how polling slows down."""

import json
import random
import sys
from datetime import UTC, datetime, timedelta

import pytest

from gpt_agent_fsm import Assistant, Runtime, Settings, errors
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.engine.webhooks import Notice, Webhooks
from gpt_agent_fsm.testing import Answer, Call, Linger, SimulatedServer, VirtualClock, VirtualScheduler
from gpt_agent_fsm.testing.conversation_streams import StreamedConversations
from gpt_agent_fsm.testing.faulty_http import FaultyHttp
from gpt_agent_fsm.testing.network import Faults, FaultyNetwork

standardwebhooks = pytest.importorskip("standardwebhooks")

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NO_FAULTS = Faults(lost=0, answer_lost=0, late=0, limited=0, error_before=0, error_after=0, garbage=0, stale=0, crash=0)


def signed(body, webhook_id="wh_1", at=None, secret=SECRET):
    at = at or datetime.now(tz=UTC)
    text = body if isinstance(body, str) else json.dumps(body)
    signature = standardwebhooks.Webhook(secret).sign(webhook_id, at, text)
    headers = {
        "Webhook-Id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "WEBHOOK-SIGNATURE": signature,
    }
    return headers, text.encode()


def ended(response_id, kind="response.completed"):
    return {"id": "evt_1", "object": "event", "created_at": 1, "type": kind, "data": {"id": response_id}}


class World:
    """A runtime over conversations in memory, in virtual time."""

    def __init__(self, *steps):
        self.scheduler = VirtualScheduler()
        self.server = StreamedConversations(lambda text: [*steps, Answer("Hi")])
        self.journal = []
        self.backend = ResponsesBackend("http://simulated/v1", "k", assistants={"asst_1": Assistant("m")})
        network = FaultyNetwork(self.scheduler, random.Random(1), NO_FAULTS, self.journal)
        self.backend._http = FaultyHttp(self.server, network)
        self.runtime = Runtime(self.backend, Settings(idle_timeout=1000), scheduler=self.scheduler)
        self.agent = self.connect()

    def connect(self):
        return self.runtime.connect(thread_id=self.runtime.create_thread(), assistant_id="asst_1", last_message_id=None)

    def tell(self, body, **how):
        return self.runtime.handle_webhook(*signed(body, **how), SECRET)

    def polls(self):
        return [float(line.split()[0]) for line in self.journal if "GET /responses/" in line]

    @property
    def response_id(self):
        return self.agent._driver.snapshot.run.handle


@pytest.fixture
def world():
    made = World(Linger(10**6))
    made.agent.add_user_message("Hello")
    made.scheduler.advance(10)
    yield made
    made.runtime.close()


# --- accepted webhooks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda headers, body: (headers, body + b" "), "No matching signature"),
        (lambda headers, body: ({**headers, "Webhook-Id": "wh_2"}, body), "No matching signature"),
        (lambda headers, body: ({"webhook-id": "wh_1"}, body), "Missing required headers"),
        (lambda headers, body: ({**headers, "WEBHOOK-SIGNATURE": "nonsense"}, body), "not accepted"),
        (lambda headers, body: (headers, b"\xff"), "not accepted"),
        (lambda headers, body: signed(ended("r"), at=datetime.now(tz=UTC) - timedelta(minutes=6)), "too old"),
        (lambda headers, body: signed(ended("r"), secret="whsec_c29tZWJvZHkgZWxzZQ=="), "No matching signature"),
        (lambda headers, body: signed("no JSON"), "not accepted"),
        (lambda headers, body: signed("[" * 100_000), "not accepted"),
        (lambda headers, body: ({**headers, "Webhook-Id": b"wh_1"}, body), "not accepted"),
    ],
)
def test_a_wrong_or_old_signature_is_refused(world, spoil, sentence):
    headers, body = spoil(*signed(ended(world.response_id)))
    before = len(world.polls())
    with pytest.raises(errors.InvalidWebhook, match=sentence):
        world.runtime.handle_webhook(headers, body, SECRET)
    world.scheduler.settle()
    assert len(world.polls()) == before
    assert world.tell(ended(world.response_id), webhook_id="wh_of_the_server")
    world.scheduler.settle()
    assert len(world.polls()) == before + 1


@pytest.mark.parametrize(("swap", "sentence"), [(True, "headers must be"), (False, "body must be the unchanged bytes")])
def test_an_invalid_request_raises_an_error_for_the_caller(world, swap, sentence):
    headers, body = signed(ended("r"))
    with pytest.raises(TypeError, match=sentence):
        world.runtime.handle_webhook(*((body, headers) if swap else (headers, {"type": "x"})), SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_é", None])
def test_the_error_for_an_invalid_secret_does_not_repeat_it(world, secret):
    with pytest.raises(ValueError, match="The webhook secret must be the one from the server") as caught:
        world.runtime.handle_webhook(*signed(ended("r")), secret)
    assert caught.value.__cause__ is None
    assert not isinstance(caught.value, errors.InvalidWebhook)


def test_without_the_extra_the_error_says_how_to_install_it(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "standardwebhooks", None)
    with pytest.raises(ImportError, match="needs standardwebhooks: pip install standardwebhooks"):
        world.runtime.handle_webhook({}, b"", SECRET)


def test_a_closed_runtime_accepts_no_webhook(world):
    world.runtime.close()
    with pytest.raises(errors.RuntimeClosed):
        world.tell(ended("r"))


# --- the thread that a webhook wakes --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["response.completed", "response.failed", "response.cancelled", "response.incomplete"])
def test_the_run_of_a_response_that_has_ended_is_polled_at_once(world, kind):
    before, now = len(world.polls()), world.scheduler.clock.monotonic()
    assert world.tell(ended(world.response_id, kind))
    world.scheduler.settle()
    assert len(world.polls()) == before + 1
    assert world.polls()[-1] == pytest.approx(now, abs=0.01)


def test_a_webhook_does_not_end_the_delay_of_a_request_that_is_not_a_poll():
    world, attempts = World(Call((("f", "{}"),))), []

    def refuse(*args, **options):
        attempts.append(world.scheduler.clock.monotonic())
        raise errors.TransientError(503, None, "down", retry_after=100)

    world.backend.submit_tool_outputs = refuse
    world.agent.add_user_message("Hello")
    world.scheduler.advance(5)
    (call,) = world.agent.open_tool_calls
    world.agent.submit_tool_output(call.id, 1)
    world.scheduler.settle()
    world.tell(ended(world.response_id))
    world.scheduler.advance(50)
    assert len(attempts) == 1
    world.scheduler.advance(60)
    assert len(attempts) == 2
    world.runtime.close()


def test_a_webhook_that_comes_twice_causes_one_poll(world):
    assert world.tell(ended(world.response_id))
    world.scheduler.settle()
    looks = len(world.polls())
    assert not world.tell(ended(world.response_id))
    world.scheduler.settle()
    assert len(world.polls()) == looks


@pytest.mark.parametrize(
    "body",
    [
        ended("resp_of_somebody_else"),
        {"type": "response.completed"},
        {"type": "response.completed", "data": {"id": 5}},
        {"type": "response.completed", "data": "resp_1"},
        {"type": "batch.completed", "data": {"id": "resp_3"}},
        {"type": ["response.completed"], "data": {"id": "resp_3"}},
        [],
    ],
)
def test_a_webhook_about_something_else_wakes_nobody(world, body):
    looks = len(world.polls())
    assert not world.tell(body)
    world.scheduler.settle()
    assert len(world.polls()) == looks
    assert world.tell(ended(world.response_id), webhook_id="wh_about_us")
    world.scheduler.settle()
    assert len(world.polls()) == looks + 1


def test_a_webhook_that_comes_before_the_answer_that_names_its_response_counts(world):
    other = world.connect()
    post = world.server.post

    def hasty(path, body):
        answer = post(path, body)
        if path == "/responses":
            assert not world.tell(ended(answer["id"]))
        return answer

    world.server.post = hasty
    other.add_user_message("Hello")
    world.scheduler.advance(world.scheduler.clock.monotonic() + 5)
    response_id = other._driver.snapshot.run.handle
    mine = (f"POST /conversations/{other.thread_id} ", f"GET /responses/{response_id}")
    about = [line.split()[:3] for line in world.journal if any(path in line for path in mine)]
    noted = max(float(at) for at, _, path in about if "conversations" in path)
    looked = min(float(at) for at, _, path in about if "responses" in path)
    assert 0 <= looked - noted < 0.9


def test_a_webhook_about_a_run_that_waits_for_tools_causes_a_poll_and_nothing_else():
    world = World(Call((("f", "{}"),)))
    world.agent.add_user_message("Hello")
    world.scheduler.advance(10)
    assert world.agent.state == "awaiting_tools"
    known, before = world.runtime.history(world.agent.thread_id), len(world.polls())
    assert world.tell(ended(world.response_id))
    world.scheduler.settle()
    assert len(world.polls()) == before + 1
    assert world.agent.state == "awaiting_tools"
    assert world.runtime.history(world.agent.thread_id) == known
    world.runtime.close()


def test_a_webhook_about_a_run_that_nobody_follows_wakes_nobody():
    with Runtime(SimulatedServer(), scheduler=VirtualScheduler()) as runtime:
        runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        assert not runtime.handle_webhook(*signed(ended("run_1")), SECRET)


# --- how polling slows down ---------------------------------------------------------------------------------


def test_while_webhooks_arrive_runs_are_polled_as_a_safety_net_only(world):
    assert len(world.polls()) > 5
    world.tell(ended(world.response_id))
    world.scheduler.advance(world.scheduler.clock.monotonic() + 3)
    before = len(world.polls())
    world.scheduler.advance(world.scheduler.clock.monotonic() + 120)
    assert 3 <= len(world.polls()) - before <= 5


def test_runs_are_polled_as_before_when_webhooks_no_longer_arrive(world):
    assert world.tell(ended(world.response_id))
    world.scheduler.advance(100)
    rarely = len(world.polls())
    world.scheduler.advance(100)
    assert len(world.polls()) - rarely <= 5
    world.scheduler.advance(220)
    before = len(world.polls())
    world.scheduler.advance(world.scheduler.clock.monotonic() + 20)
    assert len(world.polls()) - before > 10


def test_webhooks_about_other_responses_slow_no_polls_down(world):
    assert not world.tell(ended("resp_of_somebody_else"))
    before = len(world.polls())
    world.scheduler.advance(20)
    assert len(world.polls()) - before > 10
    assert world.tell(ended(world.response_id), webhook_id="wh_about_us")
    world.scheduler.advance(3)
    before = len(world.polls())
    world.scheduler.advance(20)
    assert len(world.polls()) - before <= 1


def test_a_webhook_that_came_a_little_too_early_is_followed_by_a_poll_at_the_usual_time(world):
    now = world.scheduler.clock.monotonic()
    assert world.tell(ended(world.response_id))
    world.scheduler.settle()
    assert world.polls()[-1] == pytest.approx(now, abs=0.01)
    world.scheduler.advance(4)
    assert len([at for at in world.polls() if at > now - 0.01]) >= 2


def test_only_a_limited_number_of_webhooks_is_remembered(monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.engine.webhooks._MOST_REMEMBERED", 2)
    webhooks = Webhooks(VirtualClock())
    for number in range(3):
        webhooks.follow("me", "thread_1", None, f"resp_{number}")
        assert webhooks.take_in(Notice(f"wh_{number}", f"resp_{number}")) == "thread_1"
    assert [webhooks.pop_ended(f"resp_{number}") for number in range(3)] == [False, True, True]
    assert webhooks.take_in(Notice("wh_0", "resp_0")) == "thread_1"
    assert webhooks.take_in(Notice("wh_2", "resp_2")) is None


def test_a_notice_finds_the_thread_that_waits_for_its_response_and_no_other():
    webhooks = Webhooks(VirtualClock())
    webhooks.follow("me", "thread_1", None, "resp_1")
    webhooks.follow("you", "thread_2", None, "resp_2")
    webhooks.follow("me", "thread_1", "resp_1", "resp_3")
    found = [webhooks.take_in(Notice(f"wh_{number}", f"resp_{number}")) for number in (1, 2, 3)]
    assert found == [None, "thread_2", "thread_1"]


def test_a_thread_that_ends_does_not_remove_the_entry_of_its_successor():
    webhooks = Webhooks(VirtualClock())
    webhooks.follow("former driver", "thread_1", None, "resp_1")
    webhooks.follow("its successor", "thread_1", None, "resp_1")
    webhooks.follow("former driver", "thread_1", "resp_1", None)
    assert webhooks.take_in(Notice("wh_1", "resp_1")) == "thread_1"
    webhooks.follow("its successor", "thread_1", "resp_1", None)
    assert webhooks.take_in(Notice("wh_2", "resp_1")) is None


def test_a_webhook_for_an_agent_that_was_shut_down_wakes_nobody(world):
    response_id = world.response_id
    assert world.tell(ended(response_id), webhook_id="wh_1")
    world.agent.shutdown()
    assert not world.tell(ended(response_id), webhook_id="wh_2")


def test_the_end_of_a_response_is_reported_once():
    webhooks = Webhooks(VirtualClock())
    assert not webhooks.are_arriving
    webhooks.take_in(Notice("wh_1", "resp_1"))
    assert not webhooks.are_arriving
    assert webhooks.pop_ended("resp_1")
    assert webhooks.are_arriving
    assert not webhooks.pop_ended("resp_1")
    assert not webhooks.pop_ended(None)


def test_a_run_belongs_to_the_thread_that_follows_it():
    webhooks = Webhooks(VirtualClock())
    assert not webhooks.belongs_elsewhere("run_1", "thread_2")
    webhooks.follow("me", "thread_1", None, "run_1")
    assert webhooks.belongs_elsewhere("run_1", "thread_2")
    assert not webhooks.belongs_elsewhere("run_1", "thread_1")
    webhooks.follow("me", "thread_1", "run_1", None)
    assert not webhooks.belongs_elsewhere("run_1", "thread_2")

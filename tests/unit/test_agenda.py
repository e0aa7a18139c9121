"""The agenda: the request to make now, or the time to come back."""

import random

import pytest

from gpt_agent_fsm import Settings
from gpt_agent_fsm.engine.agenda import Agenda, longest_pause
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.snapshot import Pending, Snapshot
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.testing import VirtualClock

LIST = effects.GetLatestRun()
POLL = effects.GetRun(run_id="run_1")


@pytest.fixture
def clock():
    return VirtualClock(now=100.0)


@pytest.fixture
def agenda(clock):
    return Agenda(clock, random.Random(1))


def test_an_agenda_is_empty_at_first(agenda):
    assert (agenda.request, agenda.due, agenda.held_by_gate) == (None, None, False)
    assert not agenda.is_due


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], (LIST, 7.0)),
        ([POLL], (POLL, None)),
        ([effects.Wait(seconds=0.25)], (None, 100.25)),
        ([POLL, effects.Wait(seconds=3)], (None, 103.0)),
        ([effects.Wait(seconds=3), POLL], (POLL, None)),
        ([POLL, effects.Stop(reason="idle_timeout")], (None, None)),
        ([POLL, effects.Ignore(reason="old news")], (POLL, None)),
        ([effects.Ignore(reason="old news")], (LIST, 7.0)),
    ],
)
def test_the_last_effect_that_is_not_ignored_decides(agenda, wanted, expected):
    agenda.follow(LIST, 7.0)
    assert agenda.after(wanted) == expected
    assert (agenda.request, agenda.due) == (LIST, 7.0)


def test_a_pause_has_jitter_and_lasts_at_least_for_the_minimum(agenda):
    wait = effects.Wait(seconds=2, spread=4)
    moments = [agenda.after([wait])[1] for _ in range(50)]
    assert all(102 <= moment < 106 for moment in moments)
    assert max(moments) - min(moments) > 2
    assert agenda.after([wait], 30.0) == (None, 130.0)


def test_a_timer_is_over_at_its_time_and_while_no_request_is_made(agenda, clock):
    agenda.follow(None, 105.0)
    assert not agenda.is_due
    clock.now = 105.0
    assert agenda.is_due
    agenda.follow(POLL, 105.0)
    assert not agenda.is_due


def test_a_request_is_held_by_the_gate_until_something_else_is_decided(agenda):
    agenda.follow(POLL, None)
    agenda.hold(140.0)
    assert (agenda.request, agenda.due, agenda.held_by_gate) == (None, 140.0, True)
    agenda.follow(None, 140.0)
    assert agenda.held_by_gate
    agenda.follow(None, 150.0)
    assert not agenda.held_by_gate
    agenda.follow(None, 140.0)
    assert not agenda.held_by_gate


def test_a_timer_may_be_over_at_once(agenda):
    agenda.follow(None, 105.0)
    agenda.come_back_now()
    assert agenda.due == 100.0
    assert agenda.is_due
    assert agenda.take_due() == inputs.TimerDue()


def test_a_thread_that_lost_an_input_resumes_a_second_later_and_once(agenda):
    agenda.recover()
    assert agenda.due == 101.0
    assert not agenda.is_due
    assert agenda.take_due() == inputs.Resume()
    assert agenda.take_due() == inputs.TimerDue()


# --- how long a pause can have been --------------------------------------------------------------------------------

LONG = Settings(
    heartbeat_interval=2.0,
    webhook_heartbeat_interval=3.0,
    receive_timeout=5.0,
    rate_limit_retry_delay=7.0,
    idle_timeout=11.0,
    request_retry_max_delay=601.0,
    tool_output_retry_delay=13.0,
)


@pytest.mark.parametrize(
    ("state", "request_", "counts", "longest"),
    [
        (State.RUNNING, POLL, {}, 2.0),
        (State.RUNNING, POLL, {"failures": 1}, 601.0),
        (State.RUNNING, effects.GetRun(run_id="run_1", in_doubt=True), {}, 5.0),
        (State.RUNNING, effects.GetRun(run_id="run_1", in_doubt=True), {"tries": 1}, 601.0),
        (State.SUBMITTING, POLL, {}, 5.0),
        (State.AWAITING_TOOLS, POLL, {}, 11.0),
        (State.RATE_LIMITED, effects.CreateRun(key="k", assistant_id="a"), {}, 7.0),
        (State.RATE_LIMITED, effects.CreateRun(key="k", assistant_id="a"), {"tries": 1}, 601.0),
        (State.RATE_LIMITED, effects.GetLatestRun(key="k"), {}, 5.0),
        (State.IDLE, effects.PostMessage(key="k", content="Hello"), {}, 5.0),
        (State.IDLE, effects.PostMessage(key="k", content="Hello"), {"tries": 2}, 601.0),
        (State.IDLE, LIST, {}, 5.0),
    ],
)
def test_a_pause_is_never_longer_than_the_settings_and_a_server_can_have_asked(state, request_, counts, longest):
    pending = Pending(request=request_, sent=False, **counts)
    snapshot = Snapshot(thread_id="t", assistant_id="a", state=state, pending=pending)
    assert longest_pause(snapshot, LONG) == longest


def test_a_server_can_ask_for_ten_minutes_at_most_whatever_it_says():
    failed = Pending(request=POLL, sent=False, failures=1)
    snapshot = Snapshot(thread_id="t", assistant_id="a", state=State.RUNNING, pending=failed)
    assert longest_pause(snapshot, Settings()) == 600.0
    asked = [
        inputs.RequestDelayed(message="m", retry_after=s).retry_after for s in (1e9, 599.0, -1.0, float("nan"), None)
    ]
    assert asked == [600.0, 599.0, 0.0, None, None]

"""The agenda: the request to make now, or the time to come back."""

import random

import pytest

from gpt_agent_fsm.engine.agenda import Agenda
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.testing import VirtualClock

LIST = effects.GetLatestRun()
POLL = effects.GetRun(run_id="run_1")


@pytest.fixture
def clock():
    return VirtualClock(now=100.0)


@pytest.fixture
def agenda(clock):
    return Agenda(clock, random.Random(1))


def test_nothing_is_to_be_done_at_first(agenda):
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


def test_a_pause_is_spread_and_lasts_for_the_minimum_at_least(agenda):
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

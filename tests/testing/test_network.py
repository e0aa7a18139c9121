"""The faulty network keeps the promises that the library relies on."""

import random

import attrs
import pytest

from gpt_agent_fsm.errors import TransientError
from gpt_agent_fsm.testing import VirtualScheduler
from gpt_agent_fsm.testing.network import Faults, FaultyNetwork

NONE = Faults(**dict.fromkeys((field.name for field in attrs.fields(Faults) if field.name != "grace"), 0.0))


@pytest.fixture
def make_network():
    def make(**faults):
        return FaultyNetwork(VirtualScheduler(), random.Random(1), attrs.evolve(NONE, **faults), [])

    return make


def test_an_outdated_answer_comes_at_most_twice_until_the_run_is_answered_freshly(make_network):
    network = make_network(stale=1.0)
    states = iter(range(10))
    seen = [network.poll("/runs/run_1", 30.0, lambda: next(states)) for _ in range(7)]
    assert seen == [0, 0, 0, 1, 1, 1, 2]


def test_polls_that_fail_or_concern_other_runs_do_not_renew_the_outdated_answers(make_network):
    network = make_network(stale=1.0)
    states = iter(range(10))
    seen = [network.poll("/runs/run_1", 30.0, lambda: next(states)) for _ in range(3)]
    network.poll("/runs/run_2", 30.0, lambda: "another run")
    network._faults = attrs.evolve(NONE, stale=1.0, error_before=1.0)
    with pytest.raises(TransientError):
        network.poll("/runs/run_1", 30.0, lambda: next(states))
    network._faults = attrs.evolve(NONE, stale=1.0)
    assert [*seen, network.poll("/runs/run_1", 30.0, lambda: next(states))] == [0, 0, 0, 1]

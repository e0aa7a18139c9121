"""What came before does not make a step more expensive. Function calls are counted, because times differ."""

from benchmarks.counts import Calls
from benchmarks.growth import submitter
from gpt_agent_fsm.stores import MemoryStore


def calls_of_an_output(among):
    submit = submitter(among, MemoryStore())
    submit()
    with Calls() as calls:
        submit()
    return calls.own


def test_an_output_costs_the_same_among_few_parallel_calls_and_among_many():
    assert calls_of_an_output(among=10) == calls_of_an_output(among=500)

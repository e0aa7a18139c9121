"""Tool calls that are found by their ids, and the open ones among them."""

import itertools

import attrs
import pytest

from gpt_agent_fsm.machine.objects import CallStage, ToolCall
from gpt_agent_fsm.machine.snapshot import LiveRun
from gpt_agent_fsm.machine.tool_calls import NO_CALLS, ToolCalls, as_tool_calls


def call(number, **fields):
    return ToolCall(id=f"call_{number}", name="measure", arguments="{}", **fields)


KINDS = [
    {},
    {"output": "1"},
    {"stage": CallStage.ASKING, "asked_at": 1.0},
    {"stage": CallStage.APPROVED},
    {"stage": CallStage.STARTED, "attempt": 1},
    {"stage": CallStage.STARTED, "attempt": 1, "output": "1"},
    {"by_server": True},
    {"by_server": True, "output": "{}"},
    {"unlisted": True, "stage": CallStage.STARTED, "attempt": 1},
    {"unlisted": True, "output": "1"},
]


@pytest.mark.parametrize(("before", "after"), list(itertools.product(KINDS, KINDS)))
def test_a_call_that_is_replaced_is_filed_as_if_all_calls_were_new(before, after):
    others = [call(1), call(2, output="2"), call(4, by_server=True)]
    calls = as_tool_calls([*others[:2], call(3, **before), others[2]])
    replaced, new = calls.replace(call(3, **after)), as_tool_calls([*others[:2], call(3, **after), others[2]])
    assert replaced == new
    assert list(replaced) == list(new)
    assert list(replaced.open.items()) == list(new.open.items())
    assert list(replaced.staged.items()) == list(new.staged.items())


def test_replacing_a_call_leaves_the_earlier_calls_as_they_were():
    calls = as_tool_calls([call(1), call(2)])
    calls.replace(call(1, output="1"))
    assert list(calls) == [call(1), call(2)]
    assert list(calls.open) == ["call_1", "call_2"]


def test_open_calls_have_no_output_and_are_listed_and_staged_calls_wait_for_more_than_one():
    calls = as_tool_calls(call(number, **fields) for number, fields in enumerate(KINDS))
    assert list(calls.open) == ["call_0", "call_2", "call_3", "call_4", "call_6"]
    assert list(calls.staged) == ["call_2", "call_3", "call_4", "call_6", "call_8"]


def test_calls_are_equal_only_in_the_same_order():
    calls = as_tool_calls([call(1), call(2)])
    assert calls == as_tool_calls([call(1), call(2)])
    assert hash(calls) == hash(as_tool_calls([call(1), call(2)]))
    assert calls != as_tool_calls([call(2), call(1)])
    assert calls != [call(1), call(2)]
    assert as_tool_calls(calls) is calls


def test_no_calls_are_false():
    assert not NO_CALLS
    assert as_tool_calls(()) == NO_CALLS
    assert isinstance(NO_CALLS, ToolCalls)


def test_the_repr_names_each_call_once():
    assert repr(as_tool_calls([call(1)])).count("call_1") == 2  # the key, and the call itself


def test_a_run_takes_its_calls_in_any_form():
    run = LiveRun(id="run_1", calls=(call(1),))
    assert run.calls == as_tool_calls([call(1)])
    assert attrs.evolve(run, rounds=1).calls is run.calls

"""What the newest items of a conversation say about its last run, if the ids of calls begin again from 0."""

import attrs
import pytest

from gpt_agent_fsm.backends.responses import wire
from gpt_agent_fsm.backends.responses.tail import Tail
from gpt_agent_fsm.ports import Run, RunStatus, ToolCall


def item(kind, number, **fields):
    return wire.converter.structure({"type": kind, "id": f"item_{number}", **fields}, wire.Item)


def call(number, amount, call_id="call_0"):
    return item("function_call", number, call_id=call_id, name="pay", arguments=f'{{"amount":{amount}}}')


def output(number, call_id="call_0"):
    return item("function_call_output", number, call_id=call_id, output="paid")


def user(number):
    return item("message", number, role="user", content=[{"type": "input_text", "text": "Pay"}])


def answer(number):
    return item("message", number, role="assistant", content=[{"type": "output_text", "text": "Done"}])


def tail(*oldest_first):
    return Tail.of(oldest_first[::-1])


def run(amount):
    asked = ToolCall(id="call_0", name="pay", arguments=f'{{"amount":{amount}}}')
    return Run(id="run_1", status=RunStatus.NEEDS_TOOLS, tool_calls=(asked,))


ROUND = (user(1), call(2, 1), output(3))


def test_an_earlier_output_is_not_the_output_of_a_later_call_with_the_same_id():
    found = tail(*ROUND, call(4, 2))
    assert [each.id for each in found.open] == ["item_4"]
    assert found.left_open == ()
    (asked,) = found.to_run("run_1").tool_calls
    assert asked.arguments == '{"amount":2}'


def test_the_output_of_the_later_call_is_its_output():
    found = tail(*ROUND, call(4, 2), output(5), answer(6))
    assert (found.open, found.answered) == ((), {"call_0"})
    assert found.to_run("run_1").status is RunStatus.COMPLETED


def test_a_call_of_an_earlier_turn_is_not_open_although_a_later_one_with_its_id_is():
    found = tail(*ROUND, answer(4), user(5), call(6, 2))
    assert [each.id for each in found.open] == ["item_6"]
    assert found.left_open == ()


def test_a_run_whose_outputs_have_arrived_continues_with_the_next_call_of_the_same_id():
    found = tail(*ROUND, call(4, 2))
    assert found.has_outputs_of(run(1))
    assert not found.has_outputs_of(run(2))
    (asked,) = found.standing_of(run(1)).tool_calls
    assert asked.arguments == '{"amount":2}'
    assert found.standing_of(run(2)) == run(2)


def test_a_run_continues_although_an_earlier_turn_had_a_call_of_the_same_id():
    found = tail(*ROUND, answer(4), user(5), call(6, 2), output(7), answer(8))
    assert found.standing_of(run(2)).status is RunStatus.COMPLETED
    assert tail(*ROUND, answer(4), user(5)).standing_of(run(1)) is None


@pytest.mark.parametrize("items", [(call(2, 1), output(3)), (output(3), call(2, 1))])
def test_an_id_that_occurs_once_is_answered_wherever_its_output_is_listed(items):
    assert tail(user(1), *items).open == ()
    assert tail(user(1), *items).has_outputs_of(run(1))


def test_outputs_that_were_given_have_arrived_although_a_later_call_has_their_id():
    assert tail(*ROUND, call(4, 2)).has_answered({"call_0"})


def test_a_call_that_is_not_listed_yet_does_not_get_the_output_of_an_earlier_one():
    assert not tail(*ROUND).has_outputs_of(run(2))
    assert tail(*ROUND).standing_of(run(2)) == run(2)


def test_a_call_that_is_listed_with_other_spaces_in_its_arguments_is_the_same_call():
    spaced = attrs.evolve(run(1), tool_calls=(attrs.evolve(run(1).tool_calls[0], arguments='{ "amount": 1 }'),))
    assert tail(*ROUND, call(4, 2)).has_outputs_of(spaced)


def test_a_call_of_a_response_is_unanswered_if_the_newest_call_with_its_id_is():
    found = tail(*ROUND, call(4, 2))
    assert found.unanswered([attrs.evolve(call(4, 2), status="completed")])
    assert not tail(*ROUND).unanswered([call(2, 1)])

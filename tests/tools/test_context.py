"""`ToolContext`: a parameter that the model does not see."""

from __future__ import annotations

import threading
from typing import Annotated, Optional

import attrs
import pytest

from gpt_agent_fsm import ToolContext, tool
from gpt_agent_fsm.errors import ToolArgumentsError

FACTS = {"agent": "an agent", "thread_id": "thread_1", "run_id": "run_1", "call_id": "call_1", "attempt": 2}
CONTEXT = ToolContext(**FACTS)


def plain(city: str, context: ToolContext): ...
def first(ctx: ToolContext, city: str): ...
def keyword(city: str, *, call: ToolContext | None = None): ...
def older(city: str, call: Optional[ToolContext] = None): ...  # noqa: UP045 - the older form
def annotated(city: str, context: Annotated[ToolContext, "the call"]): ...


@pytest.mark.parametrize("function", [plain, first, keyword, older, annotated])
def test_the_parameter_is_hidden_from_the_model(function):
    assert list(tool(function).definition.parameters["properties"]) == ["city"]
    with pytest.raises(ToolArgumentsError, match="is unknown"):
        tool(function).structure('{"city": "Oslo", "context": {}, "ctx": {}, "call": {}}')


@pytest.mark.parametrize("hint", [list[ToolContext], dict[str, ToolContext], tuple[ToolContext, int]])
def test_a_container_of_contexts_is_refused(hint):
    def pay(calls: hint): ...

    with pytest.raises(ValueError, match="the tool pay: parameter calls: ToolContext"):
        tool(pay)


def test_the_parameter_gets_the_context():
    @tool
    def pay(context: ToolContext, amount: int):
        return [context.agent, context.thread_id, context.run_id, context.call_id, context.attempt, amount]

    assert pay.run('{"amount": 5}', CONTEXT) == '["an agent","thread_1","run_1","call_1",2,5]'


def test_the_function_can_be_called_without_a_model():
    @tool
    def pay(amount: int, context: ToolContext | None = None):
        return amount if context is None else context.call_id

    assert (pay(5), pay(5, context=CONTEXT)) == (5, "call_1")


def test_a_context_is_cancelled_when_its_event_is_set():
    event = threading.Event()
    context = ToolContext(**FACTS, cancelled=event)
    assert not context.cancelled()
    event.set()
    assert context.cancelled()


def test_a_context_may_ask_a_function_whether_it_is_cancelled():
    answers = iter([False, True])
    context = ToolContext(**FACTS, cancelled=lambda: next(answers))
    assert [context.cancelled(), context.cancelled()] == [False, True]


def test_a_context_alone_is_the_first_attempt_and_never_cancelled():
    del (facts := dict(FACTS))["attempt"]
    context = ToolContext(**facts)
    assert (context.attempt, context.cancelled()) == (1, False)


def test_a_context_does_not_change():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        CONTEXT.attempt = 3

"""The arguments of a tool call, decoded."""

import json

import pytest

from gpt_agent_fsm.machine.arguments import BROKEN, announced_arguments, decode_arguments


def nested(depth, opening="[", closing="]"):
    return opening * depth + closing * depth


def below(depth, call):
    """Call a function while `depth` other functions are being called."""
    return call() if depth == 0 else below(depth - 1, call)


@pytest.mark.parametrize(
    "value", [{}, {"city": "Oslo"}, [1, 2.5, None], "x", 10**400, 1.5e308, {"a": "\ud800", "b": "\0"}]
)
def test_arguments_are_decoded(value):
    assert decode_arguments(json.dumps(value)) == value


@pytest.mark.parametrize(
    "text", ["{", "{} {}", "NaN", '{"a":-Infinity}', "1e999", '{"a":[-1e400]}', "9" * 5000, nested(100_000)]
)
def test_arguments_that_python_cannot_read_or_write_again_are_broken(text):
    assert decode_arguments(text) is BROKEN
    assert announced_arguments(text) == text


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("caller", [0, 300, 600])
def test_how_deeply_arguments_may_be_nested_does_not_depend_on_the_caller(opening, closing, caller):
    deep, too_deep = (opening * depth + "1" + closing * depth for depth in (100, 101))
    assert below(caller, lambda: decode_arguments(deep)) is not BROKEN
    assert below(caller, lambda: decode_arguments(too_deep)) is BROKEN


def test_many_values_side_by_side_are_not_nested():
    assert len(decode_arguments(f"[{','.join(['[[1]]'] * 1000)}]")) == 1000


def test_valid_arguments_are_announced_as_their_value():
    assert announced_arguments('{"city":"Oslo"}') == {"city": "Oslo"}
    assert announced_arguments("") == {}

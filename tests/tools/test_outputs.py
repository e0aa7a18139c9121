"""The result of a function as JSON text."""

import collections
import datetime
import decimal
import enum
import uuid
from typing import Any

import attrs
import pytest

from gpt_agent_fsm import tool
from tests.tools.samples import CONTEXT, Card, Circle, Place, Point, Priority, Unit


class Celsius(float):
    pass


class Name(str):
    __slots__ = ()


@attrs.frozen
class Reading:
    station: str
    at: Place
    celsius: float = 0.0


class Colour(enum.StrEnum):
    RED = "red"


def text_of(result: Any) -> str:
    def f(): ...

    made = tool(f)
    object.__setattr__(made, "function", lambda: result)
    return made.run("{}", CONTEXT)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, "null"),
        (True, "true"),
        (21, "21"),
        (10**30, "1" + "0" * 30),
        (1.5, "1.5"),
        ("Ås", '"Ås"'),
        ({"city": "Oslo", "celsius": 21}, '{"city":"Oslo","celsius":21}'),
        ({1: "a", None: "b"}, '{"1":"a","null":"b"}'),
        ({Unit.CELSIUS: 1, datetime.date(2020, 1, 2): 2}, '{"celsius":1,"2020-01-02":2}'),
        ([1, (2, "3")], '[1,[2,"3"]]'),
        ({"x"}, '["x"]'),
        (Place("Oslo"), '{"city":"Oslo","country":"NO"}'),
        (Card("card", "1"), '{"kind":"card","number":"1"}'),
        ([Place("Oslo")], '[{"city":"Oslo","country":"NO"}]'),
        (Circle(2), '{"type":"circle","radius":2}'),
        (Reading("s", Place("Oslo")), '{"station":"s","at":{"city":"Oslo","country":"NO"},"celsius":0.0}'),
        ({"r": [Reading("s", Place("Å"))]}, '{"r":[{"station":"s","at":{"city":"Å","country":"NO"},"celsius":0.0}]}'),
        (Point(1, 2), "[1,2]"),
        ([Unit.CELSIUS, Priority.LOW, Colour.RED], '["celsius",1,"red"]'),
        (datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.UTC), '"2020-01-02T03:00:00Z"'),
        (datetime.timedelta(hours=1), '"PT3600S"'),
        (uuid.UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
        (decimal.Decimal("1.50"), '"1.50"'),
        (b"hi", '"aGk="'),
        (collections.Counter("aa"), '{"a":2}'),
        (collections.ChainMap({"a": 1}), '{"a":1}'),
        (collections.deque([1, 2]), "[1,2]"),
        ({"a": 1}.keys(), '["a"]'),
        (range(3), "[0,1,2]"),
        ([Celsius(1.5), Name("x")], '[1.5,"x"]'),
        ([Celsius(1.5), Name("x"), {1}], '[1.5,"x",[1]]'),
    ],
)
def test_a_result_becomes_compact_json(result, text):
    assert text_of(result) == text


def endless():
    result: list[Any] = []
    result.append(result)
    return result


@pytest.mark.parametrize(
    "result",
    [object(), float("nan"), [float("inf")], "\ud800", {"a": object()}, endless(), (x for x in "a"), ValueError("x")],
)
def test_a_result_without_a_form_in_json_is_refused(result):
    with pytest.raises(ValueError, match="a tool output must be a JSON value"):
        text_of(result)

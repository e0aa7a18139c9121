"""Arguments are structured as the schema says, and the message for the model names all that is wrong."""

import datetime
import decimal
import json
import sys
import uuid
from typing import Annotated, Any, ClassVar, Literal

import attrs
import pytest
from msgspec import Meta

from gpt_agent_fsm import tool
from gpt_agent_fsm.errors import ToolArgumentsError
from tests.tools.samples import (
    Card,
    Cash,
    Circle,
    Options,
    Place,
    Point,
    Positive,
    Priority,
    Range,
    Square,
    Stop,
    Tree,
    Unit,
)


@attrs.frozen
class Asserted:
    value: int

    def __attrs_post_init__(self):
        raise AssertionError


@attrs.frozen
class Looked:
    value: int = attrs.field(validator=lambda _, __, value: {}[value])


@attrs.frozen
class Sum:
    sum: "list[Sum | Product | Number]"


@attrs.frozen
class Product:
    product: "list[Sum | Product | Number]"
    sum: "list[Sum | Product | Number] | None" = None


@attrs.frozen
class Number:
    made: ClassVar[list] = []
    number: int = attrs.field(validator=lambda self, _, __: self.made.append(self))


def structured(hint, value):
    def f(value): ...

    f.__annotations__["value"] = hint
    return tool(f).structure(json.dumps({"value": value}))["value"]


def complaint(hint, value):
    with pytest.raises(ToolArgumentsError) as caught:
        structured(hint, value)
    return str(caught.value).removeprefix("the arguments of f are wrong: ")


@pytest.mark.parametrize(
    ("hint", "value", "made"),
    [
        (int, 1.0, 1),
        (int, 10**30, 10**30),
        (float, 1, 1.0),
        (Any, [{"a": None}], [{"a": None}]),
        (Unit, "celsius", Unit.CELSIUS),
        (Priority, 3, Priority.HIGH),
        (Literal[Unit.CELSIUS], "celsius", Unit.CELSIUS),
        (Literal[True, "auto"], True, True),
        (Place, {"city": "Oslo"}, Place("Oslo", "NO")),
        (Stop, {"place": {"city": "Oslo"}, "minutes": 5, "note": "x"}, Stop(Place("Oslo"), 5, "x")),
        (Range, {"start": 1, "tags": ["a"]}, Range(1.0, tags=["a"])),
        (Options, {"query": "x"}, {"query": "x"}),
        (Point, {"x": 1}, Point(1.0, 0.0)),
        (Circle | Square, {"type": "square", "sideLength": 2}, Square(2.0)),
        (Card | Cash, {"kind": "cash", "amount": 2}, Cash("cash", 2.0)),
        (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree("a", [Tree("b")])),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (set[str], ["a", "b"], {"a", "b"}),
        (set[tuple[int, str]], [[1, "a"]], {(1, "a")}),
        (set[Annotated[int, "A number."] | str], [1, "a"], {1, "a"}),
        (frozenset[Place], [{"city": "Oslo"}], frozenset({Place("Oslo")})),
        (dict[Unit, int], {"celsius": 1}, {Unit.CELSIUS: 1}),
        (datetime.date | None, "2020-02-29", datetime.date(2020, 2, 29)),
        (datetime.datetime, "2020-02-29T10:00:00", datetime.datetime(2020, 2, 29, 10)),
        (decimal.Decimal, "1.50", decimal.Decimal("1.50")),
        (bytes, "aGk=", b"hi"),
        (int | float, 1, 1),
        (str | datetime.date, "2020-02-29", "2020-02-29"),
    ],
)
def test_a_value_becomes_the_annotated_type(hint, value, made):
    result = structured(hint, value)
    assert (result, type(result)) == (made, type(made))


@pytest.mark.parametrize(
    ("hint", "value", "text"),
    [
        (int, "5", 'value must be an integer, not "5"'),
        (int, True, "value must be an integer, not true"),
        (int, 1.5, "value must be an integer, not 1.5"),
        (float, False, "value must be a number, not false"),
        (str, None, "value must be a string, not null"),
        (bool, 1, "value must be true or false, not 1"),
        (str | None, 5, "value must be a string or null, not 5"),
        (Literal[1], True, "value must be 1, not true"),
        (Unit, "kelvin", 'value must be one of "celsius", "fahrenheit", not "kelvin"'),
        (Annotated[int, Meta(ge=1)], 0, "value must be an integer >= 1, not 0"),
        (Annotated[int | None, Meta(ge=1)], 0, "value must be an integer >= 1, not 0"),
        (Annotated[str, Meta(min_length=2)], "a", 'value must be a string of length >= 2, not "a"'),
        (Annotated[list[int], Meta(max_length=1)], [1, 2], "value must be an array of length <= 1, not [1, 2]"),
        (datetime.date, "soon", 'value must be a string with the format date, not "soon"'),
        (decimal.Decimal, 1.5, "value must be a string, not 1.5"),
        (decimal.Decimal, "NaN", "value must be a string matching regex '^-?[0-9]+(\\\\.[0-9]+)?$', not \"NaN\""),
        (list[int], [1, "x", None], 'value[1] must be an integer, not "x"; value[2] must be an integer, not null'),
        (tuple[int, str], [1], "value must be an array of length 2, not [1]"),
        (tuple[int, str], [1, 2], "value[1] must be a string, not 2"),
        (set[int], [1, 1], "value must not contain a value twice"),
        (dict[str, int], {"a": "x"}, 'value.a must be an integer, not "x"'),
        (dict[Unit, int], {"kelvin": 1}, 'value.kelvin must be one of "celsius", "fahrenheit", not "kelvin"'),
        (tuple[int, str] | str, 5, "value must be an array of length 2 or a string, not 5"),
        (Annotated[str, "A name."] | None, 5, "value must be a string or null, not 5"),
        (dict[str, int] | list[int], 5, "value must be an object or an array, not 5"),
        (Place, {}, "value.city is missing"),
        (Place, {"city": "Oslo", "zip": 1}, "value.zip is unknown (known here: city, country)"),
        (Place, "Oslo", 'value must be an object, not "Oslo"'),
        (
            list[Stop],
            [{"place": {"city": 5}}],
            "value[0].place.city must be a string, not 5; value[0].minutes is missing",
        ),
        (Card | Cash, {"kind": "cash", "amount": "2"}, 'value.amount must be a number, not "2"'),
        (Card | Cash | None, 5, "value must be an object or null, not 5"),
        (Positive, {"value": 0}, "value is not valid: 'value' must be > 0: 0"),
        (Asserted, {"value": 0}, "value is not valid: AssertionError"),
        (Looked, {"value": 0}, "value is not valid: 0"),
        (datetime.date, "\ud800", 'value must be a string with the format date, not "\ud800"'),
        (datetime.timedelta, "\ud800", 'value must be a string with the format duration, not "\ud800"'),
        (uuid.UUID, "\ud800", 'value must be a string with the format uuid, not "\ud800"'),
        (bytes, "hello world", 'value must be a string in base64, not "hello world"'),
        (bytes, "\ud800", 'value must be a string in base64, not "\ud800"'),
        (list[datetime.time] | str, ["\ud800"], 'value[0] must be a string with the format time, not "\ud800"'),
    ],
)
def test_a_value_outside_the_schema_is_refused_with_its_place_and_what_is_right(hint, value, text):
    assert complaint(hint, value) == text


@pytest.mark.parametrize("number", [1, "x"])
def test_each_object_is_structured_once_however_many_classes_of_a_union_are_tried(number):
    value, hint = {"number": number}, Sum | Product | Number
    Number.made.clear()
    for _ in range(6):
        value = {"product": [value], "sum": [value]}
    if number == 1:
        assert isinstance(structured(hint, value), Product)
    else:
        assert complaint(hint, value).startswith("value.product[0].product[0].product[0]")
    assert len(Number.made) == (2**6 if number == 1 else 0)


def test_of_many_problems_the_first_are_named():
    text = complaint(list[int], ["x"] * 1000)
    assert text.count("must be an integer") == 20
    assert text.startswith('value[0] must be an integer, not "x"; value[1] must')
    assert text.endswith('value[19] must be an integer, not "x"; and 980 more')


def test_a_long_name_is_cut_in_the_message():
    assert (
        complaint(Place, {"city": "Oslo", "x" * 1000: 1})
        == f"value.{'x' * 80}... is unknown (known here: city, country)"
    )


def test_a_value_that_is_nested_too_deeply_is_refused():
    depth = sys.getrecursionlimit()
    value = {"name": "leaf", "children": []}
    for _ in range(depth):
        value = {"name": "branch", "children": [value]}

    def grow(tree: Tree): ...

    keywords, reason = tool(grow)._parameters.structure({"tree": value})
    assert (keywords, reason) == ({}, "the value is nested too deeply")


def test_a_long_value_is_cut_in_the_message():
    assert complaint(int, "x" * 1000) == f'value must be an integer, not "{"x" * 79}...'


@tool
def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict:
    """Return how warm it is."""
    return {"city": city, "unit": unit}


def test_all_that_is_wrong_is_named_at_once():
    with pytest.raises(ToolArgumentsError) as caught:
        get_weather.structure('{"unit": "kelvin", "town": "Oslo"}')
    assert str(caught.value) == (
        "the arguments of get_weather are wrong: city is missing; "
        'unit must be one of "celsius", "fahrenheit", not "kelvin"; town is unknown (known here: city, unit)'
    )


def test_an_argument_that_is_left_out_is_left_to_the_function():
    assert get_weather.structure('{"city": "Oslo"}') == {"city": "Oslo"}


@pytest.mark.parametrize("arguments", ["{", "{} {}", '{"city": NaN}', "city=Oslo"])
def test_arguments_that_are_not_json_are_refused(arguments):
    with pytest.raises(ToolArgumentsError, match="the arguments of get_weather are not valid JSON"):
        get_weather.structure(arguments)


def test_arguments_that_are_no_object_are_refused():
    with pytest.raises(ToolArgumentsError, match=r"the value must be an object, not \[1\]"):
        get_weather.structure("[1]")


@pytest.mark.parametrize("arguments", ["", " \n", "null", "{}"])
def test_no_arguments_are_an_empty_object(arguments):
    def now(): ...

    assert tool(now).structure(arguments) == {}


def test_a_function_without_parameters_refuses_any():
    def now(): ...

    with pytest.raises(ToolArgumentsError, match="zone is unknown \\(nothing is known here\\)"):
        tool(now).structure('{"zone": "UTC"}')

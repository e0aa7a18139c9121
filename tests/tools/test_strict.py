"""OpenAI's strict form: every property is required, and null stands for a default."""

import copy
import datetime
import json
import uuid
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from msgspec import Meta
from openai.lib._pydantic import _ensure_strict_json_schema

from gpt_agent_fsm import tool
from gpt_agent_fsm.errors import ToolArgumentsError
from tests.tools.samples import Card, Cash, Circle, Options, Place, Square, Stop, Tree, Unit
from tests.tools.test_schemas import TABLE

STRING, NUMBER = {"type": "string"}, {"type": "number"}


def thing(**properties):
    """Return the schema of an object that needs all its properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


PLACE = {
    **thing(
        city={"type": "string", "description": "the name of the city."},
        country={"type": ["string", "null"], "description": "two letters."},
    ),
    "description": "A place on earth.",
}
NULL = {"type": "null"}


def nothing(): ...
def text(city: str): ...
def defaults(days: int = 3, unit: Literal["c", "f"] = "c", name: str | None = None): ...
def described(days: Annotated[int, "How many."] = 3): ...
def enum(unit: Unit = Unit.CELSIUS): ...
def limits(cities: Annotated[list[Annotated[str, Meta(max_length=9, examples=["Oslo"])]], Meta(max_length=3)]): ...
def texts_set(cities: set[str]): ...
def attrs_class(place: Place | None = None): ...
def default_class(place: Annotated[Place, "Where."] = Place("Oslo")): ...  # noqa: B008
def nested(stops: list[Stop]): ...
def typed_dict(options: Options): ...
def unions(shape: Circle | Square, payment: Card | Cash | None = None): ...
def twice(start: Place, end: Annotated[Place, "Where it ends."]): ...
def recursive(tree: Tree): ...
def pair(at: tuple[float, float]): ...
def formats(at: datetime.datetime, id: uuid.UUID): ...


SHAPE = {
    "anyOf": [
        thing(type={"type": "string", "enum": ["circle"]}, radius=NUMBER),
        thing(type={"type": "string", "enum": ["square"]}, sideLength=NUMBER),
    ]
}
PAYMENTS = [
    thing(kind={"type": "string", "enum": ["card"]}, number=STRING),
    thing(kind={"type": "string", "enum": ["cash"]}, amount=NUMBER),
]
UNIT = {"type": ["string", "null"], "enum": ["celsius", "fahrenheit", None]}
STRICT = [
    (nothing, thing()),
    (text, thing(city=STRING)),
    (
        defaults,
        thing(
            days={"type": ["integer", "null"]},
            unit={"type": ["string", "null"], "enum": ["c", "f", None]},
            name={"type": ["string", "null"]},
        ),
    ),
    (described, thing(days={"type": ["integer", "null"], "description": "How many."})),
    (enum, thing(unit={**UNIT, "description": "The scale of a temperature."})),
    (limits, thing(cities={"type": "array", "items": STRING, "maxItems": 3})),
    (texts_set, thing(cities={"type": "array", "items": STRING})),
    (attrs_class, thing(place={"anyOf": [PLACE, NULL]})),
    (default_class, thing(place={"anyOf": [PLACE, NULL], "description": "Where."})),
    (
        nested,
        thing(
            stops={
                "type": "array",
                "items": thing(
                    place=PLACE, minutes={"type": "integer", "minimum": 0}, note={"type": ["string", "null"]}
                ),
            }
        ),
    ),
    (
        typed_dict,
        thing(
            options=thing(query=STRING, limit={"type": ["integer", "null"], "description": "How many at most."}),
        ),
    ),
    (unions, thing(shape=SHAPE, payment={"anyOf": [*PAYMENTS, NULL]})),
    (
        twice,
        thing(
            start={"$ref": "#/$defs/Place"},
            end={"description": "Where it ends.", "anyOf": [{"$ref": "#/$defs/Place"}]},
        )
        | {"$defs": {"Place": PLACE}},
    ),
    (
        recursive,
        thing(tree={"$ref": "#/$defs/Tree"})
        | {
            "$defs": {
                "Tree": thing(name=STRING, children={"type": ["array", "null"], "items": {"$ref": "#/$defs/Tree"}})
            }
        },
    ),
    (pair, thing(at={"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2})),
    (
        formats,
        thing(at={"type": "string", "format": "date-time"}, id={"type": "string", "format": "uuid"}),
    ),
]


@pytest.mark.parametrize(("function", "schema"), STRICT, ids=[function.__name__ for function, _ in STRICT])
def test_the_strict_schema_is_what_an_expert_writes(function, schema):
    definition = tool(strict=True)(function).definition
    assert definition.strict
    assert definition.parameters == schema
    jsonschema.Draft202012Validator.check_schema(schema)


WITHOUT_STRICT_FORM = {"mixed_pair", "prices", "limited_keys", "anything", "untyped"}
EVERY = [
    *(
        pytest.param(function, id=function.__name__)
        for function, _ in TABLE
        if function.__name__ not in WITHOUT_STRICT_FORM
    ),
    *(pytest.param(function, id=f"strict_{function.__name__}") for function, _ in STRICT),
]
KEYWORDS = {"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "$ref", "$defs"} | {
    *("description", "pattern", "format", "minimum", "maximum", "minItems", "maxItems")
}
"""The keywords that OpenAI documents for the strict form, as far as the signatures need them."""


@pytest.mark.parametrize("function", EVERY)
def test_the_official_sdk_has_nothing_to_add_to_a_strict_schema(function):
    schema = tool(strict=True)(function).definition.parameters
    checked = copy.deepcopy(schema)
    assert _ensure_strict_json_schema(checked, path=(), root=checked) == schema


def schemas_in(schema):
    """Return a schema and all schemas inside it."""
    named = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    inner = [*named, *schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
    return [schema, *(deeper for each in inner for deeper in schemas_in(each))]


@pytest.mark.parametrize("function", EVERY)
def test_a_strict_schema_has_no_keyword_that_the_strict_form_refuses(function):
    for schema in schemas_in(tool(strict=True)(function).definition.parameters):
        assert set(schema) <= KEYWORDS
        # Nothing is allowed beside a reference.
        assert "$ref" not in schema or len(schema) == 1


@pytest.mark.parametrize("strict", [None, False])
def test_a_schema_is_strict_only_where_it_is_asked_for(strict):
    definition = tool(strict=strict)(defaults).definition
    assert not definition.strict
    assert "required" not in definition.parameters


def test_a_null_means_the_default_where_there_is_one():
    @tool(strict=True)
    def f(city: str | None, days: int = 3, place: Place = Place("Oslo"), options: Options = {}):  # noqa: B006, B008
        ...

    arguments = {"city": None, "days": None, "place": {"city": "Rome", "country": None}, "options": None}
    assert f.structure(json.dumps(arguments)) == {"city": None, "place": Place("Rome", "NO")}
    arguments |= {"options": {"query": "x", "limit": None}}
    assert f.structure(json.dumps(arguments))["options"] == {"query": "x"}


def test_a_null_is_refused_where_nothing_is_strict():
    with pytest.raises(ToolArgumentsError, match="days must be an integer, not null"):
        tool(defaults).structure('{"days": null}')


def test_a_server_that_ignores_strict_may_leave_out_what_has_a_default():
    assert tool(strict=True)(defaults).structure("{}") == {}


def test_limits_that_the_strict_form_does_not_have_are_checked_all_the_more():
    made = tool(strict=True)(limits)
    with pytest.raises(ToolArgumentsError, match=r"cities\[0\] must be a string of length <= 9"):
        made.structure('{"cities": ["Llanfairpwllgwyngyll"]}')
    with pytest.raises(ToolArgumentsError, match="must not contain a value twice"):
        tool(strict=True)(texts_set).structure('{"cities": ["Oslo", "Oslo"]}')


@pytest.mark.parametrize(
    ("hint", "reason"),
    [
        (dict[str, int], "a dict with any keys"),
        (list, "any value"),
        (Any, "any value"),
        (tuple[int, str], "a tuple of different types"),
        (list[dict[str, Any]], "a dict with any keys|any value"),
    ],
)
def test_a_parameter_without_a_strict_form_is_refused(hint, reason):
    def f(value): ...

    f.__annotations__["value"] = hint
    with pytest.raises(ValueError, match=f"the tool f: parameter value: ({reason}) cannot be described with strict"):
        tool(strict=True)(f)
    assert tool(f).definition.strict is False

"""The JSON schema of a signature is the one that an expert would write by hand."""

import datetime
import decimal
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NewType, Optional

import attrs
import jsonschema
import pytest
import typing_extensions
from msgspec import Meta

from gpt_agent_fsm import tool
from tests.tools.samples import (
    Card,
    Cash,
    Circle,
    Options,
    Place,
    Point,
    Priority,
    Range,
    Square,
    Stop,
    Tree,
    Unit,
)

UserId = NewType("UserId", int)
STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}


def thing(required=(), **properties):
    """Return the schema of an object with these properties and no others."""
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, **needed, "additionalProperties": False}


PLACE = {
    **thing(
        ["city"],
        city={"type": "string", "description": "the name of the city."},
        country={"type": "string", "description": "two letters.", "default": "NO"},
    ),
    "description": "A place on earth.",
}
UNIT = {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "The scale of a temperature."}


# --- a function each, and its schema ------------------------------------------------------------------------


def nothing(): ...
def text(city: str): ...
def several(city: str, days: int, exact: bool, limit: float): ...
def defaults(city: str, days: int = 3, unit: str = "celsius", *, exact: bool = False): ...
def optional(city: Optional[str] = None): ...  # noqa: UP045 - the older form
def nullable(city: str | None): ...
def never_null(city: str = None): ...  # noqa: RUF013 - people write this
def either(value: int | str): ...
def day_or_number(day: datetime.date | int): ...
def day_or_text(day: datetime.date | str): ...
def whole_or_not(value: int | float): ...
def choice(unit: Literal["low", "medium", "high"] = "medium"): ...
def mixed_choice(value: Literal[1, "auto", None]): ...
def strings_enum(unit: Unit = Unit.CELSIUS): ...
def numbers_enum(priority: Priority | None = None): ...
def described(city: Annotated[str, "The city."]): ...
def limited(city: Annotated[str, Meta(min_length=1, max_length=9, pattern="^[A-Z]")]): ...
def limited_number(days: Annotated[int, Meta(ge=1, le=14, description="How many.")] = 7): ...
def limited_if_there(days: Annotated[int | None, Meta(ge=1)] = None): ...
def texts(cities: list[str]): ...
def any_texts(cities: Sequence[str], more: Iterable[int] = ()): ...
def limited_list(cities: Annotated[list[Annotated[str, "A city."]], Meta(min_length=1, max_length=3)]): ...
def texts_set(cities: set[str]): ...
def pair(at: tuple[float, float]): ...
def mixed_pair(at: tuple[str, int]): ...
def many(values: tuple[int, ...] = ()): ...
def prices(prices: dict[str, float]): ...
def limited_keys(prices: Mapping[Annotated[str, Meta(pattern="^[a-z]+$")], Any]): ...
def attrs_class(place: Place): ...
def nested_classes(stops: list[Stop]): ...
def dataclass(range: Range): ...
def typed_dict(options: Options): ...
def named_tuple(point: Point | None = None): ...
def tagged_union(shape: Circle | Square): ...
def classes_union(payment: Card | Cash): ...
def twice(start: Place, end: Annotated[Place, "Where it ends."]): ...
def recursive(tree: Tree): ...
def dates(at: datetime.datetime, day: datetime.date, time: datetime.time, span: datetime.timedelta): ...
def others(id: uuid.UUID, price: decimal.Decimal, image: bytes, user: UserId): ...
def anything(value: Any, other: object = None): ...
def untyped(values: list, names: dict): ...


TREE = thing(["name"], name=STRING, children={"type": "array", "items": {"$ref": "#/$defs/Tree"}})
TABLE = [
    (nothing, thing()),
    (text, thing(["city"], city=STRING)),
    (
        several,
        thing(["city", "days", "exact", "limit"], city=STRING, days=INTEGER, exact={"type": "boolean"}, limit=NUMBER),
    ),
    (
        defaults,
        thing(
            ["city"],
            city=STRING,
            days={"type": "integer", "default": 3},
            unit={"type": "string", "default": "celsius"},
            exact={"type": "boolean", "default": False},
        ),
    ),
    (optional, thing(city={"type": ["string", "null"]})),
    (nullable, thing(["city"], city={"type": ["string", "null"]})),
    (never_null, thing(city=STRING)),
    (either, thing(["value"], value={"type": ["integer", "string"]})),
    (day_or_number, thing(["day"], day={"type": ["string", "integer"], "format": "date"})),
    (day_or_text, thing(["day"], day={"anyOf": [{"type": "string", "format": "date"}, STRING]})),
    (whole_or_not, thing(["value"], value=NUMBER)),
    (choice, thing(unit={"type": "string", "enum": ["low", "medium", "high"], "default": "medium"})),
    (mixed_choice, thing(["value"], value={"type": ["integer", "string", "null"], "enum": [1, "auto", None]})),
    (strings_enum, thing(unit=UNIT | {"default": "celsius"})),
    (numbers_enum, thing(priority={"type": ["integer", "null"], "enum": [3, 1, None]})),
    (described, thing(["city"], city={"type": "string", "description": "The city."})),
    (limited, thing(["city"], city={"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^[A-Z]"})),
    (
        limited_number,
        thing(days={"type": "integer", "minimum": 1, "maximum": 14, "description": "How many.", "default": 7}),
    ),
    (limited_if_there, thing(days={"type": ["integer", "null"], "minimum": 1})),
    (texts, thing(["cities"], cities={"type": "array", "items": STRING})),
    (
        any_texts,
        thing(
            ["cities"],
            cities={"type": "array", "items": STRING},
            more={"type": "array", "items": INTEGER, "default": []},
        ),
    ),
    (
        limited_list,
        thing(
            ["cities"],
            cities={
                "type": "array",
                "items": {"type": "string", "description": "A city."},
                "minItems": 1,
                "maxItems": 3,
            },
        ),
    ),
    (texts_set, thing(["cities"], cities={"type": "array", "items": STRING, "uniqueItems": True})),
    (pair, thing(["at"], at={"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2})),
    (
        mixed_pair,
        thing(
            ["at"],
            at={"type": "array", "prefixItems": [STRING, INTEGER], "items": False, "minItems": 2, "maxItems": 2},
        ),
    ),
    (many, thing(values={"type": "array", "items": INTEGER, "default": []})),
    (prices, thing(["prices"], prices={"type": "object", "additionalProperties": NUMBER})),
    (limited_keys, thing(["prices"], prices={"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}})),
    (attrs_class, thing(["place"], place=PLACE)),
    (
        nested_classes,
        thing(
            ["stops"],
            stops={
                "type": "array",
                "items": thing(
                    ["place", "minutes"],
                    place=PLACE,
                    minutes={"type": "integer", "minimum": 0},
                    note={"type": ["string", "null"]},
                ),
            },
        ),
    ),
    (
        dataclass,
        thing(
            ["range"],
            range=thing(
                ["start"],
                start=NUMBER,
                end={"type": "number", "default": 1.0},
                tags={"type": "array", "items": STRING},
            ),
        ),
    ),
    (
        typed_dict,
        thing(
            ["options"],
            options=thing(["query"], query=STRING, limit={"type": "integer", "description": "How many at most."}),
        ),
    ),
    (
        named_tuple,
        thing(point={"anyOf": [thing(["x"], x=NUMBER, y={"type": "number", "default": 0.0}), {"type": "null"}]}),
    ),
    (
        tagged_union,
        thing(
            ["shape"],
            shape={
                "anyOf": [
                    thing(["type", "radius"], type={"type": "string", "enum": ["circle"]}, radius=NUMBER),
                    thing(["type", "sideLength"], type={"type": "string", "enum": ["square"]}, sideLength=NUMBER),
                ]
            },
        ),
    ),
    (
        classes_union,
        thing(
            ["payment"],
            payment={
                "anyOf": [
                    thing(["kind", "number"], kind={"type": "string", "enum": ["card"]}, number=STRING),
                    thing(["kind", "amount"], kind={"type": "string", "enum": ["cash"]}, amount=NUMBER),
                ]
            },
        ),
    ),
    (
        twice,
        thing(
            ["start", "end"],
            start={"$ref": "#/$defs/Place"},
            end={"description": "Where it ends.", "anyOf": [{"$ref": "#/$defs/Place"}]},
        )
        | {"$defs": {"Place": PLACE}},
    ),
    (recursive, thing(["tree"], tree={"$ref": "#/$defs/Tree"}) | {"$defs": {"Tree": TREE}}),
    (
        dates,
        thing(
            ["at", "day", "time", "span"],
            at={"type": "string", "format": "date-time"},
            day={"type": "string", "format": "date"},
            time={"type": "string", "format": "time"},
            span={"type": "string", "format": "duration"},
        ),
    ),
    (
        others,
        thing(
            ["id", "price", "image", "user"],
            id={"type": "string", "format": "uuid"},
            price={"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
            image={"type": "string", "contentEncoding": "base64"},
            user=INTEGER,
        ),
    ),
    (anything, thing(["value"], value={}, other={})),
    (untyped, thing(["values", "names"], values={"type": "array"}, names={"type": "object"})),
]


@pytest.mark.parametrize(("function", "schema"), TABLE, ids=[function.__name__ for function, _ in TABLE])
def test_the_schema_is_what_an_expert_writes(function, schema):
    made = tool(function).definition.parameters
    assert made == schema
    assert list(made["properties"]) == list(schema["properties"])
    jsonschema.Draft202012Validator.check_schema(made)


def test_two_classes_of_one_name_keep_their_own_definitions():
    other = attrs.make_class("Place", {"x": attrs.field(type=int)})

    def route(a: Place, b: Place, c: other, d: other): ...

    definitions = tool(route).definition.parameters["$defs"]
    assert definitions == {"Place": PLACE, "Place2": thing(["x"], x=INTEGER)}


def test_a_class_inside_a_class_that_is_used_twice_is_written_where_it_is_used():
    def go(first: Stop, second: Stop): ...

    schema = tool(go).definition.parameters
    assert set(schema["$defs"]) == {"Stop"}
    assert schema["$defs"]["Stop"]["properties"]["place"] == PLACE


def test_a_limit_of_one_number_does_not_reach_the_other():
    def f(value: Annotated[float, Meta(ge=5)] | int): ...

    limited = {"type": "number", "minimum": 5}
    assert tool(f).definition.parameters["properties"]["value"] == {"anyOf": [limited, INTEGER]}


def test_a_default_that_the_schema_does_not_allow_is_not_shown():
    def f(days: Annotated[int, Meta(ge=1)] = 0, place: Place = Place("Oslo"), when: str = object()):  # noqa: B008
        ...

    properties = tool(f).definition.parameters["properties"]
    assert properties["days"] == {"type": "integer", "minimum": 1}
    assert properties["place"]["default"] == {"city": "Oslo", "country": "NO"}
    assert properties["when"] == STRING


def test_a_title_examples_and_further_keywords_are_kept():
    def f(mail: Annotated[str, Meta(title="Mail", examples=["a@b.c"], extra_json_schema={"format": "email"})]): ...

    assert tool(f).definition.parameters["properties"]["mail"] == {
        "type": "string",
        "title": "Mail",
        "examples": ["a@b.c"],
        "format": "email",
    }


@pytest.mark.parametrize("kind", [datetime.datetime, datetime.time])
def test_a_time_that_must_have_no_zone_has_no_format_of_times_with_a_zone(kind):
    def f(at): ...

    f.__annotations__["at"] = Annotated[kind, Meta(tz=False)]
    assert tool(f).definition.parameters["properties"]["at"] == STRING


def test_an_alias_of_a_type_is_the_type():
    def f(values): ...

    f.__annotations__["values"] = typing_extensions.TypeAliasType("Values", list[int])
    assert tool(f).definition.parameters["properties"]["values"] == {"type": "array", "items": INTEGER}


def test_a_typed_dict_for_older_pythons_is_an_object():
    class Older(typing_extensions.TypedDict):
        a: int
        b: typing_extensions.NotRequired[str]

    def f(value): ...

    f.__annotations__["value"] = Older
    assert tool(f).definition.parameters["properties"]["value"] == thing(["a"], a=INTEGER, b=STRING)

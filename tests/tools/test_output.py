"""The form of a structured answer."""

import dataclasses
import sys
from typing import Annotated, Any, Literal, TypedDict

import attrs
import msgspec
import pytest

from gpt_agent_fsm.tools.output import InvalidOutput, as_output


@attrs.frozen
class Forecast:
    """The weather of a day."""

    city: str
    celsius: float
    note: str | None = None


@dataclasses.dataclass
class Week:
    days: list[Forecast]


class Place(TypedDict):
    city: str


@attrs.frozen
class Guess:
    number: Annotated[int, msgspec.Meta(le=9)]
    sign: Literal["plus", "minus"]

    def __attrs_post_init__(self):
        if self.number == 7:
            raise ValueError(f"{self.number} is a secret")


@attrs.frozen
class Loose:
    values: dict[str, int]


@attrs.frozen
class Broken:
    value: complex


SCHEMA = {
    "title": "My place",
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def test_a_class_becomes_a_schema_of_the_strict_form():
    form = as_output(Forecast)
    assert form.to_json() == {
        "name": "Forecast",
        "schema": {
            "type": "object",
            "description": "The weather of a day.",
            "properties": {
                "city": {"type": "string"},
                "celsius": {"type": "number"},
                "note": {"type": ["string", "null"]},
            },
            "required": ["city", "celsius", "note"],
            "additionalProperties": False,
        },
        "strict": True,
    }


def test_a_class_without_a_strict_form_is_described_loosely():
    form = as_output(Loose)
    assert not form.strict
    assert form.schema["properties"]["values"]["additionalProperties"] == {"type": "integer"}
    assert form.value('{"values":{"a":1}}') == Loose({"a": 1})


@pytest.mark.parametrize(
    ("given", "text", "value"),
    [
        (Forecast, '{"city":"Oslo","celsius":2,"note":null}', Forecast("Oslo", 2.0)),
        (Forecast, '{"city":"Oslo","celsius":2.5,"note":"Snow"}', Forecast("Oslo", 2.5, "Snow")),
        (Week, '{"days":[{"city":"Oslo","celsius":2}]}', Week([Forecast("Oslo", 2.0)])),
        (Place, ' {"city": "Oslo"}\n', {"city": "Oslo"}),
        (SCHEMA, '{"city":"Oslo"}', {"city": "Oslo"}),
    ],
)
def test_the_text_of_an_answer_becomes_an_object(given, text, value):
    assert as_output(given).value(text) == value


@pytest.mark.parametrize(
    ("given", "text", "reason"),
    [
        (Forecast, "", "the answer is empty"),
        (Forecast, "Cold", "the answer is not valid JSON"),
        (Forecast, '{"city":"Oslo"}', "celsius is missing"),
        (Forecast, '{"city":"Oslo","celsius":"2","note":null}', "celsius must be a number"),
        (Forecast, '{"city":"Oslo","celsius":2,"wind":3}', "wind is unknown"),
        (Forecast, "[1]", "must be an object"),
        (SCHEMA, '{"city":7}', r"\$.city does not fit the schema's 'type'"),
    ],
)
def test_a_text_of_another_form_is_refused_with_the_reason(given, text, reason):
    with pytest.raises(InvalidOutput, match=reason):
        as_output(given).value(text)


def test_the_reason_does_not_quote_what_a_schema_refuses():
    with pytest.raises(InvalidOutput) as raised:
        as_output(SCHEMA).value('{"city":["a secret"]}')
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "text", "reason"),
    [
        (Forecast, '{"city":"Oslo","celsius":"a secret","note":null}', "celsius must be a number"),
        (Forecast, '["a secret"]', "the value must be an object"),
        (Week, '{"days":["a secret"]}', "days[0] must be an object"),
        (Guess, '{"number":12,"sign":"plus"}', "number must be an integer <= 9"),
        (Guess, '{"number":2,"sign":"a secret"}', 'sign must be one of "plus", "minus"'),
        (Guess, '{"number":7,"sign":"plus"}', "the value is not valid"),
    ],
)
def test_the_reason_does_not_quote_what_a_class_refuses(given, text, reason):
    with pytest.raises(InvalidOutput) as raised:
        as_output(given).value(text)
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (7, "a JSON schema or a class with fields, not 7"),
        (Forecast("Oslo", 1.0), "a JSON schema or a class with fields"),
        (list[Forecast], "a JSON schema or a class with fields"),
        (str, "put str into a field"),
        (Broken, "Broken.value: complex cannot be described"),
        ({"type": "array"}, 'of the type "object"'),
        ({"type": "object", "properties": 7}, "not a valid JSON schema"),
        ({"type": {1, 2}}, "cannot be written as JSON"),
    ],
)
def test_a_form_that_cannot_be_described_is_refused(given: Any, reason):
    with pytest.raises(ValueError, match=reason):
        as_output(given)


def test_a_class_that_names_an_unknown_class_is_refused():
    @attrs.frozen
    class Outer:
        inner: "NotThere"  # noqa: F821 - it is not defined

    with pytest.raises(ValueError, match="define it at the top of a module"):
        as_output(Outer)


def test_a_schema_without_jsonschema_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ValueError, match="needs the package jsonschema"):
        as_output(SCHEMA)


@pytest.mark.parametrize(
    ("change", "strict"),
    [
        ({}, True),
        ({"required": []}, False),
        ({"additionalProperties": True}, False),
        ({"properties": {"city": {"type": "object", "properties": {}}}}, False),
    ],
)
def test_a_schema_is_strict_if_every_object_has_the_strict_form(change, strict):
    assert as_output(SCHEMA | change).strict is strict


@pytest.mark.parametrize(("title", "name"), [("My place", "My_place"), ("", "answer"), ("x" * 99, "x" * 64)])
def test_the_name_of_a_schema_is_one_that_a_server_takes(title, name):
    assert as_output(SCHEMA | {"title": title}).name == name


def test_a_form_stays_itself():
    form = as_output(Forecast)
    assert as_output(form) is form


HOPELESS = {
    "a reference that leads nowhere": {"$ref": "#/$defs/x"},
    "a reference to itself": {"$ref": "#/properties/a"},
    "a reference to another place": {"$ref": "http://127.0.0.1:1/schema.json"},
    "a division of a large number": {"type": "number", "multipleOf": 0.5},
}


@pytest.mark.parametrize("schema", HOPELESS.values(), ids=HOPELESS)
def test_a_schema_that_cannot_be_applied_makes_the_answer_invalid(schema):
    output = as_output({"type": "object", "properties": {"a": schema}})
    with pytest.raises(InvalidOutput, match="the schema cannot be applied to it"):
        output.value(f'{{"a": {10**401}}}')

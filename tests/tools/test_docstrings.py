"""Descriptions come from docstrings, in every common style."""

from typing import Annotated

import attrs
import pytest
import typing_extensions

from gpt_agent_fsm import tool
from tests.tools.samples import Place, Unit


def google(city: str, days: int = 1):
    """Return the forecast of a city,
    day by day.

    It comes from the national service.
    It is renewed every hour.

    Args:
        city (str): The name of the city,
            in English.
        days: How many.

    Returns:
        A list.

    Raises:
        KeyError: Never.
    """


def numpy(city: str, days: int = 1):
    """Return the forecast of a city, day by day.

    It comes from the national service. It is renewed every hour.

    Parameters
    ----------
    city : str
        The name of the city, in English.
    days : int, optional
        How many.

    Returns
    -------
    list
        A list.
    """


def sphinx(city: str, days: int = 1):
    """Return the forecast of a city, day by day.

    It comes from the national service. It is renewed every hour.

    :param city: The name of the city, in English.
    :param int days: How many.
    :returns: A list.
    :raises KeyError: Never.
    """


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_a_docstring_describes_the_function_and_its_parameters(function):
    definition = tool(function).definition
    assert definition.description == (
        "Return the forecast of a city, day by day.\n\nIt comes from the national service. It is renewed every hour."
    )
    assert {name: each["description"] for name, each in definition.parameters["properties"].items()} == {
        "city": "The name of the city, in English.",
        "days": "How many.",
    }


def test_parameters_that_share_a_line_share_the_description():
    def f(x: int, y: int):
        """Add.

        Parameters
        ----------
        x, y : int
            A number.
        """

    properties = tool(f).definition.parameters["properties"]
    assert properties == {name: {"type": "integer", "description": "A number."} for name in "xy"}


def test_lists_keep_their_lines():
    def f():
        """Sort.

        The order is

        - small
          ones,
        - big ones.
        """

    assert tool(f).definition.description == "Sort.\n\nThe order is\n\n- small\n  ones,\n- big ones."


def test_an_annotation_describes_a_parameter_better_than_the_docstring():
    def f(city: Annotated[str, "Better."]):
        """Do.

        Args:
            city: Worse.
        """

    assert tool(f).definition.parameters["properties"]["city"]["description"] == "Better."


def test_a_parameter_is_described_better_than_its_class():
    def f(unit: Unit, place: Place):
        """Do.

        Args:
            unit: The unit.
            place: The place.
        """

    properties = tool(f).definition.parameters["properties"]
    assert [each["description"] for each in properties.values()] == ["The unit.", "The place."]


def test_a_doc_object_describes_a_parameter_as_a_string_does():
    def f(city: Annotated[str, typing_extensions.Doc("The city.")]): ...

    assert tool(f).definition.parameters["properties"]["city"] == {"type": "string", "description": "The city."}


def test_a_given_description_replaces_that_of_the_docstring():
    assert tool(description="")(google).definition.description == ""
    assert tool(description="Shorter.")(google).definition.description == "Shorter."


@pytest.mark.parametrize("docstring", [None, "", "   ", "\n\n"])
def test_a_function_without_a_docstring_has_no_description(docstring):
    def f(city: str): ...

    f.__doc__ = docstring
    assert tool(f).definition.description == ""
    assert tool(f).definition.parameters["properties"]["city"] == {"type": "string"}


def test_a_docstring_that_cannot_be_parsed_is_the_description():
    def f(city: str):
        """Do.

        :param: nameless
        """

    assert tool(f).definition.description.startswith("Do.")


def test_generated_docstrings_of_classes_are_no_descriptions():
    import dataclasses

    @dataclasses.dataclass
    class Seat:
        row: int

    @attrs.frozen
    class Hall:
        """A hall.

        Args:
            seat: its best one.
        """

        seat: Seat

    def f(hall: Hall): ...

    hall = tool(f).definition.parameters["properties"]["hall"]
    assert hall["description"] == "A hall."
    assert hall["properties"]["seat"]["description"] == "its best one."
    assert "description" not in hall["properties"]["seat"]["properties"]["row"]

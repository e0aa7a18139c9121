"""Structuring accepts the values that the schema allows, and no others."""

import json

import jsonschema
import pytest
from hypothesis import HealthCheck, assume, given, settings

from gpt_agent_fsm import tool
from gpt_agent_fsm.errors import ToolArgumentsError
from tests.tools.json_values import allowed, changed
from tests.tools.test_schemas import TABLE
from tests.tools.test_strict import STRICT

WITH_FORMATS = {"dates", "others", "formats"}
"""Functions with formats, which a JSON schema names but does not check."""
WITH_LOST_LIMITS = {"limits", "texts_set"}
"""Strict functions with limits that the strict form does not have."""
TOOLS = [pytest.param(tool(each), id=each.__name__) for each, _ in TABLE]
STRICT_TOOLS = [pytest.param(tool(strict=True)(each), id=f"strict_{each.__name__}") for each, _ in STRICT]
RANDOM = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def without(tools, names):
    return [each for each in tools if each.id.removeprefix("strict_") not in names]


def is_structured(made, value):
    try:
        made.structure(json.dumps(value))
    except ToolArgumentsError:
        return False
    return True


@pytest.mark.parametrize("made", TOOLS + without(STRICT_TOOLS, WITH_LOST_LIMITS))
def test_a_value_that_the_schema_allows_is_structured(made):
    @RANDOM
    @given(allowed(made.definition.parameters))
    def check(value):
        made.structure(json.dumps(value))

    check()


@pytest.mark.parametrize("made", without(TOOLS, WITH_FORMATS) + without(STRICT_TOOLS, WITH_FORMATS | WITH_LOST_LIMITS))
def test_a_value_is_structured_only_if_the_schema_allows_it(made):
    validator = jsonschema.Draft202012Validator(made.definition.parameters)

    @RANDOM
    @given(changed(made.definition.parameters))
    def check(value):
        errors = list(validator.iter_errors(value))
        # A server that ignores `strict` may leave out what has a default.
        assume(not (made.strict and is_about_what_is_left_out(errors)))
        assert is_structured(made, value) == (not errors)

    check()


def is_about_what_is_left_out(errors):
    return any(error.validator == "required" or is_about_what_is_left_out(error.context) for error in errors)

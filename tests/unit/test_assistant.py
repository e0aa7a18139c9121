"""An assistant that is defined in the user's program."""

import attrs
import pytest

from gpt_agent_fsm import Assistant, FunctionTool, tool

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = FunctionTool("weather", "Tells the weather", SCHEMA, True)


def test_a_function_is_the_same_in_the_shape_of_either_api():
    fields = {"name": "weather", "description": "Tells the weather", "parameters": SCHEMA, "strict": True}
    nested, flat = {"type": "function", "function": fields}, {"type": "function", **fields}
    assert Assistant("m", "", [WEATHER]) == Assistant("m", "", [nested]) == Assistant("m", "", [flat])


def test_omitted_fields_of_a_function_have_their_defaults():
    (tool,) = Assistant("m", tools=[{"type": "function", "function": {"name": "f", "description": None}}]).tools
    assert tool == FunctionTool("f", "", {"type": "object", "properties": {}}, False)


def test_a_tool_that_the_server_runs_is_kept_as_it_is():
    assert Assistant("m", tools=[{"type": "web_search"}]).tools == ({"type": "web_search"},)


def test_changing_the_given_objects_does_not_change_the_assistant():
    options = {"reasoning": {"effort": "low"}}
    assistant = Assistant("m", options=options)
    options["x"] = 1
    assert assistant.options == {"reasoning": {"effort": "low"}}


def measure(city: str):
    """Return how warm it is."""


MEASURE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
MEASURE["additionalProperties"] = False


@pytest.mark.parametrize("given", [measure, tool(measure)])
def test_a_function_is_a_tool_with_a_definition_for_the_model(given):
    assistant = Assistant("m", tools=[given, WEATHER, {"type": "web_search"}])
    described = FunctionTool("measure", "Return how warm it is.", MEASURE)
    assert assistant.definitions == (described, WEATHER, {"type": "web_search"})
    assert assistant.functions == (tool(measure),)


def test_a_changed_copy_of_an_assistant_keeps_its_functions():
    assistant = attrs.evolve(Assistant("m", tools=[tool(timeout=5)(measure)]), model="n")
    assert [each.timeout for each in assistant.functions] == [5]


def test_assistants_with_the_same_function_are_equal():
    assert Assistant("m", tools=[measure]) == Assistant("m", tools=[tool(measure)])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": ""}, "Assistant: model must be a string that is not blank"),
        ({"model": None}, "Assistant: model must be a string that is not blank, not None"),
        ({"instructions": 5}, "Assistant: instructions must be a string, not 5"),
        ({"name": " "}, "Assistant: name must be a string that is not blank"),
        ({"tools": "search"}, "Assistant: tools must be a list of tools, not str"),
        ({"tools": {"type": "x"}}, "Assistant: tools must be a list of tools, not dict"),
        ({"tools": 5}, "Assistant: tools must be a list of tools, not int"),
        ({"tools": [5]}, "Assistant: a tool must be a function, a FunctionTool or a mapping, not int"),
        ({"tools": [{"type": "function", "name": "f", "params": {}}]}, "a function has only name, .* not 'params'"),
        ({"tools": [{"type": "function", "name": "get it"}]}, "name must have at most 64 characters, only letters"),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": {"city": {"type": "string"}}}]},
            "parameters must be a JSON schema; wrap the properties",
        ),
        ({"tools": [{}]}, 'Assistant: a tool must be a FunctionTool or a mapping with a "type"'),
        ({"tools": [{"type": "function", "function": 5}]}, 'Assistant: the "function" of a tool must be a mapping'),
        ({"tools": [{"type": "function"}]}, "FunctionTool: name must be a string that is not blank"),
        ({"tools": [WEATHER, {"type": "function", "name": "weather"}]}, "there are two functions called 'weather'"),
        ({"tools": [measure, FunctionTool("measure")]}, "there are two functions called 'measure'"),
        ({"tools": [lambda city: city]}, "parameter city: it has no annotation"),
        ({"temperature": "hot"}, "Assistant: temperature must be a number or None, not 'hot'"),
        ({"top_p": float("nan")}, "Assistant: top_p must be a number or None, not nan"),
        ({"options": {"tools": [], "model": "n"}}, "Assistant: give model, tools as a field of the assistant"),
        ({"tools": [{"type": "function", "name": "f", "strict": "no"}]}, "strict must be True or False, not 'no'"),
        ({"options": [1]}, "Assistant: options must be a mapping, not list"),
        ({"options": {"x": {1, 2}}}, "Assistant: options cannot be written as JSON"),
        ({"options": {"x": float("nan")}}, "Assistant: options cannot be written as JSON"),
    ],
)
def test_invalid_arguments_are_refused_in_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Assistant(**({"model": "m"} | arguments))


def test_parameters_that_are_not_a_schema_are_refused():
    with pytest.raises(ValueError, match="FunctionTool: parameters must be a mapping, not list"):
        FunctionTool("f", "", [])

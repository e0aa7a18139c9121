"""`ToolBox`: the tools of a runtime by name."""

import pytest

from gpt_agent_fsm import Assistant, FunctionTool, tool
from gpt_agent_fsm.tools import ToolBox


@tool
def measure(city: str): ...


def count(limit: int): ...


def haunt(by: "Ghost"): ...  # noqa: F821 - the name is never defined


def test_a_box_finds_its_tools_by_name():
    box = ToolBox([measure, count])
    assert box["measure"] is measure
    assert box["count"].definition.parameters["required"] == ["limit"]
    assert list(box) == ["measure", "count"]
    assert (len(box), "count" in box, box.get("other")) == (2, True, None)
    assert repr(box) == "<ToolBox measure, count>"
    assert len(ToolBox()) == 0


def test_one_function_may_be_given_twice():
    assert len(ToolBox([measure, count, count, measure.function])) == 2


@pytest.mark.parametrize("other", [tool(name="measure")(count), tool(timeout=5)(measure)])
def test_two_functions_of_one_name_are_refused(other):
    with pytest.raises(ValueError, match="there are two functions called 'measure'"):
        ToolBox([measure, other])
    with pytest.raises(ValueError, match="there are two functions called 'measure'"):
        ToolBox([measure]) | [other]


def test_boxes_are_joined_with_the_functions_of_assistants():
    assistant = Assistant("m", tools=[measure, count, FunctionTool("by_hand"), {"type": "web_search"}])
    assert list(ToolBox([measure]) | assistant.functions) == ["measure", "count"]
    assert list(ToolBox([measure]) | ToolBox([count])) == ["measure", "count"]


@pytest.mark.parametrize(
    ("tools", "sentence"),
    [
        ("measure", "tools must be a list of functions, not str"),
        ({"measure": measure}, "tools must be a list of functions, not dict"),
        (5, "tools must be a list of functions, not int"),
        (
            [FunctionTool("measure")],
            "a tool must be a function, a method or an object that can be called, not FunctionTool",
        ),
        ([{"type": "web_search"}], "a tool must be a function"),
        (["measure"], "a tool must be a function"),
        ([lambda city: city], "parameter city: it has no annotation"),
        ([tool(haunt)], "the tool haunt: parameter by: name 'Ghost' is not defined"),
        ([haunt], "the tool haunt: parameter by: name 'Ghost' is not defined"),
    ],
)
def test_a_value_that_is_not_a_function_is_refused(tools, sentence):
    with pytest.raises(ValueError, match=sentence):
        ToolBox(tools)

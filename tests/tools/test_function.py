"""`@tool`: which functions become tools, and how they behave afterwards."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import json
import re
import subprocess
import sys
import types
from typing import TYPE_CHECKING, Annotated, NotRequired, Required, TypedDict

import attrs
import msgspec
import pytest

from gpt_agent_fsm import FunctionTool, ToolContext, tool
from gpt_agent_fsm.errors import ToolArgumentsError
from gpt_agent_fsm.tools.function import as_tool
from tests.tools.samples import CONTEXT, Page, Place, Tree, Unit

if TYPE_CHECKING:
    from nowhere import Ghost


@tool
def get_weather(city: str, unit: Unit = Unit.CELSIUS) -> dict:
    """Return how warm it is.

    Args:
        city: where.
    """
    return {"city": city, "unit": unit}


def names(made):
    return list(made.definition.parameters["properties"])


# --- what a tool is ----------------------------------------------------------------------------------------


def test_a_tool_has_a_definition_for_the_model():
    where = {"type": "string", "description": "where."}
    unit = {
        "type": "string",
        "enum": ["celsius", "fahrenheit"],
        "description": "The scale of a temperature.",
        "default": "celsius",
    }
    parameters = {
        "type": "object",
        "properties": {"city": where, "unit": unit},
        "required": ["city"],
        "additionalProperties": False,
    }
    assert get_weather.definition == FunctionTool("get_weather", "Return how warm it is.", parameters, False)


def test_a_tool_can_still_be_called_and_read_as_the_function():
    assert get_weather("Oslo") == {"city": "Oslo", "unit": Unit.CELSIUS}
    assert get_weather("Oslo", unit=Unit.FAHRENHEIT)["unit"] is Unit.FAHRENHEIT
    assert get_weather.__name__ == "get_weather"
    assert inspect.getdoc(get_weather).startswith("Return how warm")
    assert list(inspect.signature(get_weather).parameters) == ["city", "unit"]
    assert repr(get_weather) == "<Tool get_weather>"


def test_a_tool_runs_on_json_text_and_returns_json_text():
    assert get_weather.run('{"city": "Ås", "unit": "fahrenheit"}', CONTEXT) == '{"city":"Ås","unit":"fahrenheit"}'


def test_wrong_arguments_do_not_reach_the_function():
    called = []

    @tool
    def note(text: str):
        called.append(text)

    with pytest.raises(ToolArgumentsError, match="text must be a string, not 5"):
        note.run('{"text": 5}', CONTEXT)
    assert called == []


def test_an_exception_of_the_function_is_its_own():
    @tool
    def broken(key: str):
        raise KeyError(key)

    with pytest.raises(KeyError, match="x"):
        broken.run('{"key": "x"}', CONTEXT)


def test_options_are_kept_and_have_defaults():
    def ask(call):
        return None

    plain = get_weather
    assert (plain.timeout, plain.approve, plain.retry, plain.strict) == (None, False, "never", None)

    @tool(timeout=5, approve=ask, retry="safe", strict=True, name="pay", description="Pay a bill.")
    def settle(amount: int): ...

    assert (settle.timeout, settle.approve, settle.retry, settle.strict) == (5, ask, "safe", True)
    definition = settle.definition
    assert (definition.name, definition.description, definition.strict) == ("pay", "Pay a bill.", True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"timeout": 0}, "timeout must be a number of seconds above 0 or None, not 0"),
        ({"timeout": True}, "timeout must be a number of seconds above 0 or None, not True"),
        ({"timeout": "5"}, "timeout must be a number of seconds above 0 or None, not '5'"),
        ({"timeout": float("inf")}, "timeout must be a number of seconds above 0 or None, not inf"),
        ({"approve": "yes"}, "approve must be True, False or a function of the call, not 'yes'"),
        ({"approve": None}, "approve must be True, False or a function of the call, not None"),
        ({"retry": True}, 'retry must be "never" or "safe", not True'),
        ({"strict": "no"}, "strict must be True, False or None, not 'no'"),
        ({"name": "get it"}, "name must have at most 64 characters"),
        ({"name": ""}, "name must be a string that is not blank"),
        ({"name": 5}, "name must be a string"),
        ({"description": 5}, "description must be a string, not 5"),
    ],
)
def test_a_wrong_option_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        tool(**options)(get_weather)


def test_a_tool_may_be_decorated_again():
    assert tool(get_weather) == get_weather
    assert tool(timeout=5)(get_weather).timeout == 5


def test_an_option_that_is_not_given_again_stays_as_it_is():
    first = tool(timeout=5, approve=True, retry="safe", name="pay", description="Pay.")(get_weather)
    again = tool(timeout=9)(first)
    assert (again.timeout, again.approve, again.retry, again.name) == (9, True, "safe", "pay")
    assert again.definition.description == "Pay."
    assert tool(approve=False)(first).approve is False


def test_a_tool_that_is_decorated_again_may_use_local_classes():
    @attrs.frozen
    class Leaf:
        size: int

    @tool
    def grow(leaf: Leaf): ...

    assert tool(strict=True)(grow).definition.strict is True


async def rule_that_is_async(call):
    return False


def rule_that_yields(call):
    yield False


def rule_without_a_call():
    return True


def rule_of_two(call, agent):
    return True


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (rule_that_is_async, "it must not be async"),
        (rule_that_yields, "it must not be a generator function"),
        (rule_without_a_call, "too many positional arguments"),
        (rule_of_two, "missing a required argument: 'agent'"),
    ],
)
def test_a_rule_that_cannot_be_called_with_the_call_is_refused(rule, reason):
    with pytest.raises(ValueError, match=f"approve must be True, False or a function of the call.*{reason}"):
        tool(approve=rule)(get_weather.function)


@pytest.mark.parametrize("decorate", [lambda made: functools.partial(made, city="Oslo"), functools.cache])
def test_a_wrapper_of_a_tool_is_refused_because_it_would_lose_the_options(decorate):
    careful = tool(approve=True)(get_weather.function)
    reason = "the tool get_weather wraps the tool get_weather, whose options would be lost"
    with pytest.raises(ValueError, match=reason):
        as_tool(decorate(careful))
    with pytest.raises(ValueError, match=reason):
        tool(timeout=5)(decorate(decorate(careful)))


def test_a_tool_equals_another_of_the_same_function_and_options():
    assert as_tool(get_weather.function) == get_weather
    assert as_tool(get_weather.function) != tool(timeout=5)(get_weather)
    assert len({get_weather, as_tool(get_weather.function)}) == 1


def test_an_object_without_a_hash_is_a_tool_and_a_rule():
    @dataclasses.dataclass
    class Limit:
        euros: int

        def __call__(self, call: str) -> bool:
            return False

    first, second = Limit(5), Limit(5)
    made = tool(approve=first)(first)
    assert {made, tool(approve=first)(first)} == {made}
    assert made != tool(approve=first)(second)
    assert made != tool(approve=second)(first)


@attrs.frozen
class Holder:
    pattern: re.Pattern


@dataclasses.dataclass
class Once:
    value: dataclasses.InitVar[int]


class Row(msgspec.Struct, array_like=True):
    value: int


Untyped = attrs.make_class("Untyped", ["value"])
Empty = enum.Enum("Empty", [])
Endless = enum.Enum("Endless", {"A": float("inf")})
Odd = enum.Enum("Odd", {"A": (1, 2)})


# --- what is refused ---------------------------------------------------------------------------------------


def positional(city, /): ...
def positional_annotated(city: str, /): ...
def any_number(*cities: str): ...
def any_names(**cities: str): ...
def unannotated(city: str, days): ...
def unannotated_default(days=3): ...
def custom(value: re.Pattern): ...
def in_a_list(value: list[str | re.Pattern]): ...
def in_a_class(value: Holder): ...
def generic(value: Page): ...
def generic_of(value: Page[int]): ...
def once(value: Once): ...
def row(value: Row): ...
def untyped(value: Untyped): ...
def empty(value: Empty): ...
def odd(value: Odd): ...
def endless(value: Endless): ...
def unreadable(value: "int["): ...  # noqa: F722
def set_of_dicts(value: set[Postponed]): ...
def bad_keys(value: dict[int, str]): ...
def unhashable(value: set[list[int]]): ...
def not_a_type(value: [int]): ...
def missing_name(value: Annotated[list[Ghost], "x"]): ...


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (positional_annotated, "the tool positional_annotated: parameter city: it is positional-only"),
        (positional, "parameter city: it is positional-only"),
        (any_number, "parameter cities: the model cannot give any number of arguments"),
        (any_names, "parameter cities: the model must know the names of all arguments"),
        (unannotated, "parameter days: it has no annotation"),
        (unannotated_default, "parameter days: it has no annotation"),
        (custom, "parameter value: Pattern cannot be described to a model"),
        (in_a_list, "parameter value: Pattern cannot be described to a model"),
        (in_a_class, "parameter value: Holder.pattern: Pattern cannot be described to a model"),
        (once, "parameter value: the dataclass Once with InitVar cannot be described"),
        (row, "parameter value: the struct Row with array_like=True cannot be described"),
        (untyped, "parameter value: the field value has no annotation"),
        (empty, "parameter value: an enum without members has no values"),
        (odd, r"parameter value: the value \(1, 2\) has no form in JSON"),
        (endless, "parameter value: the value inf has no form in JSON"),
        (unreadable, r"parameter value: its annotation .*int\[.* cannot be read"),
        (set_of_dicts, "parameter value: a set cannot contain an object"),
        (max, "the tool max has no signature that Python can read"),
        (generic, "parameter value: the generic class Page cannot be described"),
        (generic_of, r"parameter value: .*Page\[int\] cannot be described"),
        (bad_keys, "parameter value: the keys of a dict must be strings, not int"),
        (unhashable, "parameter value: a set cannot contain an array"),
        (not_a_type, r"parameter value: \[<class 'int'>\] is not a type"),
        (lambda city: city, "parameter city: it has no annotation"),
        (lambda: 1, "name must have at most 64 characters.*'<lambda>'"),
        (5, "a tool must be a function, a method or an object that can be called, not 5"),
        ("get_weather", "a tool must be a function, .* not 'get_weather'"),
        (Place, "a tool must be a function, .* not <class"),
        (classmethod(lambda cls: 1), "a tool must be a function, "),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused_at_decoration(function, sentence):
    with pytest.raises(ValueError, match=sentence):
        tool(function)


def test_an_asynchronous_function_or_generator_is_refused():
    async def later(city: str): ...
    async def pieces(city: str):
        yield city

    def generator(city: str):
        yield city

    class Later:
        async def __call__(self, city: str): ...

    for function in (later, pieces, generator, Later(), functools.partial(later, city="Oslo")):
        with pytest.raises(ValueError, match="is asynchronous or a generator"):
            tool(function)


def test_a_synchronous_wrapper_of_an_asynchronous_function_is_a_tool():
    async def later(city: str): ...

    @tool
    @functools.wraps(later)
    def now(*args, **kwargs):
        return "done"

    assert now.run('{"city": "Oslo"}', CONTEXT) == '"done"'


@pytest.mark.parametrize(
    ("hint", "sentence"),
    [
        (Annotated[Place | bool, msgspec.Meta(gt=1)], "no part of the union can have the limit gt"),
        (Annotated[Place, msgspec.Meta(gt=1)], "Place cannot have the limit gt"),
        (Annotated[str, msgspec.Meta(gt=1)], "str cannot have these limits"),
        (Annotated[tuple[int, int], msgspec.Meta(max_length=1)], "a tuple of 2 cannot have the limit max_length"),
    ],
)
def test_a_limit_that_does_not_apply_is_refused(hint, sentence):
    def f(value): ...

    f.__annotations__["value"] = hint
    with pytest.raises(ValueError, match=f"parameter value: {sentence}"):
        tool(f)


# --- names in annotations ----------------------------------------------------------------------------------


@tool
def plant(seed: Seed, tree: Tree | None = None) -> Ghost:
    """Use a class that is defined below, and one that exists for the type checker alone."""
    return seed.name


class Postponed(TypedDict, total=False):
    needed: Required[int]
    extra: NotRequired[str]


class PostponedTotal(TypedDict):
    needed: int
    extra: NotRequired[str]


@attrs.frozen
class Seed:
    name: str
    parent: Seed | None = None


def test_a_class_may_be_defined_below_the_function():
    assert plant.run('{"seed": {"name": "a", "parent": {"name": "b"}}}', CONTEXT) == '"a"'


@pytest.mark.parametrize("kind", [Postponed, PostponedTotal])
def test_a_typed_dict_with_postponed_annotations_knows_what_it_needs(kind):
    def f(value): ...

    f.__annotations__["value"] = kind
    assert tool(f).definition.parameters["properties"]["value"]["required"] == ["needed"]


def test_a_name_that_is_never_defined_is_refused_when_the_tool_is_used():
    made = tool(missing_name)
    with pytest.raises(ValueError, match="the tool missing_name: parameter value: name 'Ghost' is not defined"):
        made.definition  # noqa: B018


def test_local_classes_may_name_each_other_and_themselves():
    @attrs.frozen
    class Leaf:
        size: int

    @attrs.frozen
    class Branch:
        leaves: list[Leaf]
        branches: list[Branch] = attrs.Factory(list)

    @tool
    def grow(branch: Branch): ...

    class Service:
        @tool
        def grow(self, leaf: Leaf): ...

    made = grow.structure('{"branch": {"leaves": [], "branches": [{"leaves": [{"size": 1}]}]}}')
    assert made == {"branch": Branch([], [Branch([Leaf(1)])])}
    assert Service().grow.structure('{"leaf": {"size": 1}}') == {"leaf": Leaf(1)}


def test_a_function_may_use_a_variable_that_has_no_value_yet():
    @tool
    def grow(size: int) -> int:
        return size + step

    step = 2
    assert grow.run('{"size": 1}', CONTEXT) == "3"


def test_a_plain_function_sees_the_names_around_it():
    @attrs.frozen
    class Leaf:
        size: int

    def grow(leaf: Leaf):
        return Leaf(leaf.size + 1)

    assert as_tool(grow).run('{"leaf": {"size": 1}}', CONTEXT) == '{"size":2}'


# --- methods and callables with state ----------------------------------------------------------------------


class Service:
    def __init__(self, greeting):
        self.greeting = greeting

    @tool(timeout=3)
    def greet(self, name: str) -> str:
        """Greet a person."""
        return f"{self.greeting} {name}"

    @tool
    def count(self: Service, step: int) -> int:
        return len(self.greeting) + step

    def part(self, name: str, context: ToolContext) -> str:
        """Say goodbye."""
        return f"Bye {name} ({context.call_id})"

    @classmethod
    @tool
    def kind(cls, short: bool) -> str:
        return cls.__name__[: 3 if short else None]

    @staticmethod
    @tool
    def double(number: int) -> int:
        return 2 * number

    @tool
    @staticmethod
    def triple(number: int) -> int:
        return 3 * number


def test_a_method_is_a_tool_of_its_object():
    hello, hi = Service("Hello"), Service("Hi")
    assert hello.greet.run('{"name": "Ada"}', CONTEXT) == '"Hello Ada"'
    assert hi.greet.run('{"name": "Ada"}', CONTEXT) == '"Hi Ada"'
    assert hello.greet("Bob") == "Hello Bob"
    assert (hello.greet.name, hello.greet.timeout, names(hello.greet)) == ("greet", 3, ["name"])
    assert hello.greet == hello.greet != hi.greet
    assert Service.greet(hi, "Bob") == "Hi Bob"
    assert hi.count.run('{"step": 1}', CONTEXT) == "3"


def test_class_methods_and_static_methods_are_tools():
    assert as_tool(Service.kind).run('{"short": true}', CONTEXT) == '"Ser"'
    # Later versions of Python bind a tool under @classmethod in this way.
    assert as_tool(types.MethodType(vars(Service)["kind"].__func__, Service)).run('{"short": true}', CONTEXT) == '"Ser"'
    assert as_tool(Service("").kind).run('{"short": false}', CONTEXT) == '"Service"'
    assert as_tool(Service.double).run('{"number": 2}', CONTEXT) == "4"
    assert as_tool(Service("").triple).run('{"number": 2}', CONTEXT) == "6"


def test_a_plain_method_becomes_a_tool():
    made = as_tool(Service("").part)
    assert (made.definition.description, names(made)) == ("Say goodbye.", ["name"])
    assert made.run('{"name": "Ada"}', CONTEXT) == '"Bye Ada (call_1)"'


@pytest.mark.parametrize("method", [Service.greet, Service.part])
def test_a_method_without_its_object_is_refused(method):
    with pytest.raises(ValueError, match=f"the tool {method.__name__} is a method; take it from an object"):
        as_tool(method)


def test_an_object_that_can_be_called_is_a_tool():
    class Counter:
        """Counts."""

        total = 0

        def __call__(self, step: int = 1) -> int:
            """Add a step and return the total."""
            self.total += step
            return self.total

    made = as_tool(Counter())
    assert (made.name, made.definition.description) == ("Counter", "Add a step and return the total.")
    assert [made.run('{"step": 2}', CONTEXT), made.run("{}", CONTEXT)] == ["2", "3"]


def test_arguments_that_a_partial_has_given_are_hidden_from_the_model():
    def search(key: str, query: str, limit: int = 3):
        """Search."""
        return [key, query, limit]

    made = as_tool(functools.partial(search, key="secret"))
    assert (made.name, made.definition.description) == ("search", "Search.")
    assert "secret" not in json.dumps(made.definition.parameters)
    assert names(made) == ["query", "limit"]
    assert made.run('{"query": "x"}', CONTEXT) == '["secret","x",3]'
    with pytest.raises(ToolArgumentsError, match="key is unknown"):
        made.run('{"query": "x", "key": "mine"}', CONTEXT)


# --- the rest ----------------------------------------------------------------------------------------------


def test_importing_the_package_imports_neither_msgspec_nor_a_parser_of_docstrings():
    code = "import sys, gpt_agent_fsm, gpt_agent_fsm.tools; print(*{'msgspec', 'docstring_parser'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

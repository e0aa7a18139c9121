"""The decorator `@tool`, which makes a function a tool that the model may call."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from types import FrameType, MethodType
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

import attrs

from gpt_agent_fsm.callables import why_not_callable, why_nothing_runs
from gpt_agent_fsm.errors import ToolArgumentsError, unknown_keyword
from gpt_agent_fsm.machine.arguments import BROKEN, decode_arguments
from gpt_agent_fsm.tools.context import ToolContext
from gpt_agent_fsm.tools.definition import FunctionTool
from gpt_agent_fsm.tools.outputs import output_text

if TYPE_CHECKING:
    from gpt_agent_fsm.tools.parameters import Parameters

__all__ = ["Tool", "as_tool", "tool"]

P = ParamSpec("P")
R = TypeVar("R")


def _must_be(rule: str, holds: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - the type attrs expects of a validator
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not holds(value):
            raise ValueError(f"tool: {attribute.name} must be {rule}, not {value!r}")

    return check


def _is_timeout(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (is_number and 0 < value < math.inf)  # type: ignore[operator]


_TIMEOUT = _must_be("a number of seconds above 0 or None", _is_timeout)


def _check_approve(_: object, __: object, value: object) -> None:
    if not isinstance(value, bool) and (reason := why_not_callable(value, 1)):
        raise ValueError(f"tool: approve must be True, False or a function of the call, not {value!r}: {reason}")


def _identity(function: object) -> object:
    """Return a value that identifies a function, or a method of an object.

    The id is used because a callable object may not be hashable.
    """
    return (id(function.__func__), id(function.__self__)) if inspect.ismethod(function) else id(function)


_RETRY = _must_be('"never" or "safe"', lambda value: value in ("never", "safe"))
_OPTIONS = ("timeout", "approve", "retry", "strict", "name", "description")
_STRICT = _must_be("True, False or None", lambda value: value is None or isinstance(value, bool))


@attrs.frozen(slots=False, repr=False)
class Tool(Generic[P, R]):
    """A function that the model may call. The decorator `tool` makes a `Tool`, which can be called like its function.

    Attributes:
        function: the function itself.
        name: the name by which the model calls the function.
        timeout: the seconds that a call may take; None for no limit.
        approve: True if a person must approve each call, False if nobody must, or a rule. A rule is a function that
            gets the call. It returns True to start the tool's function, False to deny the call, or None to ask a
            person.
        retry: "safe" if a call may be repeated after a crash, although it may have ended before. Otherwise "never".
        strict: True for OpenAI's strict form of the schema.
    """

    function: Callable[P, R] = attrs.field(eq=_identity)
    name: str
    timeout: float | None = attrs.field(default=None, kw_only=True, validator=_TIMEOUT)
    approve: bool | Callable[[Any], bool | None] = attrs.field(
        default=False, kw_only=True, validator=_check_approve, eq=_identity
    )
    retry: Literal["never", "safe"] = attrs.field(default="never", kw_only=True, validator=_RETRY)
    strict: bool | None = attrs.field(default=None, kw_only=True, validator=_STRICT)
    _description: str | None = attrs.field(default=None, kw_only=True)
    _namespace: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, eq=False)

    def __attrs_post_init__(self) -> None:
        names = ("__module__", "__name__", "__qualname__", "__doc__")
        copied = {name: getattr(self.function, name) for name in names if hasattr(self.function, name)}
        vars(self).update(copied, __wrapped__=self.function)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Tool[..., R]:
        """If the function is a method, return the tool that is bound to `instance`."""
        if instance is None or not self.is_unbound:
            return self
        bound = attrs.evolve(self, function=MethodType(self.function, instance))
        vars(bound).update({name: value for name, value in vars(self).items() if name in ("definition", "_parameters")})
        return bound

    @functools.cached_property
    def definition(self) -> FunctionTool:
        """The tool as it is described to the model. Raises `ValueError` if it cannot be described."""
        description = self._parameters.description if self._description is None else self._description
        return FunctionTool(self.name, description, self._parameters.schema(), bool(self.strict))

    @property
    def is_unbound(self) -> bool:
        """True for a method that is not bound to an object."""
        from gpt_agent_fsm.tools.parameters import takes_receiver  # noqa: PLC0415 - see `_parameters`

        return takes_receiver(self.function)

    def structure(self, arguments: str) -> dict[str, Any]:
        """Return the keyword arguments for the JSON text of a call.

        Raises `ToolArgumentsError` unless the schema allows the arguments.
        """
        value = decode_arguments(arguments)
        if value is BROKEN:
            raise ToolArgumentsError(f"the arguments of {self.name} are not valid JSON")
        # Some models write null if a function has no arguments.
        keywords, reason = self._parameters.structure({} if value is None else value)
        if reason:
            raise ToolArgumentsError(f"the arguments of {self.name} are wrong: {reason}")
        return keywords

    def run(self, arguments: str, context: ToolContext) -> str:
        """Call the function with the arguments of a call, and return its result as JSON text.

        Raises `ToolArgumentsError` before the function is called if the schema does not allow the arguments. Raises the
        function's own exception, and `ValueError` for a result that has no form in JSON.
        """
        function: Callable[..., Any] = self.function
        keywords = self.structure(arguments)
        return output_text(function(**keywords, **dict.fromkeys(self._parameters.contexts, context)))

    @functools.cached_property
    def _parameters(self) -> Parameters:
        # Imported late: it needs msgspec and a parser of docstrings, which a program without tools does not need.
        from gpt_agent_fsm.tools.parameters import parameters_of  # noqa: PLC0415

        found = parameters_of(
            self.function,
            self.name,
            strict=bool(self.strict),
            namespace=self._namespace,
            skip_receiver=self.is_unbound,
        )
        vars(self)["_namespace"] = {}  # the local names of the caller may be large
        return found


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *,
    timeout: float | None = None,
    approve: bool | Callable[[Any], bool | None] = False,
    retry: Literal["never", "safe"] = "never",
    strict: bool | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:  # noqa: D417 - each option has its line
    """Make a tool of a function, with or without options: `@tool` or `@tool(timeout=30)`.

    The JSON schema comes from the annotations, and the descriptions come from the docstring. Raises `ValueError` for a
    parameter that cannot be described to a model. If `function` is a tool, returns a new tool with the given options;
    the other options stay as they are.

    Args:
        function: the function, a method, or an object that can be called.
        timeout: the seconds that a call may take; None sets no limit.
        approve: True if a person must approve each call, or a rule. A rule is a function that gets the call. It returns
            True to start the tool's function, False to deny the call, or None to ask a person.
        retry: "safe" if a call may be repeated after a crash, although it may have ended before.
        strict: True makes the model follow the schema exactly, in OpenAI's strict form. In this form, the model gives
            every argument. If an argument has a default, null means the default.
        name: the name for the model. By default it is the function's name.
        description: the description for the model. By default it comes from the docstring.
    """
    if (error := unknown_keyword("tool", options, _OPTIONS)) is not None:
        raise error
    namespace = _local_names(sys._getframe(1))

    def make(function: Callable[..., Any]) -> Tool[..., Any]:
        return _made(function, namespace=namespace, **options)

    return make if function is None else make(function)


def as_tool(value: object) -> Tool[..., Any]:
    """Return the value if it is a tool, or make a tool of the function. Raise `ValueError` for any other value.

    A method must be bound to its object, because the library knows no object to call it on.
    """
    if inspect.ismethod(value) and isinstance(value.__func__, Tool):  # a class method
        value = attrs.evolve(value.__func__, function=MethodType(value.__func__.function, value.__self__))
    made = value if isinstance(value, Tool) else _made(value)
    if made.is_unbound:
        raise ValueError(f"the tool {made.name} is a method; take it from an object, as in service.{made.name}")
    made.definition  # noqa: B018 - it raises if an annotation contains a name that is not defined by now
    return made


def _made(function: Any, **options: Any) -> Tool[..., Any]:  # noqa: ANN401
    """Make a tool, and check it. If annotations use names that are not defined yet, the check is made later."""
    from gpt_agent_fsm.tools.parameters import UnknownName, name_of  # noqa: PLC0415 - see `Tool._parameters`

    if not callable(function) or isinstance(function, type):
        raise ValueError(f"a tool must be a function, a method or an object that can be called, not {function!r}")
    if options.get("name") is None:
        options["name"] = function.name if isinstance(function, Tool) else name_of(function)
    made = attrs.evolve(function, **options) if isinstance(function, Tool) else Tool(function, **options)
    if why_nothing_runs(made.function):
        raise ValueError(f"the tool {made.name} is asynchronous or a generator; a tool must return its output")
    if (inner := _inner_tool(made.function)) is not None:
        how = f"make it of the function {inner.name}.function instead"
        raise ValueError(f"the tool {made.name} wraps the tool {inner.name}, whose options would be lost; {how}")
    with contextlib.suppress(UnknownName):
        made.definition  # noqa: B018 - it describes the function
    return made


def _inner_tool(function: object) -> Tool[..., Any] | None:
    """Return the tool inside a `partial` or a decorated function. Return None if there is no tool inside."""
    while function is not None and not isinstance(function, Tool):
        function = function.func if isinstance(function, functools.partial) else getattr(function, "__wrapped__", None)
    return function


def _local_names(frame: FrameType | None) -> dict[str, Any]:
    """Return the local names that code at a frame can see.

    If the frame is a class body, the names of the function around the class are included.
    """
    names: dict[str, Any] = {}
    while frame is not None and frame.f_locals is not frame.f_globals:
        names = {**frame.f_locals, **names}
        frame = frame.f_back if "__qualname__" in frame.f_locals else None
    return names

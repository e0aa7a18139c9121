"""The parameters of a function: which of them the model fills in, and their shapes."""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from gpt_agent_fsm.tools.context import ToolContext
from gpt_agent_fsm.tools.describing import Describer
from gpt_agent_fsm.tools.docstrings import documentation
from gpt_agent_fsm.tools.fields import ClassField, NotDescribable
from gpt_agent_fsm.tools.objects import Field, Object
from gpt_agent_fsm.tools.schemas import Definitions, Schema
from gpt_agent_fsm.tools.shapes import Mismatch

__all__ = ["Parameters", "UnknownName", "name_of", "parameters_of", "takes_receiver"]

_KINDS_WITHOUT_NAME: Mapping[Any, str] = {
    inspect.Parameter.POSITIONAL_ONLY: "it is positional-only, but the model gives arguments by name",
    inspect.Parameter.VAR_POSITIONAL: "the model cannot give any number of arguments; take a list instead",
    inspect.Parameter.VAR_KEYWORD: "the model must know the names of all arguments; take a dict instead",
}


class UnknownName(ValueError):
    """Raised if an annotation contains a name that is not defined, or not defined yet."""


@attrs.frozen
class Parameters:
    """The parameters of a function.

    Attributes:
        description: a text that says what the function does.
        filled_in: the parameters that the model fills in.
        contexts: the names of the parameters that get the `ToolContext`.
    """

    description: str
    filled_in: Object
    contexts: tuple[str, ...]

    def schema(self) -> Schema:
        """Return the JSON schema of the arguments."""
        definitions = Definitions()
        return definitions.document(self.filled_in.body(definitions))

    def structure(self, arguments: object) -> tuple[dict[str, Any], str]:
        """Return the keyword arguments and "". If the schema does not allow the arguments, return {} and the reason."""
        try:
            return self.filled_in.structure_all(arguments), ""
        except Mismatch as mismatch:
            return {}, str(mismatch)


def parameters_of(
    function: Callable[..., Any], name: str, *, strict: bool, namespace: Mapping[str, Any], skip_receiver: bool
) -> Parameters:
    """Return the description of a function's parameters.

    Raise `ValueError` for a parameter that cannot be described to a model.
    """
    source = _source(function)
    documented = documentation(source.__doc__)
    describer = Describer(strict=strict, namespace=namespace)
    fields, contexts = list[Field](), list[str]()
    for parameter in _signature(function, name, skip_receiver=skip_receiver):
        try:
            hint = _hint(parameter, source, namespace)
            if _is_context(hint):
                contexts.append(parameter.name)
                continue
            is_required = parameter.default is parameter.empty
            found = ClassField(parameter.name, parameter.name, hint, is_required, parameter.default)
            fields.append(describer.field(found, documented.parameters.get(parameter.name, "")))
        except NotDescribable as error:
            raise ValueError(f"the tool {name}: parameter {parameter.name}: {error}") from None
        except NameError as error:
            raise UnknownName(f"the tool {name}: parameter {parameter.name}: {error}") from None
    return Parameters(documented.text, Object(name, dict, strict, fields=tuple(fields)), tuple(contexts))


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function. For another object that can be called, return the name of its class."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def takes_receiver(function: Callable[..., Any]) -> bool:
    """Return whether a function is a method that is not bound to an object."""
    owner = getattr(function, "__qualname__", "").rpartition(".")[0]
    if not inspect.isfunction(function) or not owner or owner.endswith("<locals>"):
        return False
    return next(iter(inspect.signature(function).parameters), None) in ("self", "cls")


def _signature(function: Callable[..., Any], name: str, *, skip_receiver: bool) -> list[inspect.Parameter]:
    """Return the parameters that a call of the function fills in.

    Parameters that a `partial` has already filled in are left out.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise ValueError(f"the tool {name} has no signature that Python can read") from None
    given = function.keywords if isinstance(function, functools.partial) else {}
    return [each for each in parameters[skip_receiver:] if each.name not in given]


def _source(function: Any) -> Any:  # noqa: ANN401 - anything that can be called
    """Return the innermost function, whose source code contains the annotations.

    This function may be inside a `partial`, a bound method, a wrapper or a callable object.
    """
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.isroutine(function):
            return function
        else:
            function = type(function).__call__


def _hint(parameter: inspect.Parameter, source: Any, namespace: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return the annotation of a parameter with all names resolved."""
    if reason := _KINDS_WITHOUT_NAME.get(parameter.kind):
        raise NotDescribable(reason)
    if parameter.annotation is parameter.empty:
        raise NotDescribable("it has no annotation")
    carrier = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    names = {**namespace, **_closure(source)}
    try:
        return typing.get_type_hints(carrier, getattr(source, "__globals__", {}), names, True)[parameter.name]
    except (SyntaxError, TypeError, AttributeError) as error:
        raise NotDescribable(f"its annotation {parameter.annotation!r} cannot be read: {error}") from None


def _closure(source: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the variables that a function uses from the functions around it.

    Variables without a value are left out.
    """
    found: dict[str, Any] = {}
    cells = source.__closure__ if inspect.isfunction(source) else None
    for name, cell in zip(source.__code__.co_freevars, cells, strict=True) if cells else ():
        with contextlib.suppress(ValueError):  # the cell is empty
            found[name] = cell.cell_contents
    return found


def _is_context(hint: Any) -> bool:  # noqa: ANN401
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return ToolContext in (typing.get_args(hint) if is_union else (hint,))

"""Find the functions that `--tools module:function` names."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, TypeAlias

from gpt_agent_fsm import Assistant
from gpt_agent_fsm.cli.chat.options import WrongOption
from gpt_agent_fsm.errors import nearest

__all__ = ["Functions", "importable_directory", "load_tools", "named"]

Functions: TypeAlias = tuple[Callable[..., Any], ...]


@contextlib.contextmanager
def importable_directory() -> Iterator[None]:
    """Inside the `with` block, make the modules of the working directory importable, as `python -m` does."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        # An imported module may have changed the list, too.
        with contextlib.suppress(ValueError):
            sys.path.remove(here)


def load_tools(values: Iterable[str]) -> Functions:
    """Return the tools that the values of the option name, each once. Raise `WrongOption` for a wrong name."""
    return tuple(dict.fromkeys(tool for value in values for tool in _tools_of(value)))


def named(option: str, value: str, form: str) -> Iterator[tuple[str, Any]]:
    """Yield each object that a value like `module:name,other` names, with its whole name.

    `form` is what the person should have written. Raises `WrongOption` with one sentence about the option.
    """
    module = ""
    for item in value.split(","):
        before, colon, name = item.strip().partition(":")
        module, name = (before, name) if colon else (module, before)
        if not module or not name:
            raise WrongOption(f"{option}: write {form}, not {item.strip()!r}")
        yield f"{module}:{name}", _found(option, _imported(option, module), name)


def _imported(option: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            sentence = f"there is no module {name!r} here or among the installed packages"
            if name.endswith(".py"):
                sentence += f"; write {name.removesuffix('.py')!r}, without .py"
        else:
            sentence = f"the module {name!r} needs {error.name!r}, which is not installed"
        raise WrongOption(f"{option}: {sentence}") from error
    except (Exception, SystemExit) as error:
        sentence = f"the module {name!r} cannot be imported: {type(error).__name__}: {_line(error)}"
        raise WrongOption(f"{option}: {sentence}") from error


def _found(option: str, module: ModuleType, name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            likely = nearest(part, (each for each in dir(found) if not each.startswith("_")))
            advice = "" if likely is None else f"; is it {likely!r}?"
            raise WrongOption(f"{option}: the module {module.__name__!r} has no {name!r}{advice}") from error
    return found


def _tools_of(value: str) -> Iterator[Callable[..., Any]]:
    for name, found in named("--tools", value, "module:function"):
        yield _tool(name, found)


def _tool(name: str, found: Any) -> Callable[..., Any]:  # noqa: ANN401 - see `named`
    try:
        # An `Assistant` checks its tools, and turns plain functions into tools.
        [tool] = Assistant("any", tools=[found]).functions or [None]
    except (TypeError, ValueError) as error:
        raise _wrong(f"{name} cannot be a tool: {_line(error)}") from error
    if tool is None:
        raise _wrong(f"{name} only describes a function; name the function itself")
    return tool


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _wrong(sentence: str) -> WrongOption:
    return WrongOption(f"--tools: {sentence}")

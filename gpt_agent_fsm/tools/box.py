"""The tools that a runtime knows, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gpt_agent_fsm.tools.function import Tool, as_tool

__all__ = ["ToolBox"]


class ToolBox(Mapping[str, Tool[..., Any]]):
    """Tools by name. A box never changes; `box | tools` returns a new box with more tools.

    Raises `ValueError` if two different functions have the same name. The same function may be given twice.

    Args:
        tools: tools, or functions that are made into tools.
    """

    def __init__(self, tools: Iterable[object] = ()) -> None:
        if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable):
            raise ValueError(f"tools must be a list of functions, not {type(tools).__name__}")
        self._tools: dict[str, Tool[..., Any]] = {}
        for tool in map(as_tool, tools):
            if self._tools.setdefault(tool.name, tool) != tool:
                raise ValueError(f"there are two functions called {tool.name!r}; give one of them another name")

    def __getitem__(self, name: str) -> Tool[..., Any]:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def __or__(self, tools: Iterable[object]) -> ToolBox:
        more = tools.values() if isinstance(tools, ToolBox) else tools
        return ToolBox([*self.values(), *more])

    def __repr__(self) -> str:
        return f"<ToolBox {', '.join(self)}>"

"""The plan of the package: its rooms, arrows, floors and rings. `python docs/architecture.py` prints it.

A *room* is a folder or a module right below the package. The package's own `__init__` and `__main__` are not rooms.
An *arrow* leads from a room to another room that it imports, and counts once. Imports inside functions, and imports for
the type checker alone, count as well.
A *ring* is a group whose members all need each other, directly or through others. A ring of modules is a *cycle*.
A room's *floor* is one above the highest floor that it needs. The rooms of a ring share one floor; the lowest is 1.

`docs/reference.py` draws the plan on the page for contributors. The source is parsed and never imported.
"""

from __future__ import annotations

import ast
import graphlib
import importlib.util
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "gpt_agent_fsm"
# The limits that tests/docs/test_architecture.py holds the package to.
# Each program that stands at the top, such as the commands or the extension of Sphinx, needs some arrows of its own.
# The embedded server checks the callables that it gets as the library does.
# A cluster is a store and a runtime in one, so it needs the rooms of both, and the commands and the simulation need it.
MAX_ARROWS = 122
MAX_FLOORS = 10

Graph = Mapping[str, Set[str]]
"""The names that each name needs."""
Ring = tuple[str, ...]


# --- reading -----------------------------------------------------------------------------------------------


def module_graph(package: Path = PACKAGE) -> Graph:
    """Return the modules of a package by their dotted names, each with the modules of the package that it imports."""
    files = {_dotted(path.relative_to(package.parent)): path for path in package.rglob("*.py")}
    return {name: set(_imports(path, name, files)) - {name} for name, path in sorted(files.items())}


def room_graph(modules: Graph) -> Graph:
    """Return the rooms of a package, each with the rooms that it imports."""
    rooms: dict[str, set[str]] = {room: set() for room in sorted(map(_room, modules)) if room}
    for name, imported in modules.items():
        if room := _room(name):
            rooms[room] |= {_room(other) for other in imported} - {room, ""}
    return rooms


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if path.stem == "__init__" else parts)


def _room(module: str) -> str:
    """Return the room that a module is in, or "" for the package's own `__init__` and `__main__`."""
    _, *below = module.split(".")
    return below[0] if below and below[0] != "__main__" else ""


def _imports(path: Path, name: str, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the known modules that a file imports. A name that is no module stands for the module that holds it."""
    here = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), here)
            for alias in node.names:
                named = f"{source}.{alias.name}"
                yield from [each for each in (named, source) if each in known][:1]


# --- measuring ---------------------------------------------------------------------------------------------


def rings(graph: Graph) -> list[Ring]:
    """Return all rings, each in alphabetical order."""
    reach = {name: _reach(graph, name) for name in graph}
    groups = {tuple(sorted(other for other in reach[name] if name in reach[other])) for name in graph}
    return sorted(groups - {()})


def floors(graph: Graph) -> dict[str, int]:
    """Return the floor of each name."""
    ring_of: dict[str, Ring] = {name: (name,) for name in graph}
    ring_of |= {name: ring for ring in rings(graph) for name in ring}
    below = {ring: {ring_of[needed] for name in ring for needed in graph[name]} - {ring} for ring in ring_of.values()}
    floor: dict[Ring, int] = {}
    for ring in graphlib.TopologicalSorter(below).static_order():
        floor[ring] = 1 + max((floor[lower] for lower in below[ring]), default=0)
    return {name: floor[ring] for name, ring in ring_of.items()}


def _reach(graph: Graph, start: str) -> set[str]:
    """Return what `start` needs, itself or through others; `start` is among them only if it is on a ring."""
    found: set[str] = set()
    waiting = [*graph[start]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


# --- drawing -----------------------------------------------------------------------------------------------


def figures(rooms: Graph) -> str:
    """Return the size of the plan beside its limits."""
    arrows = sum(len(needed) for needed in rooms.values())
    height = max(floors(rooms).values())
    return f"{len(rooms)} rooms, {arrows} arrows (at most {MAX_ARROWS}), {height} floors (at most {MAX_FLOORS})."


def flowchart(rooms: Graph) -> str:
    """Return the rooms in Mermaid. An arrow is left out if a longer way leads to the same room."""
    floor = floors(rooms)
    lines = ["flowchart TD"]
    for room in _from_the_top(floor):
        between = [via for via in rooms[room] if floor[via] < floor[room]]
        implied = {name for via in between for name in _reach(rooms, via) if floor[name] < floor[via]}
        drawn = sorted(rooms[room] - implied)
        lines += [f"    {room} --> {name}" for name in drawn] or [f"    {room}"]
    return "\n".join(lines)


def directory(rooms: Graph) -> list[tuple[str, int, list[str]]]:
    """Return each room, its floor, and all the rooms that it imports; the top floor first."""
    floor = floors(rooms)
    return [(room, floor[room], sorted(rooms[room])) for room in _from_the_top(floor)]


def _from_the_top(floor: Mapping[str, int]) -> list[str]:
    return sorted(floor, key=lambda room: (-floor[room], room))


def main() -> None:
    """Print the figures, the rooms from the top floor down, and the rings."""
    modules = module_graph()
    rooms = room_graph(modules)
    print(figures(rooms))
    for room, floor, needed in directory(rooms):
        print(f"{floor}  {room}: {', '.join(needed) or 'nothing'}")
    for kind, graph in (("modules", modules), ("rooms", rooms)):
        for ring in rings(graph):
            print(f"these {kind} need each other: {', '.join(ring)}")


if __name__ == "__main__":
    main()

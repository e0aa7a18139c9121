"""The rooms of the backends: a wire knows nothing of another, and what they share knows nothing of a wire."""

import ast
from pathlib import Path

import pytest

from gpt_agent_fsm import backends

ROOT = Path(backends.__file__).parent
MAY_IMPORT = {
    "shared": set(),
    "http": {"shared"},
    "assistants": {"http", "shared"},
    "responses": {"http", "shared"},
    "importing": {"assistants", "responses", "http", "shared"},
}


def imported_rooms(path):
    """Return the rooms of the backends that a file names in its imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[2] for name in names if name.startswith("gpt_agent_fsm.backends.")}


def test_every_room_is_known():
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_those_below_it(room):
    for path in (ROOT / room).glob("*.py"):
        assert imported_rooms(path) - {room} <= MAY_IMPORT[room], path.name


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_says_what_belongs_there(room):
    assert ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))

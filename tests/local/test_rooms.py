"""The rooms of the embedded server, and the imports allowed among them."""

import ast
from pathlib import Path

import pytest

import gpt_agent_fsm.local as package

ROOT = Path(package.__file__).parent

# Each room, and the rooms it may import. At the top are `server`, which puts all together, `arguments` and `ids`.
MAY_IMPORT = {
    "ids": set(),
    "arguments": set(),
    "http": {"ids"},
    "models": set(),
    "shared": {"http", "models", "ids"},
    "files": {"shared", "http", "ids"},
    "assistants": {"files", "shared", "http", "models", "ids"},
    "responses": {"files", "shared", "http", "models", "ids"},
    "server": {"arguments", "assistants", "responses", "files", "shared", "http", "models"},
}
FOLDERS = sorted(path for path in ROOT.rglob("__init__.py") if path.parent != ROOT)


def room_of(module):
    return module.removeprefix("gpt_agent_fsm.local").split(".")[1]


def modules_named_in(tree):
    """Return the modules of the server that a module imports, those for the type checker included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gpt_agent_fsm.local"):
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_below_it(room):
    place = ROOT / room
    for path in place.rglob("*.py") if place.is_dir() else [ROOT / f"{room}.py"]:
        named = {room_of(module) for module in modules_named_in(ast.parse(path.read_text(encoding="utf-8")))}
        assert named - {room} <= MAY_IMPORT[room], path


def test_every_module_is_in_a_room():
    rooms = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in ROOT.rglob("*.py")}
    assert rooms - {"__init__"} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FOLDERS, ids=lambda path: path.parent.name)
def test_each_folder_says_what_belongs_there(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))

"""Imports point down only, and the machine is pure."""

import ast
import sys
from pathlib import Path

import pytest

import gpt_agent_fsm

ROOT = Path(gpt_agent_fsm.__file__).parent

# From the top down. A room may import from rooms below it, and from within itself.
ROOMS = [
    ["__init__", "__main__", "cli", "sphinx"],
    ["testing", "telemetry", "scheduler", "inspector"],
    ["runtime"],
    ["agent"],
    ["cluster", "local"],
    ["backends", "stores"],
    ["ports"],
    ["engine"],
    ["diagrams", "signals", "assistant"],
    ["tools"],
    ["machine"],
    ["access", "callables", "forks", "logs"],
    ["events", "settings"],
    ["errors"],
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
PURE = ["machine", "events", "errors"]
WORLDLY = {"time", "datetime", "threading", "random", "logging", "requests", "urllib3", "socket", "os", "uuid", "queue"}


def room_of(module: str) -> str:
    parts = module.split(".")
    is_room = len(parts) > 1 and ((ROOT / parts[1]).is_dir() or (ROOT / f"{parts[1]}.py").is_file())
    return parts[1] if is_room else "__init__"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Return the modules imported anywhere in a file, also those for the type checker alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update(inner if node.module == "gpt_agent_fsm" else [node.module])
    return found


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_import_points_up(path):
    here = room_of(module_of(path))
    assert here in LEVEL, f"say in ROOMS where {here} stands"
    for module in imports_of(path):
        if module.split(".")[0] == "gpt_agent_fsm":
            there = room_of(module)
            assert there == here or LEVEL[there] > LEVEL[here] or here in ("cli", "__main__"), (
                f"{here} imports {there}, which is above"
            )


@pytest.mark.parametrize("room", PURE)
def test_the_core_imports_no_clock_thread_random_log_or_http(room):
    place = ROOT / room
    for path in place.rglob("*.py") if place.is_dir() else [ROOT / f"{room}.py"]:
        assert {module.split(".")[0] for module in imports_of(path)} & WORLDLY == set()


def test_importing_the_package_imports_no_extra():
    import subprocess

    code = "import sys, gpt_agent_fsm, gpt_agent_fsm.backends, gpt_agent_fsm.stores; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    extras = {"flask", "waitress", "yaml", "sqlalchemy", "click", "rich", "psycopg", "standardwebhooks", "hypothesis"}
    extras |= {"jsonschema", "sphinx", "docutils", "opentelemetry", "prometheus_client"}
    assert extras & set(loaded) == set()

"""The requirements of importing the package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gpt_agent_fsm.local as package


@pytest.mark.parametrize("missing", ["flask", "waitress", "sqlalchemy", "yaml", "jsonschema"])
def test_without_the_extra_the_import_says_how_to_install_it(missing):
    code = f"import sys; sys.modules[{missing!r}] = None\nimport gpt_agent_fsm.local"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"ImportError: gpt_agent_fsm.local needs {missing}" in done.stderr
    assert 'install gpt-agent-fsm with its extra "local"' in done.stderr


LEAVES = {f"gpt_agent_fsm.{name}" for name in ("access", "callables", "forks", "logs")}
"""What every request, callable, OS thread, lock and log line needs, and what knows nothing of the package."""
KEYWORDS = ("gpt_agent_fsm.errors", "explains_keywords")
"""What explains a wrong keyword of a public class. It knows nothing of the package, either."""


def test_only_the_client_of_other_servers_imports_anything_else_of_the_library_than_its_leaves():
    for path in Path(package.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                own = not module.startswith("gpt_agent_fsm") or f"{module}.".startswith("gpt_agent_fsm.local.")
                own = own or module in LEAVES or (module, *(each.name for each in node.names)) == KEYWORDS
                assert own or path.parent.name == "chat_completions", path
                assert node.level == 0

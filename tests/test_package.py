"""What `import gpt_agent_fsm` does to the program that imports it."""

import ast
import configparser
import logging
import re
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path

import pytest

import gpt_agent_fsm
from gpt_agent_fsm import backends


def test_the_package_adds_one_null_handler_and_no_other():
    [handler] = logging.getLogger("gpt_agent_fsm").handlers
    assert isinstance(handler, logging.NullHandler)


def test_a_program_that_sets_up_no_logging_prints_none_of_our_warnings():
    code = "import logging, gpt_agent_fsm; logging.getLogger('gpt_agent_fsm.runtime').warning('a warning')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_dir_shows_what_is_public_and_the_version():
    assert set(dir(gpt_agent_fsm)) == {*gpt_agent_fsm.__all__, "__version__"}
    assert {"Runtime", "Agent", "Settings", "Assistant", "events", "signals", "errors", "ports"} <= set(
        dir(gpt_agent_fsm)
    )
    assert all(getattr(gpt_agent_fsm, name) for name in dir(gpt_agent_fsm))


@pytest.mark.parametrize("package", [gpt_agent_fsm, backends])
def test_type_checkers_see_the_names_that_a_program_gets(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    [seen] = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in seen.body if isinstance(node, ast.ImportFrom)]
    named = {name.name: getattr(import_module(node.module), name.name) for node in imports for name in node.names}
    assert named == {name: getattr(package, name) for name in package.__all__}


def loaded_by(code):
    """Return the modules that a new Python process has loaded after this code."""
    code = f"{code}\nimport sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_import_of_the_package_loads_nothing_of_it_before_a_program_asks_for_a_name():
    loaded = loaded_by("import gpt_agent_fsm, gpt_agent_fsm.backends")
    own = {name for name in loaded if name.partition(".")[0] == "gpt_agent_fsm"}
    assert own == {"gpt_agent_fsm", "gpt_agent_fsm.backends"}
    assert loaded & {"attr", "blinker", "cattrs", "msgspec", "requests", "transitions"} == set()


def test_a_program_that_uses_one_backend_loads_no_other():
    loaded = loaded_by("from gpt_agent_fsm import Runtime; from gpt_agent_fsm.backends import AssistantsBackend")
    assert {name for name in loaded if name.startswith("gpt_agent_fsm.backends.responses")} == set()


def test_the_version_is_that_of_the_installed_package():
    assert gpt_agent_fsm.__version__ == metadata.version("gpt-agent-fsm")
    with pytest.raises(AttributeError, match="has no attribute 'version'"):
        gpt_agent_fsm.version  # noqa: B018 - it raises


ROOT = Path(gpt_agent_fsm.__file__).parents[1]
SOURCES = [*(ROOT / "gpt_agent_fsm").rglob("*.py"), ROOT / "pytest_gpt_agent_fsm.py"]


def test_no_text_advises_to_install_the_package_by_its_name_which_no_index_has():
    advice = re.compile(r"pip install [\"'\w\[\], -]*gpt-agent-fsm")
    assert [path.name for path in SOURCES if advice.search(path.read_text(encoding="utf-8"))] == []


def test_each_text_that_advises_to_install_something_names_what_an_extra_needs():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed = {
        re.split("[>=]", line)[0].lower()
        for _, lines in setup.items("options.extras_require")
        for line in lines.split()
    }
    advised = [
        words for path in SOURCES for words in re.findall(r"pip install ([^(\n]+)", path.read_text(encoding="utf-8"))
    ]
    named = {word.strip("\"' ").lower() for words in advised for word in words.split()} - {""}
    assert len(named) >= 8
    assert named <= needed

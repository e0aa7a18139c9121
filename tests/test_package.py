"""What `import gpt_agent_fsm` does to the program that imports it."""

import logging
import subprocess
import sys
from importlib import metadata

import pytest

import gpt_agent_fsm


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


def test_the_version_is_that_of_the_installed_package():
    assert gpt_agent_fsm.__version__ == metadata.version("gpt-agent-fsm")
    with pytest.raises(AttributeError, match="has no attribute 'version'"):
        gpt_agent_fsm.version  # noqa: B018 - it raises

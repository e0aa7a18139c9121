"""What `import gpt_agent_fsm` does to the program that imports it."""

import logging
import subprocess
import sys


def test_the_package_adds_one_null_handler_and_no_other():
    [handler] = logging.getLogger("gpt_agent_fsm").handlers
    assert isinstance(handler, logging.NullHandler)


def test_a_program_that_sets_up_no_logging_prints_none_of_our_warnings():
    code = "import logging, gpt_agent_fsm; logging.getLogger('gpt_agent_fsm.runtime').warning('a warning')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")

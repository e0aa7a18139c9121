"""The examples of the page about the pytest plugin are tests, so they are run as such."""

import subprocess
import sys

import pytest

from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "pytest-plugin.md"


@pytest.mark.usefixtures("environment")
def test_the_examples_of_the_plugin_pass(tmp_path):
    files = {block.file: block.body for block in blocks(PAGE) if block.file}
    for name, body in files.items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist"]
    plugin = ["-p", "no:gpt-agent-fsm", "-p", "pytest_gpt_agent_fsm"]
    done = subprocess.run([*command, *plugin, tmp_path], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{sum(name.startswith('test_') for name in files)} passed" in done.stdout

"""The examples of the pages about tests are tests, so they are run as such."""

import subprocess
import sys

import pytest

from tests.docs.pages import ROOT, blocks, name_of

PAGES = [ROOT / "docs" / "pytest-plugin.md", ROOT / "docs" / "test-your-bot.md"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
@pytest.mark.usefixtures("environment")
def test_the_tests_on_a_page_pass(page, tmp_path):
    files = {block.file: block.body for block in blocks(page) if block.file}
    for name, body in files.items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:xdist"]
    plugin = ["-p", "no:gpt-agent-fsm", "-p", "pytest_gpt_agent_fsm"]
    done = subprocess.run([*command, *plugin, tmp_path], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    written = sum(body.count("\ndef test_") for body in files.values())
    assert f"{written} passed" in done.stdout

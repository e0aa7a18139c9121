"""The page about the chat says the truth."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gpt_agent_fsm.cli import commands
from gpt_agent_fsm.cli.chat.slash_commands import COMMANDS
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "chat.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = list(blocks(PAGE))
SHOWN = [
    (before.body, after.body)
    for before, after in itertools.pairwise(BLOCKS)
    if (before.kind, after.kind) == ("sh", "") and "|" in before.body
]


@pytest.mark.parametrize(("command", "output"), SHOWN)
def test_a_command_of_the_page_prints_what_is_shown(folder, command, output):
    for block in BLOCKS:
        if block.file:
            (folder / block.file).write_text(block.body, encoding="utf-8")
    paths = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, env={**os.environ, **paths})  # noqa: S602 - it is ours
    assert done.stdout == output


def test_the_page_has_commands_with_their_output():
    assert len(SHOWN) == 2


def test_the_page_has_every_command_and_every_option():
    options = re.findall(r"^  (--\w+)", CliRunner().invoke(commands.cli, ["chat", "--help"]).output, re.MULTILINE)
    assert len(options) > 8
    assert [each for each in (*COMMANDS, *options) if f"`{each}" not in TEXT] == []

"""The README keeps what it promises to people and to the CI script."""

import re

import pytest

from gpt_agent_fsm import State, events
from tests.docs.pages import PAGES, README, ROOT, blocks, name_of

TEXT = README.read_text(encoding="utf-8")
COMMANDS = {
    "demo": 'python3 -m venv .venv && .venv/bin/pip install -q ".[cli,local]" && .venv/bin/gpt-agent-fsm demo\n',
    "test": 'python3 -m venv .venv && .venv/bin/pip install -q -e ".[all,test]" && .venv/bin/pytest -q -n auto\n',
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_each_command_is_there_once_in_a_separate_block(command):
    assert [block.body for block in blocks(README)].count(command) == 1
    assert TEXT.count(command.strip()) == 1


def test_the_first_forty_lines_have_a_script_its_output_and_both_commands():
    first = [block for block in blocks(README) if block.line + block.body.count("\n") <= 40]
    assert [block.kind for block in first] == ["python", "output", "sh", "sh"]
    assert [block.body for block in first[2:]] == list(COMMANDS.values())


def test_the_test_command_is_marked_once_for_the_script_that_runs_it():
    assert TEXT.count("<!-- test-command -->") == 1
    (marked,) = (block for block in blocks(README) if block.remark == "test-command")
    assert marked.body == COMMANDS["test"]
    # The script reads up to the first fence without a word.
    assert marked.kind


def test_its_table_has_every_state_in_the_order_of_a_threads_life():
    rows = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    assert rows == [str(state) for state in State]


def test_every_event_it_names_exists():
    section = TEXT.split("## Events")[1].split("##")[0]
    named = re.findall(r"`([A-Z]\w+)`", section)
    assert named
    assert set(named) <= set(events.__all__)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_file_leads_somewhere(page):
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", prose)
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_picture_is_the_one_that_is_drawn_from_the_table():
    assert "(diagrams/machine.svg)" in TEXT
    assert (ROOT / "diagrams" / "machine.svg").is_file()

"""The values of options on the command line."""

import re

import click
import pytest
from click.testing import CliRunner

from gpt_agent_fsm.cli import commands
from gpt_agent_fsm.cli.values import Number

CONTEXT = click.Context(commands.cli)
COMMANDS = {name: commands.cli.resolve_command(CONTEXT, [name])[1] for name in commands.cli.list_commands(CONTEXT)}
NUMBERS = [
    pytest.param(name, option, id=f"{name} {option.opts[0]}")
    for name, command in COMMANDS.items()
    for option in command.params
    if isinstance(option.type, type(click.FLOAT))
]


def test_there_are_options_that_take_a_number():
    assert [(name, option.name) for name, option in (each.values for each in NUMBERS)] == [
        ("demo", "speed"),
        ("serve", "run_expires_after"),
        ("threads", "interval"),
    ]


@pytest.mark.parametrize(("name", "option"), NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e300", "0", "many", ""])
def test_a_number_that_is_no_number_or_out_of_range_is_refused_in_one_sentence(name, option, value):
    result = CliRunner().invoke(commands.cli, [name, option.opts[0], value])
    assert result.exit_code == 2
    assert f"Error: Invalid value for '{option.opts[0]}': " in result.output
    assert "not" in result.output.splitlines()[-1]


@pytest.mark.parametrize(("name", "option"), [("serve", "--port"), ("serve", "--model-workers"), ("inspect", "--port")])
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e300", "2.5", "many", ""])
def test_a_whole_number_that_is_none_or_out_of_range_is_refused_in_one_sentence(name, option, value):
    store = ["--store", "agents.db"] if name == "inspect" else []
    result = CliRunner().invoke(commands.cli, [name, option, value, *store])
    assert result.exit_code == 2
    reason = rf"-1 is not in the range \S+|'{value}' is not a valid whole number"
    assert re.search(rf"Error: Invalid value for '{option}': ({reason})\.", result.output)


def test_an_unknown_command_is_answered_with_the_nearest_one():
    for name in COMMANDS:
        result = CliRunner().invoke(commands.cli, [name[:-1]])
        assert result.exit_code == 2
        assert re.search(f"Did you mean .*'{name}'", result.output)


def test_a_number_in_the_range_is_taken():
    assert Number(0.1, 100).convert("2.5", None, None) == 2.5

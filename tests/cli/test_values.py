"""The values of options on the command line."""

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


def test_a_number_in_the_range_is_taken():
    assert Number(0.1, 100).convert("2.5", None, None) == 2.5

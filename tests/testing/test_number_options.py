"""The numbers on the command lines of the simulation and of the kill tests."""

import pytest

from gpt_agent_fsm.testing import cluster_kill_test, kill_test, simulate

COMMANDS = {
    simulate: ["--lives", "--seconds", "--at-least", "--workers"],
    kill_test: ["--kills", "--stops", "--threads", "--longest"],
    cluster_kill_test: ["--workers", "--clients", "--threads", "--messages", "--seconds", "--pause", "--limit"],
}


@pytest.mark.parametrize("value", ["nan", "-1", "1e400x", "many", ""])
@pytest.mark.parametrize(
    ("command", "option"), [(module, option) for module in COMMANDS for option in COMMANDS[module]]
)
def test_a_number_that_is_none_or_out_of_range_is_refused_in_one_sentence(command, option, value, capsys):
    with pytest.raises(SystemExit) as left:
        command.main([f"{option}={value}"])
    assert left.value.code == 2
    problem = capsys.readouterr().err.splitlines()[-1]
    assert f"error: argument {option}: '{value}' is not a " in problem
    assert "number from " in problem


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (simulate, "--workers=0"),
        (simulate, "--workers=99999999999"),
        (kill_test, "--threads=0"),
        (kill_test, "--longest=0"),
        (kill_test, "--longest=inf"),
        (cluster_kill_test, "--workers=1"),
        (cluster_kill_test, "--clients=0"),
        (cluster_kill_test, "--pause=0"),
    ],
)
def test_a_number_with_which_nothing_could_run_is_refused(command, arguments, capsys):
    with pytest.raises(SystemExit):
        command.main([arguments])
    assert "number from " in capsys.readouterr().err

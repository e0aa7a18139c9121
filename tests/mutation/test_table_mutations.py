"""Break every row of the table in every simple way: the core's tests notice each of them."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator

import attrs
import pytest

from gpt_agent_fsm.machine import advance as core
from gpt_agent_fsm.machine.driving import build_machine, rules_of
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.table import TABLE
from tests.unit import (
    test_core_budgets,
    test_core_calls,
    test_core_cancelling,
    test_core_chains,
    test_core_discarding,
    test_core_doubt,
    test_core_everywhere,
    test_core_instead,
    test_core_messages,
    test_core_reading,
    test_core_runs,
    test_core_tools,
    test_core_waits,
)


def _cases(module) -> Iterator[Callable[[], None]]:
    """Yield the module's tests as plain functions, one for each set of parameters."""
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        choices: list[list[dict]] = []
        for mark in getattr(function, "pytestmark", []):
            names = mark.args[0] if isinstance(mark.args[0], tuple | list) else [mark.args[0]]
            values = [value if len(names) > 1 else (value,) for value in mark.args[1]]
            choices.append([dict(zip(names, value, strict=True)) for value in values])
        for combination in itertools.product(*choices):
            arguments = {name: value for part in combination for name, value in part.items()}
            yield lambda function=function, arguments=arguments: function(**arguments)


CASES = [
    case
    for module in (
        test_core_messages,
        test_core_reading,
        test_core_runs,
        test_core_tools,
        test_core_cancelling,
        test_core_discarding,
        test_core_doubt,
        test_core_chains,
        test_core_everywhere,
        test_core_waits,
        test_core_budgets,
        test_core_calls,
        test_core_instead,
    )
    for case in _cases(module)
]


def _nothing(copy, input_) -> None:
    """Do nothing, as an action that was left out."""


def _mutants() -> Iterator[tuple[str, list]]:
    """Yield tables that each differ from the real one in one row."""
    for number, row in enumerate(TABLE):
        changed = {"row removed": None, "action left out": attrs.evolve(row, action=_nothing)}
        if row.guard is not None:
            changed["guard left out"] = attrs.evolve(row, guard=None)
        for state in row.states if len(row.states) > 1 else []:
            changed[f"not in {state}"] = attrs.evolve(row, states=tuple(s for s in row.states if s is not state))
        for other in (None, *State):
            stays = row.dest is None and row.states == (other,)
            same = other is None and row.dest is not None and row.states == (row.dest,)
            if other is not row.dest and not stays and not same:
                changed[f"to {other or 'the same state'}"] = attrs.evolve(row, dest=other)
        for what, mutant in changed.items():
            table = [*TABLE[:number], *([mutant] if mutant else []), *TABLE[number + 1 :]]
            yield f"{row.story}: {what}", table


MUTANTS = dict(_mutants())


def _noticed() -> bool:
    for case in CASES:
        try:
            case()
        except Exception:
            return True
        except pytest.fail.Exception:
            return True
    return False


def test_the_untouched_table_passes():
    assert not _noticed()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_row_is_noticed(name, monkeypatch):
    monkeypatch.setattr(core, "_RULES", rules_of(build_machine(MUTANTS[name])))
    assert _noticed(), f"no test of the core fails with: {name}"

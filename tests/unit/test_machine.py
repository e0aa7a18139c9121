"""The table: nothing missing, nothing twice, and every row needed."""

from __future__ import annotations

import itertools

import pytest

from gpt_agent_fsm.errors import IllegalInput
from gpt_agent_fsm.machine import advance as core
from gpt_agent_fsm.machine.advance import Life
from gpt_agent_fsm.machine.snapshot import State
from gpt_agent_fsm.machine.table import IGNORED, ILLEGAL, TABLE, TRIGGERS, build_machine, reason_to_ignore, states_of
from tests.story import idle, say

CELLS = [(trigger, state) for trigger in TRIGGERS for state in State]
ROWS = {cell: [row for row in TABLE if row[0] == cell[0] and cell[1] in states_of(row[1])] for cell in CELLS}
SILENT = {(row[0], state): row[2] for row in IGNORED for state in states_of(row[1])}
IMPOSSIBLE = {(row[0], state): row[2] for row in ILLEGAL for state in states_of(row[1])}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]}-{cell[1]}")
def test_every_input_in_every_state_is_a_row_or_ignored_or_illegal(cell):
    ends = bool(ROWS[cell]) and ROWS[cell][-1][3] is None
    assert [ends, cell in SILENT, cell in IMPOSSIBLE].count(True) == 1, "say what this input does in this state"
    assert not (ROWS[cell] and cell in IMPOSSIBLE)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]}-{cell[1]}")
def test_no_row_stands_behind_one_without_a_guard_or_repeats_a_guard(cell):
    guards = [row[3] for row in ROWS[cell]]
    assert None not in guards[:-1], "a row behind one without a guard is never reached"
    assert len(set(guards)) == len(guards)


def test_the_tables_speak_only_of_known_inputs():
    assert {row[0] for row in (*IGNORED, *ILLEGAL)} <= set(TRIGGERS)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{row[4]}")
def test_guards_and_actions_are_named_methods(row):
    for name in (row[3], row[4]):
        assert name is None or callable(getattr(Life, name))


def test_what_is_ignored_or_illegal_has_its_reason():
    assert all(len(reason) > 10 for reason in (*SILENT.values(), *IMPOSSIBLE.values()))
    assert reason_to_ignore("cancel_run", State.IDLE) == "there is no run"


def test_every_state_can_be_reached_and_left():
    moves = {
        (source, row[2]) for row in TABLE for source in states_of(row[1]) if row[2] is not None and source != row[2]
    }
    for one, other in itertools.permutations(State, 2):
        reached, todo = {one}, [one]
        while todo:
            current = todo.pop()
            todo += [dest for source, dest in moves if source is current and dest not in reached]
            reached.update(todo)
        assert other in reached, f"{other} can not be reached from {one}"


def test_the_shared_machine_holds_no_model_and_adds_no_transitions_of_its_own():
    machine = build_machine()
    assert machine.models == []
    assert set(machine.events) == set(TRIGGERS)


def test_an_incomplete_table_is_noticed_when_it_is_used(monkeypatch):
    rows = [[*row[:3], "is_parked", row[4]] if row[0] == "add_user_message" else row for row in TABLE]
    monkeypatch.setattr(core, "_MACHINE", build_machine(rows))
    with pytest.raises(IllegalInput, match="no row of the table takes add_user_message in state idle"):
        idle().tell(say())

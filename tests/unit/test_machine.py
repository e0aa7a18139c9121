"""The table: no row is missing, none is there twice, and each is needed."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import Counter

import attrs
import pytest
from transitions import MachineError

from gpt_agent_fsm.errors import IllegalInput
from gpt_agent_fsm.machine import advance as core
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.driving import build_machine, rules_of
from gpt_agent_fsm.machine.guards import is_parked
from gpt_agent_fsm.machine.marks import rows_taken
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.table import AFTER_EACH, IGNORED, ILLEGAL, TABLE, TRIGGERS
from tests.story import idle, say
from tests.unit.stories import STORIES

CELLS = [(trigger, state) for trigger in TRIGGERS for state in State]
ROWS = {cell: [row for row in TABLE if row.trigger == cell[0] and cell[1] in row.states] for cell in CELLS}
SILENT = {(row.trigger, state): row.reason for row in IGNORED for state in row.states}
IMPOSSIBLE = {(row.trigger, state): row.reason for row in ILLEGAL for state in row.states}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]}-{cell[1]}")
def test_every_input_in_every_state_is_a_row_or_ignored_or_illegal(cell):
    ends = bool(ROWS[cell]) and ROWS[cell][-1].guard is None
    assert [ends, cell in SILENT, cell in IMPOSSIBLE].count(True) == 1, "say what this input does in this state"
    assert not (ROWS[cell] and cell in IMPOSSIBLE)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]}-{cell[1]}")
def test_no_row_stands_behind_one_without_a_guard_or_repeats_a_guard(cell):
    guards = [row.guard for row in ROWS[cell]]
    assert None not in guards[:-1], "a row behind one without a guard is never reached"
    assert len(set(guards)) == len(guards)


def test_the_tables_speak_only_of_known_inputs():
    assert {row.trigger for row in (*IGNORED, *ILLEGAL)} <= set(TRIGGERS)


def test_guards_and_actions_are_named_functions():
    for function in itertools.chain.from_iterable((row.guard, row.action) for row in TABLE):
        assert function is None or function.__name__.isidentifier()


def test_each_ignored_or_illegal_pair_has_a_reason():
    assert all(len(reason) > 10 for reason in (*SILENT.values(), *IMPOSSIBLE.values()))
    assert idle().tell(inputs.CancelRun()).ignored == SILENT["cancel_run", State.IDLE] == "there is no run"


def test_every_state_can_be_reached_and_left():
    moves = {(source, row.dest) for row in TABLE for source in row.states if row.dest not in (None, source)}
    for one, other in itertools.permutations(State, 2):
        reached, todo = {one}, [one]
        while todo:
            current = todo.pop()
            todo += [dest for source, dest in moves if source is current and dest not in reached]
            reached.update(todo)
        assert other in reached, f"{other} cannot be reached from {one}"


def test_the_shared_machine_holds_no_model_and_adds_no_transitions_of_its_own():
    machine = build_machine()
    assert machine.models == []
    assert set(machine.events) == set(TRIGGERS)


class _Model:
    """What `transitions` needs of a thread: its state, and a place for the number of the row that was taken."""

    def __init__(self, state):
        self.state, self.taken = state, None


def _machine_of_numbers(trigger, state, first_that_holds):
    """The real machine, but rows note their number, and the guards before one row say no."""
    machine = build_machine()
    rows = machine.events[trigger].transitions.get(state.name, ())
    for number, row in enumerate(rows):
        for condition in row.conditions:
            condition.func = functools.partial(lambda number, *_: number >= first_that_holds, number)
        row.before = [functools.partial(lambda number, model, _: setattr(model, "taken", number), number)]
    return machine, len(rows)


def _taken_by_transitions(machine, trigger, state):
    model = _Model(state)
    with contextlib.suppress(MachineError):  # no row has this input in this state
        machine.events[trigger].trigger(model, model, None)
    return model.taken, model.state


def _taken_by_rules(machine, trigger, state):
    model = _Model(state)
    for guard, take, dest in rules_of(machine)[state].get(trigger, ()):
        if guard is None or guard(model, None):
            take(model, None)
            return model.taken, dest or state
    return model.taken, state


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]}-{cell[1]}")
def test_the_compiled_rules_take_the_row_that_transitions_takes(cell):
    """Whatever the guards say, both do the same action and lead to the same state."""
    _, rows = _machine_of_numbers(*cell, 0)
    taken = set()
    for first_that_holds in range(rows + 1):
        machine, _ = _machine_of_numbers(*cell, first_that_holds)
        assert _taken_by_rules(machine, *cell) == _taken_by_transitions(machine, *cell)
        taken.add(_taken_by_rules(machine, *cell)[0])
    assert taken - {None} == set(range(rows))


def test_an_incomplete_table_is_noticed_when_it_is_used(monkeypatch):
    rows = [attrs.evolve(row, guard=is_parked) if row.kind is inputs.AddUserMessage else row for row in TABLE]
    monkeypatch.setattr(core, "_RULES", rules_of(build_machine(rows)))
    with pytest.raises(IllegalInput, match="no row of the table takes add_user_message in state idle"):
        idle().tell(say())


def test_the_machines_own_inputs_have_rows():
    states, _, question = AFTER_EACH
    assert all(ROWS[question.trigger, state] for state in states)


# --- a story for each row -----------------------------------------------------------------------------


def test_each_row_names_a_story_of_its_own_and_there_is_no_other_story():
    assert Counter(row.story for row in TABLE) == Counter(list(STORIES))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.story)
def test_the_story_of_a_row_takes_this_row_and_no_other_of_its_input(row):
    story, last = STORIES[row.story]()
    with rows_taken() as taken:
        story.tell(last)
    of_its_input = [other.story for other in TABLE if other.kind is row.kind and taken[other.story]]
    assert of_its_input == [row.story]
    assert taken[row.story] == 1

"""Every simple path from a message to an answer, to a failure and back is followed through the machine."""

import pytest

from gpt_agent_fsm.diagrams import paths as paths_module
from gpt_agent_fsm.diagrams import simple_paths
from gpt_agent_fsm.diagrams.paths import ORDINARY, happy_path
from gpt_agent_fsm.events import StateChanged
from gpt_agent_fsm.machine.marks import rows_taken
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.table import STORIES, TABLE
from tests.story import (
    BROKEN,
    LOCATE,
    MEASURE_AGAIN,
    completed,
    connect,
    created,
    denied,
    due,
    idle,
    needs,
    output,
    parked,
    posted,
    rate_limit,
    run,
    running,
    runs,
    say,
    seen,
)

PATHS = {f"{title}: {path.story}": path for title, paths in simple_paths().items() for path in paths}
START = {State.IDLE: idle, State.FAILED: parked, State.RUNNING: running}
IDLE, RUNNING, AWAITING_TOOLS, SUBMITTING, RATE_LIMITED, FAILED = State
STEPS = {
    (IDLE, RUNNING): lambda run_id: [say(), posted(), created(run_id=run_id)],
    (IDLE, FAILED): lambda run_id: [say(), denied()],
    (RUNNING, AWAITING_TOOLS): lambda run_id: [due, needs(LOCATE, run_id=run_id)],
    (RUNNING, SUBMITTING): lambda run_id: [due, needs(BROKEN, run_id=run_id)],
    (AWAITING_TOOLS, SUBMITTING): lambda run_id: [output(LOCATE), output(MEASURE_AGAIN)],
    (SUBMITTING, AWAITING_TOOLS): lambda run_id: [needs(MEASURE_AGAIN, run_id=run_id)],
    (RATE_LIMITED, RUNNING): lambda run_id: [due, created(run_id="run_2")],
    (RATE_LIMITED, FAILED): lambda run_id: [due, denied()],
    (FAILED, IDLE): lambda run_id: [say("Two", "k2")],
    (FAILED, RUNNING): lambda run_id: [connect, runs(run(run_id=run_id))],
}
"""The inputs that make a thread take a step, up to the one that changes the state."""
FROM_A_RUN = {
    RUNNING: lambda run_id: seen(run_id=run_id),
    RATE_LIMITED: rate_limit,
    FAILED: lambda run_id: seen(RunStatus.FAILED, run_id, code="server_error", message="Sorry"),
    IDLE: completed,
}
"""The answer of the server to the request in flight, or to the next poll."""


def inputs_of(step, run_id):
    if (step.source, step.dest) in STEPS:
        return STEPS[step.source, step.dest](run_id)
    answer = FROM_A_RUN[step.dest](run_id)
    return [answer] if step.source is SUBMITTING else [due, answer]


def follow(path, story):
    """Take the steps of a path one after the other, and check each."""
    for step in path.steps:
        assert story.state is step.source
        moves = []
        with rows_taken() as taken:
            for each in inputs_of(step, "run_1"):
                story.tell(each)
                moves += [event for event in story.events if isinstance(event, StateChanged)]
                if moves:
                    break
        (move,) = moves
        assert (move.source, move.dest, move.trigger) == (step.source, step.dest, step.row.trigger)
        assert taken[step.story] == 1
    return story


@pytest.mark.parametrize("name", PATHS)
def test_a_thread_follows_the_path_step_by_step(name):
    path = PATHS[name]
    story = follow(path, START[path.steps[0].source]())
    assert story.state is path.states[-1]


def test_a_thread_follows_the_happy_path_to_its_answer():
    story = follow(happy_path(), idle())
    assert (story.state, story.said) == (State.IDLE, ["RunCompleted"])


def test_no_path_visits_a_state_twice_and_no_two_paths_are_equal():
    for paths in simple_paths().values():
        for path in paths:
            inner = path.states[1:-1]
            assert len(set(inner)) == len(inner)
            assert not {path.states[0], path.states[-1]} & set(inner)
        assert len({path.states for path in paths}) == len(paths)
    assert len(PATHS) == sum(map(len, simple_paths().values())), "two paths have the same name"


def test_the_paths_are_all_that_the_table_allows():
    moves = {(source, row.dest) for row in TABLE for source in row.states if row.dest not in (None, source)}

    def count(here, end, visited):
        return sum(
            (dest is end) if dest is end else dest not in visited and count(dest, end, visited | {dest})
            for source, dest in moves
            if source is here
        )

    assert [len(paths) for paths in simple_paths().values()] == [
        count(IDLE, IDLE, {IDLE, FAILED}),
        count(IDLE, FAILED, {IDLE, FAILED}),
        count(FAILED, IDLE, {IDLE, FAILED}),
        count(RUNNING, RUNNING, {IDLE, RUNNING, FAILED}),
    ]


def test_every_change_of_state_has_an_ordinary_row():
    steps = paths_module._steps()
    missing = {step.story for step in steps} - set(ORDINARY)
    assert not missing, "say in ORDINARY which row usually leads from the one state to the other"
    assert {step.story for step in steps} == set(ORDINARY) <= set(STORIES)


def test_a_row_that_no_longer_leads_where_the_happy_path_needs_it_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(paths_module, "_HAPPY", ("the run is completed",))
    with pytest.raises(LookupError, match="'the run is completed' does not lead out of idle"):
        happy_path()

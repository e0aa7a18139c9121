"""Functions of a life take virtual time, end with their process, and leave a record; the lives reach all of it."""

import random
from collections import Counter

import pytest

from gpt_agent_fsm import Runtime, Settings, events
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Call, SimulatedServer, VirtualScheduler
from gpt_agent_fsm.testing.network import Crash
from gpt_agent_fsm.testing.simulation import BARE, BREAKING, HONEST, Equipment, Life, simulate
from gpt_agent_fsm.testing.simulation.equipment import random_equipment
from gpt_agent_fsm.testing.simulation.functions import CALLS, NAMES, WRONG_ARGUMENTS, Functions
from gpt_agent_fsm.testing.simulation.process import Process

WIRES = ["assistants", "responses"]
FULL = Equipment(
    functions=True, kills=0.2, by_server=True, approval_timeout=60.0, max_total_tokens=10, limits=True, interrupts=0.3
)


class Times(random.Random):
    """Gives each function this time, and kills it or not."""

    seconds, kills = 0.0, False

    def choice(self, _):
        return self.seconds

    def random(self):
        return 0.0 if self.kills else 0.9


@pytest.fixture
def life():
    return Life(1)


@pytest.fixture
def world(life):
    """A process whose only thread calls functions, and the functions."""
    scheduler, store, times = VirtualScheduler(), MemoryStore(), Times()
    functions = Functions(scheduler, times, 0.5, store.history)
    calls = dict(reversed(CALLS))
    server = SimulatedServer(lambda text: [Call(((text, calls[text]),)), Answer("Done")])
    process = Process(
        life, lambda handle: server, Settings(), store, scheduler, random.Random(1), tools=functions.tools
    )
    process.start()
    return process, functions, times, scheduler


def talk(process, text):
    runtime = process.runtime
    agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
    agent.add_user_message(text)
    return agent


def names(process, agent):
    return [type(each.event).__name__ for each in process.runtime.history(agent.thread_id)]


def test_everything_else_continues_while_a_function_works(world):
    process, functions, times, scheduler = world
    times.seconds = 40.0
    agent = talk(process, "once")
    scheduler.call_later(20, lambda: ticks.append(names(process, agent)))
    ticks = []
    process.advance(60)
    assert ticks[0][-1] == "ToolStarted"
    assert [each.name for each in functions.executions] == ["once"]
    assert agent.state == "idle"


def test_another_process_may_take_over_while_a_function_works(world):
    process, functions, times, _ = world
    times.seconds = 4.0

    def take_over_once():
        functions._on_begin = list
        process.take_over()

    functions._on_begin = take_over_once
    agent = talk(process, "again")
    process.advance(30)
    assert [each.attempt for each in functions.executions] == [1, 2]
    assert names(process, agent).count("ToolCallOutputRecorded") == 1


def test_a_function_that_takes_too_long_has_an_unknown_outcome(world):
    process, _, times, _ = world
    times.seconds = 40.0
    agent = talk(process, "brief")
    process.advance(60)
    assert "ToolOutcomeUnknown" in names(process, agent)


@pytest.mark.parametrize(("name", "attempts"), [("once", [1]), ("again", [1, 2])])
def test_a_process_that_is_killed_in_a_function_runs_it_only_again_if_it_is_safe(world, life, name, attempts):
    process, functions, times, _ = world
    times.kills = True
    agent = talk(process, name)
    process.advance(10)
    assert life.crashes == 1
    functions.faults_off = True
    process.advance(30)
    assert [each.attempt for each in functions.executions] == attempts
    assert names(process, agent).count("ToolOutcomeUnknown") == (name == "once")
    assert "RunCompleted" in names(process, agent)


def crash():
    raise Crash


def test_a_function_that_had_not_begun_ends_with_its_process(world, life):
    process, done = world[0], []
    process.runtime.scheduler.call_later(5, lambda: done.append("before"))
    process.runtime.scheduler.call_later(15, lambda: done.append("after"))
    process.advance(10)
    assert not process.survive(crash)
    process.advance(100)
    assert (done, life.crashes) == (["before"], 1)


def test_a_record_says_whether_a_function_was_allowed_to_run(world):
    process, functions, _, _ = world
    agent = talk(process, "asked")
    process.advance(5)
    (call,) = agent.open_approvals
    assert functions.executions == []
    agent.approve(call.id)
    process.advance(5)
    assert [(each.name, each.is_allowed) for each in functions.executions] == [("asked", True)]
    context = type("Context", (), {"thread_id": agent.thread_id, "call_id": "call_other"})
    assert functions._is_allowed("once", context)
    assert not functions._is_allowed("asked", context)


def test_a_rule_says_the_same_about_one_call_each_time():
    functions = Functions(VirtualScheduler(), Times(), 0.0, lambda thread_id: ())
    said = Counter()
    for number in range(100):
        call = events.ToolCallRequested(id=f"call_{number}", thread_id="t", run_id="r", name="ruled", arguments={})
        try:
            said[functions._rule(call)] += 1
            assert functions._rule(call) is functions.verdicts[call.id]
        except ValueError:
            said["fails"] += 1
    assert set(said) == {True, False, None, "fails"}


def test_all_functions_are_called_and_some_with_wrong_arguments():
    assert {name for name, _ in CALLS} == NAMES
    assert [name for name, arguments in CALLS if arguments == WRONG_ARGUMENTS] == ["once", "asked"]
    assert len(Runtime(SimulatedServer(), tools=Functions(VirtualScheduler(), Times(), 0, list).tools).agents) == 0


def test_every_second_life_has_equipment():
    drawn = [random_equipment(random.Random(seed)) for seed in range(200)]
    assert 70 < sum(each == BARE for each in drawn) < 130
    assert {each.functions for each in drawn} == {each.by_server for each in drawn} == {True, False}
    assert BARE.random_limit(random.Random(1)) > 0


@pytest.mark.parametrize("leaves_notes", [1.0, 0.0])
def test_lives_leave_the_ids_of_responses_on_the_server_only_if_the_data_end_with_the_process(leaves_notes):
    lives = [simulate(seed, wire="responses", equipment=Equipment(leaves_notes=leaves_notes)) for seed in range(5)]
    notes = [line for life in lives for line in life.journal if "'gpt_agent_fsm_run': 'resp_" in line]
    written = [line for line in notes if "POST /conversations/" in line]
    assert bool(written) is bool(leaves_notes)
    assert not [life.report() for life in lives if life.violations]


def rows_of_good_lives(count, wire, faults):
    rows = Counter()
    for seed in range(count):
        life = simulate(seed, faults, wire=wire, equipment=FULL)
        assert not life.violations, life.report()
        rows += life.rows
    return rows


@pytest.mark.parametrize("wire", WIRES)
def test_equipped_lives_lose_nothing_and_take_the_rows_of_functions_approvals_and_limits(wire):
    rows = rows_of_good_lives(30, wire, HONEST)
    assert rows["a function has ended"]
    assert rows["a function was started and is lost"]
    assert rows["a person must approve a call"]
    assert rows["a call is approved"]
    assert rows["a call is denied"]
    assert rows["the tokens are used up"]
    assert rows["the queue is discarded while a run is active"]
    assert rows["a message instead of the run in progress"]


@pytest.mark.parametrize("wire", WIRES)
def test_a_network_that_violates_the_model_runs_no_function_twice_and_exceeds_no_limit(wire):
    assert rows_of_good_lives(15, wire, BREAKING)["a function has ended"]

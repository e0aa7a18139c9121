"""A function's start is saved only when there is a place for it: after a crash, only functions that ran are unknown."""

import attrs
import pytest

from gpt_agent_fsm import errors, events, signals, tool
from gpt_agent_fsm.engine.tool_desk import ToolDesk
from gpt_agent_fsm.testing import Answer, Call
from tests.unit.tool_worlds import PATIENCE, MoodyServer, World

BOTH = Call((("work", '{"name":"a1"}'), ("work", '{"name":"a2"}')))
ONE = Call((("work", '{"name":"b1"}'),))


def make_work(ran, **options):
    @tool(**options)
    def work(name: str) -> str:
        ran.append(name)
        return name

    return work


class BusyWorld(World):
    """A world with one place for functions, and two threads: the first has two calls, the second has one.

    Functions end when the test says so.
    """

    def __init__(self, tool, **settings):
        self.held, self.tool = [], tool
        super().__init__(tools=[tool], tool_workers=1, **settings)
        self.plan(a=[BOTH], b=[ONE])

    def plan(self, **calls):
        self.server._plan = lambda text: [*calls[text], Answer("Done")]

    def start(self, tools=(), pause=0.0):
        super().start(tools, pause)
        self.held.clear()
        self.jobs._run_soon = self.held.append

    @property
    def jobs(self):
        return self.runtime._roster.jobs

    def say(self, text):
        agent = self.connect()
        agent.add_user_message(text)
        self.scheduler.advance(10)
        return agent

    def end_one(self):
        """Let the function that began first run and end."""
        self.held.pop(0)()
        self.scheduler.advance(5)

    def end_all(self):
        for _ in range(20):
            if self.held:
                self.end_one()
        assert self.held == []

    def of(self, kind):
        """The events of this class in all threads."""
        records = (record for agent in self.agents for record in self.runtime.history(agent.thread_id))
        return [record.event for record in records if isinstance(record.event, kind)]

    def talk(self):
        """Let both threads ask for their functions."""
        self.agents = [self.say("a"), self.say("b")]
        return self.agents


def is_free(world):
    """Return whether no thread holds a place or waits for one."""
    return world.jobs.reserve(("other", "", "", 0)) and not world.jobs._queue


def test_only_the_function_that_has_a_place_is_started():
    world = BusyWorld(make_work([]))
    world.talk()
    assert len(world.of(events.ToolStarted)) == len(world.held) == 1


def test_after_a_crash_the_calls_that_waited_for_a_place_are_answered_by_their_functions():
    ran = []
    world = BusyWorld(make_work(ran))
    world.talk()
    (started,) = world.of(events.ToolStarted)
    world.start([world.tool])
    world.scheduler.advance(10)
    world.end_all()
    assert [agent.wait(timeout=PATIENCE) for agent in world.runtime.agents] == ["idle", "idle"]
    assert [event.id for event in world.of(events.ToolOutcomeUnknown)] == [started.id]
    assert ran == ["a2", "b1"]


def test_after_a_crash_a_safe_function_waits_for_a_place_before_it_is_started_again():
    ran = []
    world = BusyWorld(make_work(ran, retry="safe"))
    world.talk()
    world.start([world.tool])
    world.scheduler.advance(10)
    assert [event.attempt for event in world.of(events.ToolStarted)] == [1, 2]
    world.end_all()
    assert ran == ["a1", "a2", "b1"]
    assert sorted(event.attempt for event in world.of(events.ToolStarted)) == [1, 1, 1, 2]


def test_threads_without_calls_share_one_empty_set_of_places():
    world = World()
    world.connect()
    world.connect()
    world.scheduler.advance(1)
    desks = [driver._desk for driver in world.runtime._roster.drivers]
    assert len({id(places) for desk in desks for places in (desk._places, desk._former_places)}) == 1


def test_the_call_that_waited_longest_gets_the_next_place_and_waiting_costs_no_ticks(monkeypatch):
    ran, ticks = [], []
    world = BusyWorld(make_work(ran), idle_timeout=1_000, stall_after=None)
    world.talk()
    tick = world.scheduler._tick
    monkeypatch.setattr(world.scheduler, "_tick", lambda task: ticks.append(task) or tick(task))
    world.scheduler.advance(500)
    assert ticks == []
    world.end_all()
    assert ran == ["a1", "a2", "b1"]
    assert [agent.wait(timeout=PATIENCE) for agent in world.agents] == ["idle", "idle"]
    assert is_free(world)


def test_a_thread_with_many_calls_takes_turns_with_the_other_threads():
    ran = []
    world = BusyWorld(make_work(ran))
    world.plan(a=[Call(tuple(("work", f'{{"name":"a{number}"}}') for number in range(1, 5)))], b=[BOTH])
    world.talk()
    assert len(world.jobs._queue) == 2
    world.end_all()
    assert ran == ["a1", "a2", "a1", "a3", "a2", "a4"]
    assert is_free(world)


def test_of_calls_that_are_approved_last_to_first_one_waits_in_line():
    ran = []
    work = make_work(ran, approve=True)
    world = BusyWorld(work)
    world.plan(a=[Call(tuple(("work", f'{{"name":"a{number}"}}') for number in range(1, 5)))], b=[ONE])
    world.talk()
    first, second = world.agents
    second.approve(second.open_approvals[0].id)
    world.scheduler.advance(1)
    for asked in reversed(first.open_approvals):
        first.approve(asked.id)
        world.scheduler.advance(1)
        assert len(world.jobs._queue) == 1
    world.end_all()
    assert ran == ["b1", "a4", "a1", "a2", "a3"]
    assert is_free(world)


class MoodyBusyWorld(BusyWorld):
    """A busy world whose server sometimes fails to say which functions it knows."""

    def __init__(self, tool, **settings):
        super().__init__(tool, **settings)
        self.server.__class__ = MoodyServer


@pytest.mark.parametrize("answered", [0, 2])
def test_an_error_while_calls_are_decided_leaves_no_place_taken(answered):
    ran = []
    world = MoodyBusyWorld(make_work(ran))
    # A handler answers two calls. The next one waits in line behind the function of the other thread.
    calls = (("by_hand", "{}"), ("by_hand", "{}"), ("work", '{"name":"a1"}'), ("work", '{"name":"a2"}'))
    world.plan(a=[Call(calls)], b=[ONE])
    other = world.say("b")
    agent = world.connect(subscribe=lambda agent, event: None)
    agent.add_user_message("a")
    world.scheduler.advance(10)
    world.agents = [other, agent]
    asked = [event.id for event in world.of(events.ToolCallRequested) if event.thread_id == agent.thread_id]
    world.server.fails = True
    agent.submit_tool_output(asked[answered], "done")
    world.scheduler.advance(60)
    assert not world.server.fails
    for call_id in {*asked[:2]} - {asked[answered]}:
        agent.submit_tool_output(call_id, "done")
    world.end_all()
    assert ran == ["b1", *(["a1"] if answered == 0 else []), "a2"]
    assert is_free(world)


def test_after_such_an_error_the_call_that_waits_in_line_keeps_its_place():
    ran = []
    world = MoodyBusyWorld(make_work(ran, approve=True))
    world.plan(a=[Call((("by_hand", "{}"), ("work", '{"name":"a1"}'), ("work", '{"name":"a2"}')))], b=[ONE])
    other = world.say("b")
    other.approve(other.open_approvals[0].id)
    agent = world.connect(subscribe=lambda agent, event: None)
    agent.add_user_message("a")
    world.scheduler.advance(10)
    world.agents = [other, agent]
    first, second = agent.open_approvals
    agent.approve(second.id)
    world.scheduler.advance(1)
    world.server.fails = True
    agent.approve(first.id)
    world.scheduler.advance(60)
    world.end_all()
    assert not world.server.fails
    assert ran == ["b1", "a2", "a1"]
    assert is_free(world)


def test_all_free_places_are_taken_although_one_call_of_a_thread_waits_in_line():
    world = BusyWorld(make_work([]))
    world.plan(a=[Call(tuple(("work", f'{{"name":"a{number}"}}') for number in range(1, 6)))], b=[ONE])
    world.talk()
    world.jobs._limit = 3
    world.end_one()
    assert len(world.held) == 3
    assert len(world.jobs._queue) == 1


def test_a_call_that_asks_again_comes_after_the_calls_that_wait():
    ran = []
    world = BusyWorld(make_work(ran))
    again = Call((("work", '{"name":"a3"}'), ("work", '{"name":"a4"}')))
    world.plan(a=[ONE, again], b=[BOTH])
    world.talk()
    world.end_all()
    assert ran == ["b1", "a1", "a2", "a3", "a4"]


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("end", ["cancel_run", "shutdown"])
def test_a_thread_that_ends_leaves_no_place_taken(end, index):
    ran = []
    world = BusyWorld(make_work(ran))
    agents = world.talk()
    getattr(agents[index], end)()
    world.scheduler.advance(10)
    world.end_all()
    assert agents[1 - index].wait(timeout=PATIENCE) == "idle"
    assert ran == ([["a1", "b1"], ["a1", "a2"]][index])
    assert is_free(world)


def test_an_answer_by_hand_ends_the_wait_for_a_place():
    ran = []
    world = BusyWorld(make_work(ran))
    first, second = world.talk()
    requested = [call for call in world.of(events.ToolCallRequested) if call.thread_id == second.thread_id]
    second.submit_tool_output(requested[0].id, "by hand")
    assert second.wait(timeout=PATIENCE) == "idle"
    world.end_all()
    assert first.wait(timeout=PATIENCE) == "idle"
    assert ran == ["a1", "a2"]
    assert is_free(world)


def test_a_start_whose_commit_fails_keeps_its_place_and_is_saved_once(monkeypatch):
    ran = []
    world = BusyWorld(make_work(ran))
    commit, failures = world.store.commit, []

    def fail_twice(snapshot, **rest):
        if len(failures) < 2 and any(isinstance(event, events.ToolStarted) for event in rest["events"]):
            failures.append(snapshot)
            raise errors.StoreError("the disk is full")
        return commit(snapshot, **rest)

    monkeypatch.setattr(world.store, "commit", fail_twice)
    world.talk()
    assert len(world.held) == 1
    world.end_all()
    assert len(failures) == 2
    assert ran == ["a1", "a2", "b1"]
    assert len(world.of(events.ToolStarted)) == 3
    assert is_free(world)


def test_a_start_that_could_not_be_saved_before_the_agent_was_stopped_is_not_saved_at_its_end(monkeypatch):
    ran, failing = [], [True]
    world = BusyWorld(make_work(ran))
    commit = world.store.commit

    def fail(snapshot, **rest):
        if failing and any(isinstance(event, events.ToolStarted) for event in rest["events"]):
            raise errors.StoreError("the disk is full")
        return commit(snapshot, **rest)

    monkeypatch.setattr(world.store, "commit", fail)
    world.agents = [world.say("b")]
    failing.clear()
    world.agents[0].shutdown()
    world.scheduler.advance(5)
    assert world.of(events.ToolStarted) == []
    agent = world.connect(world.thread_id)
    world.scheduler.advance(5)
    world.end_all()
    assert agent.wait(timeout=PATIENCE) == "idle"
    assert ran == ["b1"]


def test_a_thread_that_another_process_drives_leaves_no_place_taken():
    world = BusyWorld(make_work([]))
    first, second = world.talk()

    class Lost:
        def holds(self):
            return False

    world.held.pop(0)()
    second._driver.lease = Lost()
    world.scheduler.advance(10)
    world.end_one()
    assert not second.alive
    assert is_free(world)
    assert first is not second


def test_a_start_that_the_machine_ignores_leaves_no_place_taken(monkeypatch):
    world = BusyWorld(make_work([]))
    start, ignored = ToolDesk.start, []

    def start_nothing(desk, snapshot, agent):
        held = world.jobs.threads
        start(desk, attrs.evolve(snapshot, run=None), agent)
        ignored.append((held, world.jobs.threads))

    monkeypatch.setattr(ToolDesk, "start", start_nothing)
    agent = world.connect()
    agent.add_user_message("b")
    world.scheduler.advance(2)
    assert ignored == [({agent.thread_id}, set())]


def test_a_runtime_that_closes_waits_for_the_function_that_runs_and_starts_no_other():
    ran = []
    world = BusyWorld(make_work(ran), receive_timeout=3_000)
    world.jobs._run_soon = lambda function: world.scheduler.call_later(20, function)
    world.talk()
    world.runtime.close()
    world.scheduler.advance(60)
    assert ran == ["a1"]


def test_a_rule_needs_a_place_and_keeps_its_verdict_while_the_function_waits_for_one():
    asked, ran = [], []

    def rule(call):
        asked.append(call.arguments["name"])
        return True

    world = BusyWorld(make_work(ran, approve=rule))
    agents = world.talk()
    assert len(world.held) == 1
    world.end_all()
    assert sorted(asked) == ["a1", "a2", "b1"]
    assert sorted(ran) == ["a1", "a2", "b1"]
    assert [agent.wait(timeout=PATIENCE) for agent in agents] == ["idle", "idle"]
    assert is_free(world)


def test_a_handler_that_stops_the_agent_at_the_start_leaves_no_place_taken():
    ran = []
    world = BusyWorld(make_work(ran))
    with signals.tool_call_requested.connected_to(lambda agent, event: agent.shutdown()):
        world.say("b")
    assert is_free(world)

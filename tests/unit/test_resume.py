"""The next process continues from the data in the store; and runs that take too long."""

import random
import re

import pytest

from gpt_agent_fsm import Runtime, Settings, errors, events
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Call, Fail, Linger, SimulatedServer, VirtualClock, VirtualScheduler
from gpt_agent_fsm.testing.crashing import StoreHandle

RATE = Fail(RunStatus.RATE_LIMITED, message="Rate limit reached")


class World:
    """A server and a store that outlive the processes that use them."""

    def __init__(self, *plan, **settings):
        self.server = SimulatedServer(lambda text: list(plan) or [Answer(f"You said: {text}")])
        self.store = MemoryStore()
        self.settings = Settings(**settings)
        self.start()

    def start(self, pause=0.0):
        """Kill the running process, and start a new one after `pause` seconds."""
        clock = getattr(self, "scheduler", None)
        self.scheduler = VirtualScheduler()
        if clock is not None:
            self.scheduler.sleep(clock.clock.monotonic() + pause)
        self.runtime = Runtime(
            self.server, self.settings, StoreHandle(self.store), scheduler=self.scheduler, rng=random.Random(1)
        )

    def connect(self, **options):
        self.thread_id = self.runtime.create_thread()
        return self.runtime.connect(thread_id=self.thread_id, assistant_id="a", last_message_id=None, **options)

    def said(self):
        return [message.content for message in self.server.messages(self.thread_id)]

    def names(self):
        records = self.runtime.history(self.thread_id)
        return [type(r.event).__name__ for r in records if not isinstance(r.event, events.StateChanged)]


def test_a_message_that_was_accepted_survives_the_process():
    world = World()
    world.connect().add_user_message("Hello")
    world.start()
    (agent,) = world.runtime.agents
    assert agent.wait(timeout=60) == "idle"
    assert world.said() == ["Hello", "You said: Hello"]


def test_a_run_in_progress_is_followed_by_the_next_process():
    world = World(Linger(3), Answer("Done"))
    world.connect().add_user_message("Hello")
    world.scheduler.advance(1)
    world.start()
    assert world.runtime.agents[0].state == "running"
    assert world.runtime.agents[0].wait(timeout=60) == "idle"
    assert world.names() == ["UserMessageAdded", "RunStarted", "RunCompleted", "AssistantMessageAdded"]


def test_unannounced_events_are_announced_by_the_next_process():
    world = World()
    world.connect().add_user_message("Hello")
    for _ in range(4):
        world.scheduler.step()
    world.start()
    heard = []
    (agent,) = world.runtime.agents
    world.runtime.connect(
        thread_id=world.thread_id,
        assistant_id="a",
        last_message_id=None,
        subscribe=lambda agent, event: heard.append(event),
        replay_after=0,
    )
    agent.wait(timeout=60)
    assert heard == [record.event for record in world.runtime.history(world.thread_id)]


def test_one_line_in_the_log_says_how_many_threads_were_resumed(caplog):
    world = World()
    for _ in range(3):
        world.connect().add_user_message("Secret")
    with caplog.at_level("INFO", logger="gpt_agent_fsm.engine.roster"):
        world.start()
        (line,) = (record.getMessage() for record in caplog.records if record.name == "gpt_agent_fsm.engine.roster")
        assert re.fullmatch(r"unfinished threads resumed: 3, in \d+\.\d\d s", line)
        world.runtime.agents[0].wait(60)
        caplog.clear()
    with Runtime(world.server, store=MemoryStore(), scheduler=VirtualScheduler()):
        assert caplog.records == []


def test_a_thread_with_nothing_left_to_do_is_not_resumed():
    world = World()
    agent = world.connect()
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    assert world.said() == ["Hello", "You said: Hello"]
    world.start()
    assert world.runtime.agents == ()


def test_a_resumed_agent_that_has_nothing_more_to_do_stops_after_its_idle_time():
    world = World()
    world.connect().add_user_message("Hello")
    world.start()
    (agent,) = world.runtime.agents
    agent.wait(timeout=60)
    world.scheduler.advance(115)
    assert agent.alive
    world.scheduler.advance(6)
    assert not agent.alive
    assert world.runtime.agents == ()


def test_a_rate_limit_is_waited_out_to_its_end_by_the_next_process():
    world = World(RATE)
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(5)
    assert agent.state == "rate_limited"
    world.start(pause=10)
    (agent,) = world.runtime.agents
    world.scheduler.advance(10)
    assert len(world.server.runs(world.thread_id)) == 1
    world.scheduler.advance(10)
    assert len(world.server.runs(world.thread_id)) == 2


def test_a_delay_is_waited_out_even_if_less_than_a_second_remains():
    world = World(RATE)
    world.connect().add_user_message("Hello")
    world.scheduler.advance(5)
    remaining = world.store.load(world.thread_id).due - world.scheduler.clock.time()
    world.start(pause=remaining - 0.5)
    world.scheduler.advance(0.4)
    assert len(world.server.runs(world.thread_id)) == 1
    world.scheduler.advance(0.2)
    assert len(world.server.runs(world.thread_id)) == 2


def test_a_request_that_was_in_flight_is_searched_for_before_its_deadline():
    world = World()
    work = world.server.post_message

    def post_and_die(*args, **options):
        world.server.post_message = work
        work(*args, **options)
        raise KeyboardInterrupt

    world.server.post_message = post_and_die
    world.connect().add_user_message("Hello")
    with pytest.raises(KeyboardInterrupt):
        world.scheduler.advance(5)
    saved = world.store.load(world.thread_id)
    assert saved.snapshot.pending.sent
    assert saved.due - world.scheduler.clock.time() > 20
    world.start()
    world.scheduler.advance(5)
    assert world.said() == ["Hello", "You said: Hello"]


def test_a_request_that_was_not_sent_before_a_shutdown_is_made_at_once_by_the_next_agent():
    world = World()

    def stop(agent, event):
        if isinstance(event, events.UserMessageAdded):
            agent.shutdown()

    world.connect(subscribe=stop).add_user_message("Hello")
    world.scheduler.settle()
    assert world.server.runs(world.thread_id) == []
    world.runtime.connect(thread_id=world.thread_id, assistant_id="a", last_message_id=None)
    world.scheduler.settle()
    assert len(world.server.runs(world.thread_id)) == 1


def test_a_shutdown_keeps_the_delay_of_a_request():
    world = World(RATE)
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(5)
    assert agent.state == "rate_limited"
    due = world.store.load(world.thread_id).due
    agent.shutdown()
    world.scheduler.settle()
    assert world.store.load(world.thread_id).due == due


def test_a_process_that_comes_too_late_for_the_timer_continues_at_once():
    world = World(RATE)
    world.connect().add_user_message("Hello")
    world.scheduler.advance(5)
    world.start(pause=1000)
    world.scheduler.advance(0.5)
    assert len(world.server.runs(world.thread_id)) == 2


# --- the time of day is set ---------------------------------------------------------------------------------------


class SetClock(VirtualClock):
    """A clock whose time of day can be set, as people and time servers do."""

    offset = 0.0

    def time(self):
        return super().time() + self.offset


class SetWorld(World):
    """A world with such a clock."""

    def start(self, pause=0.0, set_by=0.0):
        before, self.clock = getattr(self, "clock", SetClock()), SetClock()
        self.clock.now, self.clock.offset = before.now + pause, before.offset + set_by
        self.scheduler = VirtualScheduler()
        self.scheduler._clock = self.clock
        self.runtime = Runtime(
            self.server, self.settings, StoreHandle(self.store), scheduler=self.scheduler, rng=random.Random(1)
        )


HOURS = [-7200.0, -3600.0, 3600.0]


@pytest.mark.parametrize("set_by", HOURS)
def test_a_poll_is_not_delayed_by_a_clock_that_was_set_between_two_processes(set_by):
    world = SetWorld(Linger(3), Answer("Done"))
    world.connect().add_user_message("Hello")
    world.scheduler.advance(1)
    world.start(set_by=set_by)
    (agent,) = world.runtime.agents
    assert agent.wait(timeout=40) == "idle"
    assert world.said() == ["Hello", "Done"]


@pytest.mark.parametrize("set_by", HOURS)
def test_a_rate_limit_is_waited_out_in_time_after_a_clock_was_set(set_by):
    world = SetWorld(RATE)
    world.connect().add_user_message("Hello")
    world.scheduler.advance(5)
    world.start(set_by=set_by)
    world.scheduler.advance(30.5)
    assert len(world.server.runs(world.thread_id)) == 2


@pytest.mark.parametrize("set_by", HOURS)
def test_a_run_that_waits_for_tools_is_polled_in_time_after_a_clock_was_set(set_by):
    world = SetWorld(Call((("f", "{}"),)))
    world.connect().add_user_message("Hello")
    world.scheduler.advance(5)
    world.start(set_by=set_by)
    (agent,) = world.runtime.agents
    polls, work = [], world.server.get_run
    world.server.get_run = lambda *args, **how: polls.append(1) or work(*args, **how)
    world.scheduler.advance(121)
    assert polls
    assert agent.state == "awaiting_tools"


@pytest.mark.parametrize("set_by", HOURS)
def test_a_message_that_failed_is_sent_again_within_minutes_after_a_clock_was_set(set_by):
    world = SetWorld()
    down = [errors.TransientError(503, None, "down", retry_after=20)]
    work = world.server.post_message

    def post(*args, **how):
        if down:
            raise down.pop()
        return work(*args, **how)

    world.server.post_message = post
    world.connect().add_user_message("Hello")
    world.scheduler.advance(5)
    world.start(set_by=set_by)
    (agent,) = world.runtime.agents
    assert agent.wait(timeout=660) == "idle"
    assert world.said() == ["Hello", "You said: Hello"]


@pytest.mark.parametrize("set_by", HOURS)
def test_a_clock_that_is_set_while_the_process_runs_moves_neither_polls_nor_timeouts(set_by):
    world = SetWorld(Linger(10**6), run_timeout=30)
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(10)
    polls, work = [], world.server.get_run
    world.server.get_run = lambda *args, **how: polls.append(1) or work(*args, **how)
    world.clock.offset += set_by
    world.scheduler.advance(10)
    assert len(polls) == 10
    assert agent.state == "running"
    assert agent.wait(timeout=15) == "failed"


# --- too long ---------------------------------------------------------------------------------------------------


def test_a_run_that_takes_too_long_is_cancelled_and_fails_with_code_timeout():
    world = World(Linger(10**6), run_timeout=30)
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(29)
    assert agent.state == "running"
    assert agent.wait(timeout=10) == "failed"
    failed = next(r.event for r in world.runtime.history(world.thread_id) if isinstance(r.event, events.RunFailed))
    assert failed.code == "timeout"
    assert failed.message == "The run was cancelled: it took longer than run_timeout (30 seconds)."


def test_a_wait_for_tools_that_takes_too_long_is_ended_and_each_round_has_its_own_time():
    world = World(Call((("f", "{}"),)), Linger(20), Call((("g", "{}"),)), tool_timeout=30)
    calls = []

    def hear(agent, event):
        if isinstance(event, events.ToolCallRequested):
            calls.append(event)

    agent = world.connect(subscribe=hear)
    agent.add_user_message("Hello")
    world.scheduler.advance(25)
    agent.submit_tool_output(calls[0].id, 1)
    world.scheduler.advance(40)
    assert agent.state == "awaiting_tools"
    assert agent.wait(timeout=30) == "failed"
    assert world.runtime.history(world.thread_id)[-2].event.code == "timeout"


def test_a_run_that_ends_in_time_is_not_disturbed():
    world = World(Linger(3), Answer("Done"), run_timeout=30)
    agent = world.connect()
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    world.scheduler.advance(60)
    assert "RunCompleted" in world.names()
    assert "RunFailed" not in world.names()


def test_the_next_run_has_all_its_time():
    world = World(Linger(20), Answer("Done"), run_timeout=30)
    agent = world.connect()
    agent.add_user_message("One")
    agent.add_user_message("Two")
    assert agent.wait(timeout=100) == "idle"
    assert world.names().count("RunCompleted") == 2


def test_the_time_of_a_resumed_run_starts_again():
    world = World(Linger(10**6), run_timeout=30)
    world.connect().add_user_message("Hello")
    world.scheduler.advance(20)
    world.start()
    (agent,) = world.runtime.agents
    world.scheduler.advance(20)
    assert agent.state == "running"
    assert agent.wait(timeout=20) == "failed"
    (failed,) = [r.event for r in world.runtime.history(world.thread_id) if isinstance(r.event, events.RunFailed)]
    assert failed.code == "timeout"


def test_a_deadline_that_passes_while_rate_limited_is_forgotten():
    world = World(RATE, run_timeout=10)
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(25)
    assert agent.state == "rate_limited"


def test_a_shutdown_during_a_request_keeps_the_result_of_the_request():
    world = World()

    class Slow(SimulatedServer):
        def post_message(self, thread_id, content, *, key, timeout):
            agent.shutdown()
            return super().post_message(thread_id, content, key=key, timeout=timeout)

    world.server = Slow()
    world.start()
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(5)
    assert world.store.load(world.thread_id).snapshot.server.last_posted.id is not None
    assert not world.store.load(world.thread_id).snapshot.pending.sent


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_keeps_the_message_over_a_restart(status):
    world = World()
    world.server.post_message, work = None, world.server.post_message

    def deny(*args, **kwargs):
        raise errors.AccessDenied(status, None, "No")

    world.server.post_message = deny
    agent = world.connect()
    agent.add_user_message("Hello")
    assert agent.wait(timeout=60) == "failed"
    world.server.post_message = work
    world.start()
    agent = world.runtime.connect(thread_id=world.thread_id, assistant_id="a", last_message_id=None)
    assert agent.wait(timeout=60) == "idle"
    assert world.said() == ["Hello", "You said: Hello"]

"""The tick: when it announces, and its state after a failure."""

import random
import threading
from itertools import pairwise
from types import SimpleNamespace

import pytest

from gpt_agent_fsm import Runtime, Settings, errors, events
from gpt_agent_fsm.engine import driver, sending
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.testing import Answer, Call, Linger, SimulatedServer, VirtualScheduler


def test_a_driver_says_what_it_is_busy_with(world):
    described = []

    def hear(agent, event):
        described.append(agent._driver.describe())

    agent = world.connect(subscribe=hear)
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    assert described[0].startswith(f"thread {agent.thread_id} in handler ")
    assert "hear" in described[0]
    assert agent._driver.describe() == f"thread {agent.thread_id} at rest"
    agent.add_user_message("Again")
    world.scheduler.step()
    assert agent._driver.describe() == f"thread {agent.thread_id} in request create_run"


def test_an_input_that_cannot_happen_is_dropped_and_the_thread_continues(world, caplog):
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.step()
    agent._driver._decider.facts += (inputs.MessagesListed(page=None),)
    assert agent.wait(timeout=60) == "idle"
    assert "messages_listed was dropped" in caplog.text
    assert [m.content for m in world.server.messages(agent.thread_id)] == ["Hello", "You said: Hello"]


def test_a_thread_whose_answer_was_dropped_continues_as_after_a_crash(world, caplog):
    broken = [inputs.MessagesListed(page=None)]
    agent = world.connect()
    agent.add_user_message("Hello")
    with pytest.MonkeyPatch.context() as patch:
        work = sending.perform
        patch.setattr(
            sending, "perform", lambda *args, **kw: work(*args, **kw) and broken.pop() if broken else work(*args, **kw)
        )
        assert agent.wait(timeout=300) == "idle"
    assert "messages_listed was dropped" in caplog.text
    assert [m.content for m in world.server.messages(agent.thread_id)] == ["Hello", "You said: Hello"]


def test_a_new_run_is_created_with_the_calls_of_the_runs_that_have_ended():
    known = []

    class Watched(SimulatedServer):
        def create_run(self, request, *, timeout):
            known.append(list(request.ended_calls))
            return super().create_run(request, timeout=timeout)

    with Runtime(Watched(lambda text: [Call((("look", "{}"),))]), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        agent.add_user_message("Hello")
        runtime.scheduler.advance(5)
        agent.cancel_run()
        agent.wait(timeout=60)
        agent.add_user_message("Again")
        runtime.scheduler.advance(5)
    assert [len(calls) for calls in known] == [0, 1]


def moments_of_polls(settings, looks):
    """Return the times of the polls of two runs in a row, each of which shows no end for `looks` polls."""
    moments, scheduler = [[]], VirtualScheduler()

    class Watched(SimulatedServer):
        def create_run(self, request, *, timeout):
            moments.append([])
            return super().create_run(request, timeout=timeout)

        def get_run(self, *args, **kwargs):
            moments[-1].append(scheduler.clock.monotonic())
            return super().get_run(*args, **kwargs)

    with Runtime(Watched(lambda text: [Linger(looks)]), scheduler=scheduler, settings=settings) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        for _ in range(2):
            agent.add_user_message("Hello")
            agent.wait(timeout=3600)
    return moments[1:]


def test_the_poll_interval_grows_with_the_age_of_each_run_up_to_its_maximum():
    settings = Settings(heartbeat_interval=1.0, heartbeat_max_interval=4.0)
    for moments in moments_of_polls(settings, 40):
        pauses = [later - earlier for earlier, later in pairwise(moments)]
        assert pauses[:9] == [1.0] * 9
        assert pauses[-1] == pytest.approx(4.0)
        ages = [moment - moments[0] + 1.0 for moment in moments]
        assert pauses == pytest.approx([min(max(age / 10, 1.0), 4.0) for age in ages[:-1]])


def test_the_age_of_a_run_does_not_include_its_wait_for_tools():
    settings, moments = Settings(heartbeat_max_interval=30.0, idle_timeout=None), []

    class Watched(SimulatedServer):
        def get_run(self, *args, **kwargs):
            moments.append(runtime.scheduler.clock.monotonic())
            return super().get_run(*args, **kwargs)

    plan = [Call((("look", "{}"),)), Linger(3), Answer("Done")]
    with Runtime(Watched(lambda text: plan), scheduler=VirtualScheduler(), settings=settings) as runtime:
        agent = runtime.start("a")
        agent.add_user_message("Hello")
        runtime.scheduler.advance(3600)
        moments.clear()
        agent.submit_tool_output(agent.open_tool_calls[0].id, "21")
        agent.wait(timeout=60)
    assert {later - earlier for earlier, later in pairwise(moments)} == {1.0}


def test_a_cancel_of_an_old_run_is_not_slow():
    settings = Settings(heartbeat_max_interval=300.0, idle_timeout=None)
    with Runtime(
        SimulatedServer(lambda text: [Linger(10_000)]), scheduler=VirtualScheduler(), settings=settings
    ) as runtime:
        agent = runtime.start("a")
        agent.add_user_message("Hello")
        runtime.scheduler.advance(3600)
        agent.cancel_run()
        asked = runtime.scheduler.clock.monotonic()
        assert agent.wait(timeout=300) == "failed"
        assert runtime.scheduler.clock.monotonic() - asked < 10


def test_a_tick_shows_its_result_while_no_lock_is_held_that_an_abandoned_stream_needs(world):
    agent, ended = world.connect(), threading.Event()

    class Slow:
        """An inquiry whose lock a caller holds while the garbage collector ends a stream on the caller's OS thread."""

        def observe(self, snapshot, waiting):
            worker = threading.Thread(target=self.end_a_stream, daemon=True)
            worker.start()
            assert ended.wait(10)

        def end_a_stream(self):
            with agent._driver.announcer.followed_by(SimpleNamespace(hear=None)):
                pass
            ended.set()

    with agent._driver.announcer.followed_by(Slow()):
        agent._driver.tick()
    assert ended.is_set()


def test_the_poll_interval_does_not_grow_without_a_maximum():
    for moments in moments_of_polls(Settings(heartbeat_interval=1.0), 40):
        assert {later - earlier for earlier, later in pairwise(moments)} == {1.0}


def test_polls_that_bring_no_news_are_not_saved(world):
    world.plans.append([Linger(50)])
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.advance(3)
    commits = []
    work = world.runtime._store.commit
    world.runtime._store.commit = lambda *args, **kwargs: commits.append(1) or work(*args, **kwargs)
    world.scheduler.advance(20)
    assert commits == []
    assert agent.state == "running"


def test_a_request_that_changes_the_server_is_saved_before_it_is_made():
    saved = []

    class Watched(SimulatedServer):
        def post_message(self, thread_id, content, *, key, timeout):
            snapshot = runtime._store.load(thread_id).snapshot
            saved.append((snapshot.request.operation, snapshot.pending.sent))
            return super().post_message(thread_id, content, key=key, timeout=timeout)

    with Runtime(Watched(), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        agent.add_user_message("Hello")
        agent.wait(timeout=60)
    assert saved == [("post_message", True)]


def test_the_pauses_of_different_threads_differ():
    from gpt_agent_fsm import errors

    times = []

    class Down(SimulatedServer):
        def post_message(self, thread_id, content, *, key, timeout):
            times.append(runtime.scheduler.clock.monotonic())
            raise errors.TransientError(503, None, "down")

    with Runtime(Down(), Settings(request_retry_delay=10), scheduler=VirtualScheduler()) as runtime:
        for _ in range(5):
            runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None).add_user_message(
                "Hello"
            )
        runtime.scheduler.advance(11)
    first, second = times[:5], times[5:]
    assert first == [0] * 5
    assert len(set(second)) == 5
    assert all(5 <= moment <= 10 for moment in second)


def test_a_delay_shorter_than_a_second_is_kept():
    times = []

    class Down(SimulatedServer):
        def post_message(self, thread_id, content, *, key, timeout):
            times.append(runtime.scheduler.clock.monotonic())
            raise errors.TransientError(503, None, "down")

    with Runtime(Down(), Settings(request_retry_delay=0.2), scheduler=VirtualScheduler()) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        agent.add_user_message("Hello")
        runtime.scheduler.advance(0.25)
    assert len(times) == 2
    assert 0.1 <= times[1] <= 0.2


def test_a_thread_is_not_settled_before_its_tick_has_ended(world):
    agent, settled = world.connect(), []
    work = world.runtime._store.announced
    world.runtime._store.announced = lambda *args: settled.append(agent._driver.is_settled()) or work(*args)
    agent.add_user_message("Hello")
    assert agent.wait(timeout=60) == "idle"
    assert settled
    assert not any(settled)
    assert agent._driver.is_settled()


def test_a_thread_is_not_settled_while_a_subscriber_waits_for_the_history(world):
    agent, heard = world.connect(), []
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    agent._driver.join(lambda agent, event: heard.append(event), replay_after=0)
    assert not agent._driver.is_settled()
    assert agent.wait(timeout=60) == "idle"
    assert heard == world.heard


def test_a_tick_that_fails_does_not_end_the_delay_of_a_request(world, caplog):
    agent, attempts, store = world.connect(), [], world.runtime._store
    announced = store.announced

    def refuse(*args, **options):
        attempts.append(world.scheduler.clock.monotonic())
        store.announced = fail_once
        raise errors.TransientError(503, None, "down", retry_after=100)

    def fail_once(*args):
        store.announced = announced
        raise OSError("No space left on device")

    world.server.post_message = refuse
    agent.add_user_message("Hello")
    world.scheduler.advance(50)
    assert "the tick failed; trying again" in caplog.text
    assert len(attempts) == 1
    world.scheduler.advance(60)
    assert len(attempts) == 2


def test_an_open_gate_does_not_end_the_delay_of_a_request(world):
    agent, attempts = world.connect(), []

    def refuse(*args, **options):
        attempts.append(world.scheduler.clock.monotonic())
        raise errors.TransientError(503, None, "down", retry_after=100)

    world.server.post_message = refuse
    agent.add_user_message("Hello")
    world.scheduler.settle()
    agent._driver.try_again(unpark=False)
    world.scheduler.advance(50)
    assert len(attempts) == 1
    world.scheduler.advance(60)
    assert len(attempts) == 2


def test_a_command_may_change_the_request_that_is_made_next(world):
    agent = world.connect()
    agent.add_user_message("Hello")
    world.scheduler.step()
    assert agent._driver.wanted.operation == "create_run"
    agent.set_assistant_id("asst_2")
    agent.wait(timeout=60)
    assert [event.assistant_id for event in world.heard if isinstance(event, events.RunStarted)] == ["asst_2"]


def test_a_waiter_that_has_returned_is_forgotten(world):
    agent = world.connect()
    agent.wait(timeout=60)
    assert len(agent._driver.waiters) == 0


def test_events_of_an_agent_that_stopped_are_left_for_the_next(world):
    agent = world.connect()
    stopped = threading.Event()

    def stop(agent, event):
        if isinstance(event, events.RunStarted) and not stopped.is_set():
            stopped.set()
            agent.shutdown()

    world.connect(agent.thread_id, subscribe=stop)
    agent.add_user_message("Hello")
    world.scheduler.advance(5)
    assert world.names() == ["UserMessageAdded", "RunStarted", "AgentStopped"]
    world.connect(agent.thread_id).wait(timeout=60)
    changes = [event for event in world.heard if isinstance(event, events.StateChanged)]
    assert [(change.source, change.dest) for change in changes] == [("idle", "running"), ("running", "idle")]


def test_no_request_is_sent_after_a_handler_has_shut_the_agent_down(world):
    def stop(agent, event):
        if isinstance(event, events.UserMessageAdded):
            agent.shutdown()

    agent = world.connect(subscribe=stop)
    agent.add_user_message("Hello")
    world.scheduler.advance(10)
    assert world.names() == ["UserMessageAdded", "AgentStopped"]
    assert world.server.runs(agent.thread_id) == []


def test_the_number_of_the_last_announced_record_is_saved_later_if_the_store_fails(world, caplog):
    store, noted = world.runtime._store, []
    work = store.announced

    def full_once(thread_id, seq):
        noted.append(seq)
        if len(noted) == 1:
            raise OSError("No space left on device")
        work(thread_id, seq)

    store.announced = full_once
    agent = world.connect()
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    world.scheduler.advance(5)
    assert len(noted) > 1
    assert store.load(agent.thread_id).unannounced == ()


def test_a_subscriber_hears_no_record_up_to_its_number(world):
    agent = world.connect()
    agent.add_user_message("Hello")
    agent.wait(timeout=60)
    records = world.runtime.history(agent.thread_id)
    world.runtime._store._threads[agent.thread_id].announced = 0
    agent.shutdown()
    told = []
    again = world.connect(
        agent.thread_id, subscribe=lambda agent, event: told.append(event), replay_after=records[-1].seq
    )
    again.wait(timeout=60)
    assert again is not agent
    assert told == []
    again.add_user_message("Again")
    again.wait(timeout=60)
    assert told == [record.event for record in world.runtime.history(agent.thread_id, after=records[-1].seq)]
    assert isinstance(told[-1], events.AssistantMessageAdded)


def test_a_subscriber_that_waits_for_the_history_hears_the_end(world):
    told = []
    agent = world.connect(subscribe=lambda agent, event: told.append(event), replay_after=0)
    agent.shutdown()
    world.scheduler.settle()
    assert [type(event).__name__ for event in told] == ["AgentStopped"]


def test_a_deadline_passes_even_while_the_key_is_rate_limited(world):
    from gpt_agent_fsm import errors

    world.plans.append([Linger(99)])
    agent = world.connect()
    agent._driver.settings = Settings(run_timeout=30)
    agent.add_user_message("Hello")
    world.scheduler.advance(3)
    work = world.server.get_run

    def limited(*args, **kwargs):
        world.server.get_run = work
        raise errors.TransientError(429, None, "slow down", retry_after=40)

    world.server.get_run = limited
    assert agent.wait(timeout=80) == "failed"
    assert [event.code for event in world.heard if isinstance(event, events.RunFailed)] == ["timeout"]


# --- exceptions in a tick ----------------------------------------------------------------------------------------

ANYTHING = [ValueError, SystemExit, GeneratorExit]


@pytest.mark.parametrize("kind", ANYTHING)
@pytest.mark.parametrize("operation", ["post_message", "create_run", "get_run", "list_messages"])
def test_a_request_that_raised_anything_is_followed_up(kind, operation):
    class Broken(SimulatedServer):
        raised = False

    def fail_once(self, *args, **how):
        answer = getattr(SimulatedServer, operation)(self, *args, **how)
        if not self.raised:
            self.raised = True
            raise kind
        return answer

    setattr(Broken, operation, fail_once)
    server = Broken()
    with Runtime(server, scheduler=VirtualScheduler()) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        agent.add_user_message("Hello")
        assert agent.wait(timeout=300) == "idle"
        assert server.raised
        assert [m.content for m in server.messages(agent.thread_id)] == ["Hello", "You said: Hello"]


class Moody:
    """Raises at one of its calls, and calls the real function at all others."""

    def __init__(self, real, kind, at):
        self.real, self.kind, self.at = real, kind, at
        self.calls = 0

    def __call__(self, *args):
        self.calls += 1
        if self.calls == self.at:
            raise self.kind
        return self.real(*args)


@pytest.mark.parametrize("at", range(1, 40))
def test_a_clock_that_raises_at_any_moment_of_a_tick_loses_and_doubles_nothing(world, at):
    agent = world.connect()
    driver_ = agent._driver
    moody = Moody(world.scheduler.clock.monotonic, SystemExit, at)
    agent.add_user_message("Hello")

    class MoodyClock:
        monotonic = staticmethod(moody)
        time = world.scheduler.clock.time

    tick = driver_.tick

    def tick_again():
        # A scheduler does the same with a task that raises.
        try:
            return tick()
        except SystemExit:
            return driver.Outcome(due=world.scheduler.clock.monotonic() + 1)

    with pytest.MonkeyPatch.context() as patch:
        for part in (driver_._ledger, driver_._ledger.deadlines, driver_._agenda, driver_._context.gate):
            patch.setattr(part, "_clock", MoodyClock)
        patch.setattr(type(driver_), "tick", lambda self: tick_again())
        assert agent.wait(timeout=300) == "idle"
    assert [m.content for m in world.server.messages(agent.thread_id)] == ["Hello", "You said: Hello"]
    assert [record.event for record in world.runtime.history(agent.thread_id)] == world.heard
    assert world.names().count("UserMessageAdded") == 1
    assert world.names().count("RunCompleted") == 1


def test_a_random_generator_that_raises_delays_and_loses_nothing():
    def fail():
        raise SystemExit

    class Slow(SimulatedServer):
        refused = 0

        def post_message(self, thread_id, content, *, key, timeout):
            if self.refused < 2:
                self.refused += 1
                raise errors.TransientError(503, None, "down")
            return super().post_message(thread_id, content, key=key, timeout=timeout)

    server, rng = Slow(), random.Random(1)
    with Runtime(server, scheduler=VirtualScheduler(), rng=rng) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
        agent.add_user_message("Hello")
        rng.random = fail
        runtime.scheduler.advance(3)
        assert server.refused == 1
        rng.random = lambda: 0.5
        assert agent.wait(timeout=300) == "idle"
        assert [m.content for m in server.messages(agent.thread_id)] == ["Hello", "You said: Hello"]
        failed = [r.event for r in runtime.history(agent.thread_id) if isinstance(r.event, events.RequestFailed)]
        assert [event.attempt for event in failed] == [1, 2]

"""Rate limits and an exhausted balance are shared by all threads that use one key."""

import pytest

from gpt_agent_fsm import Runtime, Settings, errors, signals
from gpt_agent_fsm.engine.gate import Gate
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualClock, VirtualScheduler
from tests.gates import CREATE, FINE, LOOK, POST, Thread

LIMITED = inputs.RequestDelayed(status=429, message="slow down", retry_after=10)
BROKE = inputs.RequestNeedsOperator(status=429, message="balance", quota=True)


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def gate(clock):
    return Gate(clock, Settings(request_retry_delay=2, request_retry_max_delay=6))


@pytest.fixture
def one():
    return Thread()


@pytest.fixture
def two():
    return Thread()


def test_an_open_gate_admits_everybody(gate, one, two):
    assert gate.admit(one, POST) is None
    assert gate.admit(two, POST) is None


def test_a_limit_holds_everybody_back_for_as_long_as_the_server_asks(gate, one, two):
    gate.learn(one, POST, LIMITED)
    assert gate.admit(one, POST) == 10
    assert gate.admit(two, POST) == 10


def test_a_limit_without_a_time_doubles_up_to_the_longest_pause(gate, one, clock):
    waits = []
    for _ in range(4):
        gate.learn(one, POST, inputs.RequestDelayed(status=429, message="slow down"))
        waits.append(gate.admit(one, POST) - clock.now)
        clock.now += 100
        assert gate.admit(one, POST) is None
    assert waits == [2, 4, 6, 6]


def test_one_probe_is_sent_first_and_wakes_the_others_when_it_succeeds(gate, one, two, clock):
    three = Thread()
    gate.learn(one, POST, LIMITED)
    for thread in (two, three):
        gate.admit(thread, POST)
    clock.now = 10
    assert gate.admit(two, POST) is None
    assert gate.admit(two, POST) is None
    assert gate.admit(three, POST) == 40
    gate.learn(two, POST, FINE)
    assert three.told == [False]
    assert two.told == one.told == []
    assert gate.admit(three, POST) is None


def test_a_probe_that_is_limited_again_keeps_the_gate_closed(gate, one, two, clock):
    gate.learn(one, POST, LIMITED)
    clock.now = 10
    gate.admit(one, POST)
    gate.admit(two, POST)
    gate.learn(one, POST, LIMITED)
    assert two.told == []
    assert gate.admit(two, POST) == 20


def test_an_answer_to_a_request_from_before_the_limit_does_not_open_the_gate(gate, one, two):
    gate.learn(one, POST, LIMITED)
    gate.learn(two, POST, FINE)
    assert gate.admit(two, POST) == 10


@pytest.mark.parametrize("status", [None, 408, 503])
def test_a_failure_other_than_429_is_not_a_rate_limit(gate, one, status):
    gate.learn(one, POST, inputs.RequestDelayed(status=status, message="down", retry_after=10))
    assert gate.admit(one, POST) is None


def test_a_short_pause_is_not_made_longer(clock, one):
    gate = Gate(clock, Settings(request_retry_delay=0.25))
    gate.learn(one, POST, inputs.RequestDelayed(status=429, message="slow down"))
    assert gate.admit(one, POST) == 0.25


def test_while_a_probe_is_in_flight_the_others_wait_as_long_as_a_request_may_take(gate, one, two, clock):
    gate.learn(one, POST, LIMITED)
    clock.now = 12
    assert gate.admit(one, POST) is None
    clock.now = 13
    assert gate.admit(two, POST) == 43


@pytest.mark.parametrize("late", [10, 11])
def test_a_success_after_the_pause_opens_the_gate_for_everybody_even_without_a_probe(gate, one, two, clock, late):
    gate.learn(one, POST, LIMITED)
    assert gate.admit(one, POST) == 10
    clock.now = late
    gate.learn(two, POST, FINE)
    assert one.told == [False]
    assert gate.admit(one, POST) is gate.admit(two, POST) is None


def test_the_first_rate_limit_after_the_gate_opened_counts_as_the_first(gate, one, clock):
    limited = inputs.RequestDelayed(status=429, message="slow down")
    for _ in range(2):
        gate.learn(one, POST, limited)
        assert gate.admit(one, POST) == clock.now + 2
        clock.now += 2
        assert gate.admit(one, POST) is None
        gate.learn(one, POST, FINE)


def test_after_a_rate_limited_probe_any_thread_may_send_the_next(gate, one, two, clock):
    gate.learn(one, POST, LIMITED)
    clock.now = 10
    assert gate.admit(one, POST) is None
    gate.learn(one, POST, LIMITED)
    clock.now = 20
    assert gate.admit(two, POST) is None


def test_a_rate_limit_of_an_earlier_request_does_not_end_the_probe(gate, one, two, clock):
    gate.learn(one, POST, LIMITED)
    clock.now = 10
    assert gate.admit(one, POST) is None
    gate.learn(two, POST, LIMITED)
    clock.now = 20
    assert gate.admit(two, POST) == 50


def test_a_run_that_could_not_be_created_does_not_end_the_denial(gate, one, two):
    gate.learn(one, CREATE, BROKE)
    gate.learn(two, CREATE, inputs.RequestDelayed(status=503, message="down"))
    assert one.told == []
    assert gate.admit(two, CREATE) is BROKE
    gate.learn(two, CREATE, inputs.RunCreated(run=None))
    assert one.told == [True]


def test_a_created_run_wakes_the_threads_that_an_exhausted_balance_parked(gate, one, two):
    three = Thread()
    gate.learn(one, CREATE, BROKE)
    gate.learn(two, CREATE, BROKE)
    gate.learn(three, POST, FINE)
    assert one.told == []
    gate.learn(two, CREATE, inputs.RunCreated(run=None))
    assert one.told == [True]
    assert two.told == []
    gate.learn(three, CREATE, inputs.RunCreated(run=None))
    assert one.told == [True]


def test_a_wrong_key_is_not_an_exhausted_balance(gate, one, two):
    gate.learn(one, CREATE, inputs.RequestNeedsOperator(status=401, message="key"))
    gate.learn(two, CREATE, inputs.RunCreated(run=None))
    assert one.told == []


def test_a_thread_that_has_left_is_neither_probe_nor_woken(gate, one, two, clock):
    gate.learn(one, CREATE, BROKE)
    gate.learn(one, POST, LIMITED)
    clock.now = 10
    gate.admit(one, LOOK)
    gate.forget(one)
    assert gate.admit(two, LOOK) is None
    gate.forget(one)
    gate.learn(two, CREATE, inputs.RunCreated(run=None))
    assert one.told == []


# --- seen from a runtime ------------------------------------------------------------------------------------


class Moody(SimulatedServer):
    """A server that raises `mood` for each new run, unless it is None."""

    def __init__(self):
        super().__init__()
        self.mood = None
        self.requests = []

    def create_run(self, request, *, timeout):
        self.requests.append((runtime_time(self), request.thread_id))
        if self.mood is not None:
            raise self.mood
        return super().create_run(request, timeout=timeout)


def runtime_time(server):
    return server.scheduler.clock.monotonic()


@pytest.fixture
def moody():
    server = Moody()
    server.scheduler = VirtualScheduler()
    server.store = MemoryStore()
    with Runtime(server, store=server.store, scheduler=server.scheduler) as runtime:
        server.agents = [
            runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None) for _ in range(5)
        ]
        yield server


def test_a_rate_limit_of_one_thread_holds_back_all_and_one_probe_releases_them(moody):
    moody.mood = errors.TransientError(429, None, "slow down", retry_after=50)
    for agent in moody.agents:
        agent.add_user_message("Hello")
    moody.scheduler.advance(40)
    assert len(moody.requests) == 1
    assert all(agent.state == "idle" for agent in moody.agents)
    moody.scheduler.advance(55)
    assert len(moody.requests) == 2
    moody.mood = None
    moody.scheduler.advance(70)
    assert [agent.wait(timeout=60) for agent in moody.agents] == ["idle"] * 5
    assert len({thread_id for _, thread_id in moody.requests[2:]}) == 5


def test_an_exhausted_balance_seen_by_one_thread_parks_all_and_one_that_succeeds_wakes_them(moody):
    moody.mood = errors.QuotaExceeded(429, "insufficient_quota", "You exceeded your current quota")
    for agent in moody.agents:
        agent.add_user_message("Hello")
    assert [agent.wait(timeout=60) for agent in moody.agents] == ["failed"] * 5
    moody.scheduler.advance(60)
    assert len(moody.requests) == 1
    moody.mood = None
    moody.agents[0].set_assistant_id("a")
    moody.scheduler.advance(30)
    assert [agent.wait(timeout=60) for agent in moody.agents] == ["idle"] * 5
    for agent in moody.agents:
        assert [m.content for m in moody.messages(agent.thread_id)] == ["Hello", "You said: Hello"]


def test_a_thread_that_waits_for_a_probe_continues_as_soon_as_the_probe_succeeds(world, one):
    agent = world.connect()
    world.scheduler.settle()
    gate = agent._driver._context.gate
    gate.learn(one, POST, LIMITED)
    world.scheduler.advance(10)
    assert gate.admit(one, POST) is None
    agent.add_user_message("Hello")
    world.scheduler.settle()
    assert world.server.messages(agent.thread_id) == []
    gate.learn(one, POST, FINE)
    world.scheduler.settle()
    assert [message.content for message in world.server.messages(agent.thread_id)] == ["Hello"]


def test_an_exhausted_balance_parks_threads_that_were_resumed_as_well():
    server, store = Moody(), MemoryStore()
    with Runtime(server, store=store, scheduler=VirtualScheduler()) as runtime:
        for _ in range(2):
            agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None)
            agent.add_user_message("Hello")
    server.mood = errors.QuotaExceeded(429, "insufficient_quota", "You exceeded your current quota")
    server.scheduler = VirtualScheduler()
    with Runtime(server, store=store, scheduler=server.scheduler) as runtime:
        assert [agent.wait(timeout=60) for agent in runtime.agents] == ["failed"] * 2
    assert len(server.requests) == 1


def test_a_message_after_the_balance_was_exhausted_is_a_probe(moody):
    told = []
    moody.mood = errors.QuotaExceeded(429, "insufficient_quota", "You exceeded your current quota")
    moody.agents[0].add_user_message("Hello")
    assert moody.agents[0].wait(timeout=60) == "failed"
    with signals.organization_quota_exceeded.connected_to(lambda agent, event: told.append(agent)):
        moody.agents[1].add_user_message("Hello")
        assert moody.agents[1].wait(timeout=60) == "failed"
    assert len(moody.requests) == 2
    assert told == [moody.agents[1]]
    moody.mood = None
    moody.agents[2].add_user_message("Hello")
    assert moody.agents[2].wait(timeout=60) == "idle"
    moody.scheduler.settle()
    assert [agent.state for agent in moody.agents] == ["idle"] * 5
    assert [len(moody.messages(agent.thread_id)) for agent in moody.agents] == [2, 2, 2, 0, 0]


def test_a_request_that_the_limit_holds_back_counts_as_not_sent(moody):
    moody.mood = errors.TransientError(429, None, "slow down", retry_after=50)
    for agent in moody.agents[:2]:
        agent.add_user_message("Hello")
    moody.scheduler.advance(5)
    saved = moody.store.load(moody.agents[1].thread_id)
    assert saved.snapshot.has_waiting_request
    assert saved.due == moody.scheduler.clock.time() + 45


def test_a_thread_that_waits_at_the_gate_may_be_shut_down(moody):
    moody.mood = errors.TransientError(429, None, "slow down", retry_after=50)
    for agent in moody.agents:
        agent.add_user_message("Hello")
    moody.scheduler.advance(5)
    moody.agents[1].shutdown()
    assert not moody.agents[1].alive
    moody.mood = None
    moody.scheduler.advance(100)
    assert moody.agents[1].thread_id not in {thread_id for _, thread_id in moody.requests}
    assert moody.agents[2].alive
    assert moody.agents[2].wait(timeout=60) == "idle"


def test_requests_that_are_rate_limited_together_count_once(gate, clock):
    threads = [Thread() for _ in range(8)]
    for thread in threads:
        gate.learn(thread, POST, inputs.RequestDelayed(status=429, message="slow down"))
    assert gate.admit(threads[0], POST) == 2


@pytest.mark.parametrize("later", [40, 41])
def test_a_probe_that_takes_longer_than_a_request_may_no_longer_counts(gate, one, two, clock, later):
    gate.learn(one, POST, LIMITED)
    clock.now = 10
    assert gate.admit(one, POST) is None
    assert gate.admit(two, POST) == 40
    clock.now = later
    assert gate.admit(two, POST) is None

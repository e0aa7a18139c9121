"""Requests that wait are made at a steady pace, and tenants take turns."""

import heapq
import itertools

import pytest

from gpt_agent_fsm import Runtime, Settings
from gpt_agent_fsm.engine.turns import Pace, Turns, in_turn
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import SimulatedServer, VirtualClock, VirtualScheduler


class Thread:
    """A thread that wants to make a request."""

    def __init__(self, tenant, name=""):
        self.tenant = tenant
        self.name = name
        self.woken = 0

    def __repr__(self):
        return f"{self.tenant}{self.name}"

    def try_again(self, *, unpark):
        self.woken += 1


@pytest.fixture
def clock():
    return VirtualClock()


def turns_of(clock, per_minute):
    pace = Pace(clock, per_minute)
    return Turns(clock, pace.reserve, pace.interval)


def times_of(clock, turns, threads):
    """Let the threads come whenever they were told to. Return when each may make its request, in order."""
    order = itertools.count()
    due = [(clock.now, next(order), thread) for thread in threads]
    admitted = []
    while due:
        at, _, thread = heapq.heappop(due)
        clock.now = max(clock.now, at)
        again, early = turns.admit(thread)
        if again is None:
            admitted.append((clock.now, thread))
        else:
            heapq.heappush(due, (again, next(order), thread))
        if early is not None:
            due = [(clock.now if entry[2] is early else entry[0], *entry[1:]) for entry in due]
            heapq.heapify(due)
    return admitted


def test_a_second_without_requests_is_made_up_for_and_after_that_the_pace_is_steady(clock):
    pace = Pace(clock, 120)
    clock.now = 100.0
    assert [pace.reserve() - 100.0 for _ in range(4)] == [-0.5, 0.0, 0.5, 1.0]


def test_no_more_requests_than_allowed_are_made_in_a_minute(clock):
    clock.now = 100.0
    threads = [Thread("a", number) for number in range(150)]
    admitted = times_of(clock, turns_of(clock, 60), threads)
    assert len(admitted) == 150
    for start, _ in admitted:
        assert sum(start <= at < start + 60 - 1e-6 for at, _ in admitted) <= 61


def test_a_tenant_with_one_thread_does_not_wait_for_a_tenant_with_a_thousand(clock):
    threads = [*(Thread("big", number) for number in range(1000)), small := Thread("small")]
    admitted = times_of(clock, turns_of(clock, 600), threads)
    at = {thread: moment for moment, thread in admitted}
    assert at[small] <= 0.5
    assert max(at.values()) > 95


def test_tenants_take_turns_whatever_the_order_in_which_they_came(clock):
    a, b, c = ([Thread(name, number) for number in range(3)] for name in "abc")
    admitted = [thread for _, thread in times_of(clock, turns_of(clock, 60), [*a, *b, *c])]
    assert [thread.tenant for thread in admitted[1:]] in (list("bcabcabc"), list("abcabcbc"), list("bcabcacb"))


def test_a_thread_that_does_not_come_for_its_turn_delays_the_others_by_a_second_at_most(clock):
    turns = turns_of(clock, 60)
    first, gone, other = Thread("a"), Thread("b"), Thread("c")
    assert turns.admit(first) == (None, None)
    back, _ = turns.admit(gone)
    turns.admit(other)
    clock.now = back + 2.1
    assert turns.admit(other)[0] is None


def test_a_forgotten_thread_delays_nobody(clock):
    turns = turns_of(clock, 60)
    first, gone, other = Thread("a"), Thread("b"), Thread("c")
    turns.admit(first)
    turns.admit(gone)
    later, _ = turns.admit(other)
    turns.forget(gone)
    clock.now = 1.0
    assert later == 2.0
    assert turns.admit(other)[0] is None


def test_a_thread_that_was_told_to_come_later_than_necessary_is_called(clock):
    turns = turns_of(clock, 60)
    first, second, third = Thread("a"), Thread("a", 2), Thread("a", 3)
    turns.admit(first)
    turns.admit(second)
    turns.admit(third)
    turns.forget(second)
    fourth = Thread("b")
    turns.admit(fourth)
    clock.now = 1.0
    assert turns.admit(third) == (None, None)
    assert turns.admit(fourth)[0] == 2.0


def test_threads_are_woken_in_the_order_of_turns():
    a, b = [Thread("a", n) for n in range(3)], [Thread("b", 0)]
    assert in_turn([*a, *b]) == [a[0], b[0], a[1], a[2]]


@pytest.mark.parametrize("limited", [False, True])
def test_the_requests_of_a_runtime_keep_the_pace(limited):
    scheduler, sent = VirtualScheduler(), []

    class Server(SimulatedServer):
        def post_message(self, *args, **kwargs):
            sent.append(scheduler.clock.monotonic())
            return super().post_message(*args, **kwargs)

    settings = Settings(requests_per_minute=60 if limited else None, idle_timeout=None)
    runtime = Runtime(Server(), settings, MemoryStore(), scheduler=scheduler)
    agents = [
        runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None) for _ in range(5)
    ]
    for agent in agents:
        agent.add_user_message("hello")
    for agent in agents:
        agent.wait(timeout=1000)
    assert (max(sent) - min(sent) >= 4) is limited
    runtime.close()


def test_a_tenant_is_kept_with_the_thread():
    store = MemoryStore()
    runtime = Runtime(SimulatedServer(), store=store, scheduler=VirtualScheduler())
    thread_id = runtime.create_thread()
    agent = runtime.connect(thread_id=thread_id, assistant_id="a", last_message_id=None, tenant="acme")
    runtime.connect(thread_id=thread_id, assistant_id="b", last_message_id=None)
    agent.wait(timeout=10)
    assert store.load(thread_id).snapshot.tenant == "acme"
    runtime.connect(thread_id=thread_id, assistant_id="b", last_message_id=None, tenant="other")
    agent.wait(timeout=10)
    assert store.load(thread_id).snapshot.tenant == "other"


def test_a_blank_tenant_is_refused():
    with pytest.raises(ValueError, match="tenant"):
        Runtime(SimulatedServer(), scheduler=VirtualScheduler()).start("a", tenant=" ")

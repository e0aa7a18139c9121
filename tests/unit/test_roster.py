"""The roster: which driver has which thread, which one may begin, and the reaction to each outcome."""

import random
import threading
from types import SimpleNamespace

import pytest

from gpt_agent_fsm import Agent, Runtime, Settings, errors
from gpt_agent_fsm.engine.connection import Connection
from gpt_agent_fsm.engine.ownership import SoleOwner
from gpt_agent_fsm.engine.roster import Roster
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Linger, SimulatedServer, VirtualScheduler


class Lease:
    def __init__(self, thread_id):
        self.thread_id = thread_id
        self.held = True

    def holds(self):
        return self.held


class Owner:
    """Ownership that a test decides about: one lease a thread, as an engine of many machines has it."""

    def __init__(self, roster):
        self.roster = roster
        self.elsewhere = set()
        self.leases = {}
        self.released = []
        self.woken = []

    def claim(self, thread_id):
        if thread_id in self.elsewhere or thread_id in self.leases:
            return None
        self.leases[thread_id] = Lease(thread_id)
        return self.leases[thread_id]

    def heartbeat(self, leases):
        return [lease for lease in leases if not lease.held]

    def release(self, lease, *, more):
        assert self.leases.pop(lease.thread_id) is lease, "given back twice"
        self.released.append((lease.thread_id, more))

    def hand_over(self, thread_id):
        """Claim a thread for the roster and hand it over."""
        self.roster.own(thread_id, self.claim(thread_id))

    def wake(self, thread_id):
        self.woken.append(thread_id)
        self.roster.tick_soon(thread_id)


@pytest.fixture
def world():
    server, store, scheduler = SimulatedServer(), MemoryStore(), VirtualScheduler()
    owners = []

    def make_ownership(roster):
        owners.append(Owner(roster))
        return owners[0]

    roster = Roster(
        server, store, scheduler, Settings(), random.Random(1), lambda driver: Agent(driver, roster), make_ownership
    )

    def connect(thread_id=None):
        start = Snapshot(thread_id=thread_id or server.create_thread(timeout=1), assistant_id="asst_1")
        return roster.connect(start, Settings(), Connection(assistant_id="asst_1"))

    yield SimpleNamespace(
        server=server, store=store, scheduler=scheduler, roster=roster, owner=owners[0], connect=connect
    )
    roster.close()
    scheduler.settle()
    assert owners[0].leases == {}, "a lease was not given back"
    scheduler.close(0)


def posted(world, thread_id):
    return [message.content for message in world.server.messages(thread_id) if message.role == "user"]


def say(driver, content="Hello"):
    driver.send(inputs.AddUserMessage(key=content, content=content))


def test_a_thread_that_is_driven_elsewhere_is_not_connected(world):
    thread_id = world.server.create_thread(timeout=1)
    world.owner.elsewhere.add(thread_id)
    with pytest.raises(errors.StoreTaken, match="driven by another process"):
        world.connect(thread_id)
    assert world.roster.get(thread_id) is None
    world.owner.elsewhere.clear()
    assert world.connect(thread_id) is world.roster.get(thread_id)


def test_no_request_is_made_once_the_lease_is_lost_and_the_driver_is_taken_out(world):
    driver = world.connect()
    world.scheduler.settle()
    say(driver)
    driver.lease.held = False
    world.scheduler.settle()
    assert posted(world, driver.thread_id) == []
    assert driver.stop_reason == "store_taken"
    assert world.roster.get(driver.thread_id) is None


def test_a_request_that_was_not_sent_because_the_lease_was_lost_is_no_failure_of_the_request(world):
    driver = world.connect()
    world.scheduler.settle()

    def lose_the_lease(*args, **options):
        driver.lease.held = False
        raise errors.TransientError(None, None, "The request was not sent.")

    world.server.post_message = lose_the_lease
    say(driver)
    world.scheduler.settle()
    assert driver.stop_reason == "store_taken"
    assert world.store.history(driver.thread_id) == []


def test_a_command_wakes_the_thread_in_whichever_process_drives_it(world):
    driver = world.connect()
    world.owner.woken.clear()
    say(driver)
    assert world.owner.woken == [driver.thread_id]


@pytest.mark.parametrize(("plan", "more"), [([], False), ([Linger(50)], True)])
def test_a_driver_that_has_left_releases_its_lease_and_says_whether_work_remains(world, plan, more):
    world.server._plan = lambda text: plan
    driver = world.connect()
    say(driver)
    world.scheduler.advance(20)
    world.roster.remove(driver, "shutdown")
    assert world.owner.released == []
    world.scheduler.settle()
    assert world.owner.released == [(driver.thread_id, more)]


def test_a_command_in_the_inbox_counts_as_remaining_work(world):
    driver = world.connect()
    world.scheduler.settle()
    say(driver)
    world.roster.remove(driver, "shutdown")
    world.scheduler.settle()
    assert world.owner.released == [(driver.thread_id, True)]


def test_the_lease_is_given_back_once_by_a_driver_that_is_stopped_during_its_own_tick(world):
    driver = world.connect()

    def shut_down(agent, event):
        if agent.alive:
            agent.shutdown()

    driver.join(shut_down, None)
    say(driver)
    world.scheduler.advance(5)
    assert [thread_id for thread_id, _ in world.owner.released] == [driver.thread_id]


def test_a_driver_that_loses_its_store_while_it_leaves_ends_and_its_successor_begins(world, monkeypatch):
    driver = world.connect()
    say(driver)
    world.scheduler.step()
    monkeypatch.setattr(world.store, "commit", taken)
    world.roster.remove(driver, "shutdown")
    world.scheduler.settle()
    monkeypatch.undo()
    successor = world.connect(driver.thread_id)
    world.scheduler.advance(100)
    assert successor.begun
    assert posted(world, driver.thread_id) == ["Hello"]


def taken(*args, **kwargs):
    raise errors.StoreTaken("taken")


# --- threads that are handed over -----------------------------------------------------------------------


def left(world):
    """Return a thread that was driven and released."""
    driver = world.connect()
    world.scheduler.settle()
    world.roster.remove(driver, "shutdown")
    world.scheduler.settle()
    return driver.thread_id


def test_a_thread_that_is_handed_over_continues_from_the_store(world):
    thread_id = left(world)
    world.store.accept(thread_id, inputs.AddUserMessage(key="k", content="Said while it waited"))
    world.owner.hand_over(thread_id)
    world.scheduler.advance(5)
    assert posted(world, thread_id) == ["Said while it waited"]
    assert world.roster.get(thread_id).announcer.sender.alive


def test_a_thread_that_is_handed_over_with_a_pause_begins_after_it(world):
    thread_id = left(world)
    world.store.accept(thread_id, inputs.AddUserMessage(key="k", content="Said while it waited"))
    world.roster.own(thread_id, world.owner.claim(thread_id), pause=10.0)
    world.scheduler.advance(5)
    world.roster.tick_soon(thread_id)
    world.scheduler.advance(4.9)
    assert posted(world, thread_id) == []
    world.scheduler.advance(5)
    assert posted(world, thread_id) == ["Said while it waited"]


def test_the_pause_of_a_thread_that_is_handed_over_does_not_count_as_late(world):
    thread_id, ticks = left(world), []
    world.roster.trace.add(lambda name, info: ticks.append(info["late"]) if name == "tick" else None)
    world.roster.own(thread_id, world.owner.claim(thread_id), pause=10.0)
    world.scheduler.advance(4)
    world.roster.tick_soon(thread_id)
    world.scheduler.advance(7)
    assert ticks[0] == 0


def test_a_thread_that_is_let_go_does_not_wait_for_the_end_of_its_pause(world):
    thread_id = left(world)
    world.roster.own(thread_id, world.owner.claim(thread_id), pause=10.0)
    world.roster.remove(world.roster.get(thread_id), "shutdown")
    world.scheduler.settle()
    assert world.owner.leases == {}


def test_a_thread_that_the_store_does_not_know_is_not_driven_and_its_lease_is_given_back(world):
    world.owner.hand_over("thread_0")
    assert world.roster.drivers == ()
    assert world.owner.released == [("thread_0", False)]


def test_a_thread_that_has_a_driver_keeps_it_when_it_is_handed_over(world):
    driver = world.connect()
    world.scheduler.settle()
    world.owner.leases[driver.thread_id], first = Lease(driver.thread_id), driver.lease
    world.roster.own(driver.thread_id, world.owner.leases[driver.thread_id])
    world.owner.leases[driver.thread_id] = first
    say(driver)
    world.scheduler.advance(30)
    assert world.roster.drivers == (driver,)
    assert posted(world, driver.thread_id) == ["Hello"]


def test_a_thread_is_driven_only_when_its_former_driver_has_left(world):
    driver = world.connect()
    world.scheduler.settle()
    world.roster.remove(driver, "shutdown")
    second = Lease(driver.thread_id)
    world.roster.own(driver.thread_id, second)
    successor = world.roster.get(driver.thread_id)
    assert not successor.begun
    world.owner.release = lambda lease, more: world.owner.leases.pop(lease.thread_id, None)
    world.scheduler.settle()
    assert successor.begun
    assert successor.lease is second


def test_nothing_is_driven_after_the_end_and_the_lease_is_given_back(world):
    thread_id = left(world)
    world.roster.close()
    world.owner.hand_over(thread_id)
    assert world.roster.drivers == ()
    assert world.owner.released[-1] == (thread_id, True)


def test_a_thread_that_cannot_begin_when_it_is_handed_over_is_not_driven(world, monkeypatch):
    thread_id = left(world)
    world.store.accept(thread_id, inputs.CancelRun())
    monkeypatch.setattr(world.store, "commit", taken)
    with pytest.raises(errors.StoreTaken):
        world.owner.hand_over(thread_id)
    monkeypatch.undo()
    assert world.roster.drivers == ()
    world.owner.hand_over(thread_id)
    assert world.roster.get(thread_id) is not None


# --- the beginning of a driver --------------------------------------------------------------------------


def test_a_driver_that_is_woken_while_it_begins_decides_once_at_a_time(world, monkeypatch):
    thread_id = left(world)
    world.store.accept(thread_id, inputs.AddUserMessage(key="Hello", content="Hello"))
    commit, commits, second, tickers = world.store.commit, [], threading.Event(), []

    def commit_slowly(snapshot, **fields):
        commits.append(snapshot)
        if len(commits) == 1:
            world.roster.tick_soon(thread_id)
            tickers.append(threading.Thread(target=world.scheduler.settle, daemon=True))
            tickers[0].start()
            assert not second.wait(0.3), "the tick has decided, too"
        second.set()
        return commit(snapshot, **fields)

    monkeypatch.setattr(world.store, "commit", commit_slowly)
    world.owner.hand_over(thread_id)
    tickers[0].join(60)
    world.scheduler.advance(5)
    assert posted(world, thread_id) == ["Hello"]


def test_a_successor_stops_if_its_thread_was_claimed_elsewhere_while_it_waited(world):
    former = world.connect()
    world.scheduler.settle()
    world.roster.remove(former, "shutdown")
    driver = world.connect(former.thread_id)
    world.owner.elsewhere.add(former.thread_id)
    world.scheduler.settle()
    assert (driver.stop_reason, driver.begun) == ("store_taken", False)
    assert world.roster.get(former.thread_id) is None


def test_two_who_connect_at_once_get_one_driver(world):
    driver = world.connect()
    assert world.connect(driver.thread_id) is None
    assert world.roster.drivers == (driver,)


def test_an_agent_connected_while_a_former_driver_leaves_begins_after_it(world):
    former = world.connect()
    world.scheduler.settle()
    world.roster.remove(former, "shutdown")
    driver = world.connect(former.thread_id)
    assert not driver.begun
    say(driver)
    world.scheduler.advance(5)
    assert driver.begun
    assert posted(world, driver.thread_id) == ["Hello"]


def test_a_driver_that_cannot_begin_is_not_alive(world, monkeypatch):
    def full(*_, **__):
        raise errors.StoreError("full")

    monkeypatch.setattr(world.store, "commit", full)
    thread_id = world.server.create_thread(timeout=1)
    with pytest.raises(errors.StoreError, match="full"):
        world.connect(thread_id)
    assert world.roster.get(thread_id) is None


def test_a_new_thread_is_connected_with_two_commits_if_its_newest_run_is_known(world, monkeypatch):
    commits, commit = [], world.store.commit
    monkeypatch.setattr(world.store, "commit", lambda *args, **rest: commits.append(args) or commit(*args, **rest))
    monkeypatch.setattr(world.store, "accept", taken)
    start = Snapshot(thread_id=world.server.create_thread(timeout=1), assistant_id="asst_1")
    connection = Connection(assistant_id="asst_1")
    driver = world.roster.connect(start, Settings(), connection, inputs.RunsListed(runs=()))
    assert len(commits) == 2
    assert driver.wanted is None
    assert driver.snapshot == world.store.load(driver.thread_id).snapshot


def test_commands_that_wait_in_the_store_come_before_a_new_connection(world):
    thread_id = left(world)
    world.store.accept(thread_id, inputs.SetAssistant(assistant_id="asst_2"))
    driver = world.connect(thread_id)
    world.scheduler.settle()
    assert driver.snapshot.assistant_id == "asst_1"
    assert world.store.load(thread_id).inbox == ()


def test_nothing_is_connected_after_the_end(world):
    world.roster.close()
    with pytest.raises(errors.RuntimeClosed):
        world.connect()


def test_the_last_driver_that_leaves_closes_backend_and_store(world):
    closed = []
    world.server.close = lambda: closed.append("backend")
    world.store.close = lambda: closed.append("store")
    driver = world.connect()
    world.roster.close()
    assert closed == []
    world.scheduler.settle()
    assert driver.stop_reason == "runtime_closed"
    assert closed == ["backend", "store"]
    world.roster.release_all()
    assert closed == ["backend", "store"]


def test_in_one_process_every_thread_may_be_driven_and_is_ticked_here():
    ticked = []
    owner = SoleOwner(ticked.append)
    lease = owner.claim("thread_1")
    assert (lease.thread_id, lease.holds(), owner.heartbeat([lease])) == ("thread_1", True, ())
    owner.release(lease, more=True)
    owner.wake("thread_1")
    assert ticked == ["thread_1"]
    assert lease.holds()


def test_a_driver_does_not_begin_before_the_former_one_has_left(world):
    former = world.connect()
    world.scheduler.settle()
    world.roster.remove(former, "shutdown")
    driver = world.connect(former.thread_id)
    shift = world.roster._shifts[driver.thread_id]
    # As another worker would do at this moment.
    assert shift.tick() is None
    assert not driver.begun
    world.scheduler.settle()
    assert driver.begun


def test_a_driver_that_is_taken_out_before_it_began_leaves_without_waiting(world):
    former = world.connect()
    world.scheduler.settle()
    world.roster.remove(former, "shutdown")
    driver = world.connect(former.thread_id)
    shift = world.roster._shifts[driver.thread_id]
    world.roster.remove(driver, "shutdown")
    assert not driver._left
    shift.tick()
    assert driver._left
    assert world.owner.released == [], "it never had a lease, and its predecessor has not left"


def test_a_driver_is_taken_out_once_and_never_in_place_of_its_successor(world):
    former = world.connect()
    world.scheduler.settle()
    world.roster.remove(former, "shutdown")
    world.roster.remove(former, "again")
    driver = world.connect(former.thread_id)
    world.roster.remove(former, "and again")
    world.scheduler.settle()
    assert former.stop_reason == "shutdown"
    assert driver.stop_reason is None
    assert world.roster.get(former.thread_id) is driver


def test_backend_and_store_stay_open_until_the_last_driver_has_left(world):
    closed = []
    world.server.close = lambda: closed.append("backend")
    one, _, _ = world.connect(), world.connect(), world.connect()
    world.scheduler.settle()
    world.roster.remove(one, "shutdown")
    world.scheduler.settle()
    assert closed == []
    world.roster.close()
    world.scheduler.step()
    assert closed == []
    world.scheduler.step()
    assert closed == ["backend"]


def test_a_store_object_is_used_by_one_runtime_at_a_time_and_by_the_next_after_its_end():
    store = MemoryStore()
    with Runtime(SimulatedServer(), store=store, scheduler=VirtualScheduler()):
        with pytest.raises(ValueError, match="in use by a runtime that is open; close that one first"):
            Runtime(SimulatedServer(), store=store, scheduler=VirtualScheduler())
        Runtime(SimulatedServer(), store=MemoryStore(), scheduler=VirtualScheduler()).close()
    Runtime(SimulatedServer(), store=store, scheduler=VirtualScheduler()).close()


class ClosingStore(MemoryStore):
    """A store that runs a function during a commit, as the handler of an operating system signal may."""

    def commit(self, *args, **kwargs):
        self.handler()
        super().commit(*args, **kwargs)


def test_a_runtime_that_a_signal_handler_closes_during_start_says_that_it_was_closed():
    store, server = ClosingStore(), SimulatedServer()
    runtime = Runtime(server, store=store, scheduler=VirtualScheduler())

    def close_and_fail():
        runtime.close()
        raise errors.StoreError("The store was closed.")

    store.handler = close_and_fail
    with pytest.raises(errors.RuntimeClosed):
        runtime.start("asst_1")

"""Who drives which thread: claims, renewals, late workers, and threads without an owner."""

import itertools
import logging
from functools import partial

import pytest

from gpt_agent_fsm.cluster import database
from gpt_agent_fsm.cluster import leases as module
from gpt_agent_fsm.cluster.database import ClusterDatabase
from gpt_agent_fsm.cluster.leases import LEASE
from gpt_agent_fsm.cluster.tables import LOCK, run
from gpt_agent_fsm.errors import StoreError, StoreTaken
from gpt_agent_fsm.machine.inputs import CancelRun
from gpt_agent_fsm.testing.contracts import OwnershipContract
from gpt_agent_fsm.testing.contracts.store_means import at_once
from tests.cluster.helpers import Fails, Process, expire, offered, query
from tests.stores.helpers import an_event, busy, commit, idle

MARGIN = module._MARGIN


class TestLeases(OwnershipContract):
    """Two workers of one database."""

    @pytest.fixture(autouse=True)
    def _place(self, url):
        self.processes, self.url = [], url
        yield
        for each in self.processes:
            each.database.close()

    def process_with(self, tick_soon):
        made = Process(ClusterDatabase(self.url, timeout=20.0, lock_timeout=5.0), self.url)
        made.leases._tick_soon = tick_soon
        self.processes.append(made)
        return made.leases

    def make_ownership(self, tick_soon):
        return self.process_with(tick_soon)

    def make_other(self):
        return self.process_with(lambda _: None)

    def make_thread(self, thread_id):
        self.ownership  # noqa: B018 - its process makes the thread
        self.processes[0].make_thread(thread_id)

    def let_lapse(self, ownership):
        next(each for each in self.processes if each.leases is ownership).lapse()


# --- claiming -------------------------------------------------------------------------------------------------


def test_an_unknown_thread_cannot_be_claimed(process):
    assert process.leases.claim("thread_0") is None
    assert process.leases.held == ()


def test_a_worker_claims_a_thread_once(process):
    process.make_thread()
    lease = process.leases.claim("thread_1")
    assert process.leases.claim("thread_1") is None
    assert process.leases.held == (lease,)
    assert process.leases.of("thread_1") is lease
    assert process.leases.of("thread_2") is None


def test_each_claim_has_another_epoch(process, other):
    process.make_thread()
    epochs = []
    for each in (process, other, other):
        lease = each.leases.claim("thread_1")
        epochs.append(lease.epoch)
        each.leases.release(lease, more=False)
    assert epochs == [1, 2, 3]


def test_a_thread_that_was_offered_counts_as_taken_when_it_is_claimed(process):
    process.make_thread()
    process.accepting.accept("thread_1", CancelRun())
    process.leases.claim("thread_1")
    assert query(process.url, "SELECT worker, offered_at FROM gpt_agent_owners") == [(process.leases.worker_id, None)]


# --- releasing --------------------------------------------------------------------------------------------------


def test_the_release_of_a_thread_at_rest_asks_for_no_worker(process):
    process.make_thread()
    process.leases.release(process.leases.claim("thread_1"), more=False)
    assert offered(process.url) == []
    assert process.leases.sweep(patience=0.0) == 0


def test_the_release_of_a_thread_with_work_asks_for_a_worker(process):
    process.make_thread()
    process.leases.release(process.leases.claim("thread_1"), more=True)
    assert offered(process.url) == ["thread_1"]


def test_a_command_that_came_at_the_last_moment_counts_as_work(process, other):
    process.make_thread()
    lease = process.leases.claim("thread_1")
    other.accepting.accept("thread_1", CancelRun())
    assert offered(process.url) == []
    process.leases.release(lease, more=False)
    assert offered(process.url) == ["thread_1"]


def test_no_command_is_forgotten_when_it_comes_during_the_release(process, other):
    process.make_thread()
    for number in range(1, 31):
        release = partial(process.leases.release, process.leases.claim("thread_1"), more=False)
        at_once(release, lambda: other.accepting.accept("thread_1", CancelRun()))
        assert len(offered(process.url)) == number, "nobody was asked to handle the command, or two were"
        query(process.url, "DELETE FROM gpt_agent_inbox")


def test_the_end_of_a_lease_is_told_once(process):
    process.make_thread()
    ended = []
    lease = process.leases.claim("thread_1", lambda: ended.append(process.leases.held))
    assert ended == []
    process.leases.release(lease, more=False)
    assert ended == [()]


def test_a_release_while_the_database_fails_is_saved_later(process, other, caplog):
    process.make_thread()
    ended, fails = [], Fails(process.database)
    lease = process.leases.claim("thread_1", lambda: ended.append(True))
    fails.before = 1
    process.leases.release(lease, more=True)
    assert (ended, lease.holds(), process.leases.held) == ([True], False, ())
    assert "thread_1 is not released yet, and is tried again" in caplog.text
    assert other.leases.claim("thread_1") is None
    fails.before = 1
    process.leases.save_releases()
    assert offered(process.url) == []
    process.leases.save_releases()
    process.leases.save_releases()
    assert offered(process.url) == ["thread_1"]
    assert other.leases.claim("thread_1").holds()


def test_a_release_whose_answer_was_lost_takes_nothing_from_the_next_owner(process, other):
    process.make_thread()
    fails, lease = Fails(process.database), process.leases.claim("thread_1")
    fails.after = 1
    process.leases.release(lease, more=False)
    taken = other.leases.claim("thread_1")
    process.leases.save_releases()
    assert query(process.url, "SELECT worker, epoch FROM gpt_agent_owners") == [(other.leases.worker_id, taken.epoch)]
    assert offered(process.url) == []


def test_a_locked_row_delays_only_its_own_release(process, other):
    held = []
    for thread_id in ("thread_1", "thread_2"):
        process.make_thread(thread_id)
        held.append(process.leases.claim(thread_id))
    fails = Fails(process.database)
    fails.before = 2
    for lease in held:
        process.leases.release(lease, more=True)
    with other.database.transaction() as connection:
        run(connection, LOCK, thread="thread_1")
        process.leases.save_releases()  # without a wait for the lock
        assert offered(process.url) == ["thread_2"]
    process.leases.save_releases()
    assert offered(process.url) == ["thread_2", "thread_1"]


def test_a_late_worker_whose_row_is_locked_delays_no_search(process, other, make_process):
    third = make_process()
    for each in (process, other):
        expire(process.url, each.leases.worker_id)
    with third.database.transaction() as connection:
        run(
            connection,
            "SELECT 1 FROM gpt_agent_workers WHERE id = %(worker)s FOR UPDATE",
            worker=other.leases.worker_id,
        )
        third.leases.sweep(patience=0.0)
        workers = query(process.url, "SELECT id FROM gpt_agent_workers ORDER BY since")
        assert workers == [(other.leases.worker_id,), (third.leases.worker_id,)]


def test_the_last_announcement_is_saved_with_the_release(process):
    process.make_thread()
    lease = process.leases.claim("thread_1")
    commit(process.store, idle(), an_event(), an_event())
    process.store.announced("thread_1", 2)
    assert len(process.store.load("thread_1").unannounced) == 2
    process.leases.release(lease, more=False)
    assert process.store.load("thread_1").unannounced == ()
    assert process.leases.sweep(patience=0.0) == 0


# --- time ---------------------------------------------------------------------------------------------------------


def test_a_lease_holds_for_a_margin_less_than_the_others_wait(process):
    process.make_thread()
    lease = process.leases.claim("thread_1")
    process.clock.now = LEASE - MARGIN - 0.01
    assert lease.holds()
    process.clock.now = LEASE - MARGIN
    assert not lease.holds()
    assert 0 < MARGIN < LEASE


def test_the_time_of_a_renewal_counts_from_before_it_was_sent(process):
    process.make_thread()
    lease = process.leases.claim("thread_1")
    renewing = process.database.transaction

    def slow():
        process.clock.now += 3.0
        return renewing()

    process.clock.now = 5.0
    process.database.transaction = slow
    process.leases.heartbeat([lease])
    process.clock.now = 5.0 + LEASE - MARGIN - 0.01
    assert lease.holds()
    process.clock.now = 5.0 + LEASE - MARGIN
    assert not lease.holds()


def test_a_renewal_that_fails_renews_nothing(process):
    process.make_thread()
    lease, fails = process.leases.claim("thread_1"), Fails(process.database)
    process.clock.now, fails.after = 5.0, 1
    with pytest.raises(StoreError):
        process.leases.heartbeat([lease])
    process.clock.now = LEASE - MARGIN
    assert not lease.holds()
    assert process.leases.heartbeat([lease]) == ()
    assert lease.holds()


def test_the_database_gives_a_worker_as_long_as_the_lease(process):
    [(seconds,)] = query(process.url, "SELECT extract(epoch FROM alive_until - now())::float FROM gpt_agent_workers")
    assert LEASE - 5.0 < seconds <= LEASE


def test_a_late_worker_loses_all_leases_and_continues_under_a_new_name(process, other, caplog):
    for number in range(3):
        process.make_thread(f"thread_{number}")
    leases, before = [process.leases.claim(f"thread_{number}") for number in range(3)], process.leases.worker_id
    expire(process.url, before)
    process.clock.now = LEASE - MARGIN
    assert not any(lease.holds() for lease in leases), "it stops by its own clock, before others may take its threads"
    other.leases.sweep(patience=0.0)
    assert list(process.leases.heartbeat(leases)) == leases
    assert process.leases.worker_id != before
    assert "its threads were given to others" in caplog.text
    assert other.leases.claim("thread_0").holds()
    assert process.leases.heartbeat(leases[:1]) == (), "they are lost once"
    [row] = query(process.url, "SELECT count(*) FROM gpt_agent_workers")
    assert row == (2,)


def test_a_late_worker_cannot_commit(process, other):
    process.make_thread()
    process.leases.claim("thread_1")
    commit(process.store, idle(), an_event())
    process.lapse()
    other.leases.claim("thread_1")
    with pytest.raises(StoreTaken, match="thread_1 is driven by another process now"):
        commit(process.store, idle(), an_event())
    assert [record.seq for record in commit(other.store, idle(), an_event())] == [2]
    with pytest.raises(StoreTaken):
        commit(process.store, idle())
    assert len(other.store.history("thread_1")) == 2


def test_a_worker_that_was_removed_claims_nothing_until_it_has_a_new_name(process):
    process.make_thread()
    process.lapse()
    assert process.leases.claim("thread_1") is None
    process.leases.heartbeat(())
    assert process.leases.claim("thread_1").worker.id == process.leases.worker_id


def test_a_claim_that_ends_after_the_worker_has_lost_its_name_is_void(process, other, monkeypatch):
    process.make_thread()
    claim = process.leases._claim

    def claim_slowly(*args):
        lease = claim(*args)
        process.lapse()
        process.leases.heartbeat(())
        return lease

    monkeypatch.setattr(process.leases, "_claim", claim_slowly)
    assert process.leases.claim("thread_1") is None
    assert process.leases.held == ()
    assert other.leases.claim("thread_1").holds()


def test_a_lease_whose_claim_ends_during_a_late_heartbeat_is_lost_with_the_others(process, monkeypatch):
    process.make_thread()
    register, claimed = process.leases._register, []

    def register_late():
        claimed.append(process.leases.claim("thread_1"))
        return register()

    def say_that_it_was_late(connection, statement, **values):
        return run(connection, "SELECT 1 WHERE false" if statement is module.tables.RENEW else statement, **values)

    monkeypatch.setattr(process.leases, "_register", register_late)
    monkeypatch.setattr(module, "run", say_that_it_was_late)
    assert list(process.leases.heartbeat(())) == claimed
    assert claimed[0].is_lost


def test_a_lease_says_whether_the_worker_before_is_dead(process, other):
    process.make_thread()
    first = process.leases.claim("thread_1")
    process.leases.release(first, more=True)
    second = process.leases.claim("thread_1")
    process.lapse()
    third = other.leases.claim("thread_1")
    assert [lease.after_death for lease in (first, second, third)] == [False, False, True]


def test_a_worker_that_is_late_but_was_not_noticed_keeps_its_threads(process):
    process.make_thread()
    lease, name = process.leases.claim("thread_1"), process.leases.worker_id
    expire(process.url, name)
    process.clock.now = 100.0
    assert process.leases.heartbeat([lease]) == ()
    assert lease.holds()
    assert process.leases.worker_id == name


def test_a_worker_that_is_frozen_in_a_transaction_keeps_no_locks(make_process, monkeypatch):
    assert database.IDLE_TIMEOUT < LEASE - MARGIN
    monkeypatch.setattr(database, "IDLE_TIMEOUT", 0.2)
    frozen, other = make_process(), make_process()
    frozen.make_thread()
    claimed = []

    def freeze():
        with frozen.database.transaction() as connection:
            run(connection, LOCK, thread="thread_1")
            claimed.append(other.leases.claim("thread_1"))

    with pytest.raises(StoreError):
        freeze()
    assert [lease.thread_id for lease in claimed] == ["thread_1"]


def test_a_worker_that_leaves_frees_its_threads_immediately(process, other):
    process.make_thread()
    lease = process.leases.claim("thread_1")
    process.leases.leave()
    assert not lease.holds()
    assert other.leases.claim("thread_1").holds()
    assert query(process.url, "SELECT id FROM gpt_agent_workers") == [(other.leases.worker_id,)]


def test_a_claim_during_a_renewal_never_leaves_two_holders(process, other):
    """The owner renews while another one finds it late and claims its thread: exactly one has the thread."""
    for number in range(40):
        thread_id = process.make_thread(f"thread_{number}")
        lease = process.leases.claim(thread_id)
        expire(process.url, process.leases.worker_id)

        def take(thread_id=thread_id):
            other.leases.sweep(patience=0.0)
            return other.leases.claim(thread_id)

        lost, taken = at_once(lambda lease=lease: process.leases.heartbeat([lease]), take)
        assert lease.holds() is (taken is None), "two holders, or none"
        assert (lease in lost) is (taken is not None)
        for owner, each in ((process, lease), (other, taken)):
            if each is not None:
                owner.leases.release(each, more=False)


# --- threads without an owner -----------------------------------------------------------------------------------


def test_a_sweep_offers_threads_with_work_and_no_owner(process, other):
    for name in ("rests", "owned", "unfinished", "told", "orphan"):
        process.make_thread(name)
    for name in ("owned", "unfinished", "orphan"):
        owner = process if name == "orphan" else other
        lease = owner.leases.claim(name)
        commit(owner.store, busy(name))
        if name == "unfinished":
            owner.leases.release(lease, more=False)
    query(
        process.url, "INSERT INTO gpt_agent_inbox (thread_id, number, command) VALUES ('told', 1, '[\"CancelRun\",{}]')"
    )
    assert (process.leases.sweep(patience=10.0), sorted(offered(process.url))) == (2, ["told", "unfinished"])
    process.lapse()
    assert (other.leases.sweep(patience=10.0), offered(process.url)[2:]) == (1, ["orphan"])


def let_time_pass(url, status):
    """Let the patience of a sweep end, while the jobs have this status."""
    query(url, "UPDATE gpt_agent_owners SET offered_at = now() - interval '11 seconds'")
    query(url, "UPDATE procrastinate_jobs SET status = %s", status)


def test_a_sweep_offers_a_thread_once_while_its_patience_lasts(process):
    process.make_thread()
    lease = process.leases.claim("thread_1")
    commit(process.store, busy())
    process.leases.release(lease, more=False)
    assert [process.leases.sweep(patience=10.0) for _ in range(3)] == [1, 0, 0]
    let_time_pass(process.url, status="doing")
    assert [process.leases.sweep(patience=10.0) for _ in range(2)] == [1, 0]
    assert offered(process.url) == ["thread_1"] * 2


def test_a_thread_that_waits_for_a_worker_with_room_is_not_offered_a_second_time(process):
    process.make_thread()
    lease = process.leases.claim("thread_1")
    commit(process.store, busy())
    process.leases.release(lease, more=True)
    let_time_pass(process.url, status="todo")
    assert process.leases.sweep(patience=10.0) == 0
    assert offered(process.url) == ["thread_1"]
    let_time_pass(process.url, status="doing")
    assert process.leases.sweep(patience=10.0) == 1, "its next worker has died before it claimed the thread"


def test_a_sweep_begins_with_the_threads_that_were_never_offered_and_has_a_limit(process):
    for number in range(4):
        lease = process.leases.claim(process.make_thread(f"thread_{number}"))
        commit(process.store, busy(f"thread_{number}"))
        process.leases.release(lease, more=False)
    query(process.url, "UPDATE gpt_agent_owners SET offered_at = now() - interval '1 h' WHERE thread_id < 'thread_2'")
    assert process.leases.sweep(patience=10.0, most=2) == 2
    assert sorted(offered(process.url)) == ["thread_2", "thread_3"]


def test_sweeps_at_the_same_time_offer_each_thread_once(process, other):
    for number in range(20):
        lease = process.leases.claim(process.make_thread(f"thread_{number}"))
        commit(process.store, busy(f"thread_{number}"))
        process.leases.release(lease, more=False)
    swept = at_once(*(lambda each=each: each.leases.sweep(patience=10.0) for each in (process, other, process)))
    assert sum(swept) == 20
    assert len(set(offered(process.url))) == 20


def test_the_threads_in_whose_inbox_commands_wait_are_those_of_this_worker(process, other):
    for owner, name in itertools.product((process, other), ("quiet", "told")):
        thread_id = owner.make_thread(f"{name} {owner is process}")
        owner.leases.claim(thread_id)
        if name == "told":
            owner.accepting.accept(thread_id, CancelRun())
    assert process.leases.threads_with_commands() == ["told True"]
    assert other.leases.threads_with_commands() == ["told False"]


def test_nothing_is_logged_while_all_goes_well(process, caplog):
    caplog.set_level(logging.DEBUG, "gpt_agent_fsm.cluster")
    process.make_thread()
    lease = process.leases.claim("thread_1")
    process.leases.heartbeat([lease])
    process.leases.release(lease, more=False)
    process.leases.leave()
    assert [record for record in caplog.records if record.name.startswith("gpt_agent_fsm")] == []

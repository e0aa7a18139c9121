"""Commits of the owner, and commands from every process."""

import contextlib
import itertools

import attrs
import pytest

from gpt_agent_fsm.errors import StoreError, StoreTaken
from gpt_agent_fsm.events import AssistantMessageDelta
from gpt_agent_fsm.machine.inputs import CancelRun
from gpt_agent_fsm.machine.queue import Doubt, Queue, QueuedMessage
from gpt_agent_fsm.ports import SharedStore, Store, offers
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing.contracts import PagingStoreContract, StoreContract
from gpt_agent_fsm.testing.contracts.store_means import at_once
from tests.cluster.helpers import Fails, offered, query
from tests.postgresql import PASSWORD
from tests.stores.helpers import SECRET, an_event, busy, commit, idle, say, texts_of


@pytest.fixture
def lease(process):
    """The lease of `thread_1`, which the first process drives."""
    process.make_thread()
    return process.leases.claim("thread_1")


@pytest.fixture
def reader(url, process):
    """A store that only reads, as the commands that look at a store use it."""
    with contextlib.closing(SQLStore(url, read_only=True)) as reader:
        yield reader


class OwnsAll:
    """An owned store whose threads are introduced and claimed when something is committed to them first."""

    def __init__(self, process):
        self.process = process
        self.accept, self.history, self.load = process.store.accept, process.store.history, process.store.load
        self.history_page, self.unfinished = process.store.history_page, process.database.reader.unfinished
        self.close = process.database.close

    def commit(self, snapshot, **values):
        thread_id = snapshot.thread_id
        if self.process.leases.of(thread_id) is None:
            self.process.accepting.introduce(snapshot)
            self.process.leases.claim(thread_id)
        return self.process.store.commit(snapshot, **values)

    def announced(self, thread_id, seq):
        """Note what was announced, and release the thread, because the owner saves the number with that."""
        if lease := self.process.leases.of(thread_id) or self.process.leases.claim(thread_id):
            self.process.store.announced(thread_id, seq)
            self.process.leases.release(lease, more=False)


class TestOwnedStore(StoreContract, PagingStoreContract):
    test_many_unfinished_threads_are_all_found = None  # its `unfinished` is that of the reader, which has this test
    test_events_committed_at_once_to_one_thread_are_numbered_without_gaps = None  # a thread has one driver
    test_records_that_do_not_exist_yet_cannot_be_announced = None  # a driver announces what it has committed

    @pytest.fixture(autouse=True)
    def _place(self, make_process):
        self.make_process = make_process

    def make_store(self):
        return OwnsAll(self.make_process())

    def reopen(self, store):
        store.process.leases.leave()
        store.close()
        return self.make_store()


# --- what it promises -----------------------------------------------------------------------------------------


def test_it_is_the_shared_store_of_a_driver(process):
    assert offers(process.store, Store)
    assert offers(process.store, SharedStore)
    assert process.store.commits_announced


# --- commits --------------------------------------------------------------------------------------------------


def test_a_commit_numbers_events_without_gaps(process, lease, reader):
    seqs = [[record.seq for record in commit(process.store, idle(), *[an_event()] * count)] for count in (2, 0, 3, 1)]
    assert seqs == [[1, 2], [], [3, 4, 5], [6]]
    assert [record.seq for record in reader.history("thread_1")] == [1, 2, 3, 4, 5, 6]
    assert reader.load("thread_1").last_seq == 6
    assert lease.commits == 4


def test_a_commit_returns_what_it_has_saved(process, lease, reader):
    events = [an_event(run_id="run_1"), an_event(run_id="run_2")]
    records = process.store.commit(busy(), consumed=0, events=events, at=12.5, due=99.25)
    assert [(record.event, record.at) for record in records] == [(event, 12.5) for event in events]
    assert list(reader.history("thread_1")) == list(records)
    saved = reader.load("thread_1")
    assert (saved.snapshot, saved.due, saved.unannounced) == (busy(), 99.25, tuple(records))
    assert list(reader.unfinished()) == ["thread_1"]


def test_a_commit_drops_the_commands_that_it_has_consumed(process, lease, reader):
    numbers = [process.store.accept("thread_1", CancelRun()) for _ in range(3)]
    assert numbers == [1, 2, 3]
    commit(process.store, idle(), consumed=2)
    assert [number for number, _ in reader.load("thread_1").inbox] == [3]
    commit(process.store, idle(), consumed=3)
    assert reader.load("thread_1").inbox == ()
    assert process.store.accept("thread_1", CancelRun()) == 4


def test_a_commit_of_what_was_announced_leaves_nothing_to_announce(process, lease, reader):
    process.store.commit(idle(), consumed=0, events=[an_event()], at=1.0, due=None, announced=True)
    assert reader.load("thread_1").unannounced == ()
    assert reader.unfinished() == {}
    process.store.commit(idle(), consumed=0, events=[an_event()] * 2, at=1.0, due=None)
    assert [record.seq for record in reader.load("thread_1").unannounced] == [2, 3]
    process.store.announced("thread_1", 2)
    commit(process.store, idle(), an_event())
    assert [record.seq for record in reader.load("thread_1").unannounced] == [3, 4]
    process.store.announced("thread_1", 1)
    commit(process.store, idle())
    assert [record.seq for record in reader.load("thread_1").unannounced] == [3, 4], "the number never falls"


def test_the_rows_of_the_queue_are_those_of_a_single_owner(process, lease, reader, postgresql):
    messages = [QueuedMessage(key=f"key_{number}", content=f"text {number}") for number in range(5)]
    steps = [Queue()]
    for change in (
        lambda queue: queue.add(messages[0]).add(messages[1]).add(messages[2]),
        lambda queue: queue.add(messages[3]).take(),
        lambda queue: queue.with_doubt(Doubt(searches_left=1)),
        lambda queue: queue.without("key_2").add_first(messages[4], behind_head=True),
        lambda queue: queue.drop_all(),
    ):
        steps.append(change(steps[-1]))
    url = postgresql.new_schema()
    with contextlib.closing(SQLStore(url)) as single:
        commit(single, idle())
        for before, after in itertools.pairwise(steps):
            change = after.change_since(before)
            snapshot = idle(queue=after)
            for store in (single, process.store):
                store.commit(snapshot, consumed=0, events=(), at=1.0, due=None, queue=change)
            rows = "SELECT thread_id, number, message FROM gpt_agent_queue ORDER BY number"
            assert query(process.url, rows) == query(url, rows)
            assert reader.load("thread_1").snapshot == single.load("thread_1").snapshot
            assert list(reader.load("thread_1").snapshot.queue) == list(after)


def test_a_commit_is_told_to_the_other_processes(process, lease):
    commit(process.store, idle(), an_event())
    assert process.told == ["thread_1"]


def test_a_thread_that_this_worker_does_not_own_cannot_be_committed(process, other, lease):
    for store in (other.store, process.store):
        thread_id = "thread_1" if store is other.store else "thread_2"
        with pytest.raises(StoreTaken, match=f"{thread_id} is driven by another process now"):
            commit(store, idle(thread_id), an_event(thread_id))
    assert process.store.history("thread_1") == []
    assert process.told == other.told == []


def test_a_released_lease_cannot_commit_even_if_nobody_else_has_claimed_the_thread(process, lease):
    process.leases.release(lease, more=False)
    process.leases._held["thread_1"] = attrs.evolve(lease, is_lost=False)  # as if it had not heard of the release
    with pytest.raises(StoreTaken):
        commit(process.store, idle(), an_event())
    assert process.store.history("thread_1") == []


def test_an_owner_that_has_lost_its_thread_stays_lost(process, other, lease):
    process.leases.release(attrs.evolve(lease), more=False)
    process.leases._held["thread_1"] = lease
    lease.is_lost = False
    taken = other.leases.claim("thread_1")
    with pytest.raises(StoreTaken):
        commit(process.store, idle())
    assert not lease.holds()
    other.leases.release(taken, more=False)
    with pytest.raises(StoreTaken):
        commit(process.store, idle())


def test_a_thread_that_cannot_be_stored_is_reported_without_secrets(process):
    with pytest.raises(StoreError, match="keep zero characters") as caught:
        process.make_thread(f"{SECRET}\0")
    assert SECRET not in texts_of(caught.value)
    assert PASSWORD not in texts_of(caught.value)


def test_a_former_driver_cannot_write_under_the_next_lease_of_its_process(process, lease, reader):
    process.leases.release(lease, more=False)
    following = process.leases.claim("thread_1")
    values = {"consumed": 0, "events": [an_event()], "at": 1.0, "due": None}
    with pytest.raises(StoreTaken):
        process.store.commit(busy(), **values, lease=lease)
    assert len(process.store.commit(busy(), **values, lease=following)) == 1
    assert len(reader.history("thread_1")) == 1


# --- an unknown outcome ---------------------------------------------------------------------------------------


def test_nobody_is_told_to_repeat_a_command_that_may_have_been_accepted(process):
    """A repeated message would be a second message, because each call gives it another key."""
    process.make_thread()
    Fails(process.database).after = 1
    with pytest.raises(StoreError, match="the command was accepted; search the thread for it") as caught:
        process.accepting.accept("thread_1", CancelRun())
    assert "repeat" not in str(caught.value)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_that_is_repeated_after_an_unknown_outcome_takes_effect_once(process, lease, reader, when):
    commit(process.store, idle(), an_event())
    fails, events = Fails(process.database), [an_event(run_id="run_2"), an_event(run_id="run_3")]
    number = process.store.accept("thread_1", CancelRun())

    def repeatable():
        return process.store.commit(busy(), consumed=number, events=events, at=3.0, due=7.0)

    setattr(fails, when, 1)
    with pytest.raises(StoreError, match="unknown"):
        repeatable()
    records = repeatable()
    assert [(record.seq, record.at, record.event) for record in records] == [(2, 3.0, events[0]), (3, 3.0, events[1])]
    assert [record.seq for record in reader.history("thread_1")] == [1, 2, 3]
    assert reader.load("thread_1").inbox == ()
    assert [record.seq for record in commit(process.store, idle(), an_event())] == [4]


def test_a_repetition_that_fails_itself_is_recognised_again(process, lease, reader):
    fails = Fails(process.database)
    fails.after = 1
    with pytest.raises(StoreError):
        commit(process.store, busy(), an_event())
    fails.after = 1
    with pytest.raises(StoreError):
        commit(process.store, busy(), an_event())
    assert [record.seq for record in commit(process.store, busy(), an_event())] == [1]
    assert len(reader.history("thread_1")) == 1


def test_another_commit_with_the_number_of_one_that_took_effect_is_refused(process, lease, reader):
    fails = Fails(process.database)
    fails.after = 1
    with pytest.raises(StoreError):
        commit(process.store, busy(), an_event())
    with pytest.raises(StoreTaken):
        commit(process.store, idle(), an_event(run_id="run_2"))
    assert len(reader.history("thread_1")) == 1


def test_a_repeated_commit_without_events_returns_none(process, lease):
    commit(process.store, idle(), an_event())
    fails = Fails(process.database)
    fails.after = 1
    with pytest.raises(StoreError):
        commit(process.store, idle())
    assert list(commit(process.store, idle())) == []


def test_the_connection_that_breaks_during_a_commit_is_replaced(process, lease, url):
    cut = "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name = 'gpt-agent-fsm'"
    commit(process.store, idle(), an_event())
    query(url, cut)
    assert [record.seq for record in commit(process.store, idle(), an_event())] == [2]


# --- commands -------------------------------------------------------------------------------------------------


def test_the_numbers_of_commands_rise_over_all_processes(process, other, lease):
    numbers = [each.accepting.accept("thread_1", CancelRun()) for each in (process, other, process, other)]
    assert numbers == [1, 2, 3, 4]
    assert [number for number, _ in process.store.commands_after("thread_1", 0)] == numbers
    assert process.store.commands_after("thread_1", 3) == [(4, CancelRun())]
    assert process.store.commands_after("thread_1", 4) == []


def test_a_command_for_a_thread_without_an_owner_asks_for_a_worker_once(process, other):
    process.make_thread()
    for each in (process, other, process):
        each.accepting.accept("thread_1", CancelRun())
    assert offered(process.url) == ["thread_1"]


def test_a_command_for_a_thread_with_an_owner_asks_for_nobody(process, other, lease):
    for each in (process, other):
        each.accepting.accept("thread_1", CancelRun())
    assert offered(process.url) == []
    assert (process.told, other.told) == (["thread_1"], ["thread_1"])


def test_a_command_for_a_thread_whose_owner_is_gone_asks_for_a_worker(process, other, lease):
    process.lapse()
    other.accepting.accept("thread_1", CancelRun())
    assert offered(process.url) == ["thread_1"]


def test_a_command_that_is_not_accepted_asks_for_nobody(process):
    process.make_thread()
    fails = Fails(process.database)
    fails.before = 1
    with pytest.raises(StoreError):
        process.accepting.accept("thread_1", CancelRun())
    assert (offered(process.url), process.told) == ([], [])
    assert process.store.load("thread_1").inbox == ()
    assert process.accepting.accept("thread_1", CancelRun()) == 1


def test_a_command_whose_outcome_is_unknown_is_not_removed(process):
    process.make_thread()
    fails = Fails(process.database)
    fails.after = 1
    with pytest.raises(StoreError, match="unknown"):
        process.accepting.accept("thread_1", CancelRun())
    assert process.store.load("thread_1").inbox == ((1, CancelRun()),)
    assert offered(process.url) == ["thread_1"]


def test_a_command_for_an_unknown_thread_is_refused_with_advice(process):
    with pytest.raises(StoreTaken, match=r"^thread_0 is no thread of this cluster; connect again\.$"):
        process.accepting.accept("thread_0", CancelRun())
    assert query(process.url, "SELECT count(*) FROM gpt_agent_inbox") == [(0,)]
    assert (offered(process.url), process.told) == ([], [])


def test_a_thread_is_introduced_once_and_keeps_what_it_has(process, other):
    process.make_thread(assistant_id="asst_1")
    process.accepting.accept("thread_1", CancelRun())
    other.make_thread(assistant_id="asst_2")
    saved = other.store.load("thread_1")
    assert (saved.snapshot.assistant_id, saved.inbox) == ("asst_1", ((1, CancelRun()),))
    assert process.accepting.accept("thread_1", CancelRun()) == 2


def test_nothing_is_lost_or_reordered_while_two_processes_accept_and_the_owner_commits(process, other, lease, reader):
    count, read = 60, []

    def accept(each, name):
        return [each.accepting.accept("thread_1", say(f"{name} {number}")) for number in range(count)]

    def own():
        while len(read) < 2 * count:
            last = read[-1][0] if read else 0
            if found := process.store.commands_after("thread_1", last):
                read.extend(found)
                commit(process.store, idle(), *[an_event()] * len(found), consumed=found[-1][0])

    first, second, _ = at_once(lambda: accept(process, "first"), lambda: accept(other, "second"), own)
    assert [number for number, _ in read] == list(range(1, 2 * count + 1))
    assert sorted(first + second) == list(range(1, 2 * count + 1))
    for name, numbers in (("first", first), ("second", second)):
        assert numbers == sorted(numbers)
        assert [command.content for number, command in read if number in numbers] == [
            f"{name} {number}" for number in range(count)
        ]
    assert reader.load("thread_1").inbox == ()
    assert [record.seq for record in reader.history("thread_1")] == list(range(1, 2 * count + 1))


def test_a_piece_is_relayed(process):
    delta = AssistantMessageDelta(thread_id="thread_1", run_id="run_1", message_id="msg_1", index=0, text="Hel")
    process.store.relay(delta)
    assert process.relayed == [delta]


def test_closing_the_store_of_the_drivers_leaves_the_database_open(process, lease):
    process.store.close()
    assert process.ended
    assert process.store.unfinished() == {}
    assert list(commit(process.store, idle())) == []

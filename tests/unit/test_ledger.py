"""The ledger: which changes of a thread are saved, when, and how webhooks find the thread."""

from types import SimpleNamespace

import attrs
import pytest

from gpt_agent_fsm import Settings, events
from gpt_agent_fsm.engine.ledger import Ledger
from gpt_agent_fsm.engine.protocols import Saved
from gpt_agent_fsm.engine.tracing import Trace
from gpt_agent_fsm.engine.webhooks import Notice, Webhooks
from gpt_agent_fsm.machine.snapshot import LiveRun, Snapshot
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import VirtualClock
from tests.story import polling, running

SETTINGS = Settings(run_timeout=30)
IDLE = Snapshot(thread_id="thread_1", assistant_id="asst_1")
RUNNING = attrs.evolve(IDLE, state=State.RUNNING, run=LiveRun(id="run_1", handle="resp_1", assistant_id="asst_1"))
STARTED = events.RunStarted(id="run_1", thread_id="thread_1", assistant_id="asst_1")


class Counting(MemoryStore):
    """A store that records its calls."""

    def __init__(self):
        super().__init__()
        self.commits = []

    def commit(self, snapshot, **how):
        self.commits.append(how)
        return super().commit(snapshot, **how)


@pytest.fixture
def world():
    clock, store = VirtualClock(now=100.0), Counting()
    webhooks = Webhooks(clock)
    numbers = iter(range(100))

    def found(response_id):
        """Return the thread that a webhook about a response finds."""
        return webhooks.take_in(Notice(id=f"wh_{next(numbers)}", response_id=response_id))

    ledger = Ledger(IDLE, store, clock, webhooks, Trace(clock))
    return SimpleNamespace(clock=clock, store=store, ledger=ledger, found=found)


def commit(world, snapshot, consumed=0, happened=(), due=None):
    return world.ledger.commit(snapshot, consumed, happened, due, SETTINGS)


@pytest.mark.parametrize(
    "news",
    [{"consumed": 1}, {"happened": [STARTED]}, {"consumed": 1, "happened": [STARTED]}, {"snapshot": RUNNING}],
    ids=["a command", "an event", "both", "a snapshot"],
)
def test_each_kind_of_news_is_saved(world, news):
    snapshot = news.get("snapshot", IDLE)
    records = commit(world, **{"snapshot": snapshot, **news})
    assert len(world.store.commits) == 1
    assert [record.event for record in records] == news.get("happened", [])
    assert world.store.load("thread_1").snapshot == world.ledger.snapshot == snapshot


def test_a_poll_without_news_is_not_saved(world):
    before, after = running().snapshot, polling().snapshot
    commit(world, before)
    assert commit(world, after) == ()
    assert len(world.store.commits) == 1
    assert world.ledger.snapshot == after


def test_a_due_time_is_saved_in_seconds_since_the_epoch(world):
    commit(world, RUNNING, due=130.0)
    commit(world, IDLE)
    first, second = world.store.commits
    assert first["at"] == world.clock.time()
    assert first["due"] == world.clock.time() + 30.0
    assert second["due"] is None


def test_a_snapshot_that_could_not_be_saved_changes_nothing(world):
    def full(*args, **how):
        raise OSError("No space left on device")

    world.store.commit = full
    with pytest.raises(OSError, match="No space"):
        commit(world, RUNNING)
    assert world.ledger.snapshot == IDLE
    assert world.ledger.deadlines.moments == ()
    assert world.found("resp_1") is None


def test_the_time_of_a_run_counts_from_its_commit(world):
    commit(world, RUNNING)
    assert world.ledger.deadlines.moments == (130.0,)
    commit(world, IDLE)
    assert world.ledger.deadlines.moments == ()


def test_webhooks_find_a_thread_from_the_first_commit_of_its_run_to_the_end_of_it(world):
    assert world.found("resp_1") is None
    commit(world, RUNNING)
    assert world.found("resp_1") == "thread_1"
    commit(world, attrs.evolve(RUNNING, run=attrs.evolve(RUNNING.run, handle="resp_2")))
    assert (world.found("resp_1"), world.found("resp_2")) == (None, "thread_1")
    commit(world, IDLE)
    assert world.found("resp_2") is None


def test_webhooks_find_a_thread_that_was_taken_over_and_not_one_that_was_closed(world):
    world.ledger.take_over(Saved(snapshot=RUNNING), SETTINGS)
    assert world.ledger.snapshot == RUNNING
    assert world.ledger.deadlines.moments == (130.0,)
    assert world.found("resp_1") == "thread_1"
    world.ledger.close()
    assert world.found("resp_1") is None

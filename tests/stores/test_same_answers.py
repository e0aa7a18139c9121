"""For any sequence of calls, a store in a SQLite file answers like one in memory, even after it was reopened."""

import tempfile
from pathlib import Path

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.machine.queue import EMPTY, Queue, QueuedMessage
from gpt_agent_fsm.stores import MemoryStore, SQLStore
from gpt_agent_fsm.testing.contracts.samples import every_command, every_event, every_snapshot
from gpt_agent_fsm.testing.contracts.store_means import tried, whole_change
from tests.stores.helpers import idle

THREADS = ("thread_1", "thread 2/\N{SNOWMAN}", "")
SNAPSHOTS = [idle(), *every_snapshot("")]
threads = st.sampled_from(THREADS)
small = st.integers(-1, 12)
numbers = small | st.sampled_from([-(10**30), 10**30, 2**63 - 1, 2**63])
times = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=()))
snapshots = st.builds(
    lambda base, text, tries: attrs.evolve(
        base, queue=Queue((QueuedMessage(key=text, content=text),), tries + 2), pending=tried(tries).pending
    ),
    # By number, because the text of all of them is too long for a report.
    st.integers(0, len(SNAPSHOTS) - 1).map(lambda number: SNAPSHOTS[number]),
    texts,
    small,
)
commands = st.sampled_from(every_command())
events = st.lists(st.sampled_from(every_event("")), max_size=4)


def attempt(call):
    """Return the answer, or the kind of error."""
    try:
        return call()
    except StoreError:
        return StoreError


class SameAnswers(RuleBasedStateMachine):
    @initialize()
    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        self.memory = MemoryStore()
        self.url = f"sqlite:///{Path(self.folder.name)}/agents.db"
        self.sql = SQLStore(self.url)

    def both(self, call):
        expected, answer = attempt(lambda: call(self.memory)), attempt(lambda: call(self.sql))
        assert answer == expected
        return answer

    @rule(thread_id=threads, snapshot=snapshots, happened=events, consumed=numbers, at=times, due=st.none() | times)
    def commit(self, thread_id, snapshot, happened, consumed, at, due):
        snapshot = attrs.evolve(snapshot, thread_id=thread_id)
        happened = [attrs.evolve(event, thread_id=thread_id) for event in happened]
        saved = self.memory.load(thread_id)
        change = whole_change(EMPTY if saved is None else saved.snapshot.queue, snapshot.queue)
        self.both(
            lambda store: list(store.commit(snapshot, consumed=consumed, events=happened, at=at, due=due, queue=change))
        )

    @rule(thread_id=threads, command=commands)
    def accept(self, thread_id, command):
        self.both(lambda store: store.accept(thread_id, command))

    @rule(thread_id=threads, seq=numbers)
    def announced(self, thread_id, seq):
        self.both(lambda store: store.announced(thread_id, seq))

    @rule(thread_id=threads, after=numbers)
    def history(self, thread_id, after):
        self.both(lambda store: list(store.history(thread_id, after)))

    @rule()
    def reopen(self):
        self.sql.close()
        self.sql = SQLStore(self.url)

    @invariant()
    def all_is_the_same(self):
        for thread_id in THREADS:
            self.both(lambda store, thread_id=thread_id: store.load(thread_id))
        self.both(lambda store: dict(store.unfinished()))

    def teardown(self):
        self.sql.close()
        self.folder.cleanup()


SameAnswers.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSameAnswers = SameAnswers.TestCase

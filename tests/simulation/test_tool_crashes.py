"""A conversation with tools and approvals crashes at each change of its store, before and after the change."""

import itertools
import random
from collections import Counter

import pytest

from gpt_agent_fsm import Runtime, Settings, ToolContext, events, signals, tool
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Call, SimulatedServer, VirtualScheduler
from gpt_agent_fsm.testing.crashing import CrashingStore, StoreHandle
from gpt_agent_fsm.testing.network import Crash

ROUNDS = [("once", "again", "asked"), ("ruled", "refused", "by_hand"), ("once",)]
PLAN = [*(Call(tuple((name, "{}") for name in names)) for names in ROUNDS), Answer("Done")]
DECISIONS = {"asked": ["ToolApproved"], "refused": ["ToolDenied"]}


class CrashAt(CrashingStore):
    """Crashes at the change of this number, before or after it."""

    def __init__(self, store, number, *, after):
        super().__init__(store, random.Random(0), 0.0)
        self.left, self.after = number, after

    def _change(self, call):
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Crash
        answer = call()
        if self.left == 0:
            raise Crash
        return answer


class Life:
    """A conversation in several processes, one after the other."""

    def __init__(self, seconds):
        self.server = SimulatedServer(lambda text: list(PLAN))
        self.store, self.seconds, self.ran = MemoryStore(), seconds, Counter()
        self.thread_id = self.server.create_thread(timeout=1)
        self.connect(StoreHandle(self.store), VirtualScheduler()).add_user_message("Hello")

    def tools(self):
        def run(context):
            self.ran[context.call_id] += 1
            return context.attempt

        def once(context: ToolContext) -> int:
            return run(context)

        return [
            tool(once),
            tool(name="again", retry="safe")(once),
            tool(name="asked", approve=True)(once),
            tool(name="ruled", approve=lambda call: True)(once),
            tool(name="refused", approve=lambda call: False)(once),
        ]

    def connect(self, store, scheduler):
        runtime = Runtime(self.server, Settings(), store, tools=self.tools(), scheduler=scheduler)
        # Until a function ends, other changes are saved, at which the process may crash.
        runtime._roster.jobs._run_soon = lambda function: scheduler.call_later(self.seconds, function)
        return runtime.connect(thread_id=self.thread_id, assistant_id="a", last_message_id=None)

    def process(self, store):
        """Converse until the conversation is over; return False if the process crashes."""
        scheduler = VirtualScheduler()
        with signals.tool_call_requested.connected_to(answer_by_hand):
            try:
                self.converse(self.connect(store, scheduler), scheduler)
            except Crash:
                return False
        return True

    def converse(self, agent, scheduler):
        for _ in range(50):
            scheduler.advance(2)
            for call in agent.open_approvals:
                agent.approve(call.id)
            if agent.state == "idle" and agent._driver.is_settled():
                return
        pytest.fail(agent.explain())

    def check(self):
        happened = [record.event for record in self.store.history(self.thread_id)]
        calls = {event.id: event.name for event in happened if isinstance(event, events.ToolCallRequested)}
        assert Counter(calls.values()) == Counter(itertools.chain(*ROUNDS))
        assert {call_id: len(outputs) for call_id, outputs in self.server.outputs(self.thread_id).items()} == (
            dict.fromkeys(calls, 1)
        )
        for call_id, name in calls.items():
            of_call = [event for event in happened if getattr(event, "id", None) == call_id]
            names = [type(event).__name__ for event in of_call]
            assert names.count("ToolCallRequested") == names.count("ToolCallOutputRecorded") == 1
            assert [each for each in names if each in ("ToolApproved", "ToolDenied")] == DECISIONS.get(name, [])
            assert names.count("ToolApprovalRequested") == (name == "asked")
            attempts = [event.attempt for event in of_call if isinstance(event, events.ToolStarted)]
            assert attempts == list(range(1, len(attempts) + 1))
            assert self.ran[call_id] <= (len(attempts) if name == "again" else 1)
            if name not in ("refused", "by_hand"):
                assert self.ran[call_id] or "ToolOutcomeUnknown" in names


def answer_by_hand(agent, event):
    if event.name == "by_hand":
        agent.submit_tool_output(event.id, 9)


@pytest.mark.parametrize("seconds", [0.0, 3.0], ids=["at once", "slowly"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_change_runs_no_function_twice_and_loses_none(seconds, after):
    for number in itertools.count(1):
        life = Life(seconds)
        if life.process(CrashAt(life.store, number, after=after)):
            break
        assert life.process(StoreHandle(life.store))
        life.check()
    life.check()
    assert number > 30

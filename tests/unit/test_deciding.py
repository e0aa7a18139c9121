"""Decisions and their commits: what is saved, when, and which request follows at once."""

import contextlib

import pytest

from gpt_agent_fsm import Runtime, Settings, errors, events
from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.machine.queue import NO_CHANGE
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Call, SimulatedServer, VirtualScheduler
from gpt_agent_fsm.tools import tool


@tool
def add(x: int) -> int:
    """Add one."""
    return x + 1


class Server(SimulatedServer):
    """A server that records the order of the requests, and calls `at[operation]` before it answers one."""

    def __init__(self, *plan):
        super().__init__(lambda text: list(plan) or [Answer(text)])
        self.order, self.at = [], {}

    def _note(self, operation, thread_id):
        self.order.append((thread_id, operation))
        self.at.get(operation, lambda: None)()

    def post_message(self, thread_id, content, *, key, timeout):
        self._note("post", thread_id)
        return super().post_message(thread_id, content, key=key, timeout=timeout)

    def create_run(self, request, *, timeout):
        self._note("run", request.thread_id)
        return super().create_run(request, timeout=timeout)

    def submit_tool_outputs(self, request, *, timeout):
        self._note("submit", request.thread_id)
        return super().submit_tool_outputs(request, timeout=timeout)

    def list_messages(self, thread_id, **how):
        self._note("list", thread_id)
        return super().list_messages(thread_id, **how)


class Store(MemoryStore):
    """A store that counts its transactions, and fails in the commits of which `fails` returns True."""

    def __init__(self):
        super().__init__()
        self.commits, self.written, self.fails = [], 0, lambda snapshot: False

    def accept(self, thread_id, command):
        self.written += 1
        return super().accept(thread_id, command)

    def commit(self, snapshot, **fields):
        self.written += 1
        self.commits.append((snapshot, fields))
        if self.fails(snapshot):
            raise StoreError("It is unknown whether it took effect.")
        return super().commit(snapshot, **fields)

    def announced(self, thread_id, seq):
        saved = self.load(thread_id)
        self.written += bool(saved.unannounced)
        super().announced(thread_id, seq)


class OldStore(Store):
    """A store whose `commit` does not know the keyword `announced`, although it inherits the attribute."""

    def commit(self, snapshot, *, consumed, events, at, due, queue=NO_CHANGE):
        return super().commit(snapshot, consumed=consumed, events=events, at=at, due=due, queue=queue)


@contextlib.contextmanager
def running(server, store=None, **options):
    with Runtime(server, store=store or Store(), scheduler=VirtualScheduler(), **options) as runtime:
        yield runtime


def connect(runtime, **options):
    return runtime.connect(thread_id=runtime.create_thread(), assistant_id="a", last_message_id=None, **options)


# --- which request follows at once ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_heard", [False, True])
def test_a_message_and_its_run_are_made_in_one_tick_unless_a_handler_must_be_called_between_them(is_heard):
    server = Server()
    with running(server) as runtime:
        one, two = [connect(runtime, subscribe=(lambda *_: None) if is_heard else None) for _ in range(2)]
        server.order.clear()
        one.add_user_message("Hello")
        two.add_user_message("Hello")
        runtime.scheduler.settle()
    made = [(thread, operation) for thread, operation in server.order if operation != "list"]
    ids = one.thread_id, two.thread_id
    alone = [(thread, operation) for thread in ids for operation in ("post", "run")]
    in_turn = [(thread, operation) for operation in ("post", "run") for thread in ids]
    assert made == (in_turn if is_heard else alone)


def test_a_handler_of_a_posted_message_can_still_prevent_its_run():
    server = Server()

    def hear(agent, event):
        if isinstance(event, events.UserMessageAdded):
            agent.cancel_run()

    with running(server) as runtime:
        agent = connect(runtime, subscribe=hear)
        agent.add_user_message("Hello")
        assert agent.wait(timeout=600) == "failed"
    assert "run" not in dict(map(reversed, server.order))


def test_a_request_that_counts_as_sent_is_sent_before_a_handler_hears_of_it():
    """Somebody connects while the run's request is in flight, and then hears that the message was posted."""
    server, heard = Server(), []
    with running(server) as runtime:
        agent = connect(runtime)
        server.at["run"] = lambda: runtime.connect(
            thread_id=agent.thread_id,
            assistant_id="a",
            last_message_id=None,
            subscribe=lambda _, event: heard.append((type(event).__name__, server.order[-1][1])),
        )
        agent.add_user_message("Hello")
        agent.wait(timeout=600)
    assert ("UserMessageAdded", "run") in heard


def test_a_stopped_agent_sends_nothing_more():
    server = Server()
    with running(server) as runtime:
        agent = connect(runtime)
        server.at["post"] = agent.shutdown
        agent.add_user_message("Hello")
        runtime.scheduler.settle()
    assert "run" not in [operation for _, operation in server.order]


def test_a_request_that_the_gate_holds_back_does_not_count_as_sent():
    server, store = Server(), Store()
    with running(server, store, settings=Settings(request_retry_delay=5.0, request_retry_max_delay=5.0)) as runtime:
        agent, other = connect(runtime), connect(runtime)

        def limit():
            del server.at["post"]
            raise errors.TransientError(429, None, "Rate limit reached.")

        server.at["post"] = limit
        agent.add_user_message("Hello")
        runtime.scheduler.settle()
        other.add_user_message("Hello")
        runtime.scheduler.settle()
        assert (other.thread_id, "post") not in server.order
        assert not store.load(other.thread_id).snapshot.pending.sent
        assert other.wait(timeout=600) == "idle"


# --- commits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make_store", "expected"), [(Store, 9), (OldStore, 14)])
def test_a_turn_with_a_function_takes_few_transactions_while_no_handler_listens(make_store, expected):
    server, store = Server(Call((("add", '{"x": 1}'),)), Answer("two")), make_store()
    with running(server, store, tools=[add]) as runtime:
        agent = connect(runtime)
        agent.ask("Hello", timeout=600)
        store.written = 0
        assert agent.ask("Hello", timeout=600).text == "two"
    assert store.written == expected


def test_a_decision_that_could_not_be_saved_is_repeated_unchanged_and_its_request_is_made_then():
    server, store = Server(), Store()
    with running(server, store) as runtime:
        agent = connect(runtime)
        failures = [True, True]
        store.fails = lambda snapshot: snapshot.pending is not None and snapshot.pending.sent and failures.pop()
        agent.add_user_message("Hello")
        with contextlib.suppress(IndexError):
            runtime.scheduler.settle()
        store.fails = lambda snapshot: False
        assert agent.wait(timeout=600) == "idle"
    sent = [
        (snapshot, fields["due"]) for snapshot, fields in store.commits if snapshot.pending and snapshot.pending.sent
    ]
    first, second = [(snapshot, due) for snapshot, due in sent if snapshot.request.operation == "post_message"][:2]
    assert first == second
    assert [message.content for message in server.messages(agent.thread_id)] == ["Hello", "Hello"]


def test_a_run_that_ended_is_seen_again_if_the_process_dies_before_its_messages_are_read():
    server, store = Server(), Store()
    with running(server, store) as runtime:
        agent = connect(runtime)
        server.at["list"] = lambda: seen.append(store.load(agent.thread_id).snapshot.state)
        seen = []
        agent.add_user_message("Hello")
        agent.wait(timeout=600)
        assert seen == [State.RUNNING]
    assert events.RunCompleted in [type(record.event) for record in store.history(agent.thread_id)]


def test_a_message_that_nobody_hears_counts_as_announced_with_its_commit():
    store = Store()
    with running(Server(), store) as runtime:
        agent = connect(runtime)
        agent.add_user_message("Hello")
        agent.wait(timeout=600)
        assert {fields.get("announced", False) for _, fields in store.commits if fields["events"]} == {True}
        heard = []
        runtime.connect(
            thread_id=agent.thread_id, assistant_id="a", last_message_id=None, subscribe=lambda _, e: heard.append(e)
        )
        store.commits.clear()
        agent.add_user_message("Hello")
        agent.wait(timeout=600)
    assert not any(fields.get("announced") for _, fields in store.commits)
    assert events.AssistantMessageAdded in map(type, heard)


def test_the_answer_to_a_request_that_changes_the_server_is_saved_before_the_next_request():
    class Quick(Server):
        """A server whose runs have ended when they are created."""

        def create_run(self, request, *, timeout):
            run = super().create_run(request, timeout=timeout)
            return self.get_run(request.thread_id, run.id, timeout=timeout)

    server, store, saved = Quick(), Store(), []
    with running(server, store) as runtime:
        agent = connect(runtime)
        server.at["list"] = lambda: saved.append(store.load(agent.thread_id).snapshot.request.operation)
        agent.add_user_message("Hello")
        agent.wait(timeout=600)
    assert saved == ["list_messages"]


def test_a_request_that_was_not_made_does_not_count_as_sent_after_the_end():
    server, store = Server(), Store()
    with running(server, store) as runtime:
        agent = connect(runtime)
        store.fails = lambda snapshot: snapshot.pending is not None and snapshot.pending.sent
        agent.add_user_message("Hello")
        runtime.scheduler.step()
        assert "post" not in [operation for _, operation in server.order]
        store.fails = lambda snapshot: False
        agent.shutdown()
        runtime.scheduler.settle()
        pending = store.load(agent.thread_id).snapshot.pending
    assert (pending.request.operation, pending.sent) == ("post_message", False)

"""Many OS threads write in one group, and each gets its own answer."""

import threading

import pytest

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores.group import GroupCommit, Ticket

PATIENCE = 30


class Writing:
    """Writes when the test permits it; records the groups."""

    def __init__(self, maximum=1000):
        self.groups = []
        self.begun = threading.Semaphore(0)
        self.may_continue = threading.Semaphore(0)
        self.refused = {}
        self.queue = GroupCommit(self.write, maximum)
        self.queued = threading.Semaphore(0)
        self.outcomes = {}
        self.callers = []

    def write(self, tickets):
        self.groups.append([ticket.operation for ticket in tickets])
        self.begun.release()
        assert self.may_continue.acquire(timeout=PATIENCE)
        for ticket in tickets:
            if ticket.operation in self.refused:
                error = self.refused[ticket.operation]
                if isinstance(error, StoreError):
                    ticket.fail(error)
                else:
                    raise error
            else:
                ticket.answered = True

    def call(self, operation):
        def work():
            try:
                self.queue.do(operation)
            except BaseException as error:
                self.outcomes[operation] = error
            else:
                self.outcomes[operation] = "durable"

        caller = threading.Thread(target=work, daemon=True)
        self.callers.append(caller)
        caller.start()

    def end(self):
        for caller in self.callers:
            caller.join(PATIENCE)
            assert not caller.is_alive()


@pytest.fixture
def waiting(monkeypatch):
    """A semaphore, released whenever a caller is in the queue and begins to wait."""
    waits, plain = threading.Semaphore(0), Ticket.wait

    def wait(ticket):
        waits.release()
        plain(ticket)

    monkeypatch.setattr(Ticket, "wait", wait)
    return waits


def lead_and_queue_up(writing, waiting, *operations):
    """Let `first` lead, and let these operations queue behind it, one after the other."""
    writing.call("first")
    assert writing.begun.acquire(timeout=PATIENCE)
    for operation in operations:
        writing.call(operation)
        assert waiting.acquire(timeout=PATIENCE)


def test_a_single_caller_writes_at_once():
    writing = Writing()
    writing.may_continue.release()
    writing.queue.do("only")
    assert writing.groups == [["only"]]


def test_waiting_operations_are_written_together_in_order(waiting):
    writing = Writing()
    lead_and_queue_up(writing, waiting, "a", "b", "c")
    writing.may_continue.release(2)
    writing.end()
    assert writing.groups == [["first"], ["a", "b", "c"]]
    assert set(writing.outcomes.values()) == {"durable"}


def test_a_group_has_a_limit(waiting):
    writing = Writing(maximum=2)
    lead_and_queue_up(writing, waiting, "a", "b", "c")
    writing.may_continue.release(3)
    writing.end()
    assert writing.groups == [["first"], ["a", "b"], ["c"]]


def test_no_caller_is_answered_before_the_group_is_written(waiting):
    writing = Writing()
    lead_and_queue_up(writing, waiting, "a", "b")
    writing.may_continue.release()
    assert writing.begun.acquire(timeout=PATIENCE)
    assert "a" not in writing.outcomes
    assert "b" not in writing.outcomes
    writing.may_continue.release()
    writing.end()
    assert writing.outcomes["b"] == "durable"


def test_each_caller_gets_its_own_error(waiting):
    writing = Writing()
    problem = StoreError("full")
    problem.__cause__ = OSError("disk")
    writing.refused = {"a": problem, "c": problem}
    lead_and_queue_up(writing, waiting, "a", "b", "c")
    writing.may_continue.release(2)
    writing.end()
    assert writing.outcomes["b"] == "durable"
    assert str(writing.outcomes["a"]) == str(writing.outcomes["c"]) == "full"
    assert len({id(error) for error in (problem, writing.outcomes["a"], writing.outcomes["c"])}) == 3
    assert writing.outcomes["a"].__cause__ is problem.__cause__


def test_an_interrupt_of_the_leader_is_an_error_for_the_others_and_the_queue_continues(waiting):
    writing = Writing()
    writing.refused = {"a": KeyboardInterrupt()}
    lead_and_queue_up(writing, waiting, "a", "b")
    writing.may_continue.release()
    assert writing.begun.acquire(timeout=PATIENCE)
    writing.call("late")
    assert waiting.acquire(timeout=PATIENCE)
    writing.may_continue.release(2)
    writing.end()
    assert isinstance(writing.outcomes["a"], KeyboardInterrupt)
    assert isinstance(writing.outcomes["b"], StoreError)
    assert writing.outcomes["late"] == "durable"


def interrupt(monkeypatch, operation):
    """Interrupt the caller of an operation as soon as it waits."""
    plain = Ticket.wait

    def wait(ticket):
        if ticket.operation == operation:
            raise KeyboardInterrupt
        plain(ticket)

    monkeypatch.setattr(Ticket, "wait", wait)


def test_a_caller_that_is_interrupted_while_waiting_leaves_the_queue(waiting, monkeypatch):
    writing = Writing()
    lead_and_queue_up(writing, waiting, "a")
    interrupt(monkeypatch, "gone")
    with pytest.raises(KeyboardInterrupt):
        writing.queue.do("gone")
    writing.may_continue.release(2)
    writing.end()
    assert writing.groups == [["first"], ["a"]]


def test_a_caller_that_is_interrupted_when_it_gets_the_lead_hands_it_on(monkeypatch):
    writing = Writing()
    called, plain, waits = threading.Semaphore(0), Ticket.wait, threading.Semaphore(0)

    def wait(ticket):
        waits.release()
        plain(ticket)
        if ticket.operation == "gone":
            called.release()
            raise KeyboardInterrupt

    monkeypatch.setattr(Ticket, "wait", wait)
    lead_and_queue_up(writing, waits, "gone", "next")
    writing.may_continue.release(2)
    assert called.acquire(timeout=PATIENCE)
    writing.end()
    assert writing.groups == [["first"], ["next"]]
    assert isinstance(writing.outcomes["gone"], KeyboardInterrupt)
    assert writing.outcomes["next"] == "durable"


def test_a_caller_that_is_interrupted_while_its_group_is_written_raises_at_once(monkeypatch):
    writing = Writing()
    waits, gone, plain = threading.Semaphore(0), threading.Event(), Ticket.wait

    def wait(ticket):
        waits.release()
        if ticket.operation == "gone":
            assert gone.wait(PATIENCE)
            raise KeyboardInterrupt
        plain(ticket)

    monkeypatch.setattr(Ticket, "wait", wait)
    lead_and_queue_up(writing, waits, "a", "gone")
    writing.may_continue.release()
    assert writing.begun.acquire(timeout=PATIENCE)
    gone.set()
    writing.callers[2].join(PATIENCE)
    assert isinstance(writing.outcomes["gone"], KeyboardInterrupt)
    writing.may_continue.release()
    writing.end()
    assert writing.groups == [["first"], ["a", "gone"]]
    assert writing.outcomes["a"] == "durable"


def test_a_thousand_callers_are_all_answered():
    lock, written = threading.Lock(), []

    def write(tickets):
        assert lock.acquire(blocking=False), "two wrote at once"
        written.extend(ticket.operation for ticket in tickets)
        for ticket in tickets:
            ticket.answered = True
        lock.release()

    queue = GroupCommit(write, 50)

    def work(number):
        for step in range(50):
            queue.do((number, step))

    callers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(20)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    assert sorted(written) == [(number, step) for number in range(20) for step in range(50)]

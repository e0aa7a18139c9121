"""Many OS threads write in one group, and each gets its own answer."""

import threading

import pytest

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores.group import GroupCommit, Ticket
from tests.stores.helpers import at_each_line, raise_interrupt

PATIENCE = 30


class Writing:
    """Writes when the test permits it; records the groups."""

    def __init__(self, maximum=1000, patience=PATIENCE):
        self.groups = []
        self.begun = threading.Semaphore(0)
        self.may_continue = threading.Semaphore(0)
        self.refused = {}
        self.answers = {}
        self.queue = GroupCommit(self.write, maximum, patience)
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
                self.answers[ticket.operation] = ticket.answer()

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

    def wait(ticket, seconds):
        waits.release()
        plain(ticket, seconds)

    monkeypatch.setattr(Ticket, "wait", wait)
    return waits


def queue_up(writing, waiting, *operations):
    """Let `first` be written, and let these operations queue behind it, one after the other."""
    writing.call("first")
    assert writing.begun.acquire(timeout=PATIENCE)
    assert waiting.acquire(timeout=PATIENCE)
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
    queue_up(writing, waiting, "a", "b", "c")
    writing.may_continue.release(2)
    writing.end()
    assert writing.groups == [["first"], ["a", "b", "c"]]
    assert set(writing.outcomes.values()) == {"durable"}


def test_a_group_has_a_limit(waiting):
    writing = Writing(maximum=2)
    queue_up(writing, waiting, "a", "b", "c")
    writing.may_continue.release(3)
    writing.end()
    assert writing.groups == [["first"], ["a", "b"], ["c"]]


def test_no_caller_is_answered_before_the_group_is_written(waiting):
    writing = Writing()
    queue_up(writing, waiting, "a", "b")
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
    queue_up(writing, waiting, "a", "b", "c")
    writing.may_continue.release(2)
    writing.end()
    assert writing.outcomes["b"] == "durable"
    assert str(writing.outcomes["a"]) == str(writing.outcomes["c"]) == "full"
    assert len({id(error) for error in (problem, writing.outcomes["a"], writing.outcomes["c"])}) == 3
    assert writing.outcomes["a"].__cause__ is problem.__cause__


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), MemoryError()])
def test_an_unexpected_error_fails_its_group_and_the_queue_continues(waiting, error):
    writing = Writing()
    writing.refused = {"a": error}
    queue_up(writing, waiting, "a", "b")
    writing.may_continue.release()
    assert writing.begun.acquire(timeout=PATIENCE)
    writing.call("late")
    writing.may_continue.release(2)
    writing.end()
    for operation in "ab":
        assert isinstance(writing.outcomes[operation], StoreError)
        assert type(error).__name__ in str(writing.outcomes[operation])
    assert writing.outcomes["late"] == "durable"


# --- callers that leave -----------------------------------------------------------------------------------


def interrupt(monkeypatch, operation, gone=None):
    """Interrupt the caller of an operation as soon as it waits, or when `gone` is set."""
    plain = Ticket.wait

    def wait(ticket, seconds):
        if ticket.operation == operation:
            assert gone is None or gone.wait(PATIENCE)
            raise KeyboardInterrupt
        plain(ticket, seconds)

    monkeypatch.setattr(Ticket, "wait", wait)


def test_an_operation_that_was_interrupted_while_it_waited_is_not_written(waiting, monkeypatch):
    writing = Writing()
    queue_up(writing, waiting, "a")
    interrupt(monkeypatch, "gone")
    with pytest.raises(KeyboardInterrupt):
        writing.queue.do("gone")
    writing.may_continue.release(2)
    writing.end()
    assert writing.groups == [["first"], ["a"]]


def test_a_caller_that_is_interrupted_while_its_group_is_written_raises_at_once_and_is_not_answered(monkeypatch):
    writing, gone = Writing(), threading.Event()
    interrupt(monkeypatch, "gone", gone)
    writing.call("gone")
    assert writing.begun.acquire(timeout=PATIENCE)
    gone.set()
    writing.end()
    assert isinstance(writing.outcomes["gone"], KeyboardInterrupt)
    writing.may_continue.release(2)
    writing.queue.do("next")
    assert writing.answers == {"gone": False, "next": True}


def test_a_caller_waits_only_for_its_patience_and_is_not_answered_later():
    writing = Writing(patience=0.05)
    with pytest.raises(StoreError, match=r"did not answer within 0\.05 seconds.* takes effect once"):
        writing.queue.do("slow")
    with pytest.raises(StoreError, match="did not answer"):
        writing.queue.do("queued behind it")
    writing.may_continue.release(3)
    writing.queue.do("next")
    assert writing.answers == {"slow": False, "next": True}
    assert ["queued behind it"] not in writing.groups


def test_an_interrupt_at_any_line_of_a_call_leaves_the_queue_usable():
    def write(tickets):
        for ticket in tickets:
            ticket.answer()

    queue = GroupCommit(write, 10, PATIENCE)
    assert at_each_line(lambda: queue.do("a"), raise_interrupt) > 5
    queue.do("b")


def test_a_call_may_be_made_from_a_signal_handler_that_interrupted_one():
    def write(tickets):
        for ticket in tickets:
            ticket.answer()

    queue = GroupCommit(write, 10, PATIENCE)
    assert at_each_line(lambda: queue.do("a"), lambda: queue.do("nested")) > 5


# --- the end ----------------------------------------------------------------------------------------------


def test_operations_queued_before_the_end_are_written_and_later_ones_refused(waiting):
    writing = Writing()
    queue_up(writing, waiting, "a")
    writing.queue.end()
    writing.may_continue.release(2)
    writing.end()
    assert writing.outcomes == {"first": "durable", "a": "durable"}
    writing.queue._worker.join(PATIENCE)
    assert not writing.queue._worker.is_alive()
    with pytest.raises(StoreError, match="This store was closed"):
        writing.queue.do("late")


def test_an_operation_queued_after_the_end_is_refused(waiting):
    writing = Writing()
    queue_up(writing, waiting)
    writing.queue.end()
    writing.call("late")
    assert waiting.acquire(timeout=PATIENCE)
    writing.may_continue.release(2)
    writing.end()
    assert "This store was closed" in str(writing.outcomes["late"])


def test_a_thousand_callers_are_all_answered():
    lock, written = threading.Lock(), []

    def write(tickets):
        assert lock.acquire(blocking=False), "two wrote at once"
        written.extend(ticket.operation for ticket in tickets)
        for ticket in tickets:
            ticket.answer()
        lock.release()

    queue = GroupCommit(write, 50, PATIENCE)

    def work(number):
        for step in range(50):
            queue.do((number, step))

    callers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(20)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    assert sorted(written) == [(number, step) for number in range(20) for step in range(50)]

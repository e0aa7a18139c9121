"""A user message whose answer a caller waits for, as a whole or piece by piece."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

from gpt_agent_fsm import signals
from gpt_agent_fsm.engine.answer import Answer
from gpt_agent_fsm.engine.inquiry import Inquiry
from gpt_agent_fsm.engine.protocols import Backend, Scheduler
from gpt_agent_fsm.engine.run_options import output_of
from gpt_agent_fsm.engine.thread import Thread
from gpt_agent_fsm.engine.waiters import Changed
from gpt_agent_fsm.errors import WaitInHandler, WaitTimeout
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.tools.output import Output

__all__ = ["AnswerStream", "Question", "refuse_in_handler", "settle", "wait_until"]


def wait_until(
    driver: Thread,
    scheduler: Scheduler,
    is_over: Callable[[], bool],
    timeout: float | None,
    changed: threading.Event | None = None,
) -> bool:
    """Block until `is_over()` is true, or until the driver has stopped. Return False after the timeout.

    After each tick, the worker calls `is_over`. The OS thread that waits also calls `is_over`, at the beginning and
    whenever `changed` is set. Raises `AgentNotAlive` if the driver was stopped.
    """
    changed = changed or Changed()

    def done() -> bool:
        return driver.has_stopped or is_over()

    with driver.waiters.added(changed, done):
        in_time = scheduler.wait(done, changed, timeout)
    driver.check_alive()
    return in_time


def settle(driver: Thread, scheduler: Scheduler, timeout: float | None) -> State:
    """Block until the thread has settled, and return its state. See `Agent.wait`."""
    if not wait_until(driver, scheduler, driver.is_settled, timeout):
        raise WaitTimeout(f"{driver.thread_id} has not come to rest after {timeout} seconds. {driver.explain()}")
    return driver.snapshot.state


def refuse_in_handler(what: str) -> None:
    """Raise `WaitInHandler` inside a handler or a tool, which would wait for its own return."""
    if signals.in_handler():
        in_tool = "the function of a tool, and the run waits for its output; let the function return first"
        where = in_tool if signals.in_tool() else "a handler; return from it and connect to a later event"
        raise WaitInHandler(f"{what} inside {where}.")


class Question:
    """The wait for the answer to one message. Only one caller uses it, and closes it at the end.

    Args:
        timeout: the seconds from now within which the answer must come; None for no limit.
        output: the form of the answer; None for the form that the run's assistant uses.
    """

    def __init__(
        self, driver: Thread, scheduler: Scheduler, key: str, *, timeout: float | None, output: Output | None
    ) -> None:
        self._driver = driver
        self._scheduler = scheduler
        self._timeout = timeout
        self._output = output
        self._changed = Changed()
        self._is_closed = False
        self._inquiry = Inquiry(driver.thread_id, key, self._changed.set)
        clock = scheduler.clock
        self._end = None if timeout is None else clock.monotonic() + timeout
        self._following = contextlib.ExitStack()
        self._following.enter_context(driver.announcer.followed_by(self._inquiry))

    def close(self) -> None:
        """Stop following the message, and end a `wait` of another OS thread. Idempotent. The conversation continues."""
        self._is_closed = True
        self._following.close()
        self._changed.set()

    def take_text(self) -> str:
        """Return the part of the answer's text that has come since the last call; "" if no text has come."""
        return self._inquiry.text.take()

    def wait(self, has_piece: Callable[[], bool] | None = None) -> None:
        """Block until there is a complete answer or an error, or until `has_piece()` is true.

        `has_piece` may call `take_text`. If the queue is parked, this method raises `RunError`. Before that, it
        withdraws the message, unless the message may have been sent. It may also raise `WaitTimeout` and
        `AgentNotAlive`.
        """
        inquiry = self._inquiry
        while not (self._is_closed or inquiry.is_over or (has_piece is not None and has_piece())):
            refuse_in_handler("the answer was waited for")
            # Workers call the function below, and only this OS thread may take text.
            self._wait_until(
                lambda: inquiry.is_over or inquiry.is_parked or (has_piece is not None and inquiry.text.has_news)
            )
            if inquiry.is_parked and not self._is_closed:
                self._driver.send(inputs.WithdrawMessage(key=inquiry.key))
                self._wait_until(lambda: inquiry.is_over or self._driver.is_settled())
                inquiry.check_parked()

    def answer(self, backend: Backend) -> Answer:
        """Return the answer. Raise `RunError` if there is none."""
        return self._inquiry.answer(self._output or output_of(backend, self._inquiry.assistant_id))

    def _wait_until(self, is_over: Callable[[], bool]) -> None:
        driver, clock = self._driver, self._scheduler.clock
        left = None if self._end is None else max(0.0, self._end - clock.monotonic())
        if not wait_until(driver, self._scheduler, lambda: self._is_closed or is_over(), left, self._changed):
            sentence = f"{driver.thread_id} has not answered after {self._timeout} seconds. {driver.explain()}"
            raise WaitTimeout(sentence)


class AnswerStream(Iterator[str]):
    """The text of an answer, in pieces, while the model writes it. `Agent.stream` returns it.

    Iterate over it once. The joined pieces are equal to `answer.text` or to its beginning, with one exception: if the
    server repeats or changes the text, they may differ from `answer.text`. Even then, `answer.text` is right. If the
    text does not come in pieces, for example because the server does not support streams, the only piece is the whole
    text. Like `Agent.ask`, the iteration may raise `RunError`, `WaitTimeout` and `AgentNotAlive`.

    To stop early, leave the loop and call `close`. A `with` statement calls `close` at its end. `close` does not end
    the run.
    """

    def __init__(self, question: Question, backend: Backend) -> None:
        self._question = question
        self._backend = backend
        self._answer: Answer | None = None
        self._piece = ""
        self._has_ended = False

    def __iter__(self) -> AnswerStream:
        return self

    def __next__(self) -> str:
        """Block until the next piece, and return it."""
        if self._has_ended:
            raise StopIteration
        try:
            self._question.wait(self._has_piece)
            if not self._has_ended:  # otherwise, another OS thread has closed the stream
                if self._has_piece():
                    piece, self._piece = self._piece, ""
                    return piece
                self._answer = self._question.answer(self._backend)
        except BaseException:
            self.close()
            raise
        self.close()
        raise StopIteration

    def _has_piece(self) -> bool:
        self._piece = self._piece or self._question.take_text()
        return bool(self._piece)

    @property
    def answer(self) -> Answer:
        """The whole answer. Raises `RuntimeError` before the last piece, after an early end, and after an error."""
        if self._answer is None:
            why = "it has ended without an answer" if self._has_ended else "read all of its pieces first"
            raise RuntimeError(f"The stream has no answer: {why}.")
        return self._answer

    def close(self) -> None:
        """Read no more pieces. Idempotent. The run continues. If another OS thread waits for a piece, its loop ends."""
        self._has_ended = True
        self._question.close()

    def __enter__(self) -> AnswerStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

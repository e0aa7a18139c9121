"""Ask for messages, send each of them, and follow it until its answer is complete."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import FrameType
from typing import TypeAlias

import attrs

from gpt_agent_fsm import Agent, events
from gpt_agent_fsm.cli.chat.opening import Session
from gpt_agent_fsm.cli.chat.questions import Leave, Questions
from gpt_agent_fsm.cli.chat.reader import Reader
from gpt_agent_fsm.cli.chat.screen import Screen
from gpt_agent_fsm.cli.chat.slash_commands import CANCEL, QUIT, Commands
from gpt_agent_fsm.engine.question import AnswerStream
from gpt_agent_fsm.errors import AgentNotAlive, GptAgentError, RunError

__all__ = ["Conversation", "News"]

_BY_USER = ("cancelled", "discarded")
"""The codes of a message that was cancelled."""


@attrs.define(eq=False)
class _End:
    """The end of one wait.

    Attributes:
        error: why there is no answer; None if there is one.
    """

    error: GptAgentError | None = None


@attrs.frozen
class _Cancel:
    """A person cancels the answer.

    Attributes:
        leaves: True if the chat ends then.
    """

    leaves: bool


News: TypeAlias = SimpleQueue[events.Event | _End | _Cancel]
"""What happens while a person waits. A `SimpleQueue` can also be filled by the handler of an operating system
signal."""


class Conversation:
    """A chat from its first message to its last. One OS thread, which must be the main one, uses it.

    Args:
        news: the events of the agent.
        stays: True if Ctrl-C during an answer returns to the prompt. False if it ends the chat.
    """

    def __init__(self, session: Session, news: News, screen: Screen, reader: Reader, *, stays: bool) -> None:
        self._session = session
        self._agent: Agent = session.agent
        self._news = news
        self._screen = screen
        self._reader = reader
        self._stays = stays
        self._commands = Commands(session, screen)
        self._questions = Questions(
            session.agent, screen, reader, self._commands, lambda by_signal: self._put_cancel(by_signal=by_signal)
        )
        self.failures: int = 0
        """The number of messages without an answer."""

    def hold(self) -> None:
        """Hold the conversation until a person leaves it. Raise `KeyboardInterrupt` if the person has pressed Ctrl-C.

        Raises `EOFError` if the lines end while a question waits for an answer, and `AgentNotAlive` if another program
        has taken over the conversation.
        """
        with contextlib.suppress(Leave):
            self._resume()
            while (line := self._next_line()) != QUIT:
                if line == CANCEL:
                    self._cancel()
                    self._resume()
                elif line.startswith("/") and not line.startswith("//"):
                    self.failures += not self._commands.run(line)
                elif line:
                    self._say(line.removeprefix("/") if line.startswith("//") else line)

    def _next_line(self) -> str:
        self._show_news()
        try:
            return self._reader.message().strip()
        except EOFError:
            return QUIT

    def _say(self, text: str) -> None:
        try:
            pieces = self._agent.stream(text, **self._session.run_options)
        except ValueError as error:
            self._fail(str(error))
            return
        problem = self._follow(lambda: _read(pieces))
        if isinstance(problem, RunError):
            self._failed(problem.code, problem.message)

    def _resume(self) -> None:
        """Follow what is still in progress, for example a run of an earlier chat."""
        before = self._agent.failure
        self._follow(self._agent.wait)
        failure = self._agent.failure
        if failure is not None and failure.parked:
            self._fail(f"{failure.message} An earlier message waits for this; {CANCEL} drops it.")
        elif failure is not None and failure != before:
            self._failed(failure.code, failure.message)

    def _failed(self, code: str | None, message: str) -> None:
        if code in _BY_USER:
            self._screen.note("Cancelled.")
        else:
            self._fail(f"{message} ({code})" if code else message)

    def _fail(self, sentence: str) -> None:
        self.failures += 1
        self._screen.error(sentence)

    # --- waiting ---------------------------------------------------------------------------------------------

    def _follow(self, wait: Callable[[], object]) -> GptAgentError | None:
        """Show what happens until `wait` has returned. Return its error.

        `wait` runs on an OS thread of its own, so that this one can show events and ask questions in their order.
        """
        end = _End()
        threading.Thread(target=self._wait, args=(wait, end), name="gpt-agent-fsm chat", daemon=True).start()
        cancelled: _Cancel | None = None
        with self._interrupts():
            self._screen.wait("waiting")
            self._questions.ask_about_open_calls()
            while (item := self._news.get()) is not end:
                if isinstance(item, _Cancel) and cancelled is None:
                    cancelled = item
                    self._cancel()
                elif isinstance(item, _Cancel):
                    self._screen.note("The run may continue; /state shows it.")
                    break
                elif not isinstance(item, _End):
                    self._screen.show(item)
                    self._questions.ask_about(item)
        self._screen.end_line()
        if isinstance(end.error, AgentNotAlive):
            raise end.error
        if cancelled is not None and cancelled.leaves:
            raise KeyboardInterrupt
        return end.error

    def _put_cancel(self, *, by_signal: bool) -> None:
        self._news.put(_Cancel(leaves=by_signal and not self._stays))

    def _wait(self, wait: Callable[[], object], end: _End) -> None:
        try:
            wait()
        except GptAgentError as error:
            end.error = error
        finally:
            self._news.put(end)

    def _show_news(self) -> None:
        """Show the events since the last wait."""
        while not self._news.empty():
            item = self._news.get()
            if not isinstance(item, _End | _Cancel):
                self._screen.show(item)

    def _cancel(self) -> None:
        """End the run, and drop the message if it was not sent."""
        self._agent.cancel_run()
        self._agent.discard_queue()

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Inside the `with` block, Ctrl-C is news. So it never interrupts this program in the middle of a step."""

        def on_interrupt(_number: int, _frame: FrameType | None) -> None:
            self._put_cancel(by_signal=True)

        before = signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _read(pieces: AnswerStream) -> None:
    """Wait for the end of an answer. Its pieces are shown from the events, which have them in order with the calls."""
    for _ in pieces:
        pass

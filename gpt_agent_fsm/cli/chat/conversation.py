"""Ask for messages, send each message, and follow it until its answer is complete."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import SimpleQueue
from types import FrameType
from typing import TypeAlias

import attrs

from gpt_agent_fsm import Agent, events
from gpt_agent_fsm.cli.chat.opening import Session
from gpt_agent_fsm.cli.chat.questions import Cancelled, Leave, Questions
from gpt_agent_fsm.cli.chat.reader import Reader
from gpt_agent_fsm.cli.chat.screen import Screen
from gpt_agent_fsm.cli.chat.slash_commands import CANCEL, QUIT, Commands
from gpt_agent_fsm.engine.explaining import as_sentence
from gpt_agent_fsm.errors import AgentNotAlive, GptAgentError, RunError, names_code

__all__ = ["Conversation", "News"]

_BY_USER = ("cancelled", "discarded")
"""The error codes that say that a message was cancelled."""


@attrs.define(eq=False)
class _End:
    """The end of one wait.

    Attributes:
        error: why there is no answer; None if there is one.
    """

    error: GptAgentError | None = None


News: TypeAlias = SimpleQueue[events.Event | Cancelled | _End]
"""The news that come while a person waits. Even the handler of an operating system signal may put something into a
`SimpleQueue`."""


class Conversation:
    """A chat from its first message to its last. Only the main OS thread may use it.

    Args:
        news: the queue that receives the events of the agent.
        stays: True if the chat continues after Ctrl-C during an answer.

    Attributes:
        failures: the number of messages without an answer, and of unknown commands.
    """

    def __init__(self, session: Session, news: News, screen: Screen, reader: Reader, *, stays: bool) -> None:
        self._run_options = session.run_options
        self._agent: Agent = session.agent
        self._news = news
        self._screen = screen
        self._reader = reader
        self._stays = stays
        self._commands = Commands(session, screen)
        self._questions = Questions(session.agent, screen, reader, self._commands)
        self.failures: int = 0

    def hold(self) -> None:
        """Hold the conversation until a person leaves it. Raise `KeyboardInterrupt` if the person leaves with Ctrl-C.

        Raises `EOFError` if the input ends before a question is answered, and `AgentNotAlive` if another program drives
        the conversation now.
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
        # The run may begin before `stream` has returned. Ctrl-C then cancels it, and does not end the chat.
        with self._interrupts():
            try:
                pieces = self._agent.stream(text, **self._run_options)
            except ValueError as error:
                self._fail(str(error))
                return
            problem = self._follow(partial(_read, pieces))
        if isinstance(problem, RunError):
            self._failed(problem.code, problem.message)

    def _resume(self) -> None:
        """Follow a run that is in progress, for example one of an earlier chat."""
        before = self._agent.failure
        self._follow(self._agent.wait)
        failure = self._agent.failure
        if failure is not None and failure.parked:
            self._fail(f"{as_sentence(failure.message)} An earlier message waits for this; {CANCEL} drops it.")
        elif failure is not None and failure != before:
            self._failed(failure.code, failure.message)

    def _failed(self, code: str | None, message: str) -> None:
        if code in _BY_USER:
            self._screen.note("Cancelled.")
        else:
            self._fail(message if code is None or names_code(message, code) else f"{message} ({code})")

    def _fail(self, sentence: str) -> None:
        self.failures += 1
        self._screen.error(sentence)

    # --- waiting ---------------------------------------------------------------------------------------------

    def _follow(self, wait: Callable[[], object]) -> GptAgentError | None:
        """Show the news until `wait` has returned. Return the error that `wait` raised, or None.

        `wait` runs on an OS thread of its own. So the calling OS thread can show events and ask questions in order.
        """
        end = _End()
        with self._interrupts():
            threading.Thread(target=self._wait, args=(wait, end), name="gpt-agent-fsm chat", daemon=True).start()
            self._screen.wait("waiting")
            cancelled = self._ask(self._questions.ask_about_open_calls)
            while (item := self._news.get()) is not end:
                if isinstance(item, Cancelled):
                    if cancelled is not None:
                        self._screen.note("The run may still be in progress; /state shows it.")
                        break
                    cancelled = item
                    self._cancel()
                elif not isinstance(item, _End):
                    self._screen.show(item)
                    # A cancelled run needs no answers.
                    cancelled = cancelled or self._ask(partial(self._questions.ask_about, item))
        self._screen.end_line()
        if isinstance(end.error, AgentNotAlive):
            raise end.error
        if cancelled is not None and cancelled.by_signal and not self._stays:
            raise KeyboardInterrupt
        return end.error

    def _ask(self, ask: Callable[[], None]) -> Cancelled | None:
        """Let a person answer questions. If the person cancels the run instead, return the exception."""
        try:
            ask()
        except Cancelled as cancelled:
            self._cancel()
            return cancelled
        return None

    def _cancel(self) -> None:
        """End the run, or drop the message if it was not sent."""
        self._agent.cancel_run()
        self._agent.discard_queue()
        self._screen.end_line()
        self._screen.wait("cancelling; Ctrl-C again returns to the prompt")

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
            if not isinstance(item, _End | Cancelled):
                self._screen.show(item)

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Inside the `with` block, Ctrl-C only adds to the news, so it never interrupts a step of this program."""

        def on_interrupt(_number: int, _frame: FrameType | None) -> None:
            self._news.put(Cancelled(by_signal=True))

        before = signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _read(pieces: Iterable[str]) -> None:
    """Wait for the end of an answer. Show nothing: the events contain its pieces and the tool calls, in order."""
    for _ in pieces:
        pass

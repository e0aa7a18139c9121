"""The object through which user code drives one thread.

Its methods give commands, and its properties show the state.
"""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Mapping
from typing import Any, Literal, Unpack

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.engine.answer import Answer
from gpt_agent_fsm.engine.checks import optional_text, required_text
from gpt_agent_fsm.engine.content import read_content
from gpt_agent_fsm.engine.handles import ThreadRoster
from gpt_agent_fsm.engine.question import AnswerStream, Question, refuse_in_handler, settle
from gpt_agent_fsm.engine.run_options import RunOptions, check_names, options_text
from gpt_agent_fsm.engine.thread import Thread
from gpt_agent_fsm.errors import explains_keywords
from gpt_agent_fsm.events.parts import Content
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.objects import Failure, Usage
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.machine.waits import open_approvals, open_calls
from gpt_agent_fsm.tools.output import Output, as_output
from gpt_agent_fsm.tools.outputs import json_text

__all__ = ["Agent", "Answer"]

_MAX_WAIT = 1e12
"""The longest finite wait in seconds. A longer wait is refused, unless it is infinite."""


def _check_wait(name: str, timeout: object) -> None:
    """Raise an error in a handler or a tool, where waiting is not allowed, and for an invalid `timeout`."""
    refuse_in_handler(f"{name}() was called")
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    # The comparisons also refuse NaN, and whole numbers that are too large for a float.
    if timeout is not None and not (is_number and (0 <= timeout < _MAX_WAIT or timeout == math.inf)):  # type: ignore[operator]
        raise ValueError(f"timeout must be a number of seconds of at least 0 or None, not {timeout!r}")


class Agent:
    """Drives one thread. `Runtime.connect` returns the agent.

    An agent is safe to use from any OS thread and from handlers. A method that gives a command returns when the command
    is in the store, before any request is made. It raises `AgentNotAlive` if the agent was stopped. Events announce the
    results of commands. If the process forks, everything except `alive` and `thread_id` raises `UsedAfterFork` in the
    child.
    """

    __slots__ = ("__weakref__", "_own_driver", "_roster")

    def __init__(self, driver: Thread, roster: ThreadRoster) -> None:
        self._own_driver = driver
        self._roster = roster

    @property
    def _driver(self) -> Thread:
        """The driver of the thread. Raises `UsedAfterFork` in a process that was forked after the agent was made."""
        self._roster.origin.check()
        return self._own_driver

    def __repr__(self) -> str:
        snapshot = self._own_driver.snapshot
        state, failure = str(snapshot.state) if self.alive else "not alive", snapshot.failure
        if failure is None:
            return f"<Agent {self.thread_id} {state}>"
        what = f"{failure.operation or 'run'} failed" + ("" if failure.code is None else f" ({failure.code})")
        return f"<Agent {self.thread_id} {state}; {what}{', parked' if snapshot.outbox.parked else ''}>"

    # --- commands -----------------------------------------------------------------------------------

    def add_user_message(
        self, content: Content, when: Literal["next", "instead"] = "next", **options: Unpack[RunOptions]
    ) -> str:
        """Queue a user message and return its key. Messages are sent in order, and each message gets a run.

        `content` is a text, or a list of `str`, `Text`, `Image` and `File` objects. If an image or a file is given by
        its path, this method reads it. The store keeps the content of images and files until the message is sent.

        With `when="instead"`, the run in progress is cancelled as by `cancel_run`, and the message is sent before the
        other queued messages. Only a message that is already being sent stays before the new message. `options` apply
        only to the run of this message; see `RunOptions`. The events `UserMessageAdded` and `MessagesDiscarded` contain
        the key.

        Raises `ValueError` for a blank message, for an invalid part or option, for a part or option that the backend
        does not support, and for a file that cannot be read. Raises `TypeError` for an unknown option, and for an
        object that is not a part.
        """
        check_names("Agent.add_user_message", options, ("content", "when"))
        return self._send_message(uuid.uuid4().hex, content, when, options, None, stream=False)

    def _send_message(
        self, key: str, content: Content, when: str, options: Mapping[str, Any], output: Output | None, *, stream: bool
    ) -> str:
        if when not in ("next", "instead"):
            raise ValueError(f'when must be "next" or "instead", not {when!r}')
        backend = self._roster.backend
        said, parts = read_content(content, backend, self._driver.settings.max_part_bytes)
        text = options_text(options, output, getattr(backend, "run_options", ()), type(backend).__name__, stream=stream)
        command = inputs.AddUserMessage(key=key, content=said, run_options=text, instead=when == "instead", parts=parts)
        self._driver.send(command)
        return key

    def submit_tool_output(self, tool_call_id: str, output: Any) -> None:  # noqa: ANN401 - any JSON value
        """Answer a tool call with any JSON value.

        When all calls of a run have outputs, the library sends the outputs together.

        If the call does not wait for an output, the output is ignored and the log says so. Raises `ValueError` for an
        output that is not a JSON value.
        """
        tool_call_id = required_text(tool_call_id, "the tool call id")
        self._driver.send(inputs.SubmitToolOutput(tool_call_id=tool_call_id, output=json_text(output)))

    def approve(self, tool_call_id: str, by: str | None = None, note: str | None = None) -> None:
        """Approve a tool call that waits for an approval, so that its function starts.

        `by` is the person who decides, and `note` is a remark. The history keeps both. If the call does not wait for a
        decision, the decision is ignored and the log says so.
        """
        tool_call_id = required_text(tool_call_id, "the tool call id")
        self._driver.send(
            inputs.ApproveToolCall(
                tool_call_id=tool_call_id, by=optional_text(by, "by"), note=optional_text(note, "note")
            )
        )

    def deny(self, tool_call_id: str, reason: str = "", by: str | None = None) -> None:
        """Deny a tool call that waits for an approval. The model gets the reason. See `approve`."""
        tool_call_id = required_text(tool_call_id, "the tool call id")
        reason = optional_text(reason, "the reason") or ""
        self._driver.send(inputs.DenyToolCall(tool_call_id=tool_call_id, reason=reason, by=optional_text(by, "by")))

    def set_assistant_id(self, assistant_id: str) -> None:
        """Use this assistant for the next run and all later runs."""
        self._driver.send(inputs.SetAssistant(assistant_id=required_text(assistant_id, "the assistant id")))

    def cancel_run(self) -> None:
        """Cancel the run in progress. The run ends with `RunFailed` and the code `cancelled`.

        A run that was not created yet ends in the same way, but its `RunFailed.id` is None. If the server does not end
        the run, the library stops following the run after a limited number of attempts. Then the next queued message is
        sent. If there is no run, this method does nothing.
        """
        self._driver.send(inputs.CancelRun())

    def discard_queue(self) -> None:
        """Drop the messages that were not sent, and the run that was not created, so that nothing blocks the queue.

        `MessagesDiscarded` contains the keys of the dropped messages. If a message may have been sent, the library
        first searches the thread for this message. If the message is on the thread, it stays there and gets no run. A
        run that is already on the server continues; to end it, call `cancel_run`.
        """
        self._driver.send(inputs.DiscardQueue())

    def shutdown(self) -> None:
        """Stop the agent immediately, and remove it from the runtime. A request in flight may still finish.

        Accepted commands stay in the store. The next agent of the thread continues with them.
        """
        self._check_alive()
        self._roster.remove(self._driver, "shutdown")

    # --- waiting --------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> State:
        """Block until the thread is at rest: no run is active, and nothing is queued, in flight, unread or unannounced.

        Returns the state. It is `failed` if the queue is parked until a person acts (wrong API key, exhausted balance,
        no attempts left). Raises `WaitTimeout` after `timeout` seconds; None means no timeout. Raises `AgentNotAlive`
        if the agent is stopped. Raises `WaitInHandler` if a handler calls this method, because the handler would wait
        for itself.
        """
        _check_wait("wait", timeout)
        return settle(self._driver, self._roster.scheduler, timeout)

    def ask(
        self,
        content: Content,
        timeout: float | None = None,
        output: object = None,
        *,
        when: Literal["next", "instead"] = "next",
        **options: Unpack[RunOptions],
    ) -> Answer:
        """Send a user message, block until the message's run has ended, and return the answer.

        Several OS threads may call this method at the same time. Their messages are sent one after the other, and each
        call returns the answer to its own message. After a rate limit, the call waits for the new runs, up to the last
        retry. `content`, `when` and `options` are as in `add_user_message`.

        `output` is the form of the answer: an attrs class, a dataclass, a `TypedDict` or a JSON schema of the type
        "object". With `output`, the text of the answer is JSON, and `Answer.value` is the object. Without `output`, the
        `output` of the run's assistant applies.

        Raises `RunError` if the run fails or cannot be started. If the queue is parked before the message was sent, the
        message is withdrawn. Raises `WaitTimeout` after `timeout` seconds; None means no timeout. The conversation
        continues after a timeout. Raises `ValueError`, `AgentNotAlive` and `WaitInHandler` as `add_user_message` and
        `wait` do.
        """
        _check_wait("ask", timeout)
        question = self._ask(content, timeout, output, when, options, stream=False)
        with contextlib.closing(question):
            question.wait()
        return question.answer(self._roster.backend)

    def stream(
        self,
        content: Content,
        timeout: float | None = None,
        output: object = None,
        *,
        when: Literal["next", "instead"] = "next",
        **options: Unpack[RunOptions],
    ) -> AnswerStream:
        """Send a user message, and return its answer as an iterator over pieces of text.

        The pieces come while the model writes them. After the last piece, `answer` of the iterator is the whole
        `Answer`. The arguments are those of `ask`. `timeout` is the limit for the whole answer, and starts with this
        call.

        This method does not block; the iteration does. This method raises `ValueError`, `AgentNotAlive` and
        `WaitInHandler` as `ask` does. The iteration raises the other errors of `ask`.
        """
        _check_wait("stream", timeout)
        question = self._ask(content, timeout, output, when, options, stream=True)
        return AnswerStream(question, self._roster.backend)

    def _ask(
        self,
        content: Content,
        timeout: float | None,
        output: object,
        when: str,
        options: Mapping[str, Any],
        *,
        stream: bool,
    ) -> Question:
        """Send a message, and return the object that waits for its answer."""
        method = "Agent.stream" if stream else "Agent.ask"
        check_names(method, options, ("content", "timeout", "output", "when"))
        form, key = None if output is None else as_output(output), uuid.uuid4().hex
        question = Question(self._driver, self._roster.scheduler, key, timeout=timeout, output=form)
        try:
            self._send_message(key, content, when, options, form, stream=stream)
        except BaseException:
            question.close()
            raise
        return question

    # --- the thread's state --------------------------------------------------------------------------------------

    def _check_alive(self) -> None:
        self._driver.check_alive()

    @property
    def alive(self) -> bool:
        """False after the agent was stopped, and in a process that was forked after the agent was made."""
        return self._own_driver.stop_reason is None and not self._roster.origin.was_forked

    @property
    def thread_id(self) -> str:
        """The thread's id on the server."""
        return self._own_driver.thread_id

    @property
    def assistant_id(self) -> str:
        """The id of the assistant for the next runs."""
        for command in reversed(self._driver.commands()):
            if isinstance(command, inputs.Connect | inputs.SetAssistant):
                return command.assistant_id
        return self._driver.snapshot.assistant_id

    @property
    def last_message_id(self) -> str | None:
        """The cursor of the thread: the id of the last assistant message that was published; None if there is none."""
        for command in reversed(self._driver.commands()):
            if isinstance(command, inputs.Connect) and command.last_message_id is not None:
                return command.last_message_id
        return self._driver.snapshot.cursor.last_message_id

    @property
    def run_id(self) -> str | None:
        """The id of the run in progress, or of the rate limited run that a new run will replace; None without a run."""
        return self._driver.snapshot.run_id

    @property
    def open_tool_calls(self) -> tuple[events.ToolCallRequested, ...]:
        """The tool calls that wait for `submit_tool_output`, each as a `ToolCallRequested`. Raises `AgentNotAlive`.

        Calls that a function of the runtime answers are not included.
        """
        self._check_alive()
        accepted = {each.tool_call_id for each in self._driver.commands() if isinstance(each, inputs.SubmitToolOutput)}
        calls = (call for call in open_calls(self._driver.snapshot) if call.id not in accepted)
        return tuple(call for call in calls if not self._driver.answers(call.name))

    @property
    def open_approvals(self) -> tuple[events.ToolApprovalRequested, ...]:
        """The tool calls that wait for a decision, each as a `ToolApprovalRequested`. Raises `AgentNotAlive`."""
        self._check_alive()
        return open_approvals(self._driver.snapshot, self._driver.commands())

    @property
    def usage(self) -> Usage:
        """The tokens of all ended runs of the thread, including failed runs. This also works on a stopped agent."""
        return self._driver.snapshot.usage

    @property
    def failure(self) -> Failure | None:
        """The last failure of a run or a request; None after the next success. This also works on a stopped agent."""
        snapshot = self._driver.snapshot
        failure = snapshot.failure
        return None if failure is None else attrs.evolve(failure, parked=snapshot.outbox.parked)

    def explain(self) -> str:
        """Return a few plain sentences that say what the thread waits for.

        They also say since when the thread waits, what happens next and when, and which methods you can call. Does not
        block. Raises `AgentNotAlive`.
        """
        self._check_alive()
        return self._driver.explain()

    @property
    def state(self) -> State:
        """The thread's state. It equals its name, such as "idle", and prints as this name. Raises `AgentNotAlive`."""
        self._check_alive()
        return self._driver.snapshot.state

    @property
    def run_in_progress(self) -> bool:
        """True in every state except `idle` and `failed`. Raises `AgentNotAlive`."""
        return self.state.run_in_progress

    # --- pictures -------------------------------------------------------------------------------------

    def diagram(self, format: Literal["svg", "mermaid", "dot", "md"] = "svg") -> str:
        """Return the state machine as a picture or a text, with the thread's state lit.

        The arrows that the thread has taken since it last left `idle` or `failed` are marked. The picture contains no
        text of messages. Reads the store. Raises `ValueError` for an unknown format, and `AgentNotAlive`.
        """
        from gpt_agent_fsm import diagrams  # noqa: PLC0415 - most programs draw nothing
        from gpt_agent_fsm.engine.showing import diagram_of_thread  # noqa: PLC0415

        self._check_alive()
        saved = self._roster.store.load(self.thread_id)
        shown = diagram_of_thread(self._roster.store, self._driver.snapshot, saved.last_seq if saved else 0)
        return diagrams.render(shown, format)

    def _repr_html_(self) -> str:
        """Return the diagram for a notebook, or only the `repr` if the agent is not alive or the drawing fails."""
        from html import escape  # noqa: PLC0415 - takes memory, and only notebooks need it

        name, picture = escape(object.__repr__(self)), ""
        with contextlib.suppress(Exception):  # a notebook shows nothing at all if this method raises
            name = escape(repr(self))
            picture = self.diagram() if self.alive else ""
        return f'<p><code>{name}</code></p><div style="overflow-x:auto">{picture}</div>'


# The methods with options of a run check the names of their keywords themselves.
explains_keywords(Agent, "wait", "submit_tool_output", "approve", "deny", "set_assistant_id", "diagram")

"""What user code holds of one thread: commands are methods, questions are properties."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

from gpt_agent_fsm import events, signals
from gpt_agent_fsm.engine.driver import Driver
from gpt_agent_fsm.engine.roster import Roster
from gpt_agent_fsm.errors import WaitInHandler, WaitTimeout
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.arguments import decode_arguments
from gpt_agent_fsm.machine.states import State

__all__ = ["Agent"]


def required_text(value: object, name: str) -> str:
    """Return `value`, a string with more in it than white space that can be sent; raise `ValueError` else."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, not {value!r}")
    if not value.strip():
        raise ValueError(f"{name} must not be blank")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} contains an unpaired surrogate and cannot be encoded") from None
    return value


def _as_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a tool output must be a JSON value: {error}") from None
    return text


def _why(driver: Driver) -> str:
    """Say which tool calls are waited for, if any."""
    calls = [f"{call.name} ({call.id})" for call in driver.snapshot.calls if call.output is None]
    waits = driver.snapshot.state is State.AWAITING_TOOLS and calls
    return f"; it waits for the output of {', '.join(calls)}" if waits else ""


class Agent:
    """Drives one thread. Made by `Runtime.connect`; safe to use from any thread, handlers included.

    Commands return when the store has them, before any request is made, and raise `AgentNotAlive` once the agent
    was shut down. What they bring about is announced as events. In a process that was forked after the runtime was made
    everything but `alive` and `thread_id` raises `UsedAfterFork`.
    """

    __slots__ = ("__weakref__", "_own_driver", "_roster")

    def __init__(self, driver: Driver, roster: Roster) -> None:
        self._own_driver = driver
        self._roster = roster

    @property
    def _driver(self) -> Driver:
        """The driver; raises `UsedAfterFork` in a process that was forked since."""
        self._roster.origin.check()
        return self._own_driver

    def __repr__(self) -> str:
        state = str(self._driver.snapshot.state) if self.alive else "not alive"
        return f"<Agent {self.thread_id} {state}>"

    # --- commands -----------------------------------------------------------------------------------

    def add_user_message(self, content: str) -> str:
        """Queue a user message and return its key. Messages go out in order, one run each.

        `UserMessageAdded` and `MessagesDiscarded` name the message by the key. Raises `ValueError` for a blank message.
        """
        required_text(content, "the message")
        key = uuid.uuid4().hex
        self._driver.send(inputs.AddUserMessage(key=key, content=content))
        return key

    def submit_tool_output(self, tool_call_id: str, output: Any) -> None:  # noqa: ANN401 - any JSON value
        """Answer a tool call with any JSON value. When the last output of a run is in, all are sent together.

        An output for a call that is not open is ignored, and the log says so. Raises `ValueError` for an output
        that is not a JSON value.
        """
        required_text(tool_call_id, "the tool call id")
        self._driver.send(inputs.SubmitToolOutput(tool_call_id=tool_call_id, output=_as_json(output)))

    def set_assistant_id(self, assistant_id: str) -> None:
        """Use another assistant from the next run on."""
        self._driver.send(inputs.SetAssistant(assistant_id=required_text(assistant_id, "the assistant id")))

    def cancel_run(self) -> None:
        """End the run in progress; it ends as `RunFailed` with code `cancelled`.

        So does a run that has yet to be created; `RunFailed.id` is None then. If the server does not end the run, it
        ends here after a bounded number of tries. Messages in the queue continue. Without a run this does nothing.
        """
        self._driver.send(inputs.CancelRun())

    def discard_queue(self) -> None:
        """Drop the messages that were not sent, and the run that was not created: a way past whatever blocks the queue.

        `MessagesDiscarded` names the keys of the messages. A message that may have been sent is searched for first: if
        it is on the thread, it stays there and gets no run. A run on the server continues; see `cancel_run`.
        """
        self._driver.send(inputs.DiscardQueue())

    def shutdown(self) -> None:
        """Take the agent out of the runtime. Effective before it returns; a request in flight may end.

        What was accepted stays in the store: connecting to the thread again continues with it.
        """
        self._check_alive()
        self._roster.remove(self._driver, "shutdown")

    # --- waiting --------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> State:
        """Block until nothing is queued, in flight, unread or unannounced and no run is on; return the state.

        A queue that waits for a person (wrong key, empty balance, attempts spent) counts as settled: the state is
        `failed`. Raises `WaitTimeout` after `timeout` seconds (None: never), `AgentNotAlive` if the agent is
        or gets stopped, and `WaitInHandler` when called from a handler, which would block the thread it waits for.
        """
        if signals.in_handler():
            raise WaitInHandler("wait() was called inside a handler; return from it and connect to a later event.")
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float)):
            raise ValueError(f"timeout must be a number of seconds or None, not {timeout!r}")
        driver, changed = self._driver, threading.Event()

        def is_over() -> bool:
            return driver.stop_reason is not None or driver.is_settled()

        with driver.waiters.added(changed):
            in_time = self._roster.scheduler.wait(is_over, changed, timeout)
        self._check_alive()
        if not in_time:
            raise WaitTimeout(
                f"{self.thread_id} is still {driver.snapshot.state} after {timeout} seconds{_why(driver)}"
            )
        return driver.snapshot.state

    # --- questions --------------------------------------------------------------------------------------

    def _check_alive(self) -> None:
        self._driver.check_alive()

    @property
    def alive(self) -> bool:
        """False once the agent was shut down, by whomever, and in a process that was forked since it was made."""
        return self._own_driver.stop_reason is None and not self._roster.origin.was_forked

    @property
    def thread_id(self) -> str:
        """The thread's id on the server."""
        return self._own_driver.thread_id

    @property
    def assistant_id(self) -> str:
        """The assistant of the runs to come."""
        for command in reversed(self._driver.commands()):
            if isinstance(command, inputs.Connect | inputs.SetAssistant):
                return command.assistant_id
        return self._driver.snapshot.assistant_id

    @property
    def last_message_id(self) -> str | None:
        """The cursor: the last assistant message that was published; None before the first."""
        for command in reversed(self._driver.commands()):
            if isinstance(command, inputs.Connect) and command.last_message_id is not None:
                return command.last_message_id
        return self._driver.snapshot.cursor.last_message_id

    @property
    def run_id(self) -> str | None:
        """The run in progress, or the one to be started again after a rate limit; None without."""
        return self._driver.snapshot.run_id

    @property
    def open_tool_calls(self) -> tuple[events.ToolCallRequested, ...]:
        """The tool calls that wait for `submit_tool_output`, as they were announced. Raises `AgentNotAlive`."""
        self._check_alive()
        snapshot = self._driver.snapshot
        if snapshot.run is None or snapshot.state is not State.AWAITING_TOOLS:
            return ()
        accepted = {each.tool_call_id for each in self._driver.commands() if isinstance(each, inputs.SubmitToolOutput)}
        return tuple(
            events.ToolCallRequested(
                id=call.id,
                thread_id=self.thread_id,
                run_id=snapshot.run.id,
                name=call.name,
                arguments=decode_arguments(call.arguments),
            )
            for call in snapshot.calls
            if call.output is None and call.id not in accepted
        )

    @property
    def state(self) -> State:
        """Where the thread is: compares equal to, and prints as, "idle", "running", ... Raises `AgentNotAlive`."""
        self._check_alive()
        return self._driver.snapshot.state

    @property
    def run_in_progress(self) -> bool:
        """True in every state but `idle` and `failed`. Raises `AgentNotAlive`."""
        return self.state.run_in_progress

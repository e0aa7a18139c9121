"""A server in memory with the rules of the real server.

An active run locks its thread, lists have pages, and runs have a status and may call tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from gpt_agent_fsm.errors import InvalidThreadId, RequestRefused, ThreadBusy
from gpt_agent_fsm.ports import (
    RUN_OPTIONS,
    Message,
    MessagePage,
    Part,
    Run,
    RunPage,
    RunRequest,
    RunStatus,
    Text,
    Timeout,
    ToolCall,
    ToolOutputsRequest,
    Usage,
)
from gpt_agent_fsm.testing.habits import Habits
from gpt_agent_fsm.testing.steps import LIMITED, Answer, Ask, Call, Fail, Linger, Planner, Step, Stuck, codes_of, echo

__all__ = ["SimulatedServer"]

_MAX_IN_THE_WAY = 8
"""How many requests a run may block while it waits for tools. After that, the run expires."""
_ENDED_BADLY = (RunStatus.FAILED, RunStatus.RATE_LIMITED, RunStatus.OUT_OF_QUOTA)
_COST_OF_A_FAILURE = Usage(prompt_tokens=1, total_tokens=1)


@attrs.define
class _Run:
    view: Run
    steps: list[Step]
    in_the_way: int = 0
    """How many requests the run has blocked."""
    outdated: list[Run] = attrs.field(factory=list)
    """The outdated states of the run that the next polls show."""
    message_id: str | None = None
    """The id of the message that a stream has begun to send."""


@attrs.define
class _Thread:
    messages: list[Message] = attrs.field(factory=list)
    runs: list[_Run] = attrs.field(factory=list)
    answered: dict[str, list[str]] = attrs.field(factory=dict)
    options: list[dict[str, Any]] = attrs.field(factory=list)
    by_server: set[str] = attrs.field(factory=set)
    """The calls that the server itself makes if they are approved."""


class SimulatedServer:
    """A `Backend` that needs no network. At each poll of a run, the run takes the next step of its plan.

    Args:
        plan: a function that returns the steps of each run. By default, the run answers "You said: " and the user's
            text.
        keeps_keys: False for a server that drops metadata.
        page_size: the largest number of messages per page.
        habits: the differences between this server and OpenAI's server.

    Attributes:
        faults_off: True if, from now on, the server must obey cancels and end each run.
    """

    run_options = RUN_OPTIONS

    def __init__(
        self,
        plan: Planner = echo,
        *,
        keeps_keys: bool = True,
        page_size: int = 100,
        habits: Habits = Habits(),  # noqa: B008 - frozen
    ) -> None:
        self.habits = habits
        self.faults_off = False
        self._plan = plan
        self._keeps_keys = keeps_keys
        self._page_size = page_size
        self._threads: dict[str, _Thread] = {}
        self._files: dict[str, bytes] = {}
        self._count = 0
        self.streamed: dict[str, tuple[str, str]] = {}
        """The messages that streams have begun to send, by their ids, each with the run's id and the whole text."""

    # --- inspection by tests ------------------------------------------------------------------------------

    def messages(self, thread_id: str) -> list[Message]:
        """Return the messages of a thread, oldest first."""
        return list(self._threads[thread_id].messages)

    def runs(self, thread_id: str) -> list[Run]:
        """Return the runs of a thread, oldest first."""
        return [run.view for run in self._threads[thread_id].runs]

    def outputs(self, thread_id: str) -> dict[str, list[str]]:
        """Return the accepted outputs of each tool call, in order. More than one output per call is a defect."""
        return dict(self._threads[thread_id].answered)

    def options(self, thread_id: str) -> list[dict[str, Any]]:
        """Return the options of each run that a runtime has created on a thread, oldest run first."""
        return list(self._threads[thread_id].options)

    def calls_by_server(self, thread_id: str) -> frozenset[str]:
        """Return the ids of the calls that the server itself makes if they are approved."""
        return frozenset(self._thread(thread_id).by_server)

    def is_locked(self, thread_id: str) -> bool:
        """Return whether an active run locks the thread, so that the thread accepts no messages."""
        return any(run.view.status.locks_thread for run in self._thread(thread_id).runs)

    def is_stuck(self, thread_id: str) -> bool:
        """Return whether a run of the thread ends only after `faults_off` is set.

        Such a run is in progress or being cancelled.
        """
        return any(self._stays(run) for run in self._thread(thread_id).runs)

    def _stays(self, run: _Run) -> bool:
        if run.view.status is RunStatus.CANCELLING:
            return self.habits.cancels == "endless"
        return run.view.status is RunStatus.ACTIVE and run.steps[:1] == [Stuck()]

    def failed_runs(self, thread_id: str) -> frozenset[str]:
        """Return the ids of the runs that have failed."""
        return frozenset(run.id for run in self.runs(thread_id) if run.status in _ENDED_BADLY)

    def tokens(self, thread_id: str) -> dict[str, int]:
        """Return how many tokens each run of a thread has used."""
        return {run.id: run.usage.total_tokens for run in self.runs(thread_id)}

    def run_keys(self, thread_id: str) -> list[str]:
        """Return the keys of all runs of a thread that have a key, oldest run first."""
        return [run.key for run in self.runs(thread_id) if run.key is not None]

    def start_run_elsewhere(self, thread_id: str, *steps: Step) -> str | None:
        """Start a run as another client would, and return its id. Return None if the thread is busy."""
        if self.is_locked(thread_id):
            return None
        return self._start(thread_id, "asst_elsewhere", None, list(steps or [Answer()])).id

    def next_message(self, thread_id: str, run_id: str) -> tuple[str, str] | None:
        """Return the id and the text of the message that a run adds in its next step.

        Return None if the next step adds no message.
        """
        run = self._run(thread_id, run_id)
        step = run.steps[0] if run.steps else None
        if run.view.status is not RunStatus.ACTIVE or not isinstance(step, Answer) or not step.text:
            return None
        run.message_id = run.message_id or self._new_id("msg")
        self.streamed[run.message_id] = run_id, step.text
        return run.message_id, step.text

    def make_step(self, thread_id: str, run_id: str) -> None:
        """Make a run take the next step of its plan."""
        self._progress(thread_id, self._run(thread_id, run_id))

    # --- the interface ---------------------------------------------------------------------------------------------

    def create_thread(self, *, timeout: Timeout) -> str:
        """See `Backend.create_thread`."""
        del timeout
        thread_id = self._new_id("thread")
        self._threads[thread_id] = _Thread()
        return thread_id

    def get_thread(self, thread_id: str, *, timeout: Timeout) -> None:
        """See `Backend.get_thread`."""
        del timeout
        if thread_id not in self._threads:
            raise InvalidThreadId(404, None, f"No thread found with id '{thread_id}'.")

    def list_runs(
        self, thread_id: str, *, limit: int, key: str | None = None, retry_of: str | None = None, timeout: Timeout
    ) -> RunPage:
        """See `Backend.list_runs`."""
        del key, retry_of, timeout
        return RunPage(runs=tuple(run.view for run in reversed(self._thread(thread_id).runs))[:limit])

    def post_message(self, thread_id: str, content: str, *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """See `Backend.post_message`."""
        del timeout
        return self._post(thread_id, [Text(content)], key)

    def refused_parts(self, parts: Sequence[Part]) -> str | None:
        """See `PartsBackend.refused_parts`. This server takes all parts."""
        del parts
        return None

    def post_parts(self, thread_id: str, parts: Sequence[Part], *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """See `PartsBackend.post_parts`."""
        del timeout
        return self._post(thread_id, parts, key)

    def _post(self, thread_id: str, parts: Sequence[Part], key: str) -> tuple[str, bool]:
        self._check_free(thread_id)
        content = "\n".join(part.text for part in parts if isinstance(part, Text))
        self.habits.check_message(content)
        kept = key if self._keeps_keys else None
        message = Message(id=self._new_id("msg"), role="user", content=content, key=kept, parts=tuple(parts))
        return self._say(thread_id, message), bool(kept)

    def upload(self, name: str, data: bytes, purpose: str, *, timeout: Timeout) -> str:
        """See `UploadBackend.upload`."""
        del name, purpose, timeout
        file_id = self._new_id("file")
        self._files[file_id] = data
        return file_id

    def download(self, file_id: str, *, timeout: Timeout) -> bytes:
        """See `FileBackend.download`."""
        del timeout
        if file_id not in self._files:
            raise RequestRefused(404, None, f"No such File object: {file_id}")
        return self._files[file_id]

    def create_run(self, request: RunRequest, *, timeout: Timeout) -> Run:
        """See `Backend.create_run`."""
        del timeout
        self._check_free(request.thread_id)
        said = [message.content for message in self._thread(request.thread_id).messages if message.role == "user"]
        self.habits.check_run(said[-1] if said else "")
        plan = list(self._plan(said[-1] if said else ""))
        self._thread(request.thread_id).options.append(dict(request.options))
        return self._start(request.thread_id, request.assistant_id, request.key, plan)

    def get_run(
        self, thread_id: str, run_id: str, *, handle: str | None = None, in_doubt: bool = False, timeout: Timeout
    ) -> Run:
        """See `Backend.get_run`."""
        del handle, in_doubt, timeout
        run = self._run(thread_id, run_id)
        if not self.faults_off:
            self.habits.check_poll(run_id)
            if run.outdated:
                return run.outdated.pop()
        self._progress(thread_id, run)
        shown = run.view.tool_calls if self.faults_off else self.habits.shown_calls(run.view.tool_calls)
        calls = [attrs.evolve(call, arguments=self.habits.spelt(call.arguments)) for call in shown]
        return attrs.evolve(run.view, tool_calls=tuple(calls))

    def submit_tool_outputs(self, request: ToolOutputsRequest, *, timeout: Timeout) -> Run:
        """See `Backend.submit_tool_outputs`."""
        del timeout
        run = self._run(request.thread_id, request.run_id)
        if run.view.status is not RunStatus.NEEDS_TOOLS:
            raise RequestRefused(400, None, f"Runs in status '{run.view.status}' do not accept tool outputs.")
        asked = {(call.id, call.by_server) for call in run.view.tool_calls}
        given = {(id_, False) for id_, _ in request.outputs} | {(id_, True) for id_, _ in request.decisions}
        if asked != given:
            raise RequestRefused(400, None, "Expected one output for each tool call.")
        for call_id, output in (*request.outputs, *request.decisions):
            self._thread(request.thread_id).answered.setdefault(call_id, []).append(output)
        run.outdated = [run.view] * self.habits.outdated_polls
        run.view = attrs.evolve(run.view, status=RunStatus.ACTIVE, tool_calls=())
        return run.view

    def list_messages(self, thread_id: str, *, after: str | None, newest_first: bool, timeout: Timeout) -> MessagePage:
        """See `Backend.list_messages`."""
        del timeout
        messages = self._thread(thread_id).messages
        messages = self.habits.newest_first(messages) if newest_first else messages
        if self.habits.ignores_cursor:
            return MessagePage(messages=tuple(messages))
        start = next((i + 1 for i, message in enumerate(messages) if message.id == after), 0)
        found = messages[start : start + self._page_size]
        more = start + self._page_size < len(messages)
        return MessagePage(messages=tuple(found), next_after=found[-1].id if found and more else None)

    def cancel_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: Timeout) -> Run:
        """See `Backend.cancel_run`."""
        del handle, timeout
        run = self._run(thread_id, run_id)
        if self.habits.cancels == "overtaken" and run.view.status.locks_thread and not self.faults_off:
            _fail(run, LIMITED)
        if not run.view.status.locks_thread:
            raise RequestRefused(400, None, f"Cannot cancel run with status '{run.view.status}'.")
        if not self.faults_off:
            self.habits.check_cancel()
        if self.faults_off or self.habits.cancels != "ignored":
            run.view = attrs.evolve(run.view, status=RunStatus.CANCELLING, tool_calls=(), unsupported="")
        return run.view

    def close(self) -> None:
        """See `Backend.close`."""

    # --- the rules -----------------------------------------------------------------------------------------------

    def _new_id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def _thread(self, thread_id: str) -> _Thread:
        if thread_id not in self._threads:
            raise RequestRefused(404, None, f"No thread found with id '{thread_id}'.")
        return self._threads[thread_id]

    def _run(self, thread_id: str, run_id: str) -> _Run:
        for run in self._thread(thread_id).runs:
            if run.view.id == run_id:
                return run
        raise RequestRefused(404, None, f"No run found with id '{run_id}'.")

    def _check_free(self, thread_id: str) -> None:
        for run in self._thread(thread_id).runs[-1:]:
            if run.view.status.locks_thread:
                self._let_time_pass(thread_id, run)
                raise ThreadBusy(400, None, f"Thread {thread_id} already has an active run {run.view.id}.")

    def _let_time_pass(self, thread_id: str, run: _Run) -> None:
        """Make the run that locks the thread take a step, because a request to the thread means that time has passed.

        If the run waits for tool outputs and has blocked too many requests, it expires.
        """
        run.in_the_way += 1
        self._progress(thread_id, run)
        if run.view.status is RunStatus.NEEDS_TOOLS and run.in_the_way >= _MAX_IN_THE_WAY:
            _end(run, "expired")

    def _say(self, thread_id: str, message: Message) -> str:
        self._thread(thread_id).messages.append(message)
        return message.id

    def _start(self, thread_id: str, assistant_id: str, key: str | None, steps: list[Step]) -> Run:
        view = Run(
            id=self._new_id("run"),
            status=RunStatus.ACTIVE,
            assistant_id=assistant_id,
            key=key if self._keeps_keys else None,
        )
        self._thread(thread_id).runs.append(_Run(view, steps))
        return view

    def _new_call(self, name: str, arguments: str, *, by_server: bool = False) -> ToolCall:
        return ToolCall(id=self._new_id("call"), name=name, arguments=arguments, by_server=by_server)

    def _progress(self, thread_id: str, run: _Run) -> None:
        """Make a run take the next step of its plan."""
        if run.view.status is RunStatus.CANCELLING and (self.faults_off or self.habits.cancels != "endless"):
            _end(run, "cancelled")
        if run.view.unsupported and self.faults_off:
            _end(run, "expired")
        if run.view.status is not RunStatus.ACTIVE:
            return
        step = run.steps.pop(0) if run.steps else Answer("")
        match step:
            case Stuck() if self.faults_off:
                _end(run, "expired")
            case Stuck():
                run.steps.insert(0, step)
            case Ask(kind=kind):
                run.view = attrs.evolve(run.view, status=RunStatus.NEEDS_TOOLS, unsupported=f"it waits for {kind}")
            case Linger(looks=polls):
                if polls > 1:
                    run.steps.insert(0, Linger(polls - 1))
            case Call(calls=calls, by_server=by_server):
                asked = [self._new_call(*call) for call in calls]
                asked += [self._new_call(*call, by_server=True) for call in by_server]
                self._thread(thread_id).by_server.update(call.id for call in asked if call.by_server)
                run.view = attrs.evolve(run.view, status=RunStatus.NEEDS_TOOLS, tool_calls=tuple(asked))
            case Fail():
                _fail(run, step)
            case Answer(text=text):
                if text:
                    self._say(
                        thread_id,
                        Message(
                            id=run.message_id or self._new_id("msg"),
                            role="assistant",
                            content=text,
                            run_id=run.view.id,
                            assistant_id=run.view.assistant_id,
                            key=run.view.key if self.habits.copies_keys else None,
                        ),
                    )
                usage = Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
                run.view = attrs.evolve(run.view, status=RunStatus.COMPLETED, usage=usage)


def _end(run: _Run, code: str) -> None:
    _fail(run, Fail(code=code, message=f"{code.capitalize()}."))


def _fail(run: _Run, why: Fail) -> None:
    run.view = attrs.evolve(
        run.view,
        status=why.status,
        tool_calls=(),
        unsupported="",
        code=codes_of(why.status, why.code),
        message=why.message,
        usage=_COST_OF_A_FAILURE,
    )

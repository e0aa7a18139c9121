"""Lets functions answer the tool calls of one thread.

Decides what happens to each call next, and starts the functions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.engine.protocols import Clock
from gpt_agent_fsm.engine.tool_jobs import Job, JobKey, ToolJobs
from gpt_agent_fsm.engine.tracing import Trace
from gpt_agent_fsm.errors import ToolArgumentsError
from gpt_agent_fsm.logs import Log, get_logger, must_propagate
from gpt_agent_fsm.machine import inputs
from gpt_agent_fsm.machine.arguments import decode_arguments, error_output
from gpt_agent_fsm.machine.objects import CallStage, ToolCall
from gpt_agent_fsm.machine.snapshot import Snapshot
from gpt_agent_fsm.machine.states import State
from gpt_agent_fsm.tools import Tool, ToolBox, ToolContext

__all__ = ["ToolDesk", "Tooling", "functions_of"]

log: Log = get_logger(__name__)

_RULE = 0
"""The attempt number of a job that asks a tool's approval rule about a call. Such a job does not run the function."""
_TAKES_RESULTS = (State.AWAITING_TOOLS, State.FAILED)
_DENIED_BY_RULE = "the rule of the tool does not allow it"


@attrs.frozen
class Tooling:
    """The tools of a runtime, and the jobs in which their functions run.

    Attributes:
        box: the tools that the runtime was given.
        others: a function that returns the functions of the assistants that the backend knows.
        rule_timeout: the seconds within which a tool's approval rule must decide, if the tool has no timeout. It is the
            total request timeout, because a rule may wait for a service that hangs.
        trace: the trace hooks.
    """

    box: ToolBox
    others: Callable[[], Iterable[Tool[..., Any]]]
    jobs: ToolJobs
    clock: Clock
    rule_timeout: float
    trace: Trace

    def find(self, name: str) -> Tool[..., Any] | None:
        """Return the tool of this name, or None."""
        found = self.box.get(name)
        return found or next((tool for tool in self.others() if tool.name == name), None)

    @property
    def is_empty(self) -> bool:
        """True if there is no tool at all."""
        return not self.box and next(iter(self.others()), None) is None


def functions_of(backend: object) -> tuple[Tool[..., Any], ...]:
    """Return the functions of the assistants that a backend knows. Return () if the backend has no functions."""
    found = getattr(backend, "functions", ())
    return found if isinstance(found, tuple) else ()


_NO_JOBS = frozenset[JobKey]()


class ToolDesk:
    """Decides about the tool calls of one thread. Only the thread's driver uses it."""

    __slots__ = ("_former_places", "_in_line", "_places", "_starting", "_thread_id", "_tooling")

    def __init__(self, tooling: Tooling, thread_id: str) -> None:
        self._tooling = tooling
        self._thread_id = thread_id
        self._starting: frozenset[JobKey] = _NO_JOBS
        """The jobs whose start this desk has decided, and whose functions are not started yet."""
        self._places: frozenset[JobKey] = _NO_JOBS
        """The jobs for which this desk has reserved a place or waits for a place, until `ToolJobs.add` gets them."""
        self._former_places: frozenset[JobKey] = _NO_JOBS
        """While inputs are being found: the places from before. After an error, they are kept until the next time."""
        self._in_line: JobKey | None = None
        """While inputs are being found: the job of this thread that waits for a place."""

    @property
    def has_decided_a_start(self) -> bool:
        """True if the desk has decided to start a function, but has not started it yet."""
        return bool(self._starting)

    def deadline(self, snapshot: Snapshot) -> float | None:
        """Return the next deadline of a function or of an approval rule, in monotonic seconds.

        Return None if there is no such deadline, or if no result is useful now.
        """
        if snapshot.state not in _TAKES_RESULTS:
            return None
        jobs = [job for job in self._tooling.jobs.of_thread(self._thread_id).values() if not job.has_ended]
        if not _may_begin(snapshot):
            jobs = [job for job in jobs if job.key[-1] != _RULE]
        return min((job.deadline for job in jobs if job.deadline is not None), default=None)

    def next_inputs(self, snapshot: Snapshot, is_heard: Callable[[str], bool]) -> list[inputs.Input]:
        """Return the next inputs about the tool calls without an output. Also start the approval rules for these calls.

        `is_heard(call_id)` returns whether an event handler may answer the call. It is called only if no tool has the
        name of the call.
        """
        jobs = self._tooling.jobs.of_thread(self._thread_id)
        # An idle thread shares the empty set, because a new one takes 216 bytes.
        self._former_places = self._former_places | self._places or _NO_JOBS
        if not jobs and not snapshot.calls and not self._former_places:
            return []
        found, wanted = list[inputs.Input](), set[JobKey]()
        self._places, self._in_line = self._starting, None
        for call in self._calls_to_decide(snapshot):
            key = self._key(snapshot, call, call.attempt if call.runs else _RULE)
            if self._tooling.jobs.is_closing and not (call.runs and key in jobs):
                # The next process starts the function, or reports the call as lost.
                continue
            about = self._about(snapshot, key, call, jobs.get(key), is_heard)
            found += about
            if not about:
                wanted.add(key)
        # Calls that still need a place have reserved it again above. Other calls give their places back.
        self._tooling.jobs.give_back(*(self._former_places - self._places))
        self._former_places = _NO_JOBS
        # Jobs are forgotten only after all inputs are known. Otherwise an error above would lose results of other jobs.
        self._tooling.jobs.forget(*(job for key, job in jobs.items() if key not in wanted))
        return found

    def _calls_to_decide(self, snapshot: Snapshot) -> Iterable[ToolCall]:
        """Return the calls without an output about which this desk may have something to decide."""
        if not _may_take_results(snapshot):
            return ()
        # Without functions, only handlers answer calls. A run may have thousands of calls.
        calls = snapshot.calls
        if self._tooling.is_empty:
            return calls.staged.values()
        # Of the calls that the run does not name now, only those whose functions run are of interest.
        return (*calls.open.values(), *(call for call in calls.staged.values() if call.unlisted and call.runs))

    def _about(
        self, snapshot: Snapshot, key: JobKey, call: ToolCall, job: Job | None, is_heard: Callable[[str], bool]
    ) -> list[inputs.Input]:
        """Return the next inputs about a call without an output.

        If there are such inputs, the call no longer needs its job.
        """
        if call.runs and snapshot.state in _TAKES_RESULTS:
            return list(self._about_started(key, call, job))
        if not _may_begin(snapshot):
            return []
        if call.by_server and call.stage is CallStage.OPEN:
            return [self._ask(call)]
        return list(self._about_open(key, call, job, is_heard)) if call.takes_output else []

    def _key(self, snapshot: Snapshot, call: ToolCall, attempt: int) -> JobKey:
        run = snapshot.run or snapshot.left
        return (self._thread_id, "" if run is None else run.id, call.id, attempt)

    def _has_place(self, key: JobKey) -> bool:
        """Return whether a job may run now. If not, this thread is woken as soon as the first such job may run.

        Only one job of a thread waits in line for a place at a time. So a run with thousands of calls costs little, and
        does not keep the functions of other threads waiting until the last of its own has a place.
        """
        if self._is_behind(key):
            return False
        self._places |= {key}
        if self._tooling.jobs.reserve(key):
            return True
        if self._in_line is not None:
            # This job has waited longer than the one that has just joined the line.
            self._places -= {self._in_line}
            self._tooling.jobs.give_back(self._in_line)
        self._in_line = key
        return False

    def _is_behind(self, key: JobKey) -> bool:
        """Return whether a job does not even join the line, because another job of this thread waits in it."""
        return self._in_line is not None and key not in self._former_places

    # --- a function was started -----------------------------------------------------------------------------

    def _about_started(self, key: JobKey, call: ToolCall, job: Job | None) -> Iterator[inputs.Input]:
        if job is None:
            if key not in self._starting:
                yield from self._about_lost(key, call)
        elif job.has_ended:
            yield inputs.ToolEnded(tool_call_id=call.id, attempt=call.attempt, output=job.result)
        elif self._is_over(job):
            sentence = f"{call.name} did not end within {job.timeout:g} seconds."
            if call.is_safe:
                yield inputs.ToolEnded(tool_call_id=call.id, attempt=call.attempt, output=error_output(sentence))
            else:
                reason = f"{sentence} It is unknown whether it took effect."
                yield inputs.ToolLost(tool_call_id=call.id, attempt=call.attempt, reason=reason)

    def _about_lost(self, key: JobKey, call: ToolCall) -> Iterator[inputs.Input]:
        """Decide about a call whose function was started in a process that has ended.

        If the function is declared safe, start it again. Otherwise report it as lost.
        """
        if call.is_safe and self._tooling.find(call.name) is not None:
            yield from self._start(key, call, is_safe=True)
        else:
            reason = f"The process that ran {call.name} has ended. It is unknown whether the call took effect."
            yield inputs.ToolLost(tool_call_id=call.id, attempt=call.attempt, reason=reason)

    # --- no function was started yet --------------------------------------------------------------------------

    def _about_open(
        self, key: JobKey, call: ToolCall, job: Job | None, is_heard: Callable[[str], bool]
    ) -> Iterator[inputs.Input]:
        tool = self._tooling.find(call.name)
        if tool is None:
            if not self._tooling.is_empty and not is_heard(call.id):
                output = error_output(f"There is no tool called {call.name}.")
                yield inputs.SubmitToolOutput(tool_call_id=call.id, output=output)
        elif call.stage is CallStage.APPROVED or tool.approve is False:
            yield from self._start(key, call, is_safe=tool.retry == "safe")
        elif job is None and callable(tool.approve) and self._is_behind(key):
            pass  # reading the arguments takes long, and there may be thousands of calls
        elif job is None and (problem := _problem_of(tool, call, self._thread_id)):
            # The arguments are wrong, so the call would fail. Nobody needs to decide about it.
            yield inputs.SubmitToolOutput(tool_call_id=call.id, output=error_output(problem))
        elif tool.approve is True:
            yield self._ask(call)
        elif job is not None:
            yield from self._about_rule(key, call, tool, job)
        elif self._has_place(key):
            seconds = self._tooling.rule_timeout if tool.timeout is None else tool.timeout
            self._tooling.jobs.add(Job(key, lambda _: _verdict(tool, call, self._thread_id, key[1]), None, seconds))

    def _about_rule(self, key: JobKey, call: ToolCall, tool: Tool[..., Any], rule: Job) -> Iterator[inputs.Input]:
        """Act on the decision of a tool's approval rule.

        If the rule makes no decision, or makes none in time, ask a person.
        """
        if rule.has_ended and rule.result:
            # The rule's decision is kept until there is a place for the function.
            yield from self._start(key, call, is_safe=tool.retry == "safe")
        elif rule.has_ended and rule.result is None:
            yield self._ask(call)
        elif rule.has_ended:
            yield inputs.DenyToolCall(tool_call_id=call.id, reason=_DENIED_BY_RULE, by_rule=True)
        elif self._is_over(rule):
            late = "the rule of the tool %s did not decide about the call %s within %g seconds; a person is asked"
            log.warning(f"%s: {late}", self._thread_id, tool.name, call.id, rule.timeout)
            yield self._ask(call)

    def _is_over(self, job: Job) -> bool:
        """Return whether the time of a job is over."""
        return job.deadline is not None and self._tooling.clock.monotonic() >= job.deadline

    def _ask(self, call: ToolCall) -> inputs.AskForApproval:
        return inputs.AskForApproval(tool_call_id=call.id, at=self._tooling.clock.time())

    def _start(self, key: JobKey, call: ToolCall, *, is_safe: bool) -> Iterator[inputs.Input]:
        """Decide to start the function of this call as its next attempt, if there is a place for it."""
        next_key = (*key[:3], call.attempt + 1)
        if self._has_place(next_key):
            self._starting |= {next_key}
            yield inputs.StartTool(tool_call_id=call.id, is_safe=is_safe)

    # --- functions are started ------------------------------------------------------------------------------

    def start(self, snapshot: Snapshot, agent: object) -> None:
        """Start the functions that this desk has decided to start, if `snapshot` records their start."""
        decided, self._starting = self._starting, _NO_JOBS
        for call in snapshot.calls.staged.values() if decided else ():
            key = self._key(snapshot, call, call.attempt)
            if call.runs and key in decided:
                self._add_job(key, call, agent)
        # The machine ignores the start of a call that already has an output. Such a start is forgotten here.
        self._tooling.jobs.give_back(*decided)
        self._places -= decided

    def leave(self) -> None:
        """Release the places that were reserved for functions. This driver will no longer start these functions."""
        self._tooling.jobs.give_back(*self._places, *self._former_places)
        self._places = self._former_places = _NO_JOBS

    def _add_job(self, key: JobKey, call: ToolCall, agent: object) -> None:
        tool = self._tooling.find(call.name)
        thread_id, run_id, _, attempt = key

        def work(cancelled: threading.Event) -> str:
            if tool is None:
                return error_output(f"There is no tool called {call.name}.")
            context = ToolContext(
                agent=agent,
                thread_id=thread_id,
                run_id=run_id,
                call_id=call.id,
                attempt=attempt,
                cancelled=cancelled,
            )
            return _output(tool, call, context, self._tooling.trace)

        fallback = error_output(f"{call.name} could not be called.")
        self._tooling.jobs.add(Job(key, work, fallback, None if tool is None else tool.timeout))


def _may_take_results(snapshot: Snapshot) -> bool:
    """Return whether results for the open calls are accepted now, or may be accepted after the next poll.

    The next poll may make results acceptable in two cases: the last poll has shown an outdated state of the run, or the
    library has just resumed a run that it had stopped following.
    """
    run = snapshot.run
    return snapshot.state in _TAKES_RESULTS or (run is not None and run.ending is None)


def _may_begin(snapshot: Snapshot) -> bool:
    """Return whether functions may be started and people may be asked. In a run that must end, neither is allowed."""
    run = snapshot.run
    return snapshot.state is State.AWAITING_TOOLS and run is not None and run.ending is None


def _problem_of(tool: Tool[..., Any], call: ToolCall, thread_id: str) -> str:
    """Return a sentence about what is wrong with the arguments of a call. Return "" if the arguments are valid.

    The classes of the arguments are code of the user, and may raise any error.
    """
    try:
        tool.structure(call.arguments)
    except BaseException as error:
        if must_propagate(error):
            raise
        return _failed(error, tool, call, thread_id)
    return ""


def _output(tool: Tool[..., Any], call: ToolCall, context: ToolContext, trace: Trace) -> str:
    """Call the function of a tool, and return its output.

    If it raises an error, return a text about it for the model.
    """
    try:
        if not trace.hooks:
            return tool.run(call.arguments, context)
        with trace.of_tool(thread_id=context.thread_id, run_id=context.run_id, call_id=call.id, tool=tool.name):
            return tool.run(call.arguments, context)
    except BaseException as error:
        if must_propagate(error):
            raise
        return error_output(_failed(error, tool, call, context.thread_id))


def _failed(error: BaseException, tool: Tool[..., Any], call: ToolCall, thread_id: str) -> str:
    """Return a sentence that tells the model about an error. Log the error, unless it is about the arguments."""
    if isinstance(error, ToolArgumentsError):
        return str(error)
    log.error("%s: the tool %s failed on the call %s", thread_id, tool.name, call.id, exc_info=error)
    return _described(error)


def _described(error: BaseException) -> str:
    """Return the name and the text of an error, or its name alone if it has no text."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - an error that raises while it is described
        text = ""
    return type(error).__name__ + (f": {text}" if text else "")


def _verdict(tool: Tool[..., Any], call: ToolCall, thread_id: str, run_id: str) -> bool | None:
    """Ask the approval rule of a tool about a call, and return its decision.

    Return None if a person must be asked, or if the rule failed.
    """
    arguments = decode_arguments(call.arguments)
    asked = events.ToolCallRequested(
        id=call.id, thread_id=thread_id, run_id=run_id, name=call.name, arguments=arguments
    )
    try:
        assert callable(tool.approve)  # noqa: S101 - the caller has seen to it
        verdict = tool.approve(asked)
        if verdict is None or isinstance(verdict, bool):
            return verdict
        raise TypeError(f"it must return True, False or None, not {type(verdict).__name__}")  # noqa: TRY301 - in the log
    except BaseException as error:
        if must_propagate(error):
            raise
        log.exception("%s: the rule of the tool %s failed on the call %s", thread_id, tool.name, call.id)
        return None

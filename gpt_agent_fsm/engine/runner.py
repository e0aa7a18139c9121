"""Makes one request of a thread, and returns its result as an input of the machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from typing import Any, assert_never

import attrs

from gpt_agent_fsm import errors
from gpt_agent_fsm.engine.content import parts_refusal, texts_of
from gpt_agent_fsm.engine.listener import RunMaker
from gpt_agent_fsm.engine.protocols import (
    Backend,
    CallLimits,
    Clock,
    Lease,
    PartsBackend,
    RunRequest,
    Timeout,
    ToolOutputsRequest,
)
from gpt_agent_fsm.engine.protocols.offers import offers
from gpt_agent_fsm.engine.run_options import STREAM, parameters_of
from gpt_agent_fsm.events.media import IMAGE_REFUSALS
from gpt_agent_fsm.logs import Log, get_logger, must_propagate
from gpt_agent_fsm.machine import effects, inputs
from gpt_agent_fsm.machine.objects import Run
from gpt_agent_fsm.settings import Settings

__all__ = ["call_limits", "perform"]

log: Log = get_logger(__name__)

_RUNS_WHEN_SEARCHING = 100
_LEAST_QUOTE = 4
_ENCODED_DATA = re.compile(r"[A-Za-z0-9+/]{40,}={0,2}")
_REFUSED_FOR_GOOD = {
    "content_filter",
    "context_length_exceeded",
    "invalid_prompt",
    "string_above_max_length",
    *IMAGE_REFUSALS,
}


def call_limits(clock: Clock, settings: Settings, lease: Lease | None = None) -> CallLimits:
    """Return the limits of a request that begins now. Without a lease, the request may always be sent."""
    deadline, size = clock.monotonic() + settings.request_timeout, settings.max_answer_bytes
    if lease is None:
        return CallLimits(deadline=deadline, clock=clock, max_answer_bytes=size)
    return CallLimits(deadline=deadline, clock=clock, max_answer_bytes=size, may_send=lease.holds)


def perform(
    backend: Backend,
    thread_id: str,
    request: effects.Request,
    timeout: Timeout,
    belongs_elsewhere: Callable[[str, str], bool] = lambda run, thread_id: False,
    maker: RunMaker | None = None,
    *,
    durable: bool = False,
    ended_calls: Collection[str] = (),
) -> inputs.Input:
    """Make one request within the limits `timeout`, and return its result as an input of the machine.

    A failed request is a result, too. The only errors that are raised are those for which `must_propagate` is True,
    such as Ctrl-C. `belongs_elsewhere(run, thread_id)` returns whether a run is known to belong to another thread; see
    `Webhooks`. `maker` creates and continues runs in place of `backend`. `durable` and `ended_calls` are as in
    `RunRequest`.
    """
    try:
        answer = _answer(
            backend, maker or backend, thread_id, request, timeout, durable=durable, ended_calls=ended_calls
        )
        _check_runs(answer, request, lambda run: belongs_elsewhere(run.handle or run.id, thread_id))
        return _renamed(answer, request)
    except errors.ApiError as error:
        return _failure(error, request)
    except BaseException as error:
        if must_propagate(error):
            raise
        # This is a defect of the backend. It must not end the worker, and the request may have taken effect.
        log.exception("%s: %s raised an exception that is not an ApiError", thread_id, request.operation)
        sentence = f"{type(backend).__name__} failed with {type(error).__name__}; the log has the details."
        return _failure(
            errors.OutcomeUnknown(None, None, sentence, in_flight=True)
            if request.changes_server
            else errors.TransientError(None, None, sentence),
            request,
        )


def _answer(  # noqa: PLR0911 - one for each request
    backend: Backend,
    maker: RunMaker | Backend,
    thread_id: str,
    request: effects.Request,
    timeout: Timeout,
    *,
    durable: bool,
    ended_calls: Collection[str],
) -> inputs.Input:
    match request:
        case effects.GetLatestRun(key=key, retry_of=retry_of, wide=wide):
            limit = _RUNS_WHEN_SEARCHING if wide or key is not None else 1
            listed = backend.list_runs(thread_id, limit=limit, key=key, retry_of=retry_of, timeout=timeout)
            return inputs.RunsListed(runs=listed.runs, newest_message_id=listed.newest_message_id)
        case effects.PostMessage():
            message_id, kept = _post(backend, thread_id, request, timeout)
            return inputs.MessagePosted(message_id=message_id, key_kept=kept)
        case effects.CreateRun():
            fields = _fields(request)
            wanted = RunRequest(thread_id=thread_id, durable=durable, ended_calls=ended_calls, **fields)
            return inputs.RunCreated(run=maker.create_run(wanted, timeout=timeout))
        case effects.GetRun(run_id=run_id, handle=handle, in_doubt=in_doubt):
            run = backend.get_run(thread_id, run_id, handle=handle, in_doubt=in_doubt, timeout=timeout)
            return inputs.RunSeen(run=run)
        case effects.SubmitToolOutputs():
            answer = ToolOutputsRequest(thread_id=thread_id, durable=durable, **_fields(request))
            return inputs.RunSeen(run=maker.submit_tool_outputs(answer, timeout=timeout))
        case effects.ListMessages(after=after, newest_first=newest_first):
            page = backend.list_messages(thread_id, after=after, newest_first=newest_first, timeout=timeout)
            return inputs.MessagesListed(page=page)
        case effects.CancelRun(run_id=run_id, handle=handle):
            return inputs.RunSeen(run=backend.cancel_run(thread_id, run_id, handle=handle, timeout=timeout))
    assert_never(request)


def _post(backend: Backend, thread_id: str, request: effects.PostMessage, timeout: Timeout) -> tuple[str, bool]:
    if not request.parts:
        return backend.post_message(thread_id, request.content, key=request.key, timeout=timeout)
    # The message may have been accepted by a program with another backend.
    reason = parts_refusal(backend, request.parts)
    if reason is not None or not offers(backend, PartsBackend):
        raise errors.RequestRefused(None, None, reason or "")
    return backend.post_parts(thread_id, request.parts, key=request.key, timeout=timeout)


def _fields(request: effects.CreateRun | effects.SubmitToolOutputs) -> dict[str, Any]:
    """Return the fields of a request, with the run's options as an object instead of JSON text."""
    fields = attrs.asdict(request, recurse=False)
    text = fields.pop("run_options")
    options = json.loads(text) if text else {}
    options.pop(STREAM, None)
    return {**fields, "options": options}


def _check_runs(answer: inputs.Input, request: effects.Request, is_anothers: Callable[[Run], bool]) -> None:
    """Raise an error if the answer contains a run of another thread.

    In this case, a proxy or a connection has mixed up the answers to two requests.
    """
    match answer:
        case inputs.RunSeen(run=run) | inputs.RunCreated(run=run):
            runs: tuple[Run, ...] = (run,)
        case inputs.RunsListed(runs=runs):
            pass
        case _:
            runs = ()
    for run in filter(is_anothers, runs):
        sentence = f"The answer to {request.operation} is about {run.id}, which is a run of another thread."
        if request.changes_server:
            raise errors.OutcomeUnknown(200, None, sentence, in_flight=True)
        raise errors.TransientError(200, None, sentence)


def _renamed(answer: inputs.Input, request: effects.Request) -> inputs.Input:
    """Replace the run id in the answer by the run id in the request. A server may write the same id differently."""
    if isinstance(answer, inputs.RunSeen) and answer.run.id != getattr(request, "run_id", None):
        assert isinstance(request, effects.GetRun | effects.SubmitToolOutputs | effects.CancelRun)  # noqa: S101 - for the type checker
        return inputs.RunSeen(run=attrs.evolve(answer.run, id=request.run_id))
    return answer


def _failure(error: errors.ApiError, request: effects.Request) -> inputs.Input:
    status, code, message = error.status, error.code, str(error)
    for said in _words_of(request):
        # Some servers repeat the refused text in the error, but message text must not reach a log.
        message = message.replace(said, "...")
    if isinstance(request, effects.PostMessage) and request.parts:
        # Some servers may also repeat a part of the data of an image or file.
        message = _ENCODED_DATA.sub("...", message)
    retry_after = error.retry_after if isinstance(error, errors.TransientError) else None
    match error:
        case errors.OutcomeUnknown() if not request.repeatable:
            return inputs.RequestUnresolved(
                status=status, code=code, message=message, retry_after=retry_after, in_flight=error.in_flight
            )
        case errors.TransientError():
            return inputs.RequestDelayed(status=status, code=code, message=message, retry_after=retry_after)
        case errors.ThreadBusy() if error.locked and isinstance(request, effects.CancelRun):
            return inputs.RequestDelayed(status=status, code=code, message=message)
        case errors.ThreadBusy() if _meets_a_lock(request, error):
            return inputs.RequestBlocked(status=status, code=code, message=message, locked=error.locked)
        case errors.AccessDenied() | errors.QuotaExceeded():
            quota = isinstance(error, errors.QuotaExceeded)
            return inputs.RequestNeedsOperator(status=status, code=code, message=message, quota=quota)
        case _:
            return inputs.RequestRejected(
                status=status, code=code, message=message, content_refused=_is_about_what_was_said(error, request)
            )


def _words_of(request: effects.Request) -> list[str]:
    """Return the user's texts in a request.

    Each text is returned unchanged, escaped as JSON, and escaped as JSON that is only ASCII. Very short texts are left
    out, because they may also occur in an error text by chance.
    """
    match request:
        case effects.PostMessage(content=content, parts=parts):
            said = [content, *(text for part in parts for text in texts_of(part))]
        case effects.SubmitToolOutputs(outputs=outputs):
            said = [output for _, output in outputs]
        case _:
            return []
    quoted = [json.dumps(text, ensure_ascii=plain)[1:-1] for text in said for plain in (True, False)]
    return sorted({text for text in (*said, *quoted) if len(text) >= _LEAST_QUOTE}, key=len, reverse=True)


def _meets_a_lock(request: effects.Request, error: errors.ThreadBusy) -> bool:
    """Return whether the server refused the request because another run of the thread is active."""
    if isinstance(request, effects.SubmitToolOutputs):
        return error.locked
    return isinstance(request, effects.PostMessage | effects.CreateRun)


def _is_about_what_was_said(error: errors.ApiError, request: effects.Request) -> bool:
    """Return whether the server will always refuse the request, because of the message or of an option of its run."""
    param = error.param if isinstance(error, errors.RequestRefused) else None
    root = re.split(r"[.\[]", param or "")[0]
    if isinstance(request, effects.CreateRun):
        what_was_said = {"prompt", "input", "content"} | parameters_of(request.run_options)
        return error.code in _REFUSED_FOR_GOOD or root in what_was_said
    return error.status == 413 or root == "content"

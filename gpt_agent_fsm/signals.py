"""One blinker signal per event class, and the signal `event` for all classes.

A worker calls each receiver as `receiver(agent, event=event)` after the event was saved, in order per thread.
Connect a receiver like this::

    @signals.run_completed.connect
    def on_completed(agent, event): ...

blinker holds receivers weakly: a lambda, or a method of an object without other references, is dropped at once. Keep a
reference, connect with `weak=False`, or pass the callable to `Runtime.connect(subscribe=...)`, which keeps a reference.
"""

from __future__ import annotations

import contextlib
import re
import threading
import typing
from collections.abc import Callable, Iterator

from blinker import Namespace, Signal

from gpt_agent_fsm import events
from gpt_agent_fsm.logs import get_logger, must_propagate

log = get_logger(__name__)
namespace = Namespace()


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _signal(event_class: type) -> Signal:
    return namespace.signal(_snake(event_class.__name__), doc=event_class.__doc__)


event = namespace.signal("event", doc="Every event of any class.")
user_message_added = _signal(events.UserMessageAdded)
messages_discarded = _signal(events.MessagesDiscarded)
run_started = _signal(events.RunStarted)
tool_call_requested = _signal(events.ToolCallRequested)
tool_approval_requested = _signal(events.ToolApprovalRequested)
tool_approved = _signal(events.ToolApproved)
tool_denied = _signal(events.ToolDenied)
tool_started = _signal(events.ToolStarted)
tool_outcome_unknown = _signal(events.ToolOutcomeUnknown)
tool_call_output_recorded = _signal(events.ToolCallOutputRecorded)
tool_call_output_submission_failed = _signal(events.ToolCallOutputSubmissionFailed)
run_completed = _signal(events.RunCompleted)
assistant_message_added = _signal(events.AssistantMessageAdded)
run_failed = _signal(events.RunFailed)
rate_limited = _signal(events.RateLimited)
rate_limit_retries_exhausted = _signal(events.RateLimitRetriesExhausted)
organization_quota_exceeded = _signal(events.OrganizationQuotaExceeded)
state_changed = _signal(events.StateChanged)
request_failed = _signal(events.RequestFailed)
budget_exceeded = _signal(events.BudgetExceeded)
thread_stalled = _signal(events.ThreadStalled)
agent_stopped = _signal(events.AgentStopped)

by_class: dict[type, Signal] = {
    event_class: namespace[_snake(event_class.__name__)]  # a KeyError: add a line for the new event above
    for event_class in typing.get_args(events.Event)
}


# --- announcing -----------------------------------------------------------------------------------

Handler = Callable[..., object]
_announcing = threading.local()


def in_handler() -> bool:
    """Return whether the current OS thread is calling a handler."""
    return getattr(_announcing, "handler", None) is not None


@contextlib.contextmanager
def inside_tool() -> Iterator[None]:
    """Let the current OS thread count as one that calls a handler: a tool must not wait for its own conversation."""
    outer = getattr(_announcing, "handler", None)
    _announcing.handler = inside_tool
    try:
        yield
    finally:
        _announcing.handler = outer


def receivers(sender: object, event_: events.Event) -> Iterator[Handler]:
    """Yield the receivers of this sender's event: first those of the class's own signal, then those of `event`."""
    for signal in (by_class[type(event_)], event):
        if signal.receivers and not signal.is_muted:
            yield from signal.receivers_for(sender)


def call(handler: Handler, sender: object, event_: events.Event, *, by_keyword: bool, thread: str) -> None:
    """Call one handler. If it raises, log the error; other handlers are still called.

    No error of a handler ends a worker. Only Ctrl-C propagates, if handlers run on the main OS thread.
    """
    outer = getattr(_announcing, "handler", None)
    _announcing.handler = handler
    try:
        if by_keyword:
            handler(sender, event=event_)
        else:
            handler(sender, event_)
    except BaseException as error:
        if must_propagate(error):
            raise
        log.exception("%s: handler %s failed on %s", thread, name_of(handler), type(event_).__name__)
    finally:
        _announcing.handler = outer


def name_of(handler: Handler) -> str:
    """Return a readable name of this handler, even if its attributes raise."""
    try:
        name = getattr(handler, "__qualname__", None) or type(handler).__qualname__
        return f"{getattr(handler, '__module__', '?')}.{name}"
    except BaseException:  # noqa: BLE001 - no error of a handler may end the worker, and this one reports such errors
        return type(handler).__qualname__


def report(event_: events.Event) -> None:
    """Log the events that concern an operator, without message text. Each run that ends has one line."""
    match event_:
        case events.RequestFailed(thread_id=thread_id, operation=operation, message=message):
            then = "trying again" if event_.will_retry else "not retrying automatically"
            where = f"{thread_id}: " if thread_id else ""
            log.warning("%s%s failed, %s: %s", where, operation, then, message)
        case events.ThreadStalled(thread_id=thread_id, reason=reason):
            log.warning("%s has waited for long: %s", thread_id, reason)
        case events.StateChanged(thread_id=thread_id, source=source, dest=dest, trigger=trigger):
            log.debug("%s: %s -> %s on %s", thread_id, source, dest, trigger)
        case events.RunCompleted(thread_id=thread_id, id=run_id, total_tokens=tokens):
            log.info("%s: run %s completed, %d tokens", thread_id, run_id, tokens)
        case events.RunFailed(thread_id=thread_id, id=run_id, code=code):
            log.info("%s: run %s failed: %s", thread_id, run_id or "(not created)", code)
        case events.RateLimited(thread_id=thread_id, run_id=run_id, retries_remaining=left):
            log.info("%s: run %s was rate limited, %d retries remain", thread_id, run_id, left)
        case _:
            pass

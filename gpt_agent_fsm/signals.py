"""One blinker signal per event class, and the signal `event` for all classes.

After an event was saved, a worker calls each receiver as `receiver(agent, event=event)`. The events of one thread
arrive in order. Connect a receiver like this::

    @signals.run_completed.connect
    def on_completed(agent, event): ...

blinker holds receivers weakly. So it drops a lambda immediately, and a method as soon as nothing else references the
method's object. Keep a reference, connect with `weak=False`, or pass the callable to `Runtime.connect(subscribe=...)`,
which keeps a reference.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
import threading
import typing
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

import blinker

from gpt_agent_fsm import events
from gpt_agent_fsm.callables import why_not_callable
from gpt_agent_fsm.logs import Log, get_logger, must_propagate

log: Log = get_logger(__name__)
namespace: blinker.Namespace = blinker.Namespace()

E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)
Handler = Callable[..., object]
Connected = Callable[..., None]
"""The type of a connected receiver. It allows every call, so that a program can still call its handler with the
handler's own arguments, and can connect the handler to another signal."""


class Receiver(Protocol[E_contra]):
    """A function that a signal can call, with the agent (None if there is no agent yet) and the keyword `event`."""

    def __call__(self, agent: Any, /, *, event: E_contra) -> None:  # noqa: ANN401 - an Agent, which this module cannot import
        """Handle one event."""


class _Probe:
    def connect(self, receiver: object) -> int:
        return sys.getrefcount(receiver)


_ALONE = _Probe().connect(lambda: None)
"""The reference count of an argument inside a method, if nothing outside the call references the argument."""


class Signal(blinker.NamedSignal, Generic[E]):
    """A blinker signal that refuses a receiver if the receiver cannot be called with an agent and an event."""

    def __init__(self, name: str, doc: str | None = None) -> None:
        super().__init__(name, doc)
        self._watched: dict[object, weakref.ref[Any]] = {}
        self._vanished: deque[str] = deque()

    def connect(self, receiver: Receiver[E], sender: Any = blinker.ANY, weak: bool = True) -> Connected:  # type: ignore[override]  # noqa: ANN401 - as its base class
        """Connect a receiver: call `receiver(agent, event=event)` for each event of this signal.

        If `sender` is given, the receiver is called only for the events of this agent. Returns the receiver, so that
        this method can be a decorator.

        Raises `TypeError` for a receiver that cannot be called in this way, and for an async receiver. Warns about a
        lambda that nothing else references: with `weak=True`, blinker would drop it immediately.
        """
        if reason := why_not_callable(receiver, 1, "event"):
            form = f"receiver(agent, event=event): {reason}"
            raise TypeError(f"signals.{self.name}.connect: {name_of(receiver)} cannot be called as {form}")
        is_lambda = inspect.isfunction(receiver) and receiver.__name__ == "<lambda>"
        vanishes = weak and is_lambda and sys.getrefcount(receiver) <= _ALONE
        if vanishes:
            advice = "connect it with weak=False, or keep a reference to it"
            why = f"nothing else references this lambda, so it is never called; {advice}"
            warnings.warn(f"signals.{self.name}.connect: {why}", RuntimeWarning, stacklevel=2)
        super().connect(receiver, sender, weak)
        if weak and not vanishes:
            self._watch(receiver)
        return receiver

    def connect_via(self, sender: Any, weak: bool = False) -> Callable[[Receiver[E]], Connected]:  # type: ignore[override]  # noqa: ANN401 - as its base class
        """Return a decorator that connects a receiver to the agent `sender`."""
        return super().connect_via(sender, weak)

    def connected_to(self, receiver: Receiver[E], sender: Any = blinker.ANY) -> AbstractContextManager[None]:  # type: ignore[override]  # noqa: ANN401 - as its base class
        """Connect a receiver until the `with` block ends."""
        return super().connected_to(receiver, sender)

    def receivers_for(self, sender: Any) -> Generator[Callable[..., Any], None, None]:  # noqa: ANN401 - as its base class
        """Yield the receivers of an event of this sender.

        Log the receivers that blinker has dropped since the last event.
        """
        while self._vanished:
            # Another OS thread may have taken the last name.
            with contextlib.suppress(IndexError):
                self._report_vanished(self._vanished.popleft())
        yield from super().receivers_for(sender)

    def _report_vanished(self, name: str) -> None:
        gone = "%s: the receiver %s is gone, because nothing referenced it"
        advice = "keep a reference to it, connect it with weak=False, or disconnect it"
        log.warning(f"{gone}; {advice}", self.name, name)

    def _watch(self, receiver: Handler) -> None:
        """Watch the receiver. If it is dropped while a sender could still call it, record its name for the log."""
        identity, name = _identity(receiver), name_of(receiver)

        def on_end(_: object) -> None:
            # Python calls the newest callback first, so blinker has not forgotten the receiver yet.
            del self._watched[identity]
            if any(self._is_alive(sender) for sender in tuple(self._by_receiver.get(identity, ()))):
                self._vanished.append(name)

        kind = weakref.WeakMethod if inspect.ismethod(receiver) else weakref.ref
        self._watched[identity] = kind(receiver, on_end)

    def _is_alive(self, sender_id: object) -> bool:
        """Return whether this sender still exists. A sender without a weak reference counts as existing."""
        sender = self._weak_senders.get(sender_id)
        return sender is None or sender() is not None

    def _disconnect(self, receiver_id: Hashable, sender_id: Hashable) -> None:
        """Disconnect a receiver, as the base class does, but from any OS thread.

        The base class iterates over all senders, and raises an error if another OS thread connects a receiver to a new
        sender at that time.
        """
        if sender_id != blinker.base.ANY_ID:
            super()._disconnect(receiver_id, sender_id)
            return
        for each in tuple(self._by_receiver.pop(receiver_id, ())):
            if (bucket := self._by_sender.get(each)) is not None:
                bucket.discard(receiver_id)
        self.receivers.pop(receiver_id, None)


def _identity(receiver: object) -> object:
    """Return the key under which blinker's tables contain the receiver."""
    return (id(receiver.__func__), id(receiver.__self__)) if inspect.ismethod(receiver) else id(receiver)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _signal(event_class: type[E]) -> Signal[E]:
    return _named(_snake(event_class.__name__), event_class.__doc__)


def _named(name: str, doc: str | None) -> Signal[Any]:
    signal: Signal[Any] = Signal(name, doc)
    namespace[name] = signal
    return signal


event: Signal[events.Event] = _named("event", "Every event of any class, except the pieces of messages.")
user_message_added: Signal[events.UserMessageAdded] = _signal(events.UserMessageAdded)
messages_discarded: Signal[events.MessagesDiscarded] = _signal(events.MessagesDiscarded)
run_started: Signal[events.RunStarted] = _signal(events.RunStarted)
tool_call_requested: Signal[events.ToolCallRequested] = _signal(events.ToolCallRequested)
tool_approval_requested: Signal[events.ToolApprovalRequested] = _signal(events.ToolApprovalRequested)
tool_approved: Signal[events.ToolApproved] = _signal(events.ToolApproved)
tool_denied: Signal[events.ToolDenied] = _signal(events.ToolDenied)
tool_started: Signal[events.ToolStarted] = _signal(events.ToolStarted)
tool_outcome_unknown: Signal[events.ToolOutcomeUnknown] = _signal(events.ToolOutcomeUnknown)
hosted_tool_used: Signal[events.HostedToolUsed] = _signal(events.HostedToolUsed)
tool_call_output_recorded: Signal[events.ToolCallOutputRecorded] = _signal(events.ToolCallOutputRecorded)
tool_call_output_submission_failed: Signal[events.ToolCallOutputSubmissionFailed] = _signal(
    events.ToolCallOutputSubmissionFailed
)
run_completed: Signal[events.RunCompleted] = _signal(events.RunCompleted)
assistant_message_delta: Signal[events.AssistantMessageDelta] = _signal(events.AssistantMessageDelta)
assistant_message_added: Signal[events.AssistantMessageAdded] = _signal(events.AssistantMessageAdded)
run_failed: Signal[events.RunFailed] = _signal(events.RunFailed)
rate_limited: Signal[events.RateLimited] = _signal(events.RateLimited)
rate_limit_retries_exhausted: Signal[events.RateLimitRetriesExhausted] = _signal(events.RateLimitRetriesExhausted)
organization_quota_exceeded: Signal[events.OrganizationQuotaExceeded] = _signal(events.OrganizationQuotaExceeded)
state_changed: Signal[events.StateChanged] = _signal(events.StateChanged)
request_failed: Signal[events.RequestFailed] = _signal(events.RequestFailed)
budget_exceeded: Signal[events.BudgetExceeded] = _signal(events.BudgetExceeded)
thread_stalled: Signal[events.ThreadStalled] = _signal(events.ThreadStalled)
agent_stopped: Signal[events.AgentStopped] = _signal(events.AgentStopped)

by_class: dict[type, Signal[Any]] = {
    event_class: typing.cast(
        "Signal[Any]", namespace[_snake(event_class.__name__)]
    )  # on a KeyError, add a line for the new event above
    for event_class in typing.get_args(events.Event)
}


# --- announcing -----------------------------------------------------------------------------------

_announcing = threading.local()


def in_handler() -> bool:
    """Return whether the current OS thread is calling a handler."""
    return getattr(_announcing, "handler", None) is not None


def in_tool() -> bool:
    """Return whether the current OS thread is calling the function or the rule of a tool."""
    return getattr(_announcing, "handler", None) is inside_tool


@contextlib.contextmanager
def inside_tool() -> Iterator[None]:
    """Mark this OS thread as running a tool until the `with` block ends.

    A tool must not wait for its own conversation.
    """
    outer = getattr(_announcing, "handler", None)
    _announcing.handler = inside_tool
    try:
        yield
    finally:
        _announcing.handler = outer


def receivers(sender: object, event_class: type[events.Event]) -> Iterator[Handler]:
    """Yield the receivers of the signal of this class of events, then the receivers of the signal `event`.

    The signal `event` does not send the pieces of messages, because they are not part of the history.
    """
    is_piece = event_class is events.AssistantMessageDelta
    for signal in (by_class[event_class],) if is_piece else (by_class[event_class], event):
        if not signal.is_muted:
            yield from signal.receivers_for(sender)


def call(handler: Handler, sender: object, event_: events.Event, *, by_keyword: bool, thread: str) -> None:
    """Call one handler. If the handler raises an error, log the error, so that other handlers are still called.

    The first time, a failure is logged with its traceback. If the same handler fails in the same way again, the log
    gets only one line. No error of a handler ends a worker. Only Ctrl-C is raised to the caller, and only if handlers
    run on the main OS thread.
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
        for errors in tuple(_followers):
            errors.append(error)
        what = (thread, name_of(handler), type(event_).__name__)
        if _is_new(handler, error):
            log.exception("%s: handler %s failed on %s", *what)
        else:
            log.error("%s: handler %s failed on %s again with %s", *what, type(error).__name__)  # noqa: TRY400 - in one line
    finally:
        _announcing.handler = outer


_followers: list[list[BaseException]] = []


@contextmanager
def failures_added_to(errors: list[BaseException]) -> Iterator[None]:
    """Inside the `with` block, add each exception of a handler to this list."""
    _followers.append(errors)
    try:
        yield
    finally:
        _followers[:] = [each for each in _followers if each is not errors]


_failures: weakref.WeakKeyDictionary[Any, set[object]] = weakref.WeakKeyDictionary()
_failures_lock = threading.Lock()


def _is_new(handler: Handler, error: BaseException) -> bool:
    """Return whether this handler fails for the first time with this class of error at this place in the code."""
    failure = (type(error), _place(error.__traceback__))
    try:
        function = getattr(handler, "__func__", handler)
        with _failures_lock:
            known = _failures.setdefault(function, set())
            is_new = failure not in known
            known.add(failure)
    except BaseException:  # noqa: BLE001 - a handler without a hash, or whose attributes raise: each failure is new
        return True
    return is_new


def _place(traceback: TracebackType | None) -> tuple[str, int] | None:
    """Return the file and the line that raised the error."""
    place = None
    while traceback is not None:
        place = (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
        traceback = traceback.tb_next
    return place


def name_of(handler: Handler) -> str:
    """Return a readable name of this handler, even if reading its attributes raises an error."""
    try:
        name = getattr(handler, "__qualname__", None) or type(handler).__qualname__
        module = getattr(handler, "__module__", None)
        return f"{module}.{name}" if module else str(name)
    except BaseException:  # noqa: BLE001 - no error of a handler may end the worker, and this one reports such errors
        return type(handler).__qualname__


def report(event_: events.Event) -> None:
    """Log the event if it concerns an operator, without the text of messages. Each end of a run gets one line."""
    match event_:
        case events.RequestFailed(thread_id=thread_id, operation=operation, message=message):
            then = "trying again" if event_.will_retry else "not retrying automatically"
            where = f"{thread_id}: " if thread_id else ""
            log.warning("%s%s failed, %s: %s", where, operation, then, message)
        case events.ThreadStalled(thread_id=thread_id, reason=reason):
            log.warning("%s has waited for long: %s", thread_id, reason)
        case events.BudgetExceeded(thread_id=thread_id, used=used, limit=limit):
            log.warning("%s sends nothing more: %d tokens were used, and the limit is %d", thread_id, used, limit)
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

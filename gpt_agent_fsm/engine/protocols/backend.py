"""The interface of a backend, and the classes of the arguments of its methods."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import attrs

from gpt_agent_fsm.engine.protocols.scheduling import Clock
from gpt_agent_fsm.machine.objects import MessagePage, Run, RunPage

__all__ = [
    "MAX_ANSWER_BYTES",
    "AccountBackend",
    "NamedBackend",
    "Backend",
    "CallLimits",
    "FileBackend",
    "RunRequest",
    "Timeout",
    "ToolOutputsRequest",
]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""The default of `CallLimits.max_answer_bytes`, and of the setting `max_answer_bytes`."""


def _always() -> bool:
    return True


@attrs.frozen(kw_only=True)
class CallLimits:
    """The limits of one call of a backend. They also say whether the call may still send its request.

    Attributes:
        deadline: when the call must have ended, in the monotonic seconds of `clock`. If the process was suspended, the
            deadline may have passed before the call begins. In this case, nothing may be sent.
        may_send: a function that returns whether the request may be sent. The backend calls it immediately before the
            first byte of a request that changes the server. If the function returns False, nothing may be sent, because
            another process drives the thread now. The function may block while it queries the store.
        max_answer_bytes: the size in bytes of the largest HTTP answer to accept, measured after decompression.
    """

    deadline: float
    clock: Clock
    may_send: Callable[[], bool] = _always
    max_answer_bytes: int = MAX_ANSWER_BYTES

    @property
    def seconds_left(self) -> float:
        """The seconds until the deadline; negative after the deadline."""
        return self.deadline - self.clock.monotonic()


Timeout: TypeAlias = float | CallLimits
"""The limits of a call. The engine passes `CallLimits`. A script may pass a number of seconds instead."""


@attrs.frozen(kw_only=True)
class RunRequest:
    """A run to create.

    Attributes:
        key: a unique text that the backend puts into the run's metadata, so that the library can find the run again.
        retry_of: the handle of the rate limited run that this run replaces; None for the first run of a message.
        may_exist: True if an earlier attempt to create this run may have taken effect.
        options: the options of this run alone, with the names of `RunOptions`. The value of `output` is the form of the
            answer: an object with `name`, `schema` and `strict` (true or false).
        ended_calls: the ids of the last tool calls of the thread that no longer need an output, because their run has
            ended or continued. If such a call is still open on the server, it does not belong to the new run.
        durable: True if the store keeps the id of the run when the process ends. If False, a backend whose API cannot
            list runs should leave the id on the server, so that another process finds the run.
    """

    thread_id: str
    assistant_id: str
    key: str
    retry_of: str | None = None
    may_exist: bool = False
    options: Mapping[str, Any] = attrs.field(factory=dict)
    ended_calls: Collection[str] = ()
    durable: bool = False


@attrs.frozen(kw_only=True)
class ToolOutputsRequest:
    """The outputs of all tool calls that a run waits for.

    Attributes:
        outputs: pairs of tool call id and JSON text.
        assistant_id: the assistant that continues the run.
        handle: the value that the backend has made to find the run; see `Run`.
        decisions: pairs of tool call id and JSON text for calls that the server makes itself. The text is an object
            with `approve` (true or false) and perhaps a `reason`.
        options, durable: as in `RunRequest`.
    """

    thread_id: str
    run_id: str
    outputs: tuple[tuple[str, str], ...] = ()
    assistant_id: str = ""
    handle: str | None = None
    decisions: tuple[tuple[str, str], ...] = ()
    options: Mapping[str, Any] = attrs.field(factory=dict)
    durable: bool = False


@runtime_checkable
class Backend(Protocol):
    """One API. Each method makes one HTTP request, or as few HTTP requests as the API allows.

    A method may be called from any OS thread, and blocks at most until the deadline of `timeout`. The parameter
    `handle` is the `handle` of the last `Run` that the backend has returned for this run. Future versions of the
    library may add parameters and fields, and these will have defaults.

    If a request fails, the method raises a subclass of `ApiError` that says what is known about the outcome.
    `TransientError` means that the request took no effect. `OutcomeUnknown` means that a request that changes the
    server may have taken effect. The other classes are `ThreadBusy`, `RequestRefused`, `AccessDenied` and
    `QuotaExceeded`. A backend raises no other exception.

    If a backend supports options for a run, its attribute `run_options` contains the names of these options.
    """

    def create_thread(self, *, timeout: Timeout) -> str:
        """Create a thread and return its id."""
        ...

    def get_thread(self, thread_id: str, *, timeout: Timeout) -> None:
        """Check that the server knows the thread. Raise `InvalidThreadId` if it does not."""
        ...

    def list_runs(
        self, thread_id: str, *, limit: int, key: str | None = None, retry_of: str | None = None, timeout: Timeout
    ) -> RunPage:
        """Return at most `limit` (1 to 100) of the thread's runs, newest first.

        If the caller searches for a run, `key` and `retry_of` are those of the `RunRequest` that created it. If the API
        cannot list runs, the method infers the run in progress, and the run that the caller searches for, from the
        messages on the thread.
        """
        ...

    def post_message(self, thread_id: str, content: str, *, key: str, timeout: Timeout) -> tuple[str, bool]:
        """Add a user message. Put `key` into its metadata, so that the library can find the message again.

        Return a pair: the message's id, and whether the HTTP answer shows that the server keeps the key.
        """
        ...

    def create_run(self, request: RunRequest, *, timeout: Timeout) -> Run:
        """Create a run, and return it as it is now."""
        ...

    def get_run(
        self, thread_id: str, run_id: str, *, handle: str | None = None, in_doubt: bool = False, timeout: Timeout
    ) -> Run:
        """Return a run as it is now.

        `in_doubt` is True if an earlier request got no HTTP answer and may have taken effect. If that request submitted
        outputs, the outputs may have arrived. If that request was an attempt to create this run, there may be a second
        run.
        """
        ...

    def submit_tool_outputs(self, request: ToolOutputsRequest, *, timeout: Timeout) -> Run:
        """Answer the tool calls that a run waits for, and let it continue."""
        ...

    def list_messages(self, thread_id: str, *, after: str | None, newest_first: bool, timeout: Timeout) -> MessagePage:
        """Return one page of the server's list of messages. The page begins after the message `after`."""
        ...

    def cancel_run(self, thread_id: str, run_id: str, *, handle: str | None = None, timeout: Timeout) -> Run:
        """Ask the server to end a run."""
        ...

    def close(self) -> None:
        """Release connections. Idempotent."""
        ...


@runtime_checkable
class FileBackend(Protocol):
    """An API that keeps files. A backend need not implement this interface."""

    def download(self, file_id: str, *, timeout: Timeout) -> bytes:
        """Return the content of a file. Raises an `ApiError` as a method of `Backend` does."""
        ...


@runtime_checkable
class NamedBackend(Protocol):
    """A backend that names its API.

    Attributes:
        api: a short name of the API. A backend of another API does not know the threads of this one.
    """

    api: str


@runtime_checkable
class AccountBackend(Protocol):
    """A backend that can say which account its requests count for."""

    def account(self, salt: bytes) -> str:
        """Return a name for the address and the credentials, from which nobody can find the credentials.

        Two backends with the same address and the same credentials return the same name for the same salt.
        """
        ...

"""The library's own error classes. They have one base class, and the subclass says who must act.

============================  ==================  =====================================================
error                         who must act        what the library does
============================  ==================  =====================================================
`InvalidThreadId`             the caller          nothing: no agent was created
`AgentNotAlive`               the caller          nothing: connect to the thread again
`WaitTimeout`                 the caller          continues in the background
`RuntimeClosed`               the caller          nothing: create a new runtime
`UsedAfterFork`               the caller          nothing: create a new runtime in this process
`StoreError`                  the operator: disk  keeps the data, tries again
`StoreTaken`                  nobody              stops the agents: another runtime drives their threads
`RunError`                    the caller          continues with the next message
`WaitInHandler`               the caller          nothing: handlers and tools must not wait
`ToolArgumentsError`          the model           sends the error's message as the output of the call
`InvalidWebhook`              the sender          nothing: the webhook may not be from the server
`RequestRefused`              the caller          does not repeat the request
`AccessDenied`                the operator: key   keeps the message, does not repeat the request
`QuotaExceeded`               the operator: bill  keeps the message, does not repeat the request
`TransientError`              nobody              tries again with exponential backoff
`OutcomeUnknown`              nobody              searches the server, then tries again
`ThreadBusy`                  nobody              adopts the run that locks the thread
============================  ==================  =====================================================
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

__all__ = [
    "AccessDenied",
    "AgentNotAlive",
    "ApiError",
    "GptAgentError",
    "IllegalInput",
    "InvalidThreadId",
    "InvalidWebhook",
    "OutcomeUnknown",
    "QuotaExceeded",
    "RequestRefused",
    "RunError",
    "RuntimeClosed",
    "StoreError",
    "StoreTaken",
    "ThreadBusy",
    "ToolArgumentsError",
    "TransientError",
    "UsedAfterFork",
    "WaitInHandler",
    "WaitTimeout",
]


class GptAgentError(Exception):
    """The base class of the library's own error classes."""


class AgentNotAlive(GptAgentError):
    """The agent was stopped. `Runtime.connect` returns a new agent for its thread."""


class WaitTimeout(GptAgentError, TimeoutError):
    """`Agent.wait`, `Agent.ask` or an iteration over `Agent.stream` timed out. The conversation continues."""


class RunError(GptAgentError):
    """`Agent.ask` or `Agent.stream` got no answer, because the run of its message failed or could not be started.

    `Answer.value` also raises this error if the answer does not have the requested form.

    Attributes:
        code: a code that says why there is no answer. If the run failed, this is the code of the `RunFailed`. If a
            request failed, this is the code of the `RequestFailed` (`request_failed` if it has none), and the queue
            sends nothing until your next command. Other codes are `rate_limit_exceeded` (no retries are left),
            `invalid_output` (the answer does not have the requested form), `lost` (the run has ended, but its result
            was not seen), `content_refused` (the server will always refuse the message or an option of its run),
            `budget_exceeded`, `cancelled` and `discarded`.
        message: a text for people. It is never empty.
        thread_id: the id of the thread.
        run_id: the id of the run, or None if there is no run.
    """

    def __init__(self, code: str, message: str, thread_id: str, run_id: str | None) -> None:
        super().__init__(code, message, thread_id, run_id)
        self.code = code
        self.message = message
        self.thread_id = thread_id
        self.run_id = run_id

    def __str__(self) -> str:
        code = None if names_code(self.message, self.code) else self.code
        return f"{self.message} ({', '.join(filter(None, (code, self.thread_id, self.run_id)))})"


class WaitInHandler(GptAgentError, RuntimeError):
    """`Agent.wait`, `Agent.ask` or `Agent.stream` was called in a handler or a tool, where it could block forever."""


class InvalidWebhook(GptAgentError, ValueError):
    """A webhook has a wrong signature, is too old, or is malformed. Answer the request with HTTP 400."""


class ToolArgumentsError(GptAgentError, ValueError):
    """A model called a tool with arguments that the tool's schema forbids. The message names each wrong argument."""


class IllegalInput(GptAgentError):
    """The state machine has no row for this input in this state. Nothing was changed."""


class StoreError(GptAgentError):
    """The store could not save or load data. The message says what to do.

    The store has changed nothing, except in two cases. First, if the connection to the database breaks during a call,
    the call may have taken effect. A repeated call still takes effect only once. Second, `prune` may have deleted a
    part of the history before it failed.
    """


class StoreTaken(StoreError, AgentNotAlive):
    """Another runtime has taken the store over. The former runtime can no longer write.

    As soon as the former runtime notices this, its agents stop. From then on, every call on them raises this error.
    """


class RuntimeClosed(GptAgentError):
    """The runtime was closed. Create a new runtime."""


class UsedAfterFork(GptAgentError, RuntimeError):
    """A runtime, agent or store was made before a fork and is used in the child. Create it after the fork."""


class ApiError(GptAgentError):
    """A request to the API failed.

    Attributes:
        status: the HTTP status, or None if no HTTP answer arrived.
        code: the API's own error code, or None.
        message: one sentence for people. It is never empty and never contains a secret.
        request_id: the id of the request in the server's logs, or None.
    """

    def __init__(self, status: int | None, code: str | None, message: str, request_id: str | None = None) -> None:
        super().__init__(status, code, message, request_id)
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id

    def __str__(self) -> str:
        facts = [
            *([f"HTTP {self.status}"] if self.status is not None else []),
            *([f"code {self.code}"] if self.code else []),
            *([f"request {self.request_id}"] if self.request_id else []),
        ]
        return f"{self.message} ({', '.join(facts)})" if facts else self.message


def names_code(message: str, code: str | None) -> bool:
    """Return whether a message is, or contains, the text of an `ApiError` with this code."""
    return any(f"code {code}{end}" in message for end in (",", ")"))


class RequestRefused(ApiError):
    """The server understood the request and refused it. Repeating the request does not help.

    Attributes:
        param: the parameter that the server rejected, or None.
        unknown_path: True if the server probably does not have the path of the request at all.
    """

    def __init__(
        self,
        status: int | None,
        code: str | None,
        message: str,
        request_id: str | None = None,
        *,
        param: str | None = None,
        unknown_path: bool = False,
    ) -> None:
        super().__init__(status, code, message, request_id)
        self.param = param
        self.unknown_path = unknown_path


class InvalidThreadId(RequestRefused):
    """The server has no thread with this id, or the base URL is not that of the API."""


class AccessDenied(ApiError):
    """The API key is missing, is wrong, or lacks permission (401, 403).

    This error is also raised if the backend's `auth` gives no token, or if the backend does not know the assistant.
    """


class QuotaExceeded(ApiError):
    """The balance or a spend limit is used up. A person must act; waiting does not help."""


class TransientError(ApiError):
    """A request failed and can safely be repeated, because it had no effect or because repeating it is harmless.

    Attributes:
        retry_after: seconds that the server asks the client to wait, or None.
        hopeless: True if a retry within seconds rarely helps, because no server listens or the server is not the API.
            In this case, a call that blocks, such as `Runtime.connect`, makes only a few attempts.
    """

    def __init__(
        self,
        status: int | None,
        code: str | None,
        message: str,
        request_id: str | None = None,
        *,
        retry_after: float | None = None,
        hopeless: bool = False,
    ) -> None:
        super().__init__(status, code, message, request_id)
        self.retry_after = retry_after
        self.hopeless = hopeless


class OutcomeUnknown(TransientError):
    """A request that changes the server got no usable HTTP answer. It is unknown whether the request took effect.

    Attributes:
        in_flight: True if the request may still take effect later. False if an answer, although it was not usable,
            certainly came from the API itself. In this case, the request has already taken effect, or it never will.
    """

    def __init__(
        self,
        status: int | None,
        code: str | None,
        message: str,
        request_id: str | None = None,
        *,
        retry_after: float | None = None,
        hopeless: bool = False,
        in_flight: bool = False,
    ) -> None:
        super().__init__(status, code, message, request_id, retry_after=retry_after, hopeless=hopeless)
        self.in_flight = in_flight


class ThreadBusy(ApiError):
    """The thread has an active run, so the server accepts neither messages nor runs for it (HTTP 400).

    Attributes:
        locked: True if the server reports only a lock (`conversation_locked`). In this case, a list of the thread's
            runs may lack the active run.
    """

    def __init__(
        self,
        status: int | None,
        code: str | None,
        message: str,
        request_id: str | None = None,
        *,
        locked: bool = False,
    ) -> None:
        super().__init__(status, code, message, request_id)
        self.locked = locked


# --- wrong keywords ----------------------------------------------------------------------------------------

_Class = TypeVar("_Class", bound=type)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def nearest(wrong: str, names: Iterable[str]) -> str | None:
    """Return the name that is most like a wrong one, or None if none is like it."""
    import difflib  # noqa: PLC0415 - takes memory, and most programs make no such mistake

    return next(iter(difflib.get_close_matches(wrong, names, 1)), None)


def unknown_keyword(
    call: str, given: Iterable[str], known: Iterable[str], perhaps: Iterable[str] = ()
) -> TypeError | None:
    """Return the error for the first keyword that a call does not know. It names the nearest known keyword.

    `perhaps` contains keywords that may be meant, although this call does not know them.
    """
    names = list(known)
    for wrong in given:
        if wrong not in names:
            meant = nearest(wrong, (name for name in (*names, *perhaps) if name != wrong))
            advice = f"there are {', '.join(names)}" if meant is None else f"did you mean {meant!r}?"
            return TypeError(f"{call} takes no argument {wrong!r}; {advice}")
    return None


def explains_keywords(cls: _Class, *methods: str) -> _Class:
    """Let the constructor and these methods of a class explain a wrong keyword. The signatures stay as they are."""
    for name in ("__init__", *methods):
        setattr(cls, name, _explained(getattr(cls, name)))
    return cls


def _explained(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the function
        try:
            return function(*args, **kwargs)
        except TypeError:
            # Only now, so that a call without mistakes takes no time for this.
            known = [each.name for each in inspect.signature(function).parameters.values() if each.kind in _NAMED]
            error = unknown_keyword(function.__qualname__.removesuffix(".__init__"), kwargs, known[1:])
            if error is None:
                raise
        raise error

    return called

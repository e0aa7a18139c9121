"""Everything the library raises on purpose, under one root; the branch says who must act.

============================  ==================  =====================================================
error                         who must act        what the library does meanwhile
============================  ==================  =====================================================
`InvalidThreadId`             the caller          nothing: no agent was made
`AgentNotAlive`               the caller          nothing: connect to the thread again
`WaitTimeout`                 the caller          goes on in the background
`RuntimeClosed`               the caller          nothing: make a new runtime
`StoreError`                  the operator: disk  keeps what it had, tries again
`StoreTaken`                  nobody              stops its agents: another runtime drives them
`WaitInHandler`               the caller          nothing: handlers must return
`InvalidWebhook`              who sent it         nothing: it is not known to be the server's
`RequestRefused`              the caller          does not repeat the request
`AccessDenied`                the operator: key   keeps the message, does not repeat the request
`QuotaExceeded`               the operator: bill  keeps the message, does not repeat the request
`TransientError`              nobody              tries again with exponential backoff
`OutcomeUnknown`              nobody              asks the server what happened, then tries again
`ThreadBusy`                  nobody              adopts the run that is in the way
============================  ==================  =====================================================
"""

from __future__ import annotations

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
    "RuntimeClosed",
    "StoreError",
    "StoreTaken",
    "ThreadBusy",
    "TransientError",
    "WaitInHandler",
    "WaitTimeout",
]


class GptAgentError(Exception):
    """Root of every error this library raises on purpose."""


class AgentNotAlive(GptAgentError):
    """The agent was shut down; `Runtime.connect` gives a new one for its thread."""


class WaitTimeout(GptAgentError, TimeoutError):
    """`Agent.wait` ran out of time. The conversation goes on undisturbed."""


class WaitInHandler(GptAgentError, RuntimeError):
    """`Agent.wait` was called from a signal handler or subscriber, where it could block forever."""


class InvalidWebhook(GptAgentError, ValueError):
    """A webhook whose signature does not fit, that is too old, or that cannot be read. Answer it with HTTP 400."""


class IllegalInput(GptAgentError):
    """The state machine has no row for this input in this state. Nothing was changed."""


class StoreError(GptAgentError):
    """The store could not keep or give something; nothing was changed. The message says what to do about it."""


class StoreTaken(StoreError):
    """Another runtime has taken the store over; this one can write no more, and its agents stop."""


class RuntimeClosed(GptAgentError):
    """The runtime was closed; make a new one."""


class ApiError(GptAgentError):
    """The API did not do what it was asked to do.

    Attributes:
        status: the HTTP status, or None where no answer arrived.
        code: the API's own code of the error, or None.
        message: one sentence for a person; never empty, never with a secret.
        request_id: what the server calls this request in its own logs, or None.
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


class RequestRefused(ApiError):
    """The server understood and said no; asking again would not help.

    Attributes:
        param: the parameter the server complains about, or None.
    """

    def __init__(
        self,
        status: int | None,
        code: str | None,
        message: str,
        request_id: str | None = None,
        *,
        param: str | None = None,
    ) -> None:
        super().__init__(status, code, message, request_id)
        self.param = param


class InvalidThreadId(RequestRefused):
    """The server knows no thread of this id (or the base URL does not lead to the API)."""


class AccessDenied(ApiError):
    """The API key is missing, wrong, or may not do this (401, 403); or the backend was given no such assistant."""


class QuotaExceeded(ApiError):
    """The balance or a spend limit is used up; a person must act, waiting does not help."""


class TransientError(ApiError):
    """Nothing took effect, or repeating is harmless: worth another try.

    Attributes:
        retry_after: seconds the server asked to wait, or None.
        hopeless: True where another try in the next seconds rarely helps (nobody listens, or what
            answers is no API), so that a caller who waits is told soon.
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
    """A request that changes the server got no usable answer: it may or may not have taken effect.

    Attributes:
        in_flight: True where no answer arrived at all, so that the request may still land.
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
    """The thread has an active run, so it takes neither messages nor runs (HTTP 400).

    Attributes:
        locked: True where the server only says that somebody is at work (`conversation_locked`): it may be a run that
            cannot be listed.
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

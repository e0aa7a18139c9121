"""The events of a thread as a whole, and of its requests."""

from __future__ import annotations

import attrs

__all__ = [
    "AgentStopped",
    "BudgetExceeded",
    "RequestFailed",
    "StateChanged",
    "ThreadStalled",
]


@attrs.frozen(kw_only=True)
class StateChanged:
    """The thread's state machine moved to another state.

    Attributes:
        source: the name of the old state, such as "idle".
        dest: the name of the new state.
        trigger: the name of the input that caused the transition, as in the machine's table.
    """

    thread_id: str
    source: str
    dest: str
    trigger: str


@attrs.frozen(kw_only=True)
class RequestFailed:
    """A request to the API did not succeed.

    Attributes:
        operation: `post_message`, `create_run`, `get_run`, ...
        status: the HTTP status, or None if no HTTP answer arrived.
        code: the API's own code, or None.
        message: one sentence for people. It is never blank and never contains a secret.
        attempt: the number of the attempt, from 1.
        will_retry: True if the library retries automatically.
    """

    thread_id: str
    operation: str
    status: int | None
    code: str | None
    message: str
    attempt: int
    will_retry: bool


@attrs.frozen(kw_only=True)
class BudgetExceeded:
    """The runs of the thread have reached the limit of tokens. No message is sent, and the state is `failed`.

    If you give a larger limit to `Runtime.connect`, the queue continues. The event is sent again only after the used
    tokens or the limit have changed.

    Attributes:
        used: the tokens of all runs of the thread that have ended.
        limit: the limit that was given to `connect`, or else `Settings.max_total_tokens`.
    """

    thread_id: str
    used: int
    limit: int


@attrs.frozen(kw_only=True)
class ThreadStalled:
    """The thread has waited for the same thing for `stall_after` seconds.

    If the wait continues, the event is sent again after 2, 4, 8, ... times as many seconds. The event does not end the
    wait. `Agent.explain` says which methods can be called.

    Attributes:
        reason: a sentence that says what the thread waits for and, if there is one, the last failure.
        since: the time at which the wait began, in seconds since the epoch.
        next_look: the time at which the library acts next, in seconds since the epoch; None if a request is in flight.
    """

    thread_id: str
    reason: str
    since: float
    next_look: float | None


@attrs.frozen(kw_only=True)
class AgentStopped:
    """The agent was removed from the runtime. Every later command to the agent raises `AgentNotAlive`.

    Attributes:
        reason: "shutdown", "idle_timeout", "runtime_closed", or "store_taken" if another runtime drives the thread.
    """

    thread_id: str
    reason: str

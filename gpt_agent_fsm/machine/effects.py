"""What the core wants done: requests to the API, and words to the runner. Imperative, plain data.

A thread is on at most one request at a time, so the order of its effects is the order of the wire. One that is
not `repeatable` is in doubt when its answer is lost: the server is searched for it before it is sent again.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import attrs

__all__ = [
    "CancelRun",
    "CreateRun",
    "Effect",
    "GetLatestRun",
    "GetRun",
    "Ignore",
    "ListMessages",
    "PostMessage",
    "Request",
    "Stop",
    "SubmitToolOutputs",
    "Wait",
]


@attrs.frozen(kw_only=True)
class GetLatestRun:
    """List the newest runs of the thread, newest first.

    Attributes:
        key: the key of a run in doubt, to search for; None for the newest run alone.
        retry_of: as in `CreateRun`, for the run that is searched.
        wide: True where the run that is in the way may be any of them.
    """

    operation: ClassVar[str] = "get_latest_run"
    changes_server: ClassVar[bool] = False
    repeatable: ClassVar[bool] = True
    key: str | None = None
    retry_of: str | None = None
    wide: bool = False


@attrs.frozen(kw_only=True)
class PostMessage:
    """Add a user message to the thread."""

    operation: ClassVar[str] = "post_message"
    changes_server: ClassVar[bool] = True
    repeatable: ClassVar[bool] = False
    key: str
    content: str


@attrs.frozen(kw_only=True)
class CreateRun:
    """Start a run.

    Attributes:
        retry_of: the handle of the run that it starts again; None if it is the first, or if that run had none.
        in_doubt: True if an earlier attempt to start this very run may have taken effect.
    """

    operation: ClassVar[str] = "create_run"
    changes_server: ClassVar[bool] = True
    repeatable: ClassVar[bool] = False
    key: str
    assistant_id: str
    retry_of: str | None = None
    in_doubt: bool = False


@attrs.frozen(kw_only=True)
class GetRun:
    """Look at a run.

    Attributes:
        handle: as in `Run`.
        in_doubt: True where a request that was given up on may have taken effect since, or instead: outputs that were
            submitted, or an earlier attempt to start this run.
    """

    operation: ClassVar[str] = "get_run"
    changes_server: ClassVar[bool] = False
    repeatable: ClassVar[bool] = True
    run_id: str
    handle: str | None = None
    in_doubt: bool = False


@attrs.frozen(kw_only=True)
class SubmitToolOutputs:
    """Answer all tool calls of a run together.

    Attributes:
        outputs: pairs of tool call id and JSON text.
        assistant_id: who continues the run.
        handle: as in `Run`.
    """

    operation: ClassVar[str] = "submit_tool_outputs"
    changes_server: ClassVar[bool] = True
    repeatable: ClassVar[bool] = False
    run_id: str
    outputs: tuple[tuple[str, str], ...]
    assistant_id: str = ""
    handle: str | None = None


@attrs.frozen(kw_only=True)
class ListMessages:
    """Read one page of messages.

    Attributes:
        after: the id after which to read, in the direction of reading; None from the start.
        newest_first: True when searching for a message of ours that was just sent.
    """

    operation: ClassVar[str] = "list_messages"
    changes_server: ClassVar[bool] = False
    repeatable: ClassVar[bool] = True
    after: str | None
    newest_first: bool = False


@attrs.frozen(kw_only=True)
class CancelRun:
    """Ask the server to end a run.

    Attributes:
        handle: as in `Run`.
    """

    operation: ClassVar[str] = "cancel_run"
    changes_server: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True
    run_id: str
    handle: str | None = None


@attrs.frozen(kw_only=True)
class Wait:
    """Come back with `TimerDue` later; replaces the timer set before.

    Attributes:
        seconds: the least time to wait.
        spread: up to this many seconds more, at random.
    """

    seconds: float
    spread: float = 0.0


@attrs.frozen(kw_only=True)
class Stop:
    """Take the agent out of the runtime."""

    reason: str


@attrs.frozen(kw_only=True)
class Ignore:
    """Say in the log that an input was ignored, and why."""

    reason: str


Request: TypeAlias = GetLatestRun | PostMessage | CreateRun | GetRun | SubmitToolOutputs | ListMessages | CancelRun
Effect: TypeAlias = Request | Wait | Stop | Ignore

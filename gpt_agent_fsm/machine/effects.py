"""The effects that the machine returns: requests to the API, and orders to the driver of a thread.

Effects are plain data.

A thread makes at most one request at a time, so its requests are sent in the order of its effects. If the HTTP answer
to a request is lost, and the request is not `repeatable`, the request is *in doubt*. The library then searches the
server before it sends the request again.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import attrs

from gpt_agent_fsm.events.parts import Part

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
        key: the key of the run to search for, which may have been created. The library puts the key into the run's
            metadata. None if the request does not search for a run that may have been created.
        retry_of: the `retry_of` of the `CreateRun` that may have created the run to search for; None if there is none.
        wide: True if the request searches for the run that blocks the thread. Any of the listed runs may be this run,
            not only the newest.
    """

    operation: ClassVar[str] = "get_latest_run"
    changes_server: ClassVar[bool] = False
    repeatable: ClassVar[bool] = True
    key: str | None = None
    retry_of: str | None = None
    wide: bool = False


@attrs.frozen(kw_only=True)
class PostMessage:
    """Add a user message to the thread.

    Attributes:
        parts: the parts of the message; empty if the message is only text.
    """

    operation: ClassVar[str] = "post_message"
    changes_server: ClassVar[bool] = True
    repeatable: ClassVar[bool] = False
    key: str
    content: str
    parts: tuple[Part, ...] = ()


@attrs.frozen(kw_only=True)
class CreateRun:
    """Create a run.

    Attributes:
        retry_of: the handle of the rate limited run that the new run replaces. The handle is a value that the backend
            has made to find the replaced run. None if no run is replaced, or if the replaced run had no handle.
        may_exist: True if an earlier attempt to create this run may have taken effect.
        run_options: the options of the run, as the JSON text of an object; "" if there are none.
    """

    operation: ClassVar[str] = "create_run"
    changes_server: ClassVar[bool] = True
    repeatable: ClassVar[bool] = False
    key: str
    assistant_id: str
    retry_of: str | None = None
    may_exist: bool = False
    run_options: str = ""


@attrs.frozen(kw_only=True)
class GetRun:
    """Poll a run.

    Attributes:
        handle: as in `Run`.
        in_doubt: True if an earlier request without an HTTP answer may have taken effect: a submission of outputs, or
            an attempt to create this run.
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
        assistant_id: the assistant that continues the run.
        handle: as in `Run`.
        decisions: pairs of tool call id and JSON text for calls that the server makes itself. The text is an object
            with `approve` (true or false) and perhaps a `reason`.
        run_options: the options of the run, as in `CreateRun`.
    """

    operation: ClassVar[str] = "submit_tool_outputs"
    changes_server: ClassVar[bool] = True
    repeatable: ClassVar[bool] = False
    run_id: str
    outputs: tuple[tuple[str, str], ...]
    assistant_id: str = ""
    handle: str | None = None
    decisions: tuple[tuple[str, str], ...] = ()
    run_options: str = ""


@attrs.frozen(kw_only=True)
class ListMessages:
    """Read one page of messages.

    Attributes:
        after: the id of the last message before the page, in the order of the server's list; None for the first page.
        newest_first: True to list the newest messages first, in order to find a message that was just sent.
        of_reading: True if the newest messages are listed first to see whether a reading knows all messages.
    """

    operation: ClassVar[str] = "list_messages"
    changes_server: ClassVar[bool] = False
    repeatable: ClassVar[bool] = True
    after: str | None
    newest_first: bool = False
    of_reading: bool = False


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
    """Set a timer, which replaces the previous timer. When the new timer ends, the machine gets the input `TimerDue`.

    Attributes:
        seconds: the shortest time to wait, in seconds.
        spread: the greatest number of seconds that is added at random.
    """

    seconds: float
    spread: float = 0.0


@attrs.frozen(kw_only=True)
class Stop:
    """Remove the agent from the runtime."""

    reason: str


@attrs.frozen(kw_only=True)
class Ignore:
    """Log that an input was ignored, and why."""

    reason: str


Request: TypeAlias = GetLatestRun | PostMessage | CreateRun | GetRun | SubmitToolOutputs | ListMessages | CancelRun
Effect: TypeAlias = Request | Wait | Stop | Ignore

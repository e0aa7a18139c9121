"""The steps of a run on a simulated server. A plan is a list of steps, which the run takes one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from gpt_agent_fsm.ports import RunStatus

__all__ = ["Answer", "Ask", "Call", "Fail", "Linger", "Planner", "Step", "Stuck", "codes_of", "echo"]

_CODES = {RunStatus.RATE_LIMITED: "rate_limit_exceeded", RunStatus.OUT_OF_QUOTA: "rate_limit_exceeded"}


@attrs.frozen
class Answer:
    """The run answers with this text and is completed. An empty text adds no message."""

    text: str = "Hi"


@attrs.frozen
class Call:
    """The run calls tools. Each call is a pair: the tool's name, and the arguments as JSON text.

    Attributes:
        calls: the calls that the client answers.
        by_server: the calls that the server itself makes if a person approves them. OpenAI's Assistants API has no
            such calls.
    """

    calls: tuple[tuple[str, str], ...] = ()
    by_server: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class Fail:
    """The run fails after it has used one token."""

    status: RunStatus = RunStatus.FAILED
    code: str = "server_error"
    message: str = "Sorry"


LIMITED = Fail(RunStatus.RATE_LIMITED, message="Rate limit reached")
"""The run fails because of a rate limit."""


@attrs.frozen
class Linger:
    """The run stays in progress for this many more polls."""

    looks: int = 1


@attrs.frozen
class Stuck:
    """The run stays in progress until the server's `faults_off` is True. Then the run expires."""


@attrs.frozen
class Ask:
    """The run waits for something that is not the output of a function.

    On a `SimulatedServer`, the run expires when `faults_off` is True.

    Attributes:
        kind: the type of what the run waits for: a required action on a thread, or an item in a conversation.
    """

    kind: str = "mcp_approval_request"


Step: TypeAlias = Answer | Call | Fail | Linger | Stuck | Ask
Planner: TypeAlias = Callable[[str], Sequence[Step]]
"""A function that takes the text of the last user message and returns the steps of a run."""


def codes_of(status: RunStatus, code: str) -> str:
    """Return the error code of a run that ended with this status: `code`, unless the status has a fixed code."""
    return _CODES.get(status, code)


def echo(text: str) -> Sequence[Step]:
    """Return the plan of a run that answers "You said: " and the text of the user message."""
    return [Answer(f"You said: {text}")]

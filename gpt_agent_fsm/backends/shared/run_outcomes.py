"""The outcome of a run: the only place that maps the server's status, error and reason to a `RunStatus`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from gpt_agent_fsm.backends.shared.reasons import (
    QUOTA_CODE,
    RATE_LIMIT_CODE,
    says_out_of_quota,
    says_rate_limited,
)
from gpt_agent_fsm.backends.shared.values import lenient_mapping, lenient_text
from gpt_agent_fsm.ports import RunStatus

__all__ = ["RunOutcome", "run_outcome"]

_IN_PROGRESS_ENDINGS = ("ing", "progress", "queue")
_ENDED_BADLY = (RunStatus.FAILED, RunStatus.RATE_LIMITED, RunStatus.OUT_OF_QUOTA)


@attrs.frozen(kw_only=True)
class RunOutcome:
    """The state of a run.

    Attributes:
        code, message: why it ended without success, never blank then; else "".
    """

    status: RunStatus
    code: str = ""
    message: str = ""


def run_outcome(
    status: str, *, known: Mapping[str, RunStatus], error: object, incomplete_details: Mapping[str, Any]
) -> RunOutcome:
    """Return the outcome of a run with this status.

    `known` holds the documented statuses of the wire that are not failures. Of the others, one that sounds like
    progress means that the run continues, unless it comes with an error or a reason; any other is an end without
    success.
    """
    status = status.strip().lower()
    code, message = _error_of(error)
    standing = known.get(status)
    if standing is None:
        in_progress = status.endswith(_IN_PROGRESS_ENDINGS) and not (error or incomplete_details)
        standing = RunStatus.ACTIVE if in_progress else _end_of(status, code, message)
    if standing not in _ENDED_BADLY:
        return RunOutcome(status=standing)
    reason = lenient_text(incomplete_details.get("reason"))
    return RunOutcome(
        status=standing,
        code=code or reason or status,
        message=message or _default_end_message(status, reason),
    )


def _error_of(error: object) -> tuple[str, str]:
    """Return the code and the message of a run's error, "" for one that is missing."""
    if isinstance(error, str):
        return "", error.strip()
    fields = lenient_mapping(error)
    return (lenient_text(fields.get("code")) or "").strip(), (lenient_text(fields.get("message")) or "").strip()


def _end_of(status: str, code: str, message: str) -> RunStatus:
    if code == QUOTA_CODE or says_out_of_quota(message):
        return RunStatus.OUT_OF_QUOTA
    if status == "failed" and code == RATE_LIMIT_CODE and says_rate_limited(message):
        return RunStatus.RATE_LIMITED
    return RunStatus.FAILED


def _default_end_message(status: str, reason: str | None) -> str:
    return f"The run ended as {status}{f' ({reason})' if reason else ''}; the server gave no message."

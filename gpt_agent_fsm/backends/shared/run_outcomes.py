"""Finds the outcome of a run. No other module turns the server's status, error and reason into a `RunStatus`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_fsm.backends.shared.limits import Limit, limit_of_run
from gpt_agent_fsm.backends.shared.values import lenient_id, lenient_mapping, lenient_text
from gpt_agent_fsm.ports import RunStatus

__all__ = ["RunOutcome", "run_outcome"]

_IN_PROGRESS_ENDINGS = ("ing", "progress", "queue")
_NO_RETRY = ("cancelled", "canceled", "expired", "incomplete")
"""Statuses of runs that did not end because of a rate limit, even if their error names one."""
_ENDED_BADLY = (RunStatus.FAILED, RunStatus.RATE_LIMITED, RunStatus.OUT_OF_QUOTA)


@attrs.frozen(kw_only=True)
class RunOutcome:
    """The state of a run.

    Attributes:
        code, message: why the run ended without success; neither is blank. For other runs both are "".
    """

    status: RunStatus
    code: str = ""
    message: str = ""


def run_outcome(
    status: str, *, known: Mapping[str, RunStatus], error: object, incomplete_details: Mapping[str, Any]
) -> RunOutcome:
    """Return the outcome of a run with this status.

    `known` contains the API's documented statuses that are not failures. An unknown status that sounds like progress
    means that the run continues, unless the run has an error or a reason. With any other status the run has ended
    without success.
    """
    status = status.strip().lower()
    code, codes, message = _error_of(error)
    standing = known.get(status)
    if standing is None:
        in_progress = status.endswith(_IN_PROGRESS_ENDINGS) and not (error or incomplete_details)
        standing = RunStatus.ACTIVE if in_progress else _end_of(status, codes, message)
    if standing not in _ENDED_BADLY:
        return RunOutcome(status=standing)
    reason = lenient_text(incomplete_details.get("reason"))
    return RunOutcome(
        status=standing,
        code=code or reason or status,
        message=message or _default_end_message(status, reason),
    )


def _error_of(error: object) -> tuple[str, list[str], str]:
    """Return the code of a run's error, all values that may be its code, and its text. A missing code or text is ""."""
    if isinstance(error, str):
        return "", [], error.strip()
    fields = lenient_mapping(error)
    codes = [found for name in ("code", "type") if (found := lenient_id(fields.get(name)))]
    return (lenient_text(fields.get("code")) or "").strip(), codes, (lenient_text(fields.get("message")) or "").strip()


def _end_of(status: str, codes: Sequence[str], message: str) -> RunStatus:
    match limit_of_run(codes, message):
        case Limit.BILL:
            return RunStatus.OUT_OF_QUOTA
        case Limit.RATE if status not in _NO_RETRY:
            return RunStatus.RATE_LIMITED
    return RunStatus.FAILED


def _default_end_message(status: str, reason: str | None) -> str:
    return f"The run ended as {status}{f' ({reason})' if reason else ''}; the server gave no message."

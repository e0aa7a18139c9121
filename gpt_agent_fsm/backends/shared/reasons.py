"""The codes and words with which servers report a limit: HTTP errors and failed runs share them."""

from __future__ import annotations

__all__ = ["BALANCE_CODES", "QUOTA_CODE", "RATE_LIMIT_CODE", "says_out_of_quota", "says_rate_limited"]

QUOTA_CODE = "insufficient_quota"
BALANCE_CODES = {
    QUOTA_CODE,
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
}
"""The codes of HTTP errors for a used-up balance or spend limit. Runs fail with the first only."""
RATE_LIMIT_CODE = "rate_limit_exceeded"


def says_out_of_quota(message: str) -> bool:
    """Return whether a message is the one for a used-up balance."""
    return "exceeded your current quota" in message.lower()


def says_rate_limited(message: str) -> bool:
    """Return whether a message is the one for a rate limit; its code alone has other uses, too."""
    return "rate limit reached" in message.lower()

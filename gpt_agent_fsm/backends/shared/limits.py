"""Recognises rate limits and bills in the errors of requests and runs, for every API.

A rate limit ends after a while. A bill (no credits are left, or a spend limit was reached) needs a person. Servers
report both with many codes and in many words, and some servers hide them in another error: the code `server_error` and
the text "Error code: 429 - Rate limit reached ...". The code or status that comes with a text decides which words
count:

==================================================  ===================================================================
with the text                                       words that count
==================================================  ===================================================================
a code of a bill, or HTTP 402                       none are needed: it is a bill
a code of a rate limit, or HTTP 429                 the words of a bill; without such words it is a rate limit
`rate_limit_exceeded`, if a run failed              all, and at least one must occur: the code has other causes, too
a code of another cause, such as an invalid prompt  none
any other code, or none                             all, unless they are quoted or the text mentions a tool
==================================================  ===================================================================

If a text has words of a rate limit and of a bill, it is a bill.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Set

__all__ = ["Limit", "limit_of_answer", "limit_of_run", "wait_named_in"]

_MAX_READ = 5_000
_MAX_WAIT = 86_400.0

# The patterns below are texts, so that they are compiled for the first error and not for the import.
# Before codes are compared with the next four, they are put in lower case and lose their punctuation.
_AMBIGUOUS_CODE = "ratelimitexceeded"
_BILL_CODE = (
    r"insufficient(quota|balance|credits?|funds)|(balance|credits)(exhausted|toolow)|billing(notactive|hardlimit)"
    r"|spend(ing)?limit|(organization|project)usagelimit|budgetexceeded|exceededbudget|paymentrequired|^402$"
)
_RATE_CODE = r"ratelimit|toomanyrequests|throttl|slowdown|^429$"
_OTHER_CODE = r"prompt|context|content|image|file|argument|tool|function|mcp"

_IS = r"(?:\ (?:is|are|was|were|has\ been|have\ been))?"
_BILL = rf"""(?ix)
    \bexceeded\ (?:your|the|its)\ (?:current|monthly)\ (?:quota|budget|spend)
    | \binsufficient[ _](?:\w+\ )?(?:quota|balance|credits?|funds)\b
    | \bbalance{_IS}\ (?:too\ low|insufficient|exhausted|depleted|used\ up|empty|negative)
    | \bcredits?{_IS}\ (?:exhausted|depleted|used\ up)
    | \b(?:out\ of|no\ more|not\ enough|requires?\ more|(?:used|spent)\ all(?:\ your|\ available)*)\ credits\b
    | \bno\ credits\ (?:left|remaining|available)\b
    | \b(?:spend|spending|billing|budget)[ _](?:hard[ _])?limit{_IS}[ _](?:reached|exceeded|hit)\b
    | \breached\ (?:your|its|the)\ (?:\w+\ ){{0,3}}(?:spend|spending|billing|budget|api\ usage)\ limits?\b
    | \bbudget\ has\ been\ exceeded
    | \baccount\ is\ not\ active,\ please\ check\ your\ billing
    | \bpayment\ required\b
    | \b(?:error|code|status|http)[ :=]*402\b
    """
_RATE = r"""(?ix)
    (?<![/\w])rate[ -]?limits?\ (?:\S+\ ){0,8}?(?:reached|exceeded|hit|exhausted)\b
    | \b(?:exceed(?:s|ed)?|reached|hit)\ (?:\S+\ ){0,6}?rate[ -]?limits?\b
    | \brate_limit_(?:exceeded|reached|error)\b
    | \bRateLimitError\b | \bThrottlingException\b
    | \btoo\ many\ requests\b
    | \b(?:is|are|was|were|being|been)\ (?:rate[ -]limited|throttled)\b
    | \b(?:error|code|status|http(?:/[\d.]+)?)[ :=]*429\b
    """
_RATE_BESIDE_ITS_CODE = r"(?i)\bslow down\b|\b(?:try again|retry) (?:in|after) \d"
_MENTIONS_A_TOOL = r"(?i)\b(tool|function|plugin|connector|mcp)s?\b"
_QUOTED = r"""(?x)(?<!\w)(?<!["']:)(?<!["']:\ )(["'`])(?:(?!\1).)*\1(?!\w)|“[^”]*”|«[^»]*»"""
"""A quotation. A value in JSON or in a Python dict is not a quotation: in this form, servers repeat another server's
error."""

_PART = r"\d+(?:\.\d+)? ?(?:milliseconds?|ms|minutes?|mins?|m|seconds?|secs?|s|hours?|h|days?|d)(?![a-z])"
_WAIT = rf"(?i)\b(?:again|retry|wait)(?: your request)?(?: (?:in|after|for|about))* ({_PART}(?:(?:,| and)? ?{_PART})*)"
_EACH = r"(?i)(\d+(?:\.\d+)?) ?(ms|milli|[smhd])"
_SECONDS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


class Limit(enum.Enum):
    """The kind of an account's limit: a rate limit, which ends after a while, or a bill, which needs a person."""

    RATE = "rate"
    BILL = "bill"


def limit_of_run(codes: Iterable[str], message: str) -> Limit | None:
    """Return the limit that made a run fail. Return None if the run failed for another reason.

    `codes` are the codes of the run's error.
    """
    names, text = _plain(codes), _one_line(message)
    return _limit_of_codes(names - {_AMBIGUOUS_CODE}, text) or _limit_of_words(names, text)


def limit_of_answer(status: int, codes: Iterable[str], message: str, param: str | None = None) -> Limit | None:
    """Return the limit that made a server refuse a request. Return None if the server had another reason."""
    names, text = _plain([*codes, *([str(status)] if status in (402, 429) else [])]), _one_line(message)
    limit = _limit_of_codes(names, text)
    # An error that names a parameter is about the request. An error with a status of 500 or more may come from a
    # gateway, and is not a refusal.
    if limit is not None or param is not None or not 400 <= status < 500:
        return limit
    return _limit_of_words(names, text)


def wait_named_in(message: str) -> float | None:
    """Return the seconds to wait that a text names, as in "try again in 1m30s". The result is at most a day.

    Return None if the text names no time.
    """
    found = re.search(_WAIT, _one_line(message))
    if found is None:
        return None
    return min(sum(float(number) * _SECONDS[unit.lower()] for number, unit in re.findall(_EACH, found[1])), _MAX_WAIT)


def _limit_of_codes(names: Set[str], text: str) -> Limit | None:
    if any(re.search(_BILL_CODE, name) for name in names):
        return Limit.BILL
    if any(re.search(_RATE_CODE, name) for name in names):
        return Limit.BILL if re.search(_BILL, text) else Limit.RATE
    return None


def _limit_of_words(names: Set[str], text: str) -> Limit | None:
    if _AMBIGUOUS_CODE in names:
        if re.search(_BILL, text):
            return Limit.BILL
        return Limit.RATE if re.search(_RATE, text) or re.search(_RATE_BESIDE_ITS_CODE, text) else None
    if any(re.search(_OTHER_CODE, name) for name in names) or re.search(_MENTIONS_A_TOOL, text):
        return None
    unquoted = re.sub(_QUOTED, "", text)
    if re.search(_BILL, unquoted):
        return Limit.BILL
    return Limit.RATE if re.search(_RATE, unquoted) else None


def _plain(codes: Iterable[str]) -> Set[str]:
    return {re.sub(r"[^a-z0-9]", "", code.lower()) for code in codes}


def _one_line(message: str) -> str:
    return " ".join(message[:_MAX_READ].split())

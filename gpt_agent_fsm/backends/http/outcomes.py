"""Chooses the error for a failed request. No other module chooses the subclass of `ApiError`.

If the status of an HTTP answer is 300 or more, the first row that fits decides:

==========================================================  =====================  ====================
status, code, message                                       error of a GET         error of a POST
==========================================================  =====================  ====================
a bill, as `limits` recognises it                           `QuotaExceeded`        `QuotaExceeded`
a code or words for a thread with an active run             as the rows below say  `ThreadBusy`
a rate limit, as `limits` recognises it, or an overload     `TransientError`       `TransientError`
401, 403, 407                                               `AccessDenied`         `AccessDenied`
408, 409, 425, a redirect, 5xx                              `TransientError`       `OutcomeUnknown`
an HTML page or plain text instead of an API's answer       `TransientError`       `RequestRefused`
all others                                                  `RequestRefused`       `RequestRefused`
==========================================================  =====================  ====================

If nothing was sent, the error is a `TransientError`. If the request was sent, but the HTTP answer is missing or
unusable, the error is a `TransientError` for a GET and an `OutcomeUnknown` for a POST.

`OutcomeUnknown.in_flight` says whether the request may still take effect. It is False only if the API itself has
certainly answered.

Some errors have a special meaning in one of the APIs: for example, a refusal may be a success. The folder of that API
decides this, and converts the errors with the last functions of this module.
"""

from __future__ import annotations

import re

from gpt_agent_fsm.backends.http.answers import HttpAnswer
from gpt_agent_fsm.backends.http.error_bodies import ErrorBody, read_error_body
from gpt_agent_fsm.backends.http.retry_after import retry_after
from gpt_agent_fsm.backends.http.sentences import about_error, about_unusable, names_unknown_path
from gpt_agent_fsm.backends.http.transport_errors import TransportFailure
from gpt_agent_fsm.backends.shared.limits import Limit, limit_of_answer, wait_named_in
from gpt_agent_fsm.errors import (
    AccessDenied,
    ApiError,
    InvalidThreadId,
    OutcomeUnknown,
    QuotaExceeded,
    RequestRefused,
    ThreadBusy,
    TransientError,
)

__all__ = [
    "as_refusal",
    "as_transient",
    "as_unknown_thread",
    "error_for_answer",
    "error_for_failure",
    "error_for_long_answer",
    "error_for_unencodable",
    "error_for_unreadable",
    "unusable",
]

_NOT_BEGUN_CODE = "server_is_overloaded"
_LOCKED_CODE = "conversation_locked"
_LOCKED = re.compile(r"conversation_locked|operating on this conversation", re.I)
_BUSY = re.compile(
    r"\bhas (an? )?(active|running|ongoing) run|\b(already|there is) an? (active|running) run"
    r"|\brun (\S+ )?is (already |still )?(active|running|in[ _]progress|queued|requires_action|cancelling)"
    r"|\bthread \S* ?is (busy|locked)",
    re.I,
)
_ABOUT_THREAD = re.compile(r"\b(thread|conversation)(_id)?\b", re.I)


# --- answers with a status of 300 or more ----------------------------------------------------------------------


def error_for_answer(answer: HttpAnswer) -> ApiError:
    """Return the error for an HTTP answer with a status of 300 or more."""
    said, status = read_error_body(answer), answer.status
    codes = {code for code in (said.code, said.type) if code}
    limit = limit_of_answer(status, codes, said.message, said.param)
    facts = (status, said.code or said.type, about_error(answer, said), answer.request_id)
    if limit is Limit.BILL:
        return QuotaExceeded(*facts)
    locked = _LOCKED_CODE in codes or bool(_LOCKED.search(said.message))
    if answer.method == "POST" and (locked or _BUSY.search(said.message)):
        return ThreadBusy(*facts, locked=locked)
    not_begun = limit is Limit.RATE or _NOT_BEGUN_CODE in codes
    if status in (401, 403, 407) and not not_begun:
        return AccessDenied(*facts)
    if not not_begun and _is_refusal(answer, said):
        return RequestRefused(*facts, param=said.param, unknown_path=names_unknown_path(answer, said))
    wait, likely_permanent = retry_after(answer.headers), _is_elsewhere(answer, said)
    if wait is None and not_begun:
        wait = wait_named_in(said.message)
    if not_begun or answer.method != "POST":
        return TransientError(*facts, retry_after=wait, hopeless=likely_permanent)
    # The error may come from a gateway. The server behind the gateway may still carry out the request.
    in_flight = status not in (409, 425)
    return OutcomeUnknown(*facts, retry_after=wait, hopeless=likely_permanent, in_flight=in_flight)


def _is_refusal(answer: HttpAnswer, said: ErrorBody) -> bool:
    if not 400 <= answer.status < 500 or answer.status in (408, 409, 425):
        return False
    # A text instead of an API's error may come from a proxy, for example while the proxy reloads. Such a text says
    # nothing about the run.
    return said.structured or answer.method == "POST"


def _is_elsewhere(answer: HttpAnswer, said: ErrorBody) -> bool:
    """Return whether the answer comes from another service, so that the API itself is probably at another address."""
    return answer.status < 400 or answer.status == 501 or (answer.status < 500 and not said.structured)


# --- unusable answers, missing answers, and texts that cannot be sent ------------------------------------------


def unusable(
    method: str, status: int, sentence: str, request_id: str | None = None, *, unreadable: bool = False
) -> TransientError:
    """Return the error for an HTTP answer that has a good status, but lacks a required value or is `unreadable`."""
    facts = (status, None, sentence, request_id)
    if method == "POST":
        return OutcomeUnknown(*facts, hopeless=unreadable, in_flight=unreadable)
    return TransientError(*facts, hopeless=unreadable)


def error_for_unreadable(answer: HttpAnswer, said: ErrorBody, reason: Exception) -> TransientError:
    """Return the error for an unreadable HTTP answer with a good status. The answer is probably not from the API."""
    sentence = about_unusable(answer, said, reason)
    return unusable(answer.method, answer.status, sentence, answer.request_id, unreadable=True)


def error_for_long_answer(method: str, url: str, status: int, limit: int) -> TransientError:
    """Return the error for an HTTP answer that has more than `limit` bytes."""
    sentence = f"The answer to {method} {url} has more than {limit} bytes; see the setting max_answer_bytes."
    return unusable(method, status, sentence, unreadable=True)


def error_for_failure(failure: TransportFailure) -> TransientError:
    """Return the error for a request that got no HTTP answer."""
    if failure.never_sent:
        return TransientError(None, None, failure.sentence, hopeless=True)
    foreign = failure.is_not_http
    if failure.method == "POST":
        return OutcomeUnknown(None, None, failure.sentence, hopeless=foreign, in_flight=True)
    return TransientError(None, None, failure.sentence, hopeless=foreign)


def error_for_unencodable() -> RequestRefused:
    """Return the error for a text that cannot be encoded."""
    sentence = "The text contains an unpaired surrogate, which cannot be encoded; leave it out."
    return RequestRefused(None, None, sentence)


# --- another meaning of an error, for an API that knows its request ---------------------------------------------


def as_unknown_thread(error: ApiError, thread_id: str, base_url: str) -> InvalidThreadId | None:
    """Return the error to raise if `error` says that the server does not know the thread; None otherwise."""
    param = getattr(error, "param", None)
    says_so = error.status in (400, 422) and _ABOUT_THREAD.search(f"{error.message} {param}")
    if error.status != 404 and not says_so:
        return None
    sentence = f"The server at {base_url} knows no thread {thread_id!r}: {error.message}"
    return InvalidThreadId(error.status, error.code, sentence, error.request_id)


def as_refusal(error: ApiError) -> RequestRefused:
    """Return the error as a `RequestRefused`, because repeating the request would not help."""
    return RequestRefused(error.status, error.code, error.message, error.request_id)


def as_transient(error: ApiError) -> TransientError:
    """Return the error as a `TransientError`."""
    return TransientError(error.status, error.code, error.message, error.request_id)

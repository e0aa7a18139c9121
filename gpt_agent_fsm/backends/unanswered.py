"""From a request that got no answer to the error that says who must act, and what to do."""

from __future__ import annotations

import ssl
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

import attrs
import requests
from urllib3.exceptions import NameResolutionError, NewConnectionError

from gpt_agent_fsm.backends.deadline import was_connecting
from gpt_agent_fsm.errors import OutcomeUnknown, TransientError

__all__ = ["Unanswered", "unanswered"]

_PROXY_ADVICE = "check HTTP_PROXY and HTTPS_PROXY, or name the host in NO_PROXY"
_FOR_OTHER_HOST = (62, 64)  # as OpenSSL counts: for another host name, for another IP address


@attrs.frozen(kw_only=True)
class Unanswered:
    """A request that got no answer.

    Attributes:
        url: without its query, for a person to read.
        proxy: the proxy it went through, without credentials, or "".
        timeout: the seconds it had.
    """

    method: str
    url: str
    base_url: str
    proxy: str
    timeout: float
    error: Exception

    @property
    def never_sent(self) -> bool:
        """True where nothing of the request left this machine."""
        # What `requests` calls a ValueError is about addresses, of proxies for example.
        kinds = requests.ConnectTimeout | requests.exceptions.ProxyError | ValueError
        causes = self.causes(NewConnectionError | ConnectionRefusedError)
        return was_connecting() or isinstance(self.error, kinds) or bool(causes)

    @property
    def timed_out(self) -> bool:
        """True where it was given up for want of time."""
        return isinstance(self.error, requests.Timeout) or "timed out" in str(self.error).lower()

    def causes(self, kind: Any) -> list[Any]:  # noqa: ANN401 - as isinstance has it
        """Return the errors of one kind that led to this one, the innermost last."""
        found: list[BaseException] = []
        waiting: list[Any] = [self.error]
        while waiting:
            current = waiting.pop()
            if isinstance(current, BaseException) and current not in found:
                found.append(current)
                waiting += [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
        return [each for each in found if isinstance(each, kind)]

    @property
    def reason(self) -> str:
        """The innermost reason in words: "Connection refused", "Name or service not known"."""
        if self.causes(RemoteDisconnected):
            return "it was closed without an answer"
        if self.causes(IncompleteRead):
            return "the answer broke off"
        if self.timed_out:
            return "timed out"
        # An OSError as such was raised by http.client, in words.
        texts = [each.strerror or (str(each) if type(each) is OSError else "") for each in self.causes(OSError)]
        known = [text for text in texts if text]
        if isinstance(self.error, ValueError):
            return str(self.error).rstrip(".")
        return known[-1] if known else type(self.error).__name__


def unanswered(request: Unanswered) -> TransientError:
    """Return the error for a request that got no answer."""
    if request.never_sent:
        return TransientError(None, None, _why_not_sent(request), hopeless=True)
    garbage = [each for each in request.causes(BadStatusLine) if not isinstance(each, RemoteDisconnected)]
    if garbage:
        sentence = (
            f"What answers at {request.base_url} does not speak HTTP; does base_url need https:// or another port?"
        )
    elif request.timed_out:
        sentence = f"{request.method} {request.url} was not answered within {request.timeout:g} seconds."
    else:
        sentence = f"The connection was lost during {request.method} {request.url} ({request.reason})."
    if request.method == "POST":
        failure: TransientError = OutcomeUnknown(None, None, sentence, in_flight=not garbage)
    else:
        failure = TransientError(None, None, sentence)
    failure.hopeless = bool(garbage)
    return failure


def _why_not_sent(request: Unanswered) -> str:
    base_url, host = request.base_url, urlsplit(request.base_url).hostname
    tls: list[ssl.SSLError] = request.causes(ssl.SSLError)
    if tls and isinstance(tls[-1], ssl.SSLCertVerificationError):
        for_other_host = tls[-1].verify_code in _FOR_OTHER_HOST
        advice = (
            "name the host it was made for" if for_other_host else "name its authority's file in REQUESTS_CA_BUNDLE"
        )
        return f"The certificate of {base_url} is not trusted ({tls[-1].verify_message.rstrip('.')}); {advice}."
    if tls or (isinstance(request.error, requests.ReadTimeout) and not request.proxy):
        return (
            f"What listens at {base_url} does not answer in TLS ({request.reason}); does base_url need http:// instead?"
        )
    if request.proxy:
        return f"{base_url} could not be reached through the proxy {request.proxy} ({request.reason}); {_PROXY_ADVICE}."
    if request.causes(NameResolutionError):
        return f"The host {host} of {base_url} is not known ({request.reason}); is base_url spelled right?"
    if request.timed_out:
        return f"No server could be reached at {base_url} within {request.timeout:g} seconds; is it running there?"
    return f"No server could be reached at {base_url} ({request.reason}); is it running there?"

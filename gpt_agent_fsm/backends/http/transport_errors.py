"""Describes a request without an HTTP answer: whether it was sent, why it failed, and a sentence for people.

`outcomes` chooses the error for such a request.
"""

from __future__ import annotations

import ssl
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

import attrs
import requests
from urllib3.exceptions import InvalidHeader, NameResolutionError, ReadTimeoutError

from gpt_agent_fsm.backends.http.exchange import NotSent, was_sent

__all__ = ["TransportFailure"]

_PROXY_ADVICE = "check HTTP_PROXY and HTTPS_PROXY, or name the host in NO_PROXY"
_FOR_OTHER_HOST = (62, 64)  # OpenSSL's codes for a certificate of another host name or another IP address


@attrs.frozen(kw_only=True)
class TransportFailure:
    """A request that got no HTTP answer.

    Attributes:
        url: the URL without its query, for a person to read.
        proxy: the address of the proxy that the request used, without credentials; "" if there was no proxy.
        timeout: the seconds that the request was allowed to take.
    """

    method: str
    url: str
    base_url: str
    proxy: str
    timeout: float
    error: Exception

    @property
    def never_sent(self) -> bool:
        """True if it is certain that no byte of the request was sent."""
        sent = was_sent()
        if sent is None:
            # The request used no connection of the module `connection`. Either `requests` refused the request before,
            # or a test has replaced these connections.
            kinds = requests.ConnectTimeout | requests.exceptions.ProxyError | ValueError
            return isinstance(self.error, kinds) or bool(self.causes(ConnectionRefusedError))
        return not sent

    @property
    def timed_out(self) -> bool:
        """True if the deadline of the request had passed."""
        return isinstance(self.error, requests.Timeout) or "timed out" in str(self.error).lower()

    def causes(self, kind: Any) -> list[Any]:  # noqa: ANN401 - as isinstance has it
        """Return the errors of this kind in the chain of causes. The innermost error is the last."""
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
        """The innermost reason in words, for example "Connection refused" or "Name or service not known"."""
        if self.causes(RemoteDisconnected):
            return "it was closed without an answer"
        if self.causes(IncompleteRead):
            return "the answer broke off"
        if self.timed_out:
            return "timed out"
        # A plain OSError comes from http.client, and its text is the reason in words.
        texts = [each.strerror or (str(each) if type(each) is OSError else "") for each in self.causes(OSError)]
        known = [text for text in texts if text]
        if isinstance(self.error, ValueError | InvalidHeader):
            return str(self.error).rstrip(".")
        return known[-1] if known else type(self.error).__name__

    @property
    def is_not_http(self) -> bool:
        """True if the server does not speak HTTP."""
        return any(not isinstance(each, RemoteDisconnected) for each in self.causes(BadStatusLine))

    @property
    def sentence(self) -> str:
        """A sentence for people that says what happened and what may help."""
        if held_back := self.causes(NotSent):
            return str(held_back[-1])
        if self.never_sent:
            return _why_not_sent(self)
        if self.is_not_http:
            return f"The server at {self.base_url} does not speak HTTP; does base_url need https:// or another port?"
        if self.timed_out:
            return f"{self.method} {self.url} was not answered within {self.timeout:g} seconds."
        return f"The connection was lost during {self.method} {self.url} ({self.reason})."


def _why_not_sent(failure: TransportFailure) -> str:
    base_url, host = failure.base_url, urlsplit(failure.base_url).hostname
    tls: list[ssl.SSLError] = failure.causes(ssl.SSLError)
    if tls and isinstance(tls[-1], ssl.SSLCertVerificationError):
        for_other_host = tls[-1].verify_code in _FOR_OTHER_HOST
        advice = (
            "name the host it was made for" if for_other_host else "name its authority's file in REQUESTS_CA_BUNDLE"
        )
        return f"The certificate of {base_url} is not trusted ({tls[-1].verify_message.rstrip('.')}); {advice}."
    if tls or (isinstance(failure.error, requests.ReadTimeout | ReadTimeoutError) and not failure.proxy):
        return (
            f"The server at {base_url} does not answer in TLS ({failure.reason}); does base_url need http:// instead?"
        )
    if failure.proxy:
        return f"{base_url} could not be reached through the proxy {failure.proxy} ({failure.reason}); {_PROXY_ADVICE}."
    if failure.causes(NameResolutionError):
        advice = "is base_url (or OPENAI_BASE_URL) spelled right?"
        return f"The host {host} of {base_url} is not known ({failure.reason}); {advice}"
    if failure.timed_out:
        return f"No server could be reached at {base_url} within {failure.timeout:g} seconds; is it running there?"
    return f"No server could be reached at {base_url} ({failure.reason}); is it running there?"

"""Decides who may see the pages and press their buttons.

Everybody who can reach the server may read, under two conditions. The `Host` must be a name of this machine or one of
the given names, so that a foreign site cannot make its own name point to this machine. The `Origin` must be that of the
pages. Only who knows the token may change something.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import flask
from werkzeug.exceptions import Forbidden, Unauthorized

from gpt_agent_fsm.access import bearer_of, host_of, is_same_key, is_this_machine

__all__ = ["HEADERS", "Access"]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # With no-referrer, a browser would send its own forms with the origin "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""The headers of every answer. All scripts and styles are files, and come from the server of the page."""


class Access:
    """The checks of requests. Each check raises the HTTP error whose description is the sentence for the page."""

    def __init__(self, token: str | None, hosts: Iterable[str] | None) -> None:
        if token is not None and not token.strip():
            raise ValueError("inspector: the token is blank; leave it out, and one is made")
        if isinstance(hosts, str):
            raise ValueError(f"inspector: hosts must be a list of names, such as [{hosts!r}], not one string")
        self.token: str = secrets.token_urlsafe(24) if token is None else token.strip()
        self._hosts = frozenset(host_of(host) for host in hosts or ())

    def check_site(self) -> None:
        """Refuse a request that a page of another site may have sent."""
        named, origin = flask.request.headers.get("Host"), flask.request.headers.get("Origin")
        if named is not None and not (is_this_machine(named) or host_of(named) in self._hosts):
            advice = "Use 127.0.0.1 or localhost, or give the name in hosts=[...]."
            raise Forbidden(f"The request is for the host '{named[:100]}', which is not one of the inspector. {advice}")
        if origin is not None and origin not in (f"http://{named}", f"https://{named}"):
            raise Forbidden(f"The request comes from a page of another site, '{origin[:100]}'.")

    def check_token(self) -> None:
        """Refuse a request without the token."""
        request = flask.request
        # A proxy may send a key of its own.
        tokens = bearer_of(request.headers.get("Authorization", "")), request.form.get("token", "").strip()
        given = list(filter(None, tokens))
        if any(is_same_key(self.token, token) for token in given):
            return
        where = "It is shown where the inspector was started."
        sentence = f"The token is wrong. {where}" if given else f"This needs the token. {where}"
        raise Unauthorized(sentence, www_authenticate=None)

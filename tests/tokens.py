"""Tokens that run out, for the embedded server and for the client that it serves."""

import itertools
import threading


class ShortTokens:
    """Issues tokens for single requests. After every few requests, the tokens that are on their way run out.

    A token that replaces a refused one is accepted, however long its request takes: a server on which tokens run out
    faster than requests arrive is not the point.

    Attributes:
        issued: the number of times a token was requested.
        refused: the number of requests with a token that had run out.
    """

    def __init__(self, requests_per_token: int) -> None:
        self._requests_per_token = requests_per_token
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._last = threading.local()
        self._seen = self.issued = self.refused = 0
        self._valid: set[str] = set()
        self._refused: set[str] = set()
        self._replacing: set[str] = set()

    def issue(self) -> str:
        """Return a new token."""
        with self._lock:
            self.issued += 1
            token = f"token-{next(self._numbers)}"
            # A request that is refused asks for the next token on the same OS thread.
            replaces = getattr(self._last, "token", None) in self._refused
            (self._replacing if replaces else self._valid).add(token)
            self._last.token = token
            return token

    def accepts(self, token: str) -> bool:
        """Return whether the server takes this token."""
        with self._lock:
            self._seen += 1
            if self._seen % self._requests_per_token == 0:
                self._valid.clear()
            if token in self._valid or token in self._replacing:
                return True
            self.refused += 1
            self._refused.add(token)
            return False

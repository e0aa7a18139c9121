"""Tokens that run out, for the embedded server and for the client that it serves."""

import itertools
import threading


class ShortTokens:
    """Issues tokens, and accepts the newest one alone. After every few requests the newest one runs out on its way.

    Attributes:
        issued: the number of times a token was requested.
        refused: the number of requests with a token that had run out.
    """

    def __init__(self, requests_per_token: int) -> None:
        self._requests_per_token = requests_per_token
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._seen = self.issued = self.refused = 0
        self._newest = "token-0"

    def issue(self) -> str:
        """Return the newest token."""
        with self._lock:
            self.issued += 1
            return self._newest

    def accepts(self, token: str) -> bool:
        """Return whether the server takes this token."""
        with self._lock:
            self._seen += 1
            if self._seen % self._requests_per_token == 0:
                self._newest = f"token-{next(self._numbers)}"
            self.refused += token != self._newest
            return token == self._newest

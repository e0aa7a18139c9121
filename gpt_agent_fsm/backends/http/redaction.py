"""Removes secrets from texts that people see: some servers repeat the API key that they refuse."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

from gpt_agent_fsm.errors import ApiError

__all__ = ["Redactor"]

_SECRET_NAME = re.compile(r"auth|key|token|secret|cookie|password|sig|credential|^code$", re.I)
_MIN_SECRET = 6


class Redactor:
    """Replaces secrets by `***`.

    The secrets are `words`, and the words in headers and parameters whose name suggests a secret. Words with fewer than
    6 characters stay: they are not secrets, and texts without them would be unreadable.
    """

    def __init__(self, words: Iterable[str], named: Mapping[str, str]) -> None:
        words = list(words)
        for name, value in named.items():
            if _SECRET_NAME.search(name):
                words += [value, *re.split(r"[\s;,]+", value)]
        secrets = {word for word in words if len(word) >= _MIN_SECRET and word.lower() != "bearer"}
        forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))}
        # The longest first, because one secret may be a part of another.
        self._forms = sorted(forms, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return `text` without secrets."""
        for form in self._forms:
            text = text.replace(form, "***")
        return text

    def body(self, body: bytes) -> bytes:
        """Return the body of an HTTP answer without secrets."""
        for form in self._forms:
            body = body.replace(form.encode(), b"***")
        return body

    def error(self, error: ApiError) -> ApiError:
        """Remove the secrets from an error, in place."""
        error.message = self.text(error.message)
        error.code = error.code and self.text(error.code)
        error.request_id = error.request_id and self.text(error.request_id)
        error.args = (error.status, error.code, error.message, error.request_id)
        return error

    def cause(self, error: BaseException) -> BaseException | None:
        """Return `error` if it may be shown as the cause of another, or None if it would show a secret."""
        seen, current = f"{error} {error!r}", error.__context__
        while current is not None:
            seen, current = f"{seen} {current} {current!r}", current.__context__
        return error if self.text(seen) == seen else None

"""Removes secrets from texts that people see, because some servers repeat the API key that they refuse."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

from gpt_agent_fsm.errors import ApiError

__all__ = ["Redactor"]

_SECRET_NAME = re.compile(r"auth|key|token|secret|cookie|password|sig|credential|^code$", re.I)
_MIN_SECRET = 6
_MAX_LEARNT = 32
"""How many changing credentials are remembered. A server may repeat the credentials of an earlier request."""


class Redactor:
    """Replaces secrets by `***`.

    The secrets are `words`, and the words in headers and parameters whose names suggest a secret. Words with fewer than
    6 characters are not replaced: they are not secrets, and a text without them would be unreadable.
    """

    def __init__(self, words: Iterable[str], named: Mapping[str, str]) -> None:
        self._fixed = _forms([*words, *_secrets_in(named)])
        self._learnt: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._forms = _longest_first(self._fixed)

    def learn(self, secrets: Iterable[str]) -> None:
        """From now on, replace these secrets, too. Safe to call from any OS thread."""
        with self._lock:
            new = {secret for secret in secrets if secret not in self._learnt}
            if new:
                self._learnt.update(dict.fromkeys(sorted(new)))
                while len(self._learnt) > _MAX_LEARNT:
                    self._learnt.popitem(last=False)
                self._forms = _longest_first(self._fixed | _forms(self._learnt))

    def learn_named(self, named: Mapping[str, str]) -> None:
        """From now on, replace the values whose names suggest a secret, too."""
        self.learn(_secrets_in(named))

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
        """Remove the secrets from the error's own texts, and return the error."""
        error.message = self.text(error.message)
        error.code = error.code and self.text(error.code)
        error.request_id = error.request_id and self.text(error.request_id)
        error.args = (error.status, error.code, error.message, error.request_id)
        return error

    def cause(self, error: BaseException) -> BaseException | None:
        """Return `error` if it may be shown as the cause of another error, or None if it contains a secret."""
        seen, current = f"{error} {error!r}", error.__context__
        while current is not None:
            seen, current = f"{seen} {current} {current!r}", current.__context__
        return error if self.text(seen) == seen else None


def _secrets_in(named: Mapping[str, str]) -> list[str]:
    values = [value for name, value in named.items() if _SECRET_NAME.search(name)]
    return [word for value in values for word in (value, *re.split(r"[\s;,]+", value))]


def _forms(words: Iterable[str]) -> set[str]:
    """Return each word that is a secret, once as it is and once as it is written in a URL."""
    secrets = {word for word in words if len(word) >= _MIN_SECRET and word.lower() != "bearer"}
    return {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))}


def _longest_first(forms: Iterable[str]) -> list[str]:
    # Longer forms come first, because one secret may be a part of another.
    return sorted(forms, key=len, reverse=True)

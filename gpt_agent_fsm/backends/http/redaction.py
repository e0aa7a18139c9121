"""Removes secrets from texts that people see. For example, some servers repeat the API key that they refuse."""

from __future__ import annotations

import re
import threading
import traceback
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

from gpt_agent_fsm.errors import ApiError, RequestRefused

__all__ = ["Redactor", "secrets_in"]

_SECRET_NAME = re.compile(
    r"auth(?!or(?!i)|ored)|keys?(?![a-z])|token|secret|cookie|passw|(?<![a-z])sig(?!nal)|(?<![a-z])sign(?!al)|credential|^code$",
    re.I,
)
_MIN_SECRET = 6
_PLACEHOLDERS = frozenset(
    (
        *("anything", "api-key", "api_key", "apikey", "dummy-key", "fake-key", "llamafile", "lm-studio"),
        *("lm_studio", "lmstudio", "localai", "no-key", "not-needed", "not-used", "no-key-required"),
        *("ollama", "placeholder", "required", "sk-dummy", "sk-no-key-required", "unused", "whatever"),
    )
)
"""Words that stand in place of a key for servers that need none. An answer may contain them by chance."""
_UTF_16 = ("utf-16-le", "utf-16-be")
_MAX_LEARNT = 32
"""The maximum number of changing credentials to remember. A server may repeat the credentials of an earlier request.
The credentials of a request may be forgotten before its answer arrives. So when the answer has arrived, the client
calls `learn` with these credentials again."""


class Redactor:
    """Replaces secrets by `***`.

    The secrets are the given `words`, and the words in those headers and parameters whose names suggest a secret. Words
    with fewer than 6 characters are not replaced, because they are not secrets and occur in many texts.
    """

    def __init__(self, words: Iterable[str], named: Mapping[str, str]) -> None:
        self._fixed = _forms([*words, *secrets_in(named)])
        self._learnt: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._set_forms(self._fixed)

    def _set_forms(self, forms: Iterable[str]) -> None:
        self._forms = _longest_first(forms)
        self._body_forms = [_BodyForm(form) for form in self._forms if form.lower() not in _PLACEHOLDERS]

    def learn(self, secrets: Iterable[str]) -> None:
        """From now on, replace these secrets, too. Safe to call from any OS thread."""
        with self._lock:
            new = {secret for secret in filter(_is_secret, secrets) if secret not in self._learnt}
            if new:
                self._learnt.update(dict.fromkeys(sorted(new)))
                while len(self._learnt) > _MAX_LEARNT:
                    self._learnt.popitem(last=False)
                self._set_forms(self._fixed | _forms(self._learnt))

    def text(self, text: str) -> str:
        """Return `text` without secrets."""
        for form in self._forms:
            text = text.replace(form, "***")
        return text

    def body(self, body: bytes) -> bytes:
        """Return the body of an HTTP answer without secrets.

        Placeholders remain, because a message, an id or the arguments of a call may contain them by chance.
        """
        for form in self._body_forms:
            body = form.removed(body)
        return body

    def error(self, error: ApiError) -> ApiError:
        """Remove the secrets from the error's own texts, and return the error."""
        error.message = self.text(error.message)
        error.code = error.code and self.text(error.code)
        error.request_id = error.request_id and self.text(error.request_id)
        if isinstance(error, RequestRefused):
            error.param = error.param and self.text(error.param)
        error.args = (error.status, error.code, error.message, error.request_id)
        return error

    def cause(self, error: BaseException) -> BaseException | None:
        """Return `error` if people may see it as the cause of another error. Return None if it contains a secret."""
        shown = f"{''.join(traceback.format_exception(error))} {error!r}"
        return error if self.text(shown) == shown else None


class _BodyForm:
    """A form of a secret, as the bodies of HTTP answers may contain it."""

    def __init__(self, form: str) -> None:
        self._plain = form.encode()
        self._wide = [form.encode(coding) for coding in _UTF_16]
        # JSON may escape each character. Servers escape the other characters than letters and digits.
        characters = (re.escape(each) if each.isalnum() else _escaped(each) for each in form)
        self._escaped = None if form.isalnum() else re.compile("".join(characters).encode())

    def removed(self, body: bytes) -> bytes:
        body = body.replace(self._plain, b"***")
        if self._escaped is not None and b"\\" in body:
            body = self._escaped.sub(b"***", body)
        if b"\0" in body:
            for wide, coding in zip(self._wide, _UTF_16, strict=True):
                body = body.replace(wide, "***".encode(coding))
        return body


def _escaped(character: str) -> str:
    """Return a pattern for a character that JSON may have escaped, even several times."""
    return rf"(?:\\{{0,8}}{re.escape(character)}|\\{{1,8}}u(?i:{ord(character):04x}))"


def secrets_in(named: Mapping[str, str]) -> list[str]:
    """Return the values whose names suggest a secret. Also return the single words in these values."""
    values = [value for name, value in named.items() if _SECRET_NAME.search(name)]
    return [word for value in values for word in (value, *re.split(r"[\s;,]+", value))]


def _forms(words: Iterable[str]) -> set[str]:
    """Return the forms of each secret word: the word as it is, and as it is written in a URL.

    Other words are left out.
    """
    secrets = filter(_is_secret, words)
    return {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))}


def _is_secret(word: str) -> bool:
    return len(word) >= _MIN_SECRET and word.lower() != "bearer"


def _longest_first(forms: Iterable[str]) -> list[str]:
    # Longer forms come first, because one secret may be a part of another.
    return sorted(forms, key=len, reverse=True)

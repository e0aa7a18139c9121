"""The values of options: paths and URLs, numbers, and texts that must not be blank."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import click

__all__ = [
    "FILE_OR_URL",
    "Number",
    "WholeNumber",
    "database",
    "is_like_a_url",
    "not_blank",
    "url_of",
    "without_password",
]

_LIKE_A_URL = re.compile(r"@|password=|^(postgres|sqlite|mysql)\w*:", re.IGNORECASE)
FILE_OR_URL = click.Path(readable=False)
"""The type of the options that take a path or a URL. The shell completes paths. Nothing is checked."""


class Number(click.FloatRange):
    """The type of the options that take a number in a range. It refuses `nan`, which click takes for any range."""

    name = "number"

    def __init__(self, minimum: float, maximum: float, *, min_open: bool = False, max_open: bool = False) -> None:
        super().__init__(minimum, maximum, min_open=min_open, max_open=max_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - as in click
        """Return the number. Raise `click.BadParameter` for a value that is not a number in the range."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


class WholeNumber(click.IntRange):
    """The type of the options that take a whole number in a range."""

    name = "whole number"


def not_blank(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Return the value of an option. Raise `click.BadParameter` for a blank text."""
    if value is not None and not value.strip():
        raise click.BadParameter("it must not be blank; is a variable not set?")
    return value


def database(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Return the value of an option. Raise `click.BadParameter` if it is blank, or neither a path nor a URL."""
    if value is not None and "://" not in value and is_like_a_url(value):
        raise click.BadParameter("it is neither a path nor a URL; a URL begins with postgresql:// or sqlite:///")
    return not_blank(context, option, value)


def is_like_a_url(text: str) -> bool:
    """Return whether a text is rather a URL than a path. Such a text may contain a password, so do not repeat it."""
    return _LIKE_A_URL.search(text) is not None and not Path(text).exists()


def url_of(text: str) -> str:
    """Return the URL of a database from a URL or the path of a SQLite file."""
    return text if "://" in text else f"sqlite:///{text}"


def without_password(text: str) -> str:
    """Return the URL or path of a database, as a person gave it, but with asterisks in place of a password."""
    if "://" not in text:
        return text
    from sqlalchemy import make_url  # noqa: PLC0415 - an extra

    return make_url(text).render_as_string(hide_password=True)

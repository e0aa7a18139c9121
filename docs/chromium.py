"""Chromium, for the pictures of pages and for the tests that use a browser. They need the extra `browser`, too."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_FLAGS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update"]


def path() -> str | None:
    """Return the path of Chromium or Chrome, or None if neither is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def missing() -> str:
    """Return a sentence that says what is not installed; "" if the browser can be launched."""
    if path() is None:
        return "Chromium is not installed."
    return "" if importlib.util.find_spec("playwright") else "The extra browser is not installed."


@contextmanager
def launched() -> Iterator[Browser]:
    """Yield a browser without a window."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - an extra

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path(), args=_FLAGS)
        yield browser
        browser.close()

"""What holds for all folders: one PostgreSQL server for each process of pytest, and which tests coverage counts."""

import os
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.postgresql import own_postgresql, postgresql

__all__ = ["own_postgresql", "postgresql"]

# Coverage must come from tests that say what they check, not from random lives and from changed code.
UNMEASURED = {Path(__file__).parent / folder for folder in ("stateful", "mutation")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Options for this run, such as those of the coverage, are not meant for a pytest that a test starts.
    # Each process of this run has read them by now.
    os.environ.pop("PYTEST_ADDOPTS", None)
    for item in items:
        if not UNMEASURED.isdisjoint(item.path.parents):
            item.add_marker("unmeasured")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Run an unmeasured test at full speed.

    The marker no_cover of pytest-cov does not: in a process of xdist two measurements are stacked, and it ends one.
    """
    if not item.get_closest_marker("unmeasured"):
        return (yield)
    here, in_new_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(here)
        threading.settrace(in_new_threads)

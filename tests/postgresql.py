"""PostgreSQL servers for the tests."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gpt_agent_fsm.testing.postgresql import PASSWORD, a_postgresql, obstacle

__all__ = ["PASSWORD", "a_server", "own_postgresql", "postgresql"]


@contextmanager
def a_server() -> Iterator:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    with a_postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql():
    """A server shared by all tests of this process."""
    with a_server() as server:
        yield server


@pytest.fixture
def own_postgresql():
    """A separate server, for a test that stops it."""
    with a_server() as server:
        yield server

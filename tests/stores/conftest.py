"""A store in a SQLite file for the tests."""

from contextlib import closing

import pytest

from gpt_agent_fsm.stores import SQLStore


@pytest.fixture
def path(tmp_path):
    """The SQLite file of this test."""
    return tmp_path / "agents.db"


@pytest.fixture
def url(path):
    """The URL of the database of this test."""
    return f"sqlite:///{path}"


@pytest.fixture
def store(url):
    """A store in the database of this test, which waits hardly at all for locks."""
    with closing(SQLStore(url, lock_timeout=0.05)) as store:
        yield store

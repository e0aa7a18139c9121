"""A store in a SQLite file."""

import contextlib

import pytest

from gpt_agent_fsm.stores import SQLStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "agents.db"


@pytest.fixture
def url(path):
    return f"sqlite:///{path}"


@pytest.fixture
def store(url):
    with contextlib.closing(SQLStore(url, lock_timeout=0.05)) as store:
        yield store

"""The database of one cluster, and processes of the cluster without runtimes."""

import contextlib

import pytest

from gpt_agent_fsm.cluster.database import ClusterDatabase
from tests.cluster.helpers import Process
from tests.cluster.worlds import World


@pytest.fixture
def url(postgresql):
    """The URL of an empty schema."""
    return postgresql.new_schema()


@pytest.fixture
def make_process(url):
    """Make processes of one cluster, each with connections of its own."""
    with contextlib.ExitStack() as databases:

        def make():
            database = ClusterDatabase(url, timeout=20.0, lock_timeout=5.0)
            databases.callback(database.close)
            return Process(database, url)

        yield make


@pytest.fixture
def process(make_process):
    """A process of the cluster."""
    return make_process()


@pytest.fixture
def other(make_process, process):
    """Another process of the cluster."""
    return make_process()


@pytest.fixture
def world(url):
    """A server, and the runtimes of a cluster."""
    with contextlib.ExitStack() as ends:
        yield World(url, ends)

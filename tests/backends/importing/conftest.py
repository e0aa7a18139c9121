"""An importer between two backends on one embedded server."""

import pytest

from gpt_agent_fsm.local import LocalServer
from tests.backends.importing.importer import KEY, Server, Wires, importer_for


@pytest.fixture(scope="module")
def server():
    with LocalServer(api_key=KEY) as server:
        yield server


@pytest.fixture
def local(server):
    return Server(server.base_url)


@pytest.fixture
def wires():
    return Wires()


@pytest.fixture
def importer(server, wires):
    importer = importer_for(server.base_url, wires)
    yield importer
    importer.source.close()
    importer.target.close()

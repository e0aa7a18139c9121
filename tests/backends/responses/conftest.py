"""A backend for this wire, and a conversation on a server."""

import pytest

from gpt_agent_fsm.backends import ResponsesBackend
from tests.backends.conftest import KEY
from tests.backends.responses.samples import (
    ASSISTANTS,
    BASE,
    CONVERSATION,
)


@pytest.fixture
def backend():
    made = ResponsesBackend(BASE, KEY, assistants=ASSISTANTS)
    yield made
    made.close()


@pytest.fixture
def api(requests_mock):
    """A conversation that can be read and noted on; its items are up to the test."""
    requests_mock.get(CONVERSATION, json={"id": "conv_1", "metadata": {"title": "Weather"}})
    requests_mock.post(CONVERSATION, json={"id": "conv_1"})
    return requests_mock

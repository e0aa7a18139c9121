"""urllib3 and transitions log nothing about us unless somebody asks."""

import logging

import pytest
import requests

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.local import LocalServer

OTHERS = ("urllib3", "transitions", "requests")
SECRET = "do not tell anybody"


def others(caplog):
    return [record for record in caplog.records if record.name.startswith(OTHERS)]


def exchange(server):
    """Hold a conversation of one message, with a parameter in each address."""
    backend = AssistantsBackend(server.base_url, "sk-key", params={"secret": "in-the-address"})
    with Runtime(backend) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="asst_1", last_message_id=None)
        agent.add_user_message(SECRET)
        assert agent.wait(timeout=30) == "idle"


@pytest.fixture
def server():
    with LocalServer() as server:
        yield server


def test_an_exchange_is_a_few_lines_at_debug_and_all_of_them_ours(server, caplog):
    caplog.set_level(logging.DEBUG)
    exchange(server)
    assert others(caplog) == []
    ours = [r for r in caplog.records if r.name.startswith("gpt_agent_fsm") and ".local" not in r.name]
    assert 0 < len(ours) < 20


def test_an_exchange_is_one_line_at_info_without_message_text(server, caplog):
    caplog.set_level(logging.INFO)
    exchange(server)
    [line] = [r.getMessage() for r in caplog.records if r.name.startswith("gpt_agent_fsm") and ".local" not in r.name]
    assert "completed" in line
    assert SECRET not in caplog.text


def test_requests_of_other_code_are_logged_as_before(server, caplog):
    caplog.set_level(logging.DEBUG)
    exchange(server)
    requests.get(server.base_url.removesuffix("/v1") + "/healthz", timeout=10)
    assert [record for record in others(caplog) if "/healthz" in record.getMessage()]


@pytest.mark.parametrize("name", ["urllib3", "urllib3.connectionpool"])
def test_a_level_that_the_user_sets_shows_the_lines(server, caplog, name):
    caplog.set_level(logging.DEBUG, logger=name)
    exchange(server)
    assert others(caplog)

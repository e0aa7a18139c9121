"""All threads of a cluster are on one API, so that no worker takes threads that its server does not know."""

import contextlib

import pytest

from gpt_agent_fsm import Assistant
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.errors import StoreError, StoreTaken
from tests.cluster.helpers import PATIENCE, query
from tests.cluster.worlds import ASSISTANT, driving, wait_until

OTHER = "The threads of this cluster are on the Assistants API, and this process has the Responses API"


@pytest.fixture
def responses(world):
    """A backend of the other API."""
    assistants = {ASSISTANT: Assistant(model="gpt-4o-mini")}
    with contextlib.closing(ResponsesBackend(world.server.base_url, "the-key", assistants=assistants)) as backend:
        yield backend


@pytest.mark.parametrize("drive", [True, False], ids=["a worker", "a process without a worker"])
def test_a_process_with_another_api_does_not_start(world, responses, drive):
    agent = world.open().start(ASSISTANT)
    with pytest.raises(StoreError, match=OTHER) as caught:
        world.open(backend=responses, drive=drive)
    assert "Start it with the Assistants API, or give it another database." in str(caught.value)
    world.open_worker()
    assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"


def test_a_wrong_first_process_is_corrected_while_there_is_no_thread(world, responses):
    world.open(backend=responses)
    world.open_worker()
    assert world.open().start(ASSISTANT).ask("Hello", timeout=PATIENCE).text == "You said: Hello"


def test_a_wrong_first_worker_stops_and_takes_no_thread(world, responses, caplog):
    wrong = world.open_worker(backend=responses)
    agent = world.open().start(ASSISTANT)
    agent.add_user_message("Hello")
    wait_until(lambda: f"this worker stops: {OTHER}" in caplog.text)
    assert not driving(wrong).leases.held
    right = world.open_worker()
    agent.wait(timeout=PATIENCE)
    assert driving(right).status.is_alive
    assert world.asked == ["Hello"]


def test_a_wrong_first_process_without_a_worker_connects_no_thread_later(world, responses):
    wrong = world.open(backend=responses)
    world.open()
    with pytest.raises(StoreTaken, match=OTHER):
        wrong.start(ASSISTANT)
    assert query(world.url, "SELECT count(*) FROM gpt_agent_threads") == [(0,)]


def test_the_threads_of_a_store_are_on_the_api_of_the_first_process(world, responses):
    world.open().start(ASSISTANT)
    query(world.url, "UPDATE gpt_agent_cluster SET api = NULL")  # as after an upgrade
    world.open_worker()
    assert query(world.url, "SELECT api FROM gpt_agent_cluster") == [("Assistants",)]
    with pytest.raises(StoreError, match=OTHER):
        world.open(backend=responses)


@pytest.mark.parametrize("noted", [True, False], ids=["its API is noted", "the tables were upgraded"])
def test_a_worker_with_the_same_api_continues_when_another_starts(world, noted):
    name = driving(world.open_worker()).leases.worker_id
    if not noted:
        query(world.url, "UPDATE gpt_agent_cluster SET api = NULL")
    world.open_worker()
    assert name in {row[0] for row in query(world.url, "SELECT id FROM gpt_agent_workers")}

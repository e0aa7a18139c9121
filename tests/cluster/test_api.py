"""All threads of a cluster are on one API, so that no worker takes threads that its server does not know."""

import contextlib

import pytest

from gpt_agent_fsm import Assistant, Runtime
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.cluster import Cluster
from gpt_agent_fsm.cluster import driving as driving_module
from gpt_agent_fsm.errors import StoreError, StoreTaken
from gpt_agent_fsm.stores import SQLStore
from tests.cluster.helpers import PATIENCE, expire, query
from tests.cluster.worlds import ASSISTANT, driving
from tests.stores.helpers import idle

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


def test_a_wrong_first_process_connects_no_thread_after_it_was_corrected(world, responses):
    wrong = world.open(backend=responses)
    world.open()
    with pytest.raises(StoreTaken, match=OTHER):
        wrong.start(ASSISTANT)
    assert query(world.url, "SELECT count(*) FROM gpt_agent_threads") == [(0,)]


def test_a_wrong_later_process_does_not_stop_a_worker_without_threads(world, responses):
    right = world.open_worker()
    with pytest.raises(StoreError, match=OTHER):
        world.open(backend=responses)
    assert world.open().start(ASSISTANT).ask("Hello", timeout=PATIENCE).text == "You said: Hello"
    assert driving(right).status.is_alive


def test_a_wrong_first_worker_that_has_died_is_corrected_and_takes_no_thread_if_it_wakes(
    world, responses, monkeypatch, caplog
):
    monkeypatch.setattr(driving_module, "HEARTBEAT", 3600.0)
    wrong = driving(world.open_worker(backend=responses))
    monkeypatch.undo()
    expire(world.url, wrong.leases.worker_id)
    agent = world.open().start(ASSISTANT)
    agent.add_user_message("Hello")
    wrong.beat()
    assert f"this worker stops: {OTHER}" in caplog.text
    assert not wrong.leases.held
    world.open_worker()
    agent.wait(timeout=PATIENCE)
    assert world.asked == ["Hello"]


def test_the_threads_of_a_store_are_on_the_api_of_the_first_process(world, responses):
    runtime = world.open()
    query(world.url, "UPDATE gpt_agent_cluster SET api = NULL")  # as after an upgrade
    runtime.start(ASSISTANT)
    world.open_worker()
    assert query(world.url, "SELECT api FROM gpt_agent_cluster") == [("Assistants",)]
    with pytest.raises(StoreError, match=OTHER):
        world.open(backend=responses)


def test_the_first_process_decides_again_after_a_store_has_had_the_database(world, responses):
    world.open(backend=responses).close()
    with contextlib.closing(SQLStore(world.url)) as store:
        store.commit(idle("thread_1"), consumed=0, events=[], at=0.0, due=None)
    world.open()
    assert query(world.url, "SELECT api FROM gpt_agent_cluster") == [("Assistants",)]


def test_a_process_whose_database_was_taken_does_not_change_the_api(world, responses):
    world.open().start(ASSISTANT)
    with contextlib.closing(Cluster(world.url)) as cluster:
        SQLStore(world.url).close()
        with pytest.raises(StoreTaken, match="A SQLStore has the database"):
            Runtime(responses, store=cluster)
    assert query(world.url, "SELECT api FROM gpt_agent_cluster") == [("Assistants",)]


class Nameless:
    """A backend of somebody else, which does not say which API it is of."""

    def __init__(self, backend):
        self._backend = backend

    def __getattr__(self, name):
        if name == "api":
            raise AttributeError(name)
        return getattr(self._backend, name)


def test_a_backend_without_a_name_may_have_any_cluster_and_names_none(world, responses):
    world.open(backend=Nameless(responses)).start(ASSISTANT)
    assert query(world.url, "SELECT api FROM gpt_agent_cluster") == [(None,)]
    world.open().start(ASSISTANT)
    world.open(backend=Nameless(responses)).start(ASSISTANT)


@pytest.mark.parametrize("noted", [True, False], ids=["its API is noted", "the tables were upgraded"])
def test_a_worker_with_the_same_api_continues_when_another_starts(world, noted):
    name = driving(world.open_worker()).leases.worker_id
    if not noted:
        query(world.url, "UPDATE gpt_agent_cluster SET api = NULL")
    world.open_worker()
    assert name in {row[0] for row in query(world.url, "SELECT id FROM gpt_agent_workers")}

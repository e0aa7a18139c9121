"""Old events of a cluster are forgotten while its processes continue."""

import contextlib

import pytest
from click.testing import CliRunner

from gpt_agent_fsm.cli import commands
from gpt_agent_fsm.cluster import Cluster, pruning
from gpt_agent_fsm.ports import PrunableStore, offers
from tests.cluster.helpers import PATIENCE, query
from tests.cluster.worlds import ASSISTANT, wait_until_free
from tests.stores.helpers import an_event, busy, commit, idle


def run(world, *command):
    return CliRunner().invoke(commands.cli, [*command, "--store", world.url])


def test_only_threads_that_rest_forget_and_their_numbers_continue(process, monkeypatch):
    monkeypatch.setattr(pruning, "_AT_ONCE", 1)
    for thread_id, state in (("thread_1", idle), ("thread_2", idle), ("thread_3", busy)):
        process.make_thread(thread_id)
        lease = process.leases.claim(thread_id)
        commit(process.store, state(thread_id), an_event(thread_id), an_event(thread_id))
        process.store.announced(thread_id, 2)
        process.leases.release(lease, more=False)
    with contextlib.closing(Cluster(process.url)) as store:
        assert offers(store, PrunableStore)
        assert store.prune(3600 * 24 * 365 * 100) == 0
        assert store.prune(0) == 4
        assert [len(store.history(f"thread_{number}")) for number in (1, 2, 3)] == [0, 0, 2]
    process.leases.claim("thread_1")
    assert [record.seq for record in commit(process.store, idle("thread_1"), an_event())] == [3]


def test_the_command_forgets_while_the_workers_continue(world):
    worker = world.open_worker()
    agent = world.open().start(ASSISTANT)
    agent.ask("Hello", timeout=PATIENCE)
    wait_until_free(world)
    result = run(world, "prune", "--older-than", "0s")
    assert result.exit_code == 0, result.output
    assert "events were forgotten" in result.output
    assert worker.history(agent.thread_id) == []
    assert agent.ask("Again", timeout=PATIENCE).text == "You said: Again"


def test_the_commands_that_look_say_that_no_worker_lives(world):
    agent = world.open().start(ASSISTANT)
    agent.add_user_message("Hello")
    sentence = "No worker of the cluster lives, so nothing happens until one starts: gpt-agent-fsm worker."
    assert sentence in run(world, "threads").output
    assert sentence in run(world, "explain", agent.thread_id).output


# --- a repair -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--take-over"]])
def test_a_repair_is_refused_while_workers_live(world, options):
    agent = world.open_worker().start(ASSISTANT)
    result = run(world, "doctor", "--all", "--repair", "--yes", *options)
    assert result.exit_code == 1
    assert "This store belongs to a cluster with live workers. Stop the workers first" in result.output
    assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"


def test_a_cluster_without_workers_continues_after_a_repair(world):
    runtime, other = world.open(), world.open()
    agent, thread_id = runtime.start(ASSISTANT), other.start(ASSISTANT, key="ann").thread_id
    agent.add_user_message("Hello")
    result = run(world, "doctor", "--all", "--repair", "--yes")
    assert result.exit_code in (0, 1), result.output
    assert query(world.url, "SELECT host FROM gpt_agent_holder") == [("a cluster",)]
    again = other.connect(thread_id=agent.thread_id, assistant_id=ASSISTANT, last_message_id=None)
    world.open_worker()
    assert again.ask("Again", timeout=PATIENCE).text == "You said: Again"
    assert world.messages(agent.thread_id)[0] == ("user", "Hello")
    assert world.open().start(ASSISTANT, key="ann").thread_id == thread_id

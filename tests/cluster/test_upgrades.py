"""Upgrades of the tables in two halves, while processes of the version before run."""

import contextlib

import pytest
from click.testing import CliRunner

from gpt_agent_fsm import errors
from gpt_agent_fsm.cli import commands
from gpt_agent_fsm.cluster import Cluster, upgrades
from tests.cluster.helpers import PATIENCE, expire, query
from tests.cluster.worlds import ASSISTANT, driving, wait_until

NEXT = upgrades.VERSION + 1
STEP = upgrades._Step(
    additions="ALTER TABLE gpt_agent_owners ADD COLUMN IF NOT EXISTS note text",
    removals="ALTER TABLE gpt_agent_cluster DROP COLUMN IF EXISTS unneeded",
)


@contextlib.contextmanager
def newer():
    """Let processes that open the cluster in the `with` block have the next version."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upgrades, "VERSION", NEXT)
        patch.setitem(upgrades._STEPS, NEXT, STEP)
        yield


def finish(url):
    return CliRunner().invoke(commands.cli, ["finish-upgrade", "--store", url])


def versions(url):
    return query(url, "SELECT version, oldest FROM gpt_agent_cluster")


def test_tables_of_the_first_version_are_upgraded(url):
    with contextlib.closing(Cluster(url)):
        query(url, "ALTER TABLE gpt_agent_cluster DROP COLUMN oldest, DROP COLUMN api")
        query(url, "ALTER TABLE gpt_agent_workers DROP COLUMN version")
        query(url, "UPDATE gpt_agent_cluster SET version = 1")
    with contextlib.closing(Cluster(url)):
        assert versions(url) == [(upgrades.VERSION, 1)]
    assert "2 of the tables' versions finished" in finish(url).output
    assert versions(url) == [(upgrades.VERSION, upgrades.VERSION)]
    assert finish(url).output == "Nothing to finish.\n"


def test_older_processes_work_and_start_until_the_upgrade_is_finished(world):
    worker = world.open_worker()
    agent = worker.start(ASSISTANT)
    with newer():
        newest = Cluster(world.url)
    with contextlib.closing(newest):
        assert versions(world.url) == [(NEXT, NEXT - 1)]
        assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"
        assert world.open().start(ASSISTANT).ask("Hi", timeout=PATIENCE).text == "You said: Hi"


def test_an_upgrade_is_not_finished_while_an_older_worker_lives(world):
    worker = world.open_worker()
    with newer():
        Cluster(world.url).close()
        answer = finish(world.url)
    assert answer.exit_code == 1
    assert "Workers of an older version still run" in answer.output
    assert driving(worker).leases.worker_id in answer.output
    assert versions(world.url) == [(NEXT, NEXT - 1)]


def test_older_processes_say_why_they_stop_after_the_upgrade_was_finished(world, caplog):
    worker, runtime = world.open_worker(), world.open()
    agent = runtime.start(ASSISTANT)
    assert agent.ask("Hello", timeout=PATIENCE).text == "You said: Hello"
    with newer():
        Cluster(world.url).close()
        query(world.url, "UPDATE gpt_agent_workers SET version = version + 1")  # as if it were a newer one
        assert finish(world.url).exit_code == 0
    wait_until(lambda: not agent.alive)
    with pytest.raises(errors.StoreTaken, match="upgrade gpt-agent-fsm"):
        agent.add_user_message("Hello")
    driving(worker).beat()
    assert "this worker stops" in caplog.text
    wait_until(lambda: worker.store.worker.threads == ())
    with pytest.raises(errors.StoreError, match="upgrade gpt-agent-fsm"):
        Cluster(world.url)


def test_an_older_version_does_not_finish_the_upgrade_of_a_newer_one(world):
    Cluster(world.url).close()
    with newer():
        Cluster(world.url).close()
    answer = finish(world.url)
    assert answer.exit_code == 1
    assert "finish it with that version" in answer.output


def test_the_second_half_removes_what_only_older_versions_need(url):
    with contextlib.closing(Cluster(url)):
        query(url, "ALTER TABLE gpt_agent_cluster ADD COLUMN unneeded text")
    with newer():
        Cluster(url).close()
        columns = (
            "SELECT count(*) FROM pg_attribute WHERE attrelid = 'gpt_agent_cluster'::regclass AND attname = 'unneeded'"
        )
        assert query(url, columns) == [(1,)]
        assert finish(url).exit_code == 0
        assert query(url, columns) == [(0,)]


def test_a_dead_older_worker_does_not_hold_an_upgrade_up(process, url):
    expire(url, process.leases.worker_id)
    with newer():
        Cluster(url).close()
        assert finish(url).exit_code == 0
    assert versions(url) == [(NEXT, NEXT)]

"""Whose database it is: a cluster's or a single owner's."""

import contextlib
import gc
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from gpt_agent_fsm import Runtime, errors, events
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.cli import commands
from gpt_agent_fsm.cluster import Cluster, tables
from gpt_agent_fsm.cluster.database import ClusterDatabase
from gpt_agent_fsm.machine.inputs import CancelRun
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing.contracts.store_means import at_once
from tests.cluster.helpers import PATIENCE, offered, query
from tests.cluster.worlds import ASSISTANT, SETTINGS, Listener, driving, wait_until
from tests.stores.helpers import an_event, busy, commit, idle, say


def open_cluster(url):
    return contextlib.closing(ClusterDatabase(url, timeout=20.0, lock_timeout=5.0))


# --- opening --------------------------------------------------------------------------------------------------


def test_many_processes_can_open_an_empty_database_at_once(url):
    clusters = at_once(*[lambda: Cluster(url)] * 5)
    assert len({cluster._database.cluster for cluster in clusters}) == 1
    for cluster in clusters:
        cluster.close()


def test_a_process_can_open_while_another_one_writes(url, process):
    process.make_thread()
    with process.database.transaction() as connection:
        tables.run(connection, tables.CLAIM, thread="thread_1", worker="another")
        with contextlib.closing(Cluster(url, lock_timeout=0.2)) as cluster:
            assert cluster.load("thread_1") is not None


def test_each_schema_is_another_cluster(url, postgresql):
    with open_cluster(url) as one, open_cluster(postgresql.new_schema()) as other, open_cluster(url) as same:
        assert one.cluster == same.cluster != other.cluster


def test_tables_for_which_this_version_is_too_old_are_refused(url):
    with open_cluster(url):
        query(url, "UPDATE gpt_agent_cluster SET version = version + 1, oldest = version + 1")
    with pytest.raises(errors.StoreError, match="made by a newer version of gpt-agent-fsm; upgrade gpt-agent-fsm"):
        Cluster(url)


def test_a_cluster_adopts_the_threads_of_a_single_owner(url, make_process):
    with contextlib.closing(SQLStore(url)) as single:
        commit(single, idle("thread_1"), an_event(), an_event())
        for _ in range(3):
            single.accept("thread_1", say())
        commit(single, idle("thread_1"), consumed=2)
        commit(single, busy("thread_2"))
        process = make_process()
        with pytest.raises(errors.StoreTaken):
            commit(single, idle("thread_1"))
    saved = process.store.load("thread_1")
    assert ([number for number, _ in saved.inbox], saved.last_seq) == ([3], 2)
    assert process.accepting.accept("thread_1", CancelRun()) == 4
    process.leases.sweep(patience=0.0)
    assert set(offered(url)) == {"thread_1", "thread_2"}
    process.leases.claim("thread_1")
    assert [record.seq for record in commit(process.store, idle("thread_1"), an_event(), consumed=4)] == [3]


def test_a_second_process_takes_nothing_from_the_first(process, make_process):
    process.make_thread()
    lease = process.leases.claim("thread_1")
    make_process()
    assert [record.seq for record in commit(process.store, idle(), an_event())] == [1]
    assert lease.holds()


def test_a_sweep_does_not_read_the_threads_without_work(url, process):
    query(
        url,
        """
        INSERT INTO gpt_agent_threads (thread_id, settled, unfinished, accepted, last_seq, announced, snapshot)
        SELECT 'thread_' || n, true, mod(n, 1000) = 0, 0, 0, 0, '' FROM generate_series(1, 20000) n
        """,
    )
    query(url, "INSERT INTO gpt_agent_owners (thread_id, accepted) SELECT thread_id, 0 FROM gpt_agent_threads")
    query(url, "ANALYZE")
    values = {"patience": 0.0, "most": 500}
    with process.database.transaction() as connection:
        assert len(tables.run(connection, tables.ORPHANS, **values).all()) == 20
        plan = "\n".join(tables.run(connection, f"EXPLAIN {tables.ORPHANS}", **values).scalars())
    assert "gpt_agent_threads_unfinished" in plan
    assert "Seq Scan on gpt_agent_threads" not in plan
    assert "Seq Scan on gpt_agent_owners" not in plan


# --- a single owner -------------------------------------------------------------------------------------------


def test_a_single_owner_takes_the_database_from_all_processes(process, other):
    process.make_thread()
    process.leases.claim("thread_1")
    commit(process.store, idle(), an_event())
    with contextlib.closing(SQLStore(process.url)) as single:
        with pytest.raises(errors.StoreTaken):
            commit(process.store, idle(), an_event())
        with pytest.raises(errors.StoreTaken, match="connect again"):
            other.accepting.accept("thread_1", CancelRun())
        assert other.leases.claim("thread_1") is None
        assert process.leases.sweep(patience=0.0) == 0
        assert [record.seq for record in commit(single, idle(), an_event())] == [2]
        with pytest.raises(errors.StoreTaken, match="A SQLStore has the database of this cluster now; close it, and"):
            process.leases.heartbeat(())
        with pytest.raises(errors.StoreTaken, match="start all processes again"):
            other.make_thread()
        with pytest.raises(errors.StoreTaken):
            other.accepting.accept("thread_1", CancelRun())
        assert process.leases.claim("thread_1") is None, "a worker that is still there drives nothing"


def test_handles_raise_when_a_single_owner_has_the_database_and_a_new_cluster_has_everything(world):
    worker, runtime, listener = world.open_worker(), world.open(), Listener()
    agent, other = runtime.start(ASSISTANT, key="ann"), runtime.start(ASSISTANT, subscribe=listener)
    agent.ask("Hello", timeout=PATIENCE)
    other.add_user_message("hold")
    world.wait_until_asked("hold")
    thread_id, history = agent.thread_id, runtime.history(agent.thread_id)
    with contextlib.closing(SQLStore(world.url)) as single:
        with pytest.raises(errors.StoreTaken):
            agent.add_user_message("Again")
        with pytest.raises(errors.StoreTaken):
            agent.wait(PATIENCE)
        runtime._own_roster.look()
        assert listener.wait_for(events.AgentStopped).reason == "store_taken"
        with pytest.raises(errors.StoreTaken, match=f"The cluster no longer knows {other.thread_id}; a SQLStore has"):
            other.add_user_message("Again")
        driving(worker).beat()
        wait_until(lambda: driving(worker).leases.held == ())
        world.let_go()
        assert list(single.history(thread_id)) == history
        assert list(single.unfinished()) == [other.thread_id]
    worker.close()
    world.open_worker()
    again = world.open().start(ASSISTANT, key="ann")
    assert again.thread_id == thread_id
    assert again.ask("Again", timeout=PATIENCE).text == "You said: Again"
    assert world.open().history(thread_id)[: len(history)] == history
    wait_until(lambda: len(world.messages(other.thread_id)) == 2)
    assert world.messages(other.thread_id) == [("user", "hold"), ("assistant", "You said: hold")]


def test_a_store_that_only_reads_takes_nothing_and_sees_everything(world):
    agent = world.open_worker().start(ASSISTANT)
    agent.ask("Hello", timeout=PATIENCE)
    with contextlib.closing(SQLStore(world.url, read_only=True)) as reader:
        assert [row.snapshot.thread_id for row in reader.threads()] == [agent.thread_id]
        assert reader.load(agent.thread_id).snapshot.assistant_id == ASSISTANT
        assert len(reader.history(agent.thread_id)) > 3
        assert reader.holder().host == tables.CLUSTER
    assert agent.ask("Again", timeout=PATIENCE).text == "You said: Again"


@pytest.mark.parametrize("command", [["threads"], ["history", "THREAD"]])
def test_the_commands_that_look_at_a_store_read_a_cluster(world, command):
    agent = world.open_worker().start(ASSISTANT)
    agent.ask("Hello", timeout=PATIENCE)
    arguments = [agent.thread_id if word == "THREAD" else word for word in command]
    done = CliRunner().invoke(commands.cli, [*arguments, "--store", world.url])
    assert done.exit_code == 0, done.output
    assert (agent.thread_id[:12] if command == ["threads"] else "You said: Hello") in done.output
    assert agent.ask("Again", timeout=PATIENCE).text == "You said: Again"


def test_threads_shows_the_owners_and_doctor_finds_threads_without_a_worker(world):
    runtime = world.open_worker()
    agent = runtime.start(ASSISTANT)
    agent.add_user_message("hold")
    world.wait_until_asked("hold")

    def look(*command):
        return CliRunner().invoke(commands.cli, [*command, "--store", world.url])

    [row] = json.loads(look("threads", "--json").output)
    assert row["owner"]["worker"] == runtime.store.worker.id
    assert row["owner"]["lease"] > 0
    assert runtime.store.worker.id in look("threads").output
    assert "orphan" not in look("doctor", "--all").output
    query(world.url, "UPDATE gpt_agent_owners SET worker = 'nobody'")
    done = look("doctor", "--all")
    assert done.exit_code == 1
    assert "No worker owns the thread." in done.output
    world.let_go()


def test_a_cluster_that_cannot_be_opened_leaves_no_connection(url):
    with open_cluster(url):
        query(url, "UPDATE gpt_agent_cluster SET version = version + 1, oldest = version + 1")
    with pytest.raises(errors.StoreError):
        Cluster(url)
    gc.collect()  # a connection that is left open warns now


def test_the_runtime_of_a_taken_store_can_be_closed(world):
    runtime = world.open_worker()
    runtime.start(ASSISTANT).ask("Hello", timeout=PATIENCE)
    SQLStore(world.url).close()
    runtime.close()
    assert query(world.url, "SELECT count(*) FROM gpt_agent_owners") == [(0,)]


# --- imports --------------------------------------------------------------------------------------------------


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("missing", ["procrastinate", "psycopg", "psycopg_pool", "sqlalchemy"])
def test_without_the_extra_the_import_says_how_to_install_it(missing):
    done = run_python(f"import sys; sys.modules[{missing!r}] = None\nimport gpt_agent_fsm.cluster")
    assert done.returncode == 1
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("ImportError: A cluster needs ")
    assert 'pip install procrastinate "psycopg[binary,pool]" SQLAlchemy (the extra "cluster" of' in sentence


def test_a_module_of_the_library_that_is_missing_is_not_taken_for_the_extra():
    done = run_python("import sys; sys.modules['gpt_agent_fsm.stores.holder'] = None\nimport gpt_agent_fsm.cluster")
    assert done.stderr.splitlines()[-1].startswith(("ModuleNotFoundError", "ImportError"))
    assert "A cluster needs" not in done.stderr


def test_importing_the_library_imports_nothing_of_the_cluster():
    done = run_python("import sys, gpt_agent_fsm, gpt_agent_fsm.stores, gpt_agent_fsm.runtime; print(*sys.modules)")
    loaded = {
        name for name in done.stdout.split() if name.startswith(("gpt_agent_fsm.cluster", "procrastinate", "psy"))
    }
    assert (done.returncode, loaded) == (0, set())


def test_a_runtime_needs_no_keyword_for_a_cluster(world):
    backend = AssistantsBackend(world.server.base_url, "the-key")
    with Runtime(backend, SETTINGS, Cluster(world.url, drive=True)) as runtime:
        assert runtime.start(ASSISTANT).ask("Hello", timeout=PATIENCE).text == "You said: Hello"

"""How a pool notices that the server has closed an idle connection."""

import contextlib

import pytest

from gpt_agent_fsm.errors import StoreError
from gpt_agent_fsm.stores import SQLStore
from tests.stores.helpers import an_event, commit, idle

psycopg = pytest.importorskip("psycopg")
postgresql_module = pytest.importorskip("gpt_agent_fsm.stores.postgresql")

# The call returns when the connections are closed.
CUT = "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name = %s"


@pytest.fixture
def url(postgresql):
    return postgresql.new_schema()


@pytest.fixture
def connection(url):
    """An idle connection, like those of a pool."""
    with contextlib.closing(postgresql_module.LimitedConnection.connect(url, application_name="idle")) as connection:
        yield connection


@pytest.fixture
def asked(monkeypatch):
    """The statements that connections of the library have run without SQLAlchemy."""
    asked, execute = [], postgresql_module.LimitedConnection.execute

    def note(self, query, *args, **options):
        asked.append(query)
        return execute(self, query, *args, **options)

    monkeypatch.setattr(postgresql_module.LimitedConnection, "execute", note)
    return asked


def test_an_idle_connection_is_open_and_the_server_is_not_asked(connection, asked):
    assert postgresql_module.is_open(connection)
    assert asked == []


def test_a_connection_that_the_server_has_closed_is_not_open(connection, url):
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(CUT, ["idle"])
    with contextlib.suppress(psycopg.OperationalError):
        list(connection.notifies(timeout=10))  # until the end has arrived
    assert not postgresql_module.is_open(connection)


def test_a_connection_that_this_process_has_closed_is_not_open(connection):
    connection.close()
    assert not postgresql_module.is_open(connection)


def test_a_connection_to_which_the_server_has_said_something_else_is_open(connection, url, asked):
    connection.execute("LISTEN something")
    connection.commit()
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("NOTIFY something")
    asked.clear()
    while not asked:
        assert postgresql_module.is_open(connection)
    assert asked == [";"]
    assert postgresql_module.is_open(connection)
    assert asked == [";"], "what the server has said is read"


@pytest.mark.parametrize("read", [False, True])
def test_a_store_continues_on_new_connections_after_all_were_cut(url, read):
    with contextlib.closing(SQLStore(url)) as store:
        for number in (1, 2, 3):
            commit(store, idle(), an_event())
            assert len(store.history("thread_1")) == number
            assert store.is_owned()
            with psycopg.connect(url, autocommit=True) as other:
                other.execute(CUT, ["gpt-agent-fsm"])
            if read:
                assert len(store.history("thread_1")) == number
                assert store.is_owned()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_keep_every_text_is_refused(postgresql, encoding):
    url, name = postgresql.new_schema().split("?")[0], encoding.lower()
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match=f"The PostgreSQL database {name} has the encoding {encoding}"):
        SQLStore(f"{url.rpartition('/')[0]}/{name}")


def test_every_text_is_kept_whatever_encoding_the_environment_names(url, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with contextlib.closing(SQLStore(url)) as store:
        commit(store, idle("日本 €"))
        assert store.load("日本 €") is not None

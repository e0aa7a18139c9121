"""Connections that are kept between short calls."""

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from gpt_agent_fsm.stores.kept import Kept


@pytest.fixture
def opened(path):
    """The connections of the driver that were opened, and those that were closed."""
    return [], []


@pytest.fixture
def kept(path, opened):
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool)
    sa.event.listen(engine, "connect", lambda connection, _: opened[0].append(connection))
    sa.event.listen(engine, "close", lambda connection, _: opened[1].append(connection))
    kept = Kept(engine)
    yield kept
    kept.close()


def test_a_connection_is_kept_for_the_next_call(kept, opened):
    for _ in range(3):
        with kept.connection():
            pass
    assert (len(opened[0]), opened[1]) == (1, [])


def test_a_call_inside_another_one_gets_a_connection_of_its_own(kept, opened):
    with kept.connection() as outer, kept.connection() as inner:
        assert inner is not outer
    assert len(opened[0]) == 2


def test_an_open_transaction_is_rolled_back_before_the_next_call(kept):
    with kept.connection() as connection:
        connection.exec_driver_sql("SELECT 1")
        assert connection.in_transaction()
    with kept.connection() as again:
        assert again is connection
        assert not again.in_transaction()


def test_the_connection_of_a_call_that_failed_is_closed(kept, opened):
    with pytest.raises(KeyboardInterrupt), kept.connection():
        raise KeyboardInterrupt
    assert opened[0] == opened[1]
    with kept.connection():
        assert len(opened[0]) == 2


def test_no_connection_is_kept_after_the_end_even_if_it_was_in_use(kept, opened):
    with kept.connection():
        kept.close()
        assert opened[1] == []
    assert opened[0] == opened[1]

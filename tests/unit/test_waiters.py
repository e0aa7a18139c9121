"""Callers that wait for a change, even while signal handlers interrupt them."""

import threading

from gpt_agent_fsm.engine.waiters import Changed
from tests.stores.helpers import at_each_line

TIMEOUT = 30


def test_a_change_is_noticed_whether_it_comes_before_or_during_the_wait():
    changed = Changed()
    assert not changed.wait(0)
    assert not changed.wait(-1)
    assert repr(changed).endswith(": not set>")
    changed.set()
    changed.set()
    assert changed.is_set()
    assert changed.wait()
    changed.clear()
    threading.Timer(0.01, changed.set).start()
    while not changed.wait(TIMEOUT):
        pass
    assert changed.is_set()


def test_a_signal_handler_may_set_it_at_any_line():
    made = []
    lines = at_each_line(
        lambda: made[-1].wait(0.001) or made[-1].set() or made[-1].clear(),
        lambda: Changed.set(made[-1]),
        lambda: made.append(Changed()),
    )
    assert lines > 5

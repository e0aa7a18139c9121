"""Helpers shared by the tests of SQL stores."""

import contextlib
import sqlite3
import sys
from pathlib import Path

import attrs

from gpt_agent_fsm.events import RunStarted
from gpt_agent_fsm.machine.inputs import AddUserMessage
from gpt_agent_fsm.machine.snapshot import Snapshot, State
from gpt_agent_fsm.stores.group import Ticket
from gpt_agent_fsm.stores.write_batch import Accept, Commit

ROOT = Path(__file__).parents[2]
SECRET = "do not tell anybody"


def idle(thread_id="thread_1", **changes):
    return attrs.evolve(Snapshot(thread_id=thread_id, assistant_id="asst_1"), **changes)


def busy(thread_id="thread_1", **changes):
    return idle(thread_id, state=State.RUNNING, **changes)


def say(text=SECRET):
    return AddUserMessage(key="key_1", content=text)


def an_event(thread_id="thread_1", run_id="run_1"):
    return RunStarted(id=run_id, thread_id=thread_id, assistant_id="asst_1")


def commit(store, snapshot, *events, consumed=0):
    return store.commit(snapshot, consumed=consumed, events=events, at=1.0, due=None)


def accept_ticket(thread_id, text="{}"):
    return Ticket(Accept(thread_id=thread_id, command=text))


def commit_ticket(thread_id, snapshot="{}"):
    return Ticket(Commit(thread_id=thread_id, snapshot=snapshot, settled=True, consumed=0, events=[], at=1.0, due=None))


def sqlite(path):
    """Return a connection of another program to a SQLite file, to be used in a `with` block."""
    return contextlib.closing(sqlite3.connect(path, isolation_level=None))


def texts_of(error):
    """Return all visible text of an error: its own, and that of its causes."""
    texts = []
    while error is not None:
        texts.append(f"{error} {error!r} {getattr(error, 'orig', '')}")
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def sqlite_file(path):
    """Open a SQLite file past the store, in a `with` statement."""
    return contextlib.closing(sqlite3.connect(path, isolation_level=None))


# --- signals ----------------------------------------------------------------------------------------------


def raise_interrupt():
    raise KeyboardInterrupt


def at_each_line(call, action, prepare=lambda: None):
    """Call repeatedly; the n-th time, do `action` just before the n-th line of the library. Return how many there are.

    So a signal handler works, which may run between any two lines of the main thread. Calls `prepare` before each.
    """
    lines = -1
    more = True
    while more:
        prepare()
        lines += 1
        more = _at_line(lines, call, action)
    return lines


def _at_line(number, call, action):
    """Call; do `action` before the line with this number. Return whether there was one."""
    seen = 0

    def trace(frame, event, _argument):
        nonlocal seen
        if "gpt_agent_fsm" not in frame.f_code.co_filename or "tests" in frame.f_code.co_filename:
            return None
        if event == "line":
            seen += 1
            if seen == number + 1:
                sys.settrace(None)
                action()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            call()
    finally:
        sys.settrace(before)
    return seen > number

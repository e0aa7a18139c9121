"""A process that is killed during its commits loses nothing that was acknowledged."""

import contextlib
import subprocess
import sys
from collections import defaultdict

import pytest

from gpt_agent_fsm.stores import SQLStore
from tests.stores.committing import THREADS
from tests.stores.helpers import ROOT, say


def killed_after(url, lines):
    """Let a process commit, kill it after a number of acknowledgements, and return all of its complete lines."""
    command = [sys.executable, "-m", "tests.stores.committing", url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with process:
        seen = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        seen.extend(process.stdout)
    # The last line may be incomplete; then that call was not acknowledged.
    return [line.split() for line in seen if line.endswith("\n")]


def check(url, acknowledged):
    accepted, committed = defaultdict(int), defaultdict(int)
    for what, thread_id, number, _ in acknowledged:
        newest = accepted if what == "accepted" else committed
        newest[thread_id] = max(newest[thread_id], int(number))
    assert len(committed) == THREADS
    with contextlib.closing(SQLStore(url)) as store:
        unfinished = store.unfinished()
        for thread_id, last in committed.items():
            saved, history = store.load(thread_id), store.history(thread_id)
            steps = len(history)
            assert last <= steps <= last + 1, "at most one commit may be unacknowledged"
            assert [record.seq for record in history] == list(range(1, steps + 1))
            assert [record.event.id for record in history] == [f"run_{step}" for step in range(1, steps + 1)]
            assert saved.snapshot.pending.tries == saved.last_seq == steps, "snapshot and events are of one commit"
            consumed = steps - steps % 2
            numbers = [number for number, _ in saved.inbox]
            assert numbers == list(range(consumed + 1, consumed + 1 + len(numbers)))
            assert consumed + len(numbers) >= accepted[thread_id], "a command is lost"
            assert all(command.content == str(number) for number, command in saved.inbox)
            assert unfinished[thread_id] == saved
            assert store.accept(thread_id, say()) > accepted[thread_id]


@pytest.mark.parametrize("lines", [20, 137, 400])
def test_a_file_has_all_acknowledged_data(tmp_path, lines):
    url = f"sqlite:///{tmp_path}/agents.db"
    check(url, killed_after(url, lines))


def test_postgresql_has_all_acknowledged_data(postgresql):
    url = postgresql.new_schema()
    check(url, killed_after(url, 300))

"""One server per file, however the server before ended."""

import os
import subprocess
import sys
import threading

import pytest

from gpt_agent_fsm.local.shared.file_owner import DatabaseInUseError, FileOwner

PATIENCE = 20.0
OTHER = """
import sys
from gpt_agent_fsm.local import LocalServer
server = LocalServer(database=sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""


def other_server(path):
    """Start a server on the file in another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_file_in_use_is_refused_and_the_process_of_its_server_is_named(tmp_path):
    path = os.fspath(tmp_path / "a.db")
    with other_server(path) as process:
        with pytest.raises(DatabaseInUseError) as refused:
            FileOwner(path)
        process.kill()
    assert str(refused.value) == (
        f"{path} is in use by the server of process {process.pid}: close that one first, or use another file."
    )


def test_the_file_of_a_process_that_was_killed_is_free(tmp_path):
    path = os.fspath(tmp_path / "a.db")
    with other_server(path) as process:
        process.kill()
    with FileOwner(path) as owner:
        assert owner._pid() == os.getpid()


def test_a_second_owner_in_the_same_process_is_refused_until_the_first_has_closed(tmp_path):
    path = os.fspath(tmp_path / "a.db")
    with FileOwner(path), pytest.raises(DatabaseInUseError, match=f"process {os.getpid()}"):
        FileOwner(path)
    FileOwner(path).close()


def test_other_names_of_the_file_do_not_get_around_its_owner(tmp_path):
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    with FileOwner(os.fspath(tmp_path / "a.db")), pytest.raises(DatabaseInUseError):
        FileOwner(os.fspath(tmp_path / "link.db"))


def test_of_many_at_once_one_gets_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("gpt_agent_fsm.local.shared.file_owner._PATIENCE", 0.0)
    path = os.fspath(tmp_path / "a.db")
    owners, refused = [], []

    def take():
        try:
            owners.append(FileOwner(path))
        except DatabaseInUseError as error:
            refused.append(str(error))

    with FileOwner(path):
        take()
    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    for owner in owners:
        owner.close()
    assert (len(owners), len(refused)) == (1, 8)
    assert all(f"process {os.getpid()}:" in sentence for sentence in refused)


def test_an_owner_whose_number_was_overwritten_writes_it_again(tmp_path, monkeypatch):
    path = os.fspath(tmp_path / "a.db")
    real, seen = FileOwner._pid, []

    def overwritten(owner):
        """Another server took the file for a moment, right after the first commit."""
        seen.append(real(owner))
        return 1 if len(seen) == 2 else seen[-1]

    monkeypatch.setattr(FileOwner, "_pid", overwritten)
    owner = FileOwner(path)
    assert len(seen) == 3
    owner.close()

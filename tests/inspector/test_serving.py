"""Serving the pages on this machine, from Python and from the command line."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing

import pytest
import requests
from click.testing import CliRunner

from gpt_agent_fsm.cli import commands
from gpt_agent_fsm.inspector import inspector, serve
from gpt_agent_fsm.stores import MemoryStore, SQLStore
from tests.stores.helpers import an_event, commit, idle

PATIENCE = 30.0


def test_the_pages_are_served_on_a_free_port_of_this_machine_until_the_block_ends():
    with serve(inspector(MemoryStore())) as url:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
        answer = requests.get(url, timeout=PATIENCE)
        assert answer.status_code == 200
        assert "There are no threads" in answer.text
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=PATIENCE)


def test_an_open_stream_blocks_neither_other_requests_nor_the_end(world):
    with serve(world.app) as url:
        answers = [requests.get(f"{url}events", stream=True, timeout=PATIENCE) for _ in range(20)]
        streams = [answer.iter_lines() for answer in answers]
        assert {next(lines)[:5] for lines in streams} == {b"retry"}
        assert requests.get(url, timeout=PATIENCE).status_code == 200
    for answer, lines in zip(answers, streams, strict=True):
        assert next((line for line in lines if line), None) is None
        answer.close()


def test_an_inspector_can_be_served_again(world):
    for _ in range(2):
        with serve(world.app) as url, requests.get(f"{url}events", stream=True, timeout=PATIENCE) as answer:
            assert next(answer.iter_lines()).startswith(b"retry")
            assert not world.app.closing.is_set()


def test_a_port_in_use_is_an_os_error_and_a_sentence_of_the_command(tmp_path):
    path = tmp_path / "agents.db"
    SQLStore(f"sqlite:///{path}").close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"), serve(inspector(MemoryStore()), port):
            pass
        result = CliRunner().invoke(commands.cli, ["inspect", "--store", str(path), "--port", str(port)])
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: cannot listen on 127.0.0.1 port {port}: ")
    assert "choose another --port, or 0 for a free one" in result.output


def test_a_store_that_does_not_exist_is_one_sentence(tmp_path):
    result = CliRunner().invoke(commands.cli, ["inspect", "--store", str(tmp_path / "none.db")])
    assert result.exit_code == 1
    assert result.output.startswith("Error: There is no file of ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process")
def test_the_command_prints_its_address_takes_nothing_over_and_ends_with_ctrl_c(tmp_path):
    url = f"sqlite:///{tmp_path}/agents.db"
    with closing(SQLStore(url)) as owner:
        commit(owner, idle(), an_event())
        command = [sys.executable, "-m", "gpt_agent_fsm", "inspect", "--store", url, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            watchdog = threading.Timer(PATIENCE, process.kill)
            watchdog.start()
            address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
            with requests.get(f"{address}events", stream=True, timeout=PATIENCE) as stream:
                assert next(stream.iter_lines()).startswith(b"retry")
                assert "thread_1" in requests.get(address, timeout=PATIENCE).text
                commit(owner, idle(), an_event())
                process.send_signal(signal.SIGINT)
                printed, complaints = process.communicate()
            watchdog.cancel()
    assert (process.returncode, printed, complaints) == (0, "Stopped.\n", "")

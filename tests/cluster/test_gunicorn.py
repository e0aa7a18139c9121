"""Applications with the real gunicorn and several web processes. They work on a cluster, and not on a `SQLStore`."""

import contextlib
import itertools
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from gpt_agent_fsm.local import LocalServer, ToolCall
from tests.docs.pages import ROOT

pytest.importorskip("gunicorn", reason="gunicorn is not installed")

EXAMPLES = ROOT / "examples"
USERS, MESSAGES, PROCESSES = 40, 2, 4
WORKER = "-m gpt_agent_fsm worker --api responses --assistants bot:ASSISTANTS --port 0"
WEB = f"-m gunicorn --workers {PROCESSES} --threads 4 --bind 127.0.0.1:0 web:app"


def model(request):
    """Ask the tool about an order, and repeat anything else."""
    if "order" not in request.user_message:
        return f"You said: {request.user_message}"
    return f"It is {request.outputs[0]}." if request.outputs else [ToolCall("order_status", {"number": "17"})]


class Program:
    """A program that runs until the end of the `with` statement, and what it has printed."""

    def __init__(self, arguments, environment, folder):
        command = [sys.executable, *arguments.split()]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines, self.printed = [], threading.Condition()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in itertools.chain(self.process.stdout, [None]):
            with self.printed:
                self.lines.append(line)
                self.printed.notify_all()

    def line_with(self, sign):
        """Wait for the first line that contains the sign."""

        def found():
            return [line for line in self.lines if line is None or sign in line]

        with self.printed:
            assert self.printed.wait_for(found, timeout=60), "".join(filter(None, self.lines))
            line = found()[0]
        assert line is not None, "".join(filter(None, self.lines))
        return line

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        status = self.process.wait(timeout=60)
        self.reader.join()
        self.process.stdout.close()
        assert status == 0, "".join(filter(None, self.lines))


@pytest.fixture
def start(tmp_path):
    """Start a program that imports the modules of one folder, in a folder of its own."""
    with LocalServer(model) as server, contextlib.ExitStack() as stack:

        def started(arguments, modules, **more):
            environment = {
                **os.environ,
                "HOME": str(tmp_path),  # gunicorn makes a socket there
                "PYTHONPATH": f"{modules}{os.pathsep}{ROOT}",
                "GPT_AGENT_HEARTBEAT_INTERVAL": "0.1",
                "OPENAI_BASE_URL": server.base_url,
                "OPENAI_API_KEY": "any-key",
                **more,
            }
            return stack.enter_context(Program(arguments, environment, tmp_path))

        yield started


def users_of(web):
    """Return the address of the application."""
    return web.line_with("Listening at: ").split("Listening at: ")[1].split()[0] + "/users"


def say(users, name, text):
    """Send a message over a new connection, which any web process may accept."""
    return requests.post(f"{users}/{name}/messages", json={"text": text}, timeout=60)


def test_conversations_over_many_web_processes_are_answered_in_order(url, start):
    worker, web = (start(program, EXAMPLES / "cluster", GPT_AGENT_STORE=url) for program in (WORKER, WEB))
    worker.line_with("drives up to")
    users = users_of(web)
    texts = ["Where is my order?", *(f"Message {number}" for number in range(1, MESSAGES))]
    expected = ['It is "on its way".', *(f"You said: {text}" for text in texts[1:])]
    names = [f"user{number}" for number in range(USERS)]
    with ThreadPoolExecutor(16) as pool:
        talks = list(pool.map(lambda name: [say(users, name, text).json() for text in texts], names))
    assert [[answer.get("answer") for answer in answers] for answers in talks] == [expected] * USERS
    assert all(requests.get(f"{users}/{name}/messages", timeout=60).json() == expected for name in names)
    visited = [{answer["process"] for answer in answers} for answers in talks]
    assert len(set().union(*visited)) == PROCESSES
    assert max(map(len, visited)) > 1, "no conversation has changed its web process"


def test_web_processes_that_take_a_store_from_each_other_are_told_of_the_cluster(start):
    web = start(WEB, EXAMPLES)
    users = users_of(web)
    statuses = (say(users, f"user{number}", "Hello").status_code for number in range(200))
    assert next((status for status in statuses if status != 200), None) == 500
    assert "gpt_agent_fsm.cluster.Cluster" in web.line_with("StoreTaken: ")

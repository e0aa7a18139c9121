"""The command `worker` drives threads, and shows its health and its metrics."""

import os
import re
import subprocess
import sys

import pytest
import requests
from click.testing import CliRunner

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.cli.worker import worker
from gpt_agent_fsm.cluster import Cluster
from gpt_agent_fsm.local import LocalServer, ToolCall

PATIENCE = 60
BOT = '''
from gpt_agent_fsm import Assistant, tool


@tool
def locate(city: str) -> str:
    """Say where a city is."""
    return f"{city} is in Norway"


nameless = Assistant("gpt-4o", "Be brief.")
helper = Assistant("gpt-4o", "Be brief.", name="helper")
number = 7
'''


def model(request):
    if not request.outputs and "call" in request.user_message:
        return [ToolCall("locate", {"city": "Oslo"})]
    return f"answer: {request.outputs[0]}" if request.outputs else "answer"


@pytest.fixture
def url(postgresql):
    return postgresql.new_schema()


@pytest.fixture
def bot(tmp_path, monkeypatch):
    (tmp_path / "worker_bot.py").write_text(BOT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_worker_drives_threads_with_its_tools_until_sigterm(url, bot):
    with LocalServer(model) as server:
        environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "k"}
        environment["GPT_AGENT_STORE"] = url
        command = [sys.executable, "-m", "gpt_agent_fsm", "worker", "--tools", "worker_bot:locate", "--port", "0"]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as run:
            try:
                line = run.stdout.readline()
                address = re.search(r"http://\S+healthz", line).group()
                with Runtime(AssistantsBackend(server.base_url, "k"), store=Cluster(url)) as runtime:
                    agent = runtime.start("asst_1")
                    assert agent.ask("call it", timeout=PATIENCE).text == 'answer: "Oslo is in Norway"'
                    health = requests.get(address, timeout=PATIENCE)
                    assert health.status_code == 200
                    assert health.json()["is_alive"] is True
                    metrics = requests.get(address.replace("healthz", "metrics"), timeout=PATIENCE).text
                    assert 'gpt_agent_fsm_runs_total{end="completed"} 1.0' in metrics
                    assert requests.get(address + "/x", timeout=PATIENCE).status_code == 404
            finally:
                run.terminate()
            said, logged = run.communicate(timeout=PATIENCE)
        assert run.returncode == 0, logged
        assert "Stopped." in said
        assert "answer" not in logged


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--store", "agents.db"], "A cluster needs PostgreSQL"),
        (["--store", "postgresql://h/d", "--assistants", "worker_bot:nameless"], "worker_bot:nameless has no name"),
        (
            ["--store", "postgresql://h/d", "--assistants", "worker_bot:number"],
            "must be an Assistant or a dict of them",
        ),
        (["--store", "postgresql://h/d", "--assistants", "worker_bot"], "write module:name"),
        (["--store", "postgresql://h/d", "--assistants", "worker_bot:helpr"], "is it 'helper'?"),
        (["--store", "postgresql://h/d", "--tools", "worker_bot:number"], "worker_bot:number cannot be a tool"),
        (["--store", "postgresql://h/d", "--concurrency", "0"], "is not in the range"),
    ],
)
def test_a_wrong_option_is_one_sentence(options, sentence, bot, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    done = CliRunner().invoke(worker, options)
    assert done.exit_code in (1, 2)
    assert sentence in done.output
    assert "Traceback" not in done.output


def test_without_key_and_address_the_error_says_what_to_set(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = CliRunner().invoke(worker, ["--store", "postgresql://h/d"])
    assert done.exit_code == 1
    assert "OPENAI_API_KEY is not set" in done.output
    assert "OPENAI_BASE_URL" in done.output
    assert "gpt-agent-fsm serve" in done.output


def test_a_worker_whose_last_renewal_is_old_is_not_healthy(url):
    from gpt_agent_fsm.cli.health import serve_health

    with LocalServer(model) as server:
        cluster = Cluster(url, drive=True)
        with (
            Runtime(AssistantsBackend(server.base_url, "k"), store=cluster) as runtime,
            serve_health(runtime, cluster, "127.0.0.1", 0) as address,
        ):
            assert requests.get(f"{address}healthz", timeout=PATIENCE).status_code == 200
            driving = runtime._own_roster.driving
            driving._stopped.set()  # the heart stops
            driving._heart.join(PATIENCE)
            driving.leases._worker.valid_until = 0.0
            assert requests.get(f"{address}healthz", timeout=PATIENCE).status_code == 503
            driving._stopped.clear()

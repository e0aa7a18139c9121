"""`gpt-agent-fsm serve`: wrong options, and its life from the first line to the signal that ends it."""

import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest
import requests
from click.testing import CliRunner

from gpt_agent_fsm.cli import serve as module
from gpt_agent_fsm.cli.serve import serve
from gpt_agent_fsm.local import LocalServer
from tests.local.chat_server import ChatServer, say

PATIENCE = 20.0
BETA = {"OpenAI-Beta": "assistants=v2"}
COMMAND = [sys.executable, "-c", "from gpt_agent_fsm.cli.serve import serve; serve()"]


def refused(*args, **kwargs):
    done = CliRunner().invoke(serve, args, **kwargs)
    assert done.exit_code != 0
    assert "Serving" not in done.output
    return " ".join(done.output.split())


@pytest.fixture
def served(monkeypatch):
    """Serve within this process, ask, stop with a signal, and return the answer and the output of the command."""

    def run(args, ask, number=signal.SIGTERM, **kwargs):
        servers, answers = [], []

        class Watched(LocalServer):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                servers.append(self)
                asking.start()

        def meanwhile():
            try:
                answers.append(ask(servers[0]))
            finally:
                os.kill(os.getpid(), number)

        asking = threading.Thread(target=meanwhile)
        monkeypatch.setattr("gpt_agent_fsm.local.LocalServer", Watched)
        done = CliRunner().invoke(serve, ["--port", "0", *args], **kwargs)
        asking.join(PATIENCE)
        assert done.exit_code == 0, done.output
        assert servers[0]._closed
        return answers[0], done.output

    before = _of_the_process()
    yield run
    assert before == _of_the_process(), "the command left something behind in the process that called it"


def _of_the_process():
    """Return the state that a command must restore: handlers of signals, and of the log."""
    logger = logging.getLogger("gpt_agent_fsm")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return handlers, list(logger.handlers), logger.level


def thread_on(server, key="any"):
    headers = BETA | {"Authorization": f"Bearer {key}"}
    return requests.post(f"{server.base_url}/threads", json={}, headers=headers, timeout=PATIENCE)


def said_by(server):
    body = {"model": "m", "input": "Tell me a secret"}
    answer = requests.post(f"{server.base_url}/responses", json=body, timeout=PATIENCE).json()
    return answer["output"][0]["content"][0]["text"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TypeError("encoding of hostname failed"), "encoding of hostname failed"),
    ],
)
def test_a_host_that_is_not_known_is_said_in_words(monkeypatch, error, said):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("gpt_agent_fsm.local.LocalServer", fail)
    result = CliRunner().invoke(serve, ["--host", "nowhere.example", "--api-key", "k"])
    assert result.exit_code == 1
    assert result.output == f"Error: cannot listen on nowhere.example port 8080: {said}\n"


def test_a_url_is_not_a_file_for_everything_and_is_not_repeated():
    result = CliRunner().invoke(serve, ["--db", "postgresql://ann:S3cret@host/agents"])
    assert result.exit_code == 2
    assert "Invalid value for '--db': it must be the path of a SQLite file, not a URL." in result.output
    assert "S3cret" not in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_echoes_until_a_signal_and_says_so(served, number):
    answer, output = served([], said_by, number)
    assert answer == "You said: Tell me a secret"
    assert re.search(
        r"^Serving at http://127\.0\.0\.1:\d+/v1 with all data in memory\. Ctrl-C stops it\.$", output, re.M
    )
    assert output.endswith("Stopped.\n")


def test_each_request_is_one_line_of_the_log_without_message_text(served):
    _, output = served([], said_by)
    assert len(re.findall(r"INFO POST /v1/responses 200 [0-9.]+ ms req_", output)) == 1
    assert "secret" not in output


def test_a_script_answers(served, tmp_path):
    script = tmp_path / "script.yaml"
    script.write_text("otherwise:\n  say: 'By the book.'\n", encoding="utf-8")
    assert served(["--model", str(script)], said_by)[0] == "By the book."


def test_a_chat_completions_server_answers_and_its_key_comes_from_the_environment(served):
    with ChatServer(say("From afar.")) as upstream:
        args = ["--model", upstream.base_url, "--model-name", "llama3"]
        answer, output = served(args, said_by, env={"GPT_AGENT_SERVE_MODEL_KEY": "sk-upstream"})
        [asked] = upstream.requests
    assert (answer, asked.body["model"]) == ("From afar.", "llama3")
    assert asked.headers["Authorization"] == "Bearer sk-upstream"
    assert "sk-upstream" not in output


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_key_admits_only_requests_that_have_it(served, way):
    def ask(server):
        return [thread_on(server, key).status_code for key in ("sk-right", "sk-wrong")]

    args, env = (["--api-key", "sk-right"], {}) if way == "option" else ([], {"GPT_AGENT_SERVE_API_KEY": "sk-right"})
    answer, output = served(args, ask, env=env)
    assert answer == [200, 401]
    assert "sk-" not in output


def test_everything_is_kept_in_the_file(served, tmp_path):
    args = ["--db", str(tmp_path / "local.db")]
    thread, output = served(args, lambda server: thread_on(server).json()["id"])
    assert f"with all data in {tmp_path / 'local.db'}" in output
    found = served(args, lambda server: requests.get(f"{server.base_url}/threads/{thread}", headers=BETA, timeout=9))
    assert found[0].status_code == 200


def test_the_seed_decides_the_faults(served):
    def ask(server):
        seen = []
        for _ in range(40):
            with contextlib.suppress(requests.ConnectionError):
                seen.append(thread_on(server).status_code)
        return seen

    answer, _ = served(["--chaos", "7"], ask)
    assert 429 in answer or len(answer) < 40
    assert answer.count(200) > 20


def test_health_needs_no_key(served):
    def ask(server):
        return requests.get(f"{server.base_url.removesuffix('/v1')}/healthz", timeout=PATIENCE).json()

    assert served(["--api-key", "sk-right"], ask)[0] == {"status": "ok"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.com", ""])  # noqa: S104
def test_beyond_loopback_it_needs_a_key(host, monkeypatch):
    monkeypatch.setattr(module, "_listening", lambda *_args: pytest.fail("it listens"))
    monkeypatch.delenv("GPT_AGENT_SERVE_API_KEY", raising=False)
    output = refused("--host", host)
    assert f"without a key anybody who can connect to {host!r} could use this server: give --api-key" in output


def test_beyond_loopback_with_a_key_it_serves(served):
    args = ["--host", "0.0.0.0", "--api-key", "sk-right"]  # noqa: S104
    assert served(args, lambda server: thread_on(server, "sk-right").status_code)[0] == 200


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--model", "gpt-5"], "--model must be echo, a .yaml file or a URL that begins with http://, not 'gpt-5'"),
        (["--model", "nowhere.yaml"], "cannot read the script nowhere.yaml: No such file or directory"),
        (["--model", "http://"], "http://"),
        (["--model-name", "llama3"], "--model-name is for a chat-completions server"),
        (["--port", "65536"], "65536 is not in the range"),
        (["--allow-origin", "app.example"], "An allowed origin must be '*' or like 'http://localhost:3000'"),
        (["--model-workers", "0"], "0 is not in the range"),
        (["--chaos", "much"], "'much' is not a valid integer"),
    ],
)
def test_invalid_options_are_refused_in_a_sentence(args, words):
    output = refused(*args)
    assert words in output
    assert "Traceback" not in output


def test_pages_of_allowed_origins_come_in(served):
    def ask(server):
        origins = ("https://a.example", "https://b.example", "https://c.example")
        url = f"{server.base_url}/threads"
        return [requests.post(url, json={}, headers=BETA | {"Origin": each}, timeout=9).status_code for each in origins]

    args = ["--allow-origin", "https://a.example", "--allow-origin", "https://b.example"]
    assert served(args, ask)[0] == [200, 200, 403]


def test_the_number_of_requests_to_the_model_is_an_option(served):
    assert served(["--model-workers", "3"], lambda server: server._workers._limit)[0] == 3


def test_a_file_of_another_server_is_refused_in_a_sentence_that_names_its_process(tmp_path):
    path = str(tmp_path / "local.db")
    with LocalServer(database=path):
        output = refused("--port", "0", "--db", path)
    assert f"{path} is in use by the server of process {os.getpid()}" in output
    assert "Traceback" not in output


def test_an_invalid_script_is_refused_with_the_place(tmp_path):
    script = tmp_path / "script.yaml"
    script.write_text("rules: 7", encoding="utf-8")
    assert "In the script" in refused("--model", str(script))


def test_a_taken_port_and_a_file_that_is_not_a_database_are_reported_in_a_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = refused("--port", str(port))
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in output
    notes = tmp_path / "notes.txt"
    notes.write_text("These are no tables. " * 100)
    assert f"cannot use {notes} as a database: file is not a database" in refused("--port", "0", "--db", str(notes))


@pytest.mark.parametrize("name", ["flask", "gpt_agent_fsm.local.server"])
def test_missing_packages_are_reported_and_a_defect_is_not_hidden(monkeypatch, name):
    for loaded in [each for each in sys.modules if each.startswith("gpt_agent_fsm.local")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, name, None)
    done = CliRunner().invoke(serve, [])
    if name == "flask":
        assert "flask is not installed; install what the command line needs with: pip install" in done.output
    else:
        assert isinstance(done.exception, ImportError)


def test_as_a_process_of_its_own_it_ends_well_on_a_signal():
    with subprocess.Popen(
        [*COMMAND, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            url = re.search(r"http://\S+/v1", process.stdout.readline())[0]
            assert requests.post(f"{url}/threads", json={}, headers=BETA, timeout=PATIENCE).ok
            process.send_signal(signal.SIGTERM)
            output, log = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, output) == (0, "Stopped.\n")
    assert "POST /v1/threads 200" in log


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--api-key", ""], "the API key is blank"),
        (["--api-key", "  "], "the API key is blank"),
        (["--model-key", "x"], "--model-key is for a chat-completions server"),
        (["--merge-turns"], "--merge-turns is for a chat-completions server"),
        (["--model", "http://"], "--model"),
        (["--model", "localhost:11434/v1"], "begins with http://"),
        (["--db", "no/such/folder/a.db"], "--db cannot be"),
        (["--db", ""], "--db must be the path of a file"),
        (["--allow-origin", "nonsense/"], "origin"),
        (["--run-expires-after", "0"], "--run-expires-after"),
    ],
)
def test_an_option_that_would_do_something_else_is_refused_in_the_words_of_options(args, words):
    output = refused(*args)
    assert words in output
    assert "base_url" not in output
    assert "database" not in output


def test_an_empty_key_in_the_environment_is_no_open_server():
    assert "the API key is blank" in refused(env={"GPT_AGENT_SERVE_API_KEY": ""})


def test_a_taken_port_says_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "choose another --port, or 0" in refused("--port", str(taken.getsockname()[1]))


def test_a_wrong_script_is_named_with_its_file(tmp_path):
    script = tmp_path / "script.yaml"
    script.write_text("rules: 5\n", encoding="utf-8")
    assert f"{script.name}: In the script, rules must be" in refused("--model", str(script))


def test_strict_schemas_and_the_lifetime_of_runs_are_those_of_the_options(served):
    def ask(server):
        form = {"type": "json_object"}
        asked = {"model": "m", "input": "x", "text": {"format": form}}
        failed = requests.post(f"{server.base_url}/responses", json=asked, timeout=PATIENCE).json()
        run = requests.post(
            f"{server.base_url}/threads/runs", json={"assistant_id": "asst_1"}, headers=BETA, timeout=PATIENCE
        ).json()
        return failed["status"], run["expires_at"] - run["created_at"]

    assert served(["--strict-schemas", "--run-expires-after", "77"], ask)[0] == ("failed", 77)


def test_messages_of_one_role_are_merged_for_the_server_of_the_model(served):
    def ask(server):
        user = [{"role": "user", "content": text} for text in ("one", "two")]
        requests.post(f"{server.base_url}/responses", json={"model": "m", "input": user}, timeout=PATIENCE)

    with ChatServer(say("Fine.")) as upstream:
        served(["--model", upstream.base_url, "--merge-turns"], ask)
        [asked] = upstream.requests
    assert [message["content"] for message in asked.body["messages"]] == ["one\n\ntwo"]


def test_a_model_that_fails_is_one_line_of_the_log_without_message_text(served, tmp_path):
    script = tmp_path / "script.yaml"
    script.write_text("otherwise:\n  fail: {code: rate_limit_exceeded, message: 'no {message}'}\n", encoding="utf-8")

    def ask(server):
        body = {"model": "m", "input": "Tell me a secret"}
        return requests.post(f"{server.base_url}/responses", json=body, timeout=PATIENCE).json()["id"]

    response_id, output = served(["--model", str(script)], ask)
    assert len(re.findall(f"WARNING The model failed for {response_id}: rate_limit_exceeded", output)) == 1
    assert "secret" not in output

"""The programs in `examples` work as a new user starts them: with the commands of the README, and without a key."""

import csv
import os
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys

import pytest
import requests

from gpt_agent_fsm.local import LocalServer, ScriptedModel

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
PATIENCE = 240


@pytest.fixture
def folder(tmp_path):
    """A copy of the folder, in which the programs may write files."""
    return shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))


@pytest.fixture
def environment(folder):
    """The environment of the programs, with a server that follows the script."""
    with LocalServer(ScriptedModel.from_yaml(folder / "script.yaml")) as server:
        yield {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "any-key"}


def command_of(line):
    """Return the arguments of a command of the README, for this interpreter."""
    assert line in COMMANDS
    program, *arguments = shlex.split(line)
    return [sys.executable, *(arguments if program == "python" else ["-m", program, *arguments])]


@pytest.fixture
def program(folder, environment):
    """Run a command of the README in the folder; return what it printed."""

    def run(line, said="", status=0):
        done = subprocess.run(
            command_of(line),
            input=said,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            cwd=folder,
            env=environment,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stderr if status else done.stdout

    return run


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_a_program_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_the_readme_has_a_command_for_each_program(path):
    assert any(path.name in line for line in COMMANDS)


def test_the_command_of_the_server_names_the_script():
    assert "gpt-agent-fsm serve --model script.yaml" in COMMANDS


def test_the_bot_answers_with_each_of_its_tools(program):
    said = ["What time is it?", "How warm are 100 degrees celsius?", "Note: buy milk", "Thank you", ""]
    printed = program("python bot.py", "\n".join([*said, ""]))
    time, *rest = printed.replace("> ", "").splitlines()
    assert re.fullmatch(r'In Oslo it is "[0-9-]+T[0-9:+]+"\.', time)
    assert rest == ["That is 212.0 in the other unit.", "Noted. Notes so far: 1.", "You said: Thank you"]


def test_the_bot_ends_when_its_input_ends(program):
    assert program("python bot.py", "Thank you\n") == "> You said: Thank you\n> "


def test_a_decision_without_a_payment_is_an_error(program):
    assert "no payment waits for a decision" in program("python approval.py yes", status=2)


@pytest.mark.parametrize("arguments", [[], ["maybe"]])
def test_a_missing_or_unknown_action_is_an_error(arguments, folder, environment):
    command = [sys.executable, "approval.py", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=folder, env=environment
    )
    assert done.returncode == 2
    assert "{ask,yes,no}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("answer", "printed"), [("yes", "20.0 euros were paid to Ann"), ("no", "not today")])
def test_an_approval_survives_the_end_of_the_program(program, answer, printed):
    assert "May I pay {'amount': 20, 'to': 'Ann'}?" in program("python approval.py ask")
    assert printed in program(f"python approval.py {answer}")


def served(folder, environment):
    """Start the web application, and return its process and its address."""
    command = [*command_of("flask --app web.py run"), "--port", "0"]
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if found := re.search(r"Running on (http://\S+)", line):
            return process, f"{found[1]}/users"
    raise AssertionError("the application did not start")


def test_the_web_application_has_a_conversation_for_each_user_over_a_kill(folder, environment):
    for _ in range(2):
        process, users = served(folder, environment)
        with process:
            try:
                for name in ("ann", "bob"):
                    answer = requests.post(f"{users}/{name}/messages", json={"text": f"I am {name}"}, timeout=PATIENCE)
                    assert answer.json()["answer"] == f"You said: I am {name}"
                kept = [requests.get(f"{users}/{name}/messages", timeout=PATIENCE).json() for name in ("ann", "eve")]
            finally:
                process.kill()
    assert kept == [["You said: I am ann"] * 2, []]


@pytest.mark.parametrize("body", [{}, [], {"text": 1}, {"text": " "}])
def test_the_web_application_refuses_a_body_without_a_text(body, folder):
    client = runpy.run_path(str(folder / "web.py"))["app"].test_client()
    answer = client.post("/users/ann/messages", json=body)
    assert answer.status_code == 400
    assert "Send a JSON object with a text" in answer.json["error"]


def test_the_batch_answers_every_question(program, folder):
    questions = [f"Question {number}" for number in range(200)]
    (folder / "questions.txt").write_text("\n".join(questions), encoding="utf-8")
    program("python batch.py questions.txt answers.csv")
    with open(folder / "answers.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["question", "answer", "tokens"]
    assert {row[0]: row[1] for row in rows} == {question: f"You said: {question}" for question in questions}


def test_the_tests_of_the_bot_pass(program):
    assert "3 passed" in program("python -m pytest test_bot.py")

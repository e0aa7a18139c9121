"""The programs in `examples` work, as their users would start them."""

import csv
import os
import pathlib
import subprocess
import sys

import pytest

from gpt_agent_fsm.local import LocalServer, ModelRequest, ToolCall

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))


def model(request: ModelRequest):
    if request.outputs:
        return f"I see: {request.outputs[-1]}"
    text = request.user_message
    if text.startswith("Please pay"):
        return [ToolCall("pay", {"amount": 20, "to": "Ann"})]
    if text.startswith("Note"):
        return [ToolCall("take_note", {"text": text})]
    return f"You said: {text}"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Run a program in an empty folder, with a server of its own; return what it printed."""
    with LocalServer(model) as server:
        environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "any-key"}

        def run(name, *arguments, said=""):
            done = subprocess.run(
                [sys.executable, EXAMPLES / name, *arguments],
                input=said,
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
                cwd=tmp_path,
                env=environment,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
            monkeypatch.setenv(name, environment[name])
        monkeypatch.chdir(tmp_path)
        yield run


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_a_program_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60


def test_the_bot_answers_and_uses_its_tools(program):
    printed = program("bot.py", said="Hello\nNote this\n\n")
    assert "You said: Hello" in printed
    assert "I see: 1" in printed


@pytest.mark.parametrize(("answer", "printed"), [("yes", "20.0 euros were paid to Ann"), ("no", "not today")])
def test_an_approval_survives_the_end_of_the_program(program, answer, printed):
    assert "May I pay {'amount': 20, 'to': 'Ann'}?" in program("approval.py", "ask")
    assert printed in program("approval.py", answer)


def test_the_web_application_has_a_conversation_for_each_user_over_a_restart(program, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import web

    for _ in range(2):
        client = web.app.test_client()
        for name in ("ann", "bob"):
            answer = client.post(f"/users/{name}/messages", json={"text": f"I am {name}"})
            assert answer.get_json()["answer"] == f"You said: I am {name}"
        web.the_runtime().close()
        web.the_runtime.cache_clear()
    assert web.app.test_client().get("/users/ann/messages").get_json() == ["You said: I am ann"] * 2
    assert web.app.test_client().get("/users/eve/messages").get_json() == []
    web.the_runtime().close()


def test_the_batch_answers_every_question(program, tmp_path):
    questions = [f"Question {number}" for number in range(200)]
    (tmp_path / "questions.txt").write_text("\n".join(questions), encoding="utf-8")
    program("batch.py", "questions.txt", "answers.csv")
    with open(tmp_path / "answers.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["question", "answer", "tokens"]
    assert {row[0]: row[1] for row in rows} == {question: f"You said: {question}" for question in questions}


def test_the_tests_of_the_bot_pass():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "test_bot.py"]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout

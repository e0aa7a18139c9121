"""The options of a chat: contradictions, defaults, and the command that continues the chat."""

import shlex
import subprocess
import sys

import pytest

from gpt_agent_fsm.cli.chat.options import Options, WrongOption


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"key": "ann"}, "--key needs --db"),
        ({"take_over": True}, "--take-over needs --db"),
        ({"assistant": "asst_1", "api": "responses"}, "--assistant needs --api assistants"),
        ({"db": "postgresql://ann:secret@host/agents"}, "the embedded server keeps its data beside a SQLite file"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, sentence):
    with pytest.raises(WrongOption, match=sentence) as refused:
        Options(**options)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--key", "ann"], "Error: --key needs --db"),
        (["--tools", "nowhere:get"], "Error: --tools: there is no module 'nowhere'"),
        (["--script", "broken.yaml"], "Error: broken.yaml: "),
        (["--log", "no/such/folder.txt"], "Error: cannot write the log to no/such/folder.txt"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(chat, folder, arguments, sentence):
    (folder / "broken.yaml").write_text("rules: 7", encoding="utf-8")
    result = chat(*arguments, lines=["Hello"])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert result.stderr.startswith(sentence)


@pytest.mark.parametrize(
    ("missing", "arguments"), [("flask", []), ("sqlalchemy", ["--db", "chat.db"]), ("sqlalchemy", [])]
)
def test_a_missing_package_is_one_line_that_says_how_to_install_it(folder, missing, arguments):
    code = f"import sys; sys.modules[{missing!r}] = None; from gpt_agent_fsm.cli import main; main()"
    command = [sys.executable, "-c", code, "chat", *arguments]
    done = subprocess.run(command, input="Hello\n", capture_output=True, text=True, cwd=folder, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "pip install" in done.stderr
    assert missing in done.stderr.lower()


def test_a_mistyped_url_is_not_repeated_because_it_may_contain_a_password(chat):
    result = chat("--db", "postgres:/ann:S3cret@host/agents", lines=["Hello"])
    assert result.exit_code == 2
    assert "Invalid value for '--db' / '--store': it is neither a path nor a URL" in result.stderr
    assert "S3cret" not in result.output


@pytest.mark.parametrize("option", ["--model", "--db", "--key", "--thread", "--assistant", "--instructions"])
def test_a_blank_value_is_refused(chat, option):
    result = chat(option, " ", lines=["Hello"])
    assert result.exit_code == 2
    assert "it must not be blank; is a variable not set?" in result.stderr


@pytest.mark.parametrize(
    ("options", "thread_id", "api"),
    [
        ({}, None, "responses"),
        ({}, "conv_1", "responses"),
        ({}, "thread_1", "assistants"),
        ({"assistant": "asst_1"}, None, "assistants"),
        ({"api": "responses"}, "thread_1", "responses"),
        ({"api": "assistants"}, "conv_1", "assistants"),
    ],
)
def test_the_thread_or_the_assistant_shows_the_api_unless_it_is_given(options, thread_id, api):
    assert Options(**options).api_for(thread_id) == api


@pytest.mark.parametrize(
    ("db", "path"),
    [
        ("chat.db", "chat-server.db"),
        ("/tmp/a b/chat", "/tmp/a b/chat-server"),  # noqa: S108
        ("sqlite:///chat.db", "chat-server.db"),
        ("sqlite:////tmp/chat.db", "/tmp/chat-server.db"),  # noqa: S108
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
    ],
)
def test_the_embedded_server_keeps_its_data_beside_the_database(db, path):
    found = Options(db=db).server_database
    assert (None if found is None else str(found)) == path


def test_the_command_that_continues_the_chat_has_the_options_and_no_password(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-any")
    options = Options(
        db="postgresql://ann:secret@host/agents",
        key="two words",
        model="gpt-x",
        instructions="Be 'brief'.",
        tools=("a:b", "c:d"),
    )
    command = options.way_back("conv_1")
    assert "secret" not in command
    assert shlex.split(command) == [
        *("gpt-agent-fsm", "chat", "--model", "gpt-x", "--instructions", "Be 'brief'."),
        *("--db", "postgresql://ann:***@host/agents", "--key", "two words", "--tools", "a:b", "--tools", "c:d"),
    ]

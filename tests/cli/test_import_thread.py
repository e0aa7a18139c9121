"""`gpt-agent-fsm import-thread`: its output, its arguments, and its exit codes."""

import functools
import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner
from requests_mock import ANY

from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.backends.importing import import_thread
from gpt_agent_fsm.cli import commands, importing
from gpt_agent_fsm.errors import TransientError
from gpt_agent_fsm.local import LocalServer

KEY = "sk-of-the-one-server"
OTHER_KEY = "sk-of-the-other-server"
NOBODY = "http://127.0.0.1:9/v1"


@pytest.fixture(scope="module")
def server():
    with LocalServer(api_key=KEY) as server:
        yield server


@pytest.fixture(scope="module")
def other():
    with LocalServer(api_key=OTHER_KEY) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch, server):
    """The environment of a user of one server."""
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """No pause is really waited for."""
    monkeypatch.setattr(importing, "import_thread", functools.partial(import_thread, sleep=lambda _: None))


@pytest.fixture
def run():
    """Import in this process; whatever the result, no key and no message is shown."""

    def invoke(*arguments):
        result = CliRunner().invoke(commands.cli, ["import-thread", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "sk-" not in result.output
        assert "secret" not in result.output
        return result

    return invoke


def thread(server, count=3, **fields):
    """Create a thread of private messages."""
    backend = AssistantsBackend(server.base_url, KEY if server.base_url == os.environ["OPENAI_BASE_URL"] else OTHER_KEY)
    messages = [{"role": "user", "content": f"secret {n}"} | fields for n in range(count)]
    found = backend._http.post("/threads", {"messages": messages}, dict, timeout=20)["id"]
    backend.close()
    return found


def told(server, conversation_id, key=KEY):
    backend = ResponsesBackend(server.base_url, key, assistants={})
    after, found = None, []
    while True:
        page = backend.list_messages(conversation_id, after=after, newest_first=False, timeout=20)
        found += [message.content for message in page.messages]
        after = page.next_after
        if after is None:
            backend.close()
            return found


def secrets(count):
    return [f"secret {n}" for n in range(count)]


def stopped_by(monkeypatch, error, copied):
    """End an import as soon as this many messages are copied; None: at once."""

    def stopping(*args, report, **options):
        def report_and_stop(standing):
            report(standing)
            if standing.copied >= copied:
                raise error

        if copied is None:
            raise error
        return import_thread(*args, report=report_and_stop, **options)

    monkeypatch.setattr(importing, "import_thread", stopping)


# --- models and tools ---------------------------------------------------------------------------------------


def test_only_the_id_of_the_conversation_is_on_stdout(run, server):
    result = run(thread(server))
    assert result.exit_code == 0
    assert re.fullmatch(r"conv_\w+\n", result.stdout)
    assert told(server, result.stdout.strip()) == secrets(3)


def test_progress_goes_to_stderr_in_a_line_for_each_tenth(run, server):
    thread_id = thread(server, 250)
    result = run(thread_id)
    first, *rest = result.stderr.splitlines()
    assert first == f"Copying the 250 messages of {thread_id} into {result.stdout.strip()}."
    counts = [40, 60, 80, 100, 140, 160, 180, 200, 240, 250]
    # No line for 20, 120 and 220: they are in the tenth of the one before.
    assert rest == [f"{count} of 250 messages are there." for count in counts]


def test_an_empty_thread_becomes_an_empty_conversation(run, server):
    thread_id = thread(server, 0)
    result = run(thread_id)
    assert result.exit_code == 0
    assert result.stderr == f"Copying the 0 messages of {thread_id} into {result.stdout.strip()}.\n"
    assert told(server, result.stdout.strip()) == []


def test_parts_left_out_are_counted_in_warnings(run, server, requests_mock):
    requests_mock.register_uri(ANY, ANY, real_http=True)
    thread_id = thread(server)
    image = {"type": "image_file", "image_file": {"file_id": "file-1"}}
    message = {"role": "user", "content": [image], "attachments": [{"file_id": "file-2"}, {"file_id": "file-3"}]}
    requests_mock.get(
        f"{server.base_url}/threads/{thread_id}/messages", json=[message | {"id": "m1"}, message | {"id": "m2"}]
    )
    result = run(thread_id)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[1:] == [
        "Warning: parts of messages that cannot be copied are left out: 4 x attachment, 2 x image_file.",
        "Warning: messages without a part that can be copied, or with an unknown role, are left out: 2.",
    ]


# --- from where to where ---------------------------------------------------------------------------------------


def test_the_servers_may_be_given(run, server, other, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", NOBODY)
    thread_id = thread(other)
    result = run(
        thread_id,
        *("--from-url", other.base_url, "--from-key", OTHER_KEY, "--to-url", server.base_url, "--to-key", KEY),
    )
    assert result.exit_code == 0
    assert told(server, result.stdout.strip()) == secrets(3)


def test_if_only_one_is_given_the_copy_is_made_there(run, other):
    result = run(thread(other), "--from-url", other.base_url, "--from-key", OTHER_KEY)
    assert result.exit_code == 0
    assert told(other, result.stdout.strip(), OTHER_KEY) == secrets(3)


def test_the_thread_may_be_where_the_environment_says(run, server, other):
    result = run(thread(server), "--to-url", other.base_url, "--to-key", OTHER_KEY)
    assert result.exit_code == 0
    assert told(other, result.stdout.strip(), OTHER_KEY) == secrets(3)


@pytest.mark.parametrize("keys", [[], ["--from-key", "sk-one"], ["--to-key", "sk-two"]])
def test_no_server_is_given_the_key_of_another(run, server, other, keys):
    result = run(thread(server), "--from-url", server.base_url, "--to-url", other.base_url, *keys)
    assert result.exit_code == 2
    assert "give --from-key and --to-key, so that neither server sees the key of the other" in " ".join(
        result.stderr.split()
    )


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["thread_none"], "The server at .* knows no thread 'thread_none': .*"),
        (["thread_none", "--from-key", "sk-wrong"], "The API key is missing, wrong, or may not do this; .*"),
        (["thread_none", "--from-url", NOBODY], "No server could be reached at http://127.0.0.1:9/v1 .*"),
        (["thread_none", "--from-url", "nowhere"], "where to copy from: base_url .* beginning with http:// .*"),
        (["thread_none", "--from-key", "sk-\n"], r"where to copy from: api_key .* is there a line break at its end\?"),
        (
            ["thread_none", "--to-url", "ftp://x", "--to-key", "k"],
            "where to copy to: base_url .* beginning with http:// .*",
        ),
    ],
)
def test_mistakes_are_reported_in_one_sentence(run, arguments, sentence):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(f"Error: {sentence}\n", result.stderr)


def test_a_url_that_leads_elsewhere_is_reported_in_one_sentence(run, server):
    result = run("thread_none", "--from-url", server.base_url.removesuffix("/v1"))
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: .*; the base URL may be wrong: .*\n", result.stderr)


@pytest.mark.parametrize(("option", "value"), [("--to-key", "sk-wrong"), ("--into", "conv_none")])
def test_mistakes_about_the_target_are_reported_in_one_sentence(run, server, option, value):
    result = run(thread(server), option, value)
    assert (result.exit_code, result.stdout) == (1, "")
    said = {"--to-key": "The API key is missing, wrong, ", "--into": "The server at .* knows no thread 'conv_none'"}
    assert re.match(f"Error: {said[option]}", result.stderr)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [[], [" "], *([["thread_1", f"--{o}", ""] for o in ("from-url", "from-key", "to-url", "to-key", "into")])],
)
def test_missing_or_blank_values_are_a_wrong_command(run, arguments):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Missing argument" in result.stderr or "it must not be blank; is a variable not set?" in result.stderr


def test_a_conversation_that_is_not_an_import_of_the_thread_is_named(run, server):
    begun = run(thread(server)).stdout.strip()
    thread_id = thread(server)
    result = run(thread_id, "--into", begun)
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(
        f"Error: The conversation '{begun}' is not an import of the thread '{thread_id}': .* left as it is.\n",
        result.stderr,
    )


# --- continuing ----------------------------------------------------------------------------------------------------

HOW_TO_CONTINUE = r"\nTo continue, run the same command again with --into (\S+)\n"


def continue_import(run, monkeypatch, thread_id, stderr):
    hasty = functools.partial(import_thread, sleep=lambda _: None)
    monkeypatch.setattr(importing, "import_thread", hasty)
    return run(thread_id, "--into", re.search(HOW_TO_CONTINUE, stderr)[1])


def test_an_import_that_fails_says_how_to_continue(run, server, monkeypatch):
    stopped_by(monkeypatch, TransientError(503, None, "Too much to do."), copied=40)
    thread_id = thread(server, 45)
    result = run(thread_id)
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.search(r"\nError: Too much to do\. \(HTTP 503\)" + HOW_TO_CONTINUE + r"\Z", result.stderr)
    done = continue_import(run, monkeypatch, thread_id, result.stderr)
    assert done.exit_code == 0
    assert told(server, done.stdout.strip()) == secrets(45)
    begun = f"Copying the 45 messages of {thread_id} into {done.stdout.strip()}; 40 of them are there."
    assert done.stderr.splitlines() == [begun, "45 of 45 messages are there."]


def test_an_import_that_is_interrupted_says_how_to_continue(run, server, monkeypatch):
    stopped_by(monkeypatch, KeyboardInterrupt(), copied=0)
    thread_id = thread(server, 45)
    result = run(thread_id)
    assert (result.exit_code, result.stdout) == (130, "")
    assert re.search(r"\nStopped\." + HOW_TO_CONTINUE + r"\Z", result.stderr)
    done = continue_import(run, monkeypatch, thread_id, result.stderr)
    assert told(server, done.stdout.strip()) == secrets(45)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [(KeyboardInterrupt(), 130, "\nStopped.\n"), (TransientError(503, None, "No."), 1, "Error: No. (HTTP 503)\n")],
)
def test_an_import_without_a_conversation_does_not_say_how_to_continue(run, monkeypatch, error, code, said):
    stopped_by(monkeypatch, error, copied=None)
    result = run("thread_1")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", said)


def test_a_defect_is_not_taken_for_a_mistake_of_the_user(monkeypatch):
    stopped_by(monkeypatch, ValueError("a defect"), copied=None)
    result = CliRunner().invoke(commands.cli, ["import-thread", "thread_1"])
    assert isinstance(result.exception, ValueError)


def test_a_server_does_not_show_its_key():
    assert "sk-" not in repr(importing.Server("http://api.test/v1", KEY))


def test_it_needs_neither_the_embedded_server_nor_rich(server):
    code = (
        "import sys; sys.modules.update(flask=None, waitress=None, yaml=None, sqlalchemy=None, rich=None);"
        f"from gpt_agent_fsm.cli import main; sys.argv[1:] = ['import-thread', {thread(server)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert told(server, done.stdout.strip()) == secrets(3)

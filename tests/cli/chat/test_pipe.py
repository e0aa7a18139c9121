"""A chat through a pipe: answers on stdout, everything else on stderr, and a meaningful exit code."""

import functools
import os
import re
import signal
import subprocess
import sys

import pytest

from gpt_agent_fsm.local import LocalServer, ModelError, Reply, ToolCall, UrlCitation

SCRIPT = ("--script", "script.yaml")


@pytest.fixture(params=["assistants", "responses"])
def api(request):
    return ("--api", request.param)


@pytest.fixture
def serve(monkeypatch):
    """Start a server that the environment names."""
    servers = []

    def start(model=None, key=None):
        servers.append(LocalServer(model, api_key=key))
        monkeypatch.setenv("OPENAI_BASE_URL", servers[-1].base_url)
        if key is not None:
            monkeypatch.setenv("OPENAI_API_KEY", key)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


# --- messages and answers -----------------------------------------------------------------------------------


def test_only_the_answer_is_on_stdout(chat, api):
    result = chat(*api, lines=["Hello"])
    assert (result.exit_code, result.stdout) == (0, "You said: Hello\n")


def test_each_line_that_is_not_blank_is_a_message_of_one_conversation(chat):
    result = chat("--local", lines=["one", "", "  two  ", "/history"])
    assert result.stdout.splitlines()[:2] == ["You said: one", "You said: two"]
    assert result.stdout.splitlines()[2:] == [
        "user: one",
        "assistant: You said: one",
        "user: two",
        "assistant: You said: two",
    ]
    assert (result.exit_code, result.stderr) == (0, "")


def test_an_echo_is_never_taken_for_a_real_answer_without_a_warning(chat):
    assert "Neither OPENAI_API_KEY nor OPENAI_BASE_URL is set" in chat(lines=["Hello"]).stderr


def test_the_environment_names_the_server_and_the_key(chat, serve, api):
    serve(lambda request: f"{request.model}, {request.instructions}", key="sk-right")
    result = chat(*api, "--model", "gpt-x", "--instructions", "Be brief.", lines=["Hello"])
    assert (result.exit_code, result.stdout) == (0, "gpt-x, Be brief.\n")


def test_the_embedded_server_never_sees_the_key_of_another_server(chat, monkeypatch, api):
    keys = set()

    def note(key):
        keys.add(key)
        return True

    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setattr("gpt_agent_fsm.local.LocalServer", functools.partial(LocalServer, api_key=note))
    assert chat(*api, "--local", lines=["Hello"]).stdout == "You said: Hello\n"
    assert keys == {"local"}


@pytest.mark.parametrize("others", [None, "example.org"])
def test_a_proxy_in_the_environment_is_not_asked_for_the_embedded_server(chat, monkeypatch, others):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    if others is not None:
        monkeypatch.setenv("no_proxy", others)
    result = chat("--local", lines=["Hello"])
    assert (result.exit_code, result.stdout) == (0, "You said: Hello\n")
    assert os.environ.get("no_proxy") == others


def test_an_assistant_of_the_server_answers_with_the_given_model_and_instructions(chat, serve):
    serve(lambda request: f"{request.model}, {request.instructions}")
    result = chat("--assistant", "asst_theirs", "--model", "gpt-x", "--instructions", "Hm.", lines=["Hello"])
    assert (result.exit_code, result.stdout) == (0, "gpt-x, Hm.\n")


def test_two_slashes_begin_a_message_with_a_slash(chat):
    assert chat("--local", lines=["//etc is full"]).stdout == "You said: /etc is full\n"


def test_bytes_that_are_no_text_are_replaced(chat):
    code = "from gpt_agent_fsm.cli import main; main()"
    command = [sys.executable, "-c", code, "chat", "--local"]
    done = subprocess.run(command, input=b"caf\xe9\n", capture_output=True, check=True, env={**os.environ})
    assert done.stdout.decode() == "You said: caf\N{REPLACEMENT CHARACTER}\n"


def test_sources_and_refusals_are_shown(chat, serve):
    replies = [
        Reply("Wet [1].", annotations=[UrlCitation("[1]", "https://example.org", "Oslo")]),
        Reply("", refusal="I must not."),
    ]
    serve(lambda _: replies.pop(0))
    result = chat(lines=["one", "two"])
    assert result.stdout == "Wet [1].\n(refused) I must not.\n"
    assert "source: Oslo https://example.org" in result.stderr


def test_a_thread_that_the_embedded_server_does_not_know_brings_the_reason_why_it_was_asked(chat):
    why = "Neither OPENAI_API_KEY nor OPENAI_BASE_URL is set, so the embedded server is used."
    result = chat("--thread", "thread_1", lines=["Hello"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "knows no thread 'thread_1'" in result.stderr
    assert result.stderr.endswith(f" {why}\n")
    assert why not in chat("--local", "--thread", "thread_1", lines=["Hello"]).stderr


def test_the_error_for_an_unknown_assistant_says_its_code_once(chat):
    result = chat("--local", "--assistant", "nobody", lines=["Hello"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "No assistant found with id 'nobody'; the id of an assistant begins with asst_." in result.stderr
    assert result.stderr.count("invalid_request_error") == 1


# --- commands -------------------------------------------------------------------------------------------------


def test_state_and_usage_are_shown(chat):
    lines = chat("--local", lines=["/usage", "Hello", "/state", "/usage"]).stdout.splitlines()
    assert lines[0] == "0 tokens in 0 runs: 0 in prompts, 0 in answers"
    assert re.fullmatch(r"conv_\w+ is idle\. The thread is at rest\.", lines[2])
    assert re.fullmatch(r"[1-9]\d* tokens in 1 run: [1-9]\d* in prompts, [1-9]\d* in answers", lines[3])


def test_help_names_every_command(chat):
    shown = chat("--local", lines=["/help"]).stdout
    assert [line.split()[0] for line in shown.splitlines()] == [
        "/cancel",
        "/state",
        "/usage",
        "/history",
        "/help",
        "/quit",
    ]


def test_quit_ends_the_chat(chat):
    result = chat("--local", lines=["/history", "/quit", "Hello"])
    assert (result.exit_code, result.stdout) == (0, "There are no messages yet.\n")


def test_an_unknown_command_is_an_error_and_no_message(chat):
    result = chat("--local", lines=["/dance now", "Hello"])
    assert (result.exit_code, result.stdout) == (1, "You said: Hello\n")
    assert result.stderr == "Error: there is no command /dance; /help lists the commands\n"


def test_cancel_without_a_run_changes_nothing(chat):
    result = chat("--local", lines=["/cancel", "Hello"])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "You said: Hello\n", "")


# --- failures ---------------------------------------------------------------------------------------------------


def test_the_conversation_continues_after_a_failed_run(chat, api):
    result = chat(*api, *SCRIPT, lines=["break", "Hello"])
    assert (result.exit_code, result.stdout) == (1, "You said: Hello\n")
    assert result.stderr == "Error: It is broken. (server_error)\n"


def test_a_refused_key_is_one_line_without_the_key(chat, serve, monkeypatch, api):
    serve(key="sk-right")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    result = chat(*api, lines=["Hello"])
    assert (result.exit_code, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: The API key is missing, wrong, or may not do this")
    assert "sk-" not in line


def test_a_server_that_cannot_be_reached_is_one_line(chat, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("GPT_AGENT_REQUEST_RETRY_DELAY", "0")
    result = chat(lines=["Hello"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: No server could be reached at http://127.0.0.1:9/v1")
    assert len(result.stderr.splitlines()) == 1


def test_the_variables_of_the_command_serve_are_no_settings_of_the_chat(chat, serve, monkeypatch):
    serve()
    monkeypatch.setenv("GPT_AGENT_SERVE_API_KEY", "sk-of-serve")
    assert chat(lines=["Hello"]).exit_code == 0


def test_a_person_who_thinks_for_long_is_not_left_alone(chat, serve, monkeypatch):
    serve()
    monkeypatch.setenv("GPT_AGENT_IDLE_TIMEOUT", "0.000001")
    assert chat(lines=["Hello"]).stdout == "You said: Hello\n"


def test_a_wrong_setting_in_the_environment_is_one_line(chat, serve, monkeypatch):
    serve()
    monkeypatch.setenv("GPT_AGENT_WORKERS", "many")
    result = chat(lines=["Hello"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "GPT_AGENT_WORKERS must be a whole number" in result.stderr


def test_a_message_that_was_refused_is_withdrawn_and_the_next_one_is_answered(chat, monkeypatch, api):
    valid = {"sk-any"}
    with LocalServer(api_key=lambda key: key in valid) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-any")
        lines = ["one", valid.clear, "two", lambda: valid.add("sk-any"), "three", "/history"]
        result = chat(*api, lines=lines)
    assert (result.exit_code, result.stdout.splitlines()[:2]) == (1, ["You said: one", "You said: three"])
    assert result.stderr.count("invalid_api_key") == 1
    assert "user: two" not in result.stdout


@pytest.mark.parametrize("text", ["secret", "break the secret"])
def test_the_log_has_no_text_of_messages(chat, folder, text):
    chat(*SCRIPT, "--log", "log.txt", lines=[text])
    log = (folder / "log.txt").read_text(encoding="utf-8")
    assert "run resp_" in log
    assert "secret" not in log


# --- tool calls ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "output"),
    [('{"celsius": 21}', '{"celsius":21}'), ("warm", '"warm"'), ("/tmp", '"/tmp"'), ("NaN", '"NaN"'), ("21", "21")],  # noqa: S108
)
def test_a_call_without_a_function_is_shown_and_a_person_types_its_output(chat, api, typed, output):
    result = chat(*api, *SCRIPT, lines=["How is the weather?", "", typed])
    assert (result.exit_code, result.stdout) == (0, f"It is {output} now.\n")
    assert 'get_weather {"city": "Oslo"}' in result.stderr
    assert "output of get_weather (JSON or text)" in result.stderr
    assert "->" not in result.stderr


def test_each_call_of_a_round_is_asked_about(chat, api):
    result = chat(*api, *SCRIPT, lines=["both", "1", "2"])
    assert (result.exit_code, result.stdout) == (0, "It is 1, 2 now.\n")


def test_a_function_answers_the_calls_of_its_name(chat, api):
    result = chat(*api, *SCRIPT, "--tools", "shop_tools:get_weather", lines=["both", "12:00"])
    assert (result.exit_code, result.stdout) == (0, 'It is {"city":"Oslo","celsius":21}, "12:00" now.\n')
    assert '-> {"city":"Oslo","celsius":21}' in result.stderr


def test_the_words_before_a_call_are_shown_before_the_question(chat, serve):
    def model(request):
        return request.outputs[0] if request.outputs else Reply("Let me see.", calls=[ToolCall("see", {})])

    serve(model)
    result = chat(lines=["Look", "4"])
    assert result.stdout == "Let me see.\n4\n"
    assert result.output.index("Let me see.") < result.output.index("see {}")


def test_commands_work_while_a_question_waits(chat):
    result = chat(*SCRIPT, lines=["weather", "/state", "21"])
    state, answer = result.stdout.splitlines()
    assert "is awaiting_tools" in state
    assert "()" not in state, "a person in a chat cannot call methods"
    assert answer == "It is 21 now."


def test_a_person_can_cancel_in_place_of_an_answer_and_is_not_asked_about_the_other_calls(chat, api):
    result = chat(*api, *SCRIPT, lines=["both", "/cancel", "Hello"])
    assert (result.exit_code, result.stdout) == (0, "You said: Hello\n")
    assert "Cancelled." in result.stderr
    assert result.stderr.count("output of get_weather (JSON or text)") == 1


def test_a_person_can_leave_in_place_of_an_answer(chat):
    assert chat(*SCRIPT, lines=["weather", "/quit"]).exit_code == 0


def test_the_end_of_the_lines_before_an_answer_is_a_failure(chat):
    result = chat(*SCRIPT, lines=["weather"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the lines ended before the question about a tool call was answered" in result.stderr


# --- approvals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (["y"], '"Paid 17."'),
        (["maybe", "YES it was broken"], '"Paid 17."'),
        (["n"], '{"error":"The call was denied"}'),
        (["no It is too late"], '{"error":"The call was denied: It is too late"}'),
    ],
)
def test_a_person_decides_about_a_call_that_needs_an_approval(chat, api, typed, answer):
    result = chat(*api, *SCRIPT, "--tools", "shop_tools:refund", lines=["refund", *typed])
    assert (result.exit_code, result.stdout) == (0, f"The shop says {answer}.\n")
    assert 'refund {"order": 17}' in result.stderr
    assert result.stderr.count("approve refund?") == len(typed)


@pytest.mark.parametrize(("typed", "answer"), [("y", "approved"), ("n", "denied")])
def test_a_person_decides_about_a_call_that_the_server_makes(chat, api, typed, answer):
    result = chat(*api, *SCRIPT, lines=["delete", typed])
    assert (result.exit_code, result.stdout) == (0, f"It was {answer}.\n")


# --- Ctrl-C -------------------------------------------------------------------------------------------------------


def test_ctrl_c_cancels_the_run_and_ends_a_chat_through_a_pipe(chat, serve):
    cancelled = []

    def model(request):
        os.kill(os.getpid(), signal.SIGINT)
        cancelled.append(request.cancelled.wait(30))
        raise ModelError("late", "It was cancelled.")

    serve(model)
    before = signal.getsignal(signal.SIGINT)
    result = chat(lines=["Hello", "Bye"])
    assert (result.exit_code, result.stdout, cancelled) == (130, "", [True])
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_at_a_question_through_a_pipe_cancels_the_run_and_ends_the_chat(chat):
    result = chat(*SCRIPT, lines=["weather", lambda: os.kill(os.getpid(), signal.SIGINT)])
    assert (result.exit_code, result.stdout) == (130, "")

"""A conversation that continues in another chat."""

import os
import shlex
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from gpt_agent_fsm import Assistant, Runtime, signals
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.cli.chat import opening
from gpt_agent_fsm.local import LocalServer, ToolCall
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.stores.holder import Holder

SCRIPT = ("--script", "script.yaml")
DB = ("--db", "chat.db")
APIS = [("--api", "assistants"), ("--api", "responses")]


@pytest.fixture(params=APIS, ids=["assistants", "responses"])
def api(request):
    return request.param


@pytest.fixture
def server(monkeypatch):
    """A real server: it outlives the chats."""
    with LocalServer(lambda request: f"{len(request.messages)} messages") as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        yield server


@pytest.fixture
def holding(folder):
    """Return a function that starts another process with a store, and waits until it is open."""
    processes = []

    def hold(how_it_ends):
        code = "from gpt_agent_fsm.stores import SQLStore; s = SQLStore('sqlite:///chat.db'); print('open', flush=True)"
        code = f"{code}; import os; {how_it_ends}"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, env={**os.environ}
        )
        processes.append(process)
        assert process.stdout.readline() == b"open\n"
        return process

    yield hold
    for process in processes:
        process.communicate()


def way_back(result):
    """Return the arguments of the command that continues the chat."""
    [line] = [line for line in result.stderr.splitlines() if line.startswith("To continue: ")]
    program, command, *arguments = shlex.split(line.removeprefix("To continue: "))
    assert (program, command) == ("gpt-agent-fsm", "chat")
    return arguments


def test_the_database_keeps_the_conversation_for_the_model_too(chat, api, monkeypatch):
    first = chat(*api, *DB, "--local", lines=["one"])
    assert (first.exit_code, first.stdout) == (0, "You said: one\n")
    second = chat(*way_back(first), lines=["two", "/history"])
    assert second.stdout.splitlines() == [
        "You said: two",
        "user: one",
        "assistant: You said: one",
        "user: two",
        "assistant: You said: two",
    ]


def test_the_model_sees_the_messages_of_the_earlier_chat(chat, server, api):
    assert chat(*api, *DB, lines=["one"]).stdout == "1 messages\n"
    assert chat(*DB, lines=["two"]).stdout == "3 messages\n"


def test_a_call_that_was_left_open_is_asked_about_in_the_next_chat(chat, api):
    first = chat(*api, *SCRIPT, *DB, lines=["both", "1"])
    assert (first.exit_code, first.stdout) == (1, "")
    second = chat(*way_back(first), lines=["2", "Hello"])
    assert (second.exit_code, second.stdout) == (0, "It is 1, 2 now.\nYou said: Hello\n")
    assert second.stderr.count("get_time {}") == 1


def test_an_approval_that_was_left_open_is_asked_for_in_the_next_chat(chat, api):
    tools = ("--tools", "shop_tools:refund")
    first = chat(*api, *SCRIPT, *tools, *DB, lines=["refund"])
    second = chat(*way_back(first), lines=["y it was broken"])
    assert (second.exit_code, second.stdout) == (0, 'The shop says "Paid 17.".\n')
    store = SQLStore("sqlite:///chat.db", read_only=True)
    [approval] = [
        record.event for record in store.history(store.find("chat")) if type(record.event).__name__ == "ToolApproved"
    ]
    store.close()
    assert approval.note == "it was broken"
    assert approval.by


def test_an_approved_call_without_its_function_is_asked_about(chat):
    chat(*SCRIPT, "--tools", "shop_tools:refund", *DB, lines=["refund"])
    result = chat(*SCRIPT, *DB, lines=["y", "by hand"])
    assert result.stdout == 'The shop says "by hand".\n'


def test_each_key_is_a_conversation_of_its_own(chat):
    chat(*DB, "--local", "--key", "ann", lines=["I am Ann."])
    first = chat(*DB, "--local", "--key", "bob", lines=["I am Bob."])
    assert "Ann" not in chat(*way_back(first), lines=["/history"]).stdout
    assert "Ann" in chat(*DB, "--local", "--key", "ann", lines=["/history"]).stdout


def test_an_answer_that_comes_before_the_chat_has_connected_is_shown(chat, monkeypatch):
    answers, announced = threading.Event(), threading.Event()

    def model(_):
        answers.wait(60)
        return "Late."

    def connect_late(*arguments, connect=opening._connect):
        assert announced.wait(60)
        return connect(*arguments)

    def on_message(_, *, event):
        announced.set()

    with LocalServer(model) as server, signals.assistant_message_added.connected_to(on_message):
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        backend, started = ResponsesBackend(assistants={"chat": Assistant("gpt-4o")}), threading.Event()
        with Runtime(backend, store=SQLStore("sqlite:///chat.db")) as runtime:
            agent = runtime.start("chat", key="chat", subscribe=lambda *_: started.set())
            agent.add_user_message("Are you there?")
            assert started.wait(60)
        answers.set()
        monkeypatch.setattr(opening, "_connect", connect_late)
        result = chat(*DB, lines=[])
    assert (result.exit_code, result.stdout) == (0, "Late.\n")


def test_a_call_of_another_conversation_is_left_open(chat, monkeypatch):
    answers, waits = threading.Event(), threading.Event()

    def model(request):
        if "Hello" in request.user_message:
            return "Good day."
        answers.wait(60)
        return "It was answered." if request.outputs else [ToolCall("unknown", {})]

    def on_state(_, *, event):
        if event.dest == "awaiting_tools":
            waits.set()

    with LocalServer(model) as server, signals.state_changed.connected_to(on_state):
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        backend, started = ResponsesBackend(assistants={"chat": Assistant("gpt-4o")}), threading.Event()
        with Runtime(backend, store=SQLStore("sqlite:///chat.db")) as runtime:
            agent = runtime.start("chat", key="ann", subscribe=lambda *_: started.set())
            agent.add_user_message("Call it.")
            assert started.wait(60)
        lines = [answers.set, lambda: waits.wait(60), *["Hello"] * 3]
        result = chat(*DB, "--key", "bob", "--tools", "shop_tools:refund", lines=lines)
        assert (result.stdout, waits.is_set()) == ("Good day.\n" * 3, True)
        result = chat(*DB, "--key", "ann", lines=["/state"])
    assert "unknown {}" in result.stderr


def test_the_database_may_be_named_as_in_the_other_commands(chat):
    chat("--store", "chat.db", lines=["one"])
    assert "user: one" in chat("--db", "chat.db", lines=["/history"]).stdout


def test_a_thread_of_a_server_continues_without_a_database(chat, server, api):
    first = chat(*api, lines=["one"])
    second = chat(*way_back(first), lines=["two", "/history"])
    assert second.stdout.splitlines() == [
        "3 messages",
        "user: one",
        "assistant: 1 messages",
        "user: two",
        "assistant: 3 messages",
    ]


def test_the_id_of_a_thread_shows_its_api(chat, server):
    arguments = way_back(chat("--api", "assistants", lines=["one"]))
    arguments = arguments[arguments.index("--thread") :]
    assert chat(*arguments, lines=["two"]).stdout == "3 messages\n"


def test_a_conversation_without_a_place_has_no_way_back(chat):
    assert "To continue" not in chat("--local", lines=["Hello"]).stderr


def test_an_unknown_thread_is_one_line(chat, server):
    result = chat("--thread", "conv_nobody", lines=["Hello"])
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert "knows no thread 'conv_nobody'" in line


def test_a_conversation_of_another_server_is_named(chat, server):
    chat(*DB, "--local", lines=["Hello"])
    result = chat(*DB, lines=["Hello"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "The conversation 'chat' in chat.db is on another server" in result.stderr


@pytest.fixture
def program(monkeypatch):
    """Run a program that drives a thread of a server, which is gone afterwards. Return the thread's id."""

    def run(*, finished):
        release, at_work = threading.Event(), threading.Event()

        def model(_):
            at_work.set()
            return "Done." if finished or release.wait(60) else ""

        with LocalServer(model) as server:
            backend = ResponsesBackend(server.base_url, assistants={"asst": Assistant("gpt-4o")})
            with Runtime(backend, store=SQLStore("sqlite:///chat.db")) as runtime:
                agent = runtime.start("asst")
                agent.add_user_message("Secret.")
                assert at_work.wait(60)
                if finished:
                    agent.wait(timeout=60)
            release.set()
        return agent.thread_id

    return run


def refused(result, thread_id, server_name):
    """Assert that a chat has refused, in one sentence, a database with this thread of another server."""
    assert (result.exit_code, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith(f"Error: chat.db has threads that are not on {server_name}, for example {thread_id}")
    assert "OPENAI_BASE_URL" in line
    assert "give another --db" in line


@pytest.mark.parametrize("finished", [True, False])
def test_the_embedded_server_is_not_used_for_the_threads_of_a_program(chat, program, folder, finished):
    thread_id = program(finished=finished)
    with closing(SQLStore("sqlite:///chat.db", read_only=True)) as store:
        before = store.history(thread_id)
    refused(chat("--store", "chat.db", lines=["Hello"]), thread_id, "the embedded server")
    assert "leave out --local" in chat("--store", "chat.db", "--local", lines=["Hello"]).stderr
    with closing(SQLStore("sqlite:///chat.db", read_only=True)) as store:
        assert store.history(thread_id) == before
        assert [row.snapshot.thread_id for row in store.threads()] == [thread_id]
    assert not (folder / "chat-server.db").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_a_database_of_chats_with_a_thread_of_another_server_is_refused(chat, program, api, finished):
    assert chat(*DB, "--local", lines=["Hello"]).exit_code == 0
    thread_id = program(finished=finished)
    refused(chat(*api, *DB, "--key", "new", "--local", lines=["Hello"]), thread_id, "the embedded server")


def test_a_real_server_is_not_used_for_an_unfinished_thread_of_another_server(chat, program, server):
    thread_id = program(finished=False)
    refused(chat(*DB, lines=["Hello"]), thread_id, server.base_url.split("/")[2])


def test_a_database_that_another_process_uses_is_not_taken_over(chat, holding):
    process = holding("input()")
    result = chat(*DB, "--local", lines=["Hello"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"the database is in use by process {process.pid}" in result.stderr


def test_a_database_of_a_process_on_another_computer_is_taken_over_only_if_a_person_says_so(chat, monkeypatch):
    chat(*DB, "--local", lines=["one"])
    elsewhere = Holder(host="elsewhere", pid=1, since=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(Holder, "here", lambda: elsewhere)
        SQLStore("sqlite:///chat.db")._database.dispose()
    result = chat(*DB, "--local", lines=["two"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "may be in use by process 1 on elsewhere" in result.stderr
    assert "If it no longer runs, add --take-over." in result.stderr
    taken = chat(*DB, "--local", "--take-over", lines=["two"])
    assert (taken.stdout, "--take-over" in way_back(taken)) == ("You said: two\n", False)


def test_a_chat_ends_in_one_line_if_another_program_takes_its_database(chat):
    result = chat(*DB, "--local", lines=["Hello", lambda: SQLStore("sqlite:///chat.db").close(), "Bye"])
    assert (result.exit_code, result.stdout) == (1, "You said: Hello\n")
    [line] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "took" in line or "taken" in line


def test_a_database_of_a_process_that_died_is_used(chat, holding):
    holding("os._exit(1)").wait()
    assert chat(*DB, "--local", lines=["Hello"]).stdout == "You said: Hello\n"


@pytest.mark.parametrize("db", ["no/such/folder.db", "broken.db"])
def test_a_database_that_cannot_be_opened_is_one_line(chat, folder, db):
    (folder / "broken.db").write_text("This is no database. " * 100, encoding="utf-8")
    result = chat("--db", db, "--local", lines=["Hello"])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert db in result.stderr


def test_a_server_database_that_cannot_be_opened_is_one_line(chat, folder):
    (folder / "chat-server.db").write_text("This is no database. " * 100, encoding="utf-8")
    result = chat(*DB, "--local", lines=["Hello"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "cannot use chat-server.db as the server's database" in result.stderr

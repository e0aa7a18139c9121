"""The commands that look at a store, and the two that tidy it."""

import contextlib
import io
import json
import os
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import attrs
import pytest
from click.testing import CliRunner
from rich.console import Console

from gpt_agent_fsm import events
from gpt_agent_fsm.cli import commands
from gpt_agent_fsm.cli.looking import opening, output
from gpt_agent_fsm.cli.looking.threads import _HEADS, _fitting
from gpt_agent_fsm.errors import StoreTaken
from gpt_agent_fsm.stores import SQLStore, schema
from gpt_agent_fsm.stores.holder import Holder
from tests.story import LOCATE, MEASURE, Story, awaiting, idle, parked, polling, say, submitting

CODE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from gpt_agent_fsm.cli import main; main()"
)
LOOKS = [["threads"], ["history", "thread_1"], ["explain", "thread_1"], ["doctor", "--all"]]


@pytest.fixture
def run(monkeypatch):
    for name in list(os.environ):
        if name.startswith("GPT_AGENT_"):
            monkeypatch.delenv(name)

    def invoke(*arguments, **kwargs):
        return CliRunner().invoke(commands.cli, arguments, **kwargs)

    return invoke


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "agents.db")


def keep(path, *stories, more=(), at=5.0):
    """Write a store that a program has closed, with one thread a story."""
    with contextlib.closing(SQLStore(f"sqlite:///{path}")) as store:
        for number, story in enumerate(stories, 1):
            thread_id = f"thread_{number}"
            snapshot = attrs.evolve(story.snapshot, thread_id=thread_id)
            started = events.RunStarted(id="run_1", thread_id=thread_id, assistant_id="asst_1")
            change = snapshot.queue.change_since(idle().snapshot.queue)
            store.commit(snapshot, consumed=0, events=[started, *more], at=at, due=None, queue=change)
            store.announced(thread_id, store.load(thread_id).last_seq)


def test_threads_shows_state_last_event_tokens_and_reason_through_a_pipe(run, path):
    keep(path, idle(), awaiting(LOCATE))
    result = run("threads", "--store", path)
    head, first, second = result.stdout.splitlines()
    assert result.exit_code == 0
    assert head.split("  ")[0] == "thread"
    assert first.split()[:3] == ["thread_1", "idle", "RunStarted"]
    assert second.endswith("The run run_1 waits for the output of locate (call_1).")
    (_, row) = json.loads(run("threads", "--store", f"sqlite:///{path}", "--json").output)
    assert (row["thread_id"], row["state"], row["last_event_at"]) == ("thread_2", "awaiting_tools", 5.0)


def test_history_as_json_has_the_number_the_time_the_type_and_the_fields(run, path):
    keep(path, idle())
    result = run("history", "thread_1", "--json", env={"GPT_AGENT_STORE": path})
    assert json.loads(result.output) == [
        {
            "seq": 1,
            "at": 5.0,
            "type": "RunStarted",
            "id": "run_1",
            "thread_id": "thread_1",
            "assistant_id": "asst_1",
        }
    ]


def test_the_text_of_a_message_cannot_control_the_terminal(run, path):
    odd = events.UserMessageAdded(id="msg_1", thread_id="thread_1", content="\x1b[2J\x9b \ud800 ü\n")
    keep(path, idle(), more=[odd])
    text = run("history", "thread_1", "--store", path).output
    assert "ü" in text
    assert all(each.isprintable() for line in text.splitlines() for each in line)
    assert run("history", "thread_1", "--store", path, "--json").exit_code == 0


@pytest.mark.parametrize(
    "wrong", ["postgresql:/u:S3cret@h/db", "u:S3cret@127.0.0.1/db", "host=h password=S3cret", "postgres:/u:S3cret@h/d"]
)
def test_a_mistyped_url_is_not_repeated_because_it_may_contain_a_password(run, wrong):
    result = run("threads", "--store", wrong)
    assert result.exit_code == 2
    assert "it is neither a path nor a URL" in result.stderr
    assert "S3cret" not in result.output


def test_a_file_may_have_an_at_sign_in_its_name(run, tmp_path):
    path = str(tmp_path / "me@home.db")
    keep(path, idle())
    assert "thread_1" in run("threads", "--store", path).output


def test_the_id_of_a_call_cannot_control_the_terminal(run, path):
    odd = attrs.evolve(LOCATE, id="call_\x07\x9b2J")  # click itself drops ANSI sequences that begin with an escape
    keep(path, awaiting(odd))
    text = run("doctor", "--all", "--store", path).output
    assert "call_" in text
    assert all(each.isprintable() for line in text.splitlines() for each in line)


def test_a_store_without_a_process_is_said_to_do_nothing(run, path, monkeypatch):
    keep(path, idle())
    assert "No process" not in run("threads", "--store", path).output
    assert "No process" not in run("explain", "thread_1", "--store", path).output
    keep(path, polling())
    stopped = "No process holds the store, so nothing happens until a program opens it. Next: polling the run."
    assert stopped in run("explain", "thread_1", "--store", path).output
    assert run("threads", "--store", path).stderr.startswith("No process holds the store")
    with contextlib.closing(SQLStore(f"sqlite:///{path}")):
        holder = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: holder + 1)  # the command runs in another process
        assert "Next: polling the run now." in run("explain", "thread_1", "--store", path).output
        assert "No process" not in run("threads", "--store", path).output
        monkeypatch.undo()


def test_a_request_that_no_process_sends_is_not_said_to_be_in_progress(run, path, monkeypatch):
    keep(path, submitting())
    commands_ = (["threads"], ["threads", "--json"], ["explain", "thread_1"], ["doctor", "--all"])
    for command in commands_:
        text = run(*command, "--store", path).output
        assert "The tool outputs of the run run_1 wait to be sent." in text
        assert "being sent" not in text
    with contextlib.closing(SQLStore(f"sqlite:///{path}")):
        holder = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: holder + 1)  # the command runs in another process
        for command in commands_[:3]:
            assert "The tool outputs of the run run_1 are being sent." in run(*command, "--store", path).output
        monkeypatch.undo()


def test_a_command_that_no_process_carries_out_counts_as_carried_out(run, path):
    keep(path, idle())
    with contextlib.closing(SQLStore(f"sqlite:///{path}")) as store:
        store.accept("thread_1", say())
    assert "A message waits to be posted." in run("explain", "thread_1", "--store", path).output
    listed = run("threads", "--store", path)
    assert listed.stderr.startswith("No process holds the store")
    assert "An accepted command waits to be carried out." in listed.stdout
    assert "at rest" not in listed.stdout


CONTINUE = "To continue the conversation, with the other options of the chat, such as --script"
SEND = "To send it in a chat, with its other options, such as --script"
ROW = (
    "thread_i0VpEBOWfbZAVaBSo63bbH6x",
    "awaiting_tools",
    "AssistantMessageAdded",
    "5m",
    "It waits for get_weather. " * 3,
)


def printed_at(width):
    console = Console(width=width, file=io.StringIO())
    console.print(output.rich_table(("thread", "state", "last event", "age", "waiting for"), [ROW], width))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_narrow_terminal_shows_each_thread_in_a_few_lines():
    lines = printed_at(60)
    assert lines[:3] == [
        "thread_i0VpEBOWfbZAVaBSo63bbH6x  awaiting_tools",
        "  last event: AssistantMessageAdded   age: 5m",
        "  waiting for: It waits for get_weather. It waits for",
    ]
    assert lines[3].startswith("  get_weather.")
    assert max(map(len, lines)) <= 60


def test_a_wide_terminal_shows_a_table_that_cuts_nothing_off():
    text = " ".join(printed_at(130))
    assert all(each in text for each in ROW[:4])
    assert text.count("get_weather") == 3


def test_a_terminal_gets_lines_that_end_between_words(monkeypatch):
    text = "The run waits since 2026-01-05 for the approval of refund."
    assert output.paragraph(text) == text
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "28")
    assert output.paragraph(text).splitlines() == ["The run waits since", "2026-01-05 for the approval", "of refund."]


def test_explain_says_what_helps(run, path):
    keep(path, awaiting(LOCATE))
    assert "submit_tool_output() to answer it" in run("explain", "thread_1", "--store", path).output
    assert json.loads(run("explain", "thread_1", "--store", path, "--json").output)["state"] == "awaiting_tools"


def test_explain_names_the_command_that_helps_while_no_process_drives_the_thread(run, path, monkeypatch):
    keep(path, awaiting(LOCATE), parked(), polling())
    answer, drop, nothing = (run("explain", f"thread_{number}", "--store", path).output for number in (1, 2, 3))
    assert answer.splitlines()[-3:] == [
        "Call submit_tool_output() to answer it, or cancel_run() to end the run.",
        "To answer the call call_1 with an error, run:",
        f"  gpt-agent-fsm doctor thread_1 --repair --store {path}",
    ]
    assert drop.splitlines()[-2].startswith("To drop the messages that were not sent")
    assert "gpt-agent-fsm" not in nothing
    with contextlib.closing(SQLStore(f"sqlite:///{path}")):
        holder = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: holder + 1)  # the command runs in another process
        assert "gpt-agent-fsm" not in run("explain", "thread_1", "--store", path).output


def test_a_command_that_is_named_can_be_copied(run, tmp_path):
    path = str(tmp_path / "my agents.db")
    keep(path, parked())
    (command,) = json.loads(run("explain", "thread_1", "--store", path, "--json").output)["commands"].values()
    assert command in run("doctor", "thread_1", "--store", path).output
    assert command in json.loads(run("doctor", "--all", "--store", path, "--json").output)[0]["command"]
    program, *words = shlex.split(command)
    assert (program, run(*words, "--yes").exit_code) == ("gpt-agent-fsm", 0)


def test_a_command_that_is_named_leaves_out_a_store_of_the_environment(run, path):
    keep(path, parked())
    told = run("explain", "thread_1", env={"GPT_AGENT_STORE": path}).output
    assert told.endswith("\n  gpt-agent-fsm doctor thread_1 --repair\n")


@pytest.mark.parametrize("command", ["explain", "doctor"])
def test_a_command_that_is_named_has_no_password(run, path, command, monkeypatch):
    keep(path, Story(attrs.evolve(parked().snapshot, assistant_id="chat")))
    url = "postgresql://ann:S3cret@host/agents"
    monkeypatch.setattr(opening, "url_of", lambda _: f"sqlite:///{path}")
    told = run(command, "thread_1", "--store", url).output
    assert "S3cret" not in told
    assert told.count("'postgresql://ann:***@host/agents'") == 2


def test_explain_names_the_chat_for_a_thread_of_a_chat(run, path):
    keep(path, Story(attrs.evolve(idle().snapshot, assistant_id="chat")))
    advice = f"{CONTINUE}, run:\n  gpt-agent-fsm chat --db {path} --thread thread_1\n"
    assert run("explain", "thread_1", "--store", path).output.endswith(advice)
    assert run("explain", "thread_1", env={"GPT_AGENT_STORE": path}).output.endswith(advice)


def test_the_doctor_names_the_chat_for_a_thread_of_a_chat(run, path):
    keep(path, *(Story(attrs.evolve(story.snapshot, assistant_id="chat")) for story in (polling(), awaiting(LOCATE))))
    advice = f"  {CONTINUE}, run:\n    gpt-agent-fsm chat --db"
    assert run("doctor", "--all", "--store", path).output.count(advice) == 2
    repaired = run("doctor", "thread_2", "--store", path, "--repair", "--yes")
    assert f"{SEND}, run:\n    gpt-agent-fsm chat --db {path} --thread thread_2\n" in repaired.output


@pytest.mark.parametrize("command", LOOKS)
def test_a_missing_file_is_one_line_and_is_not_created(run, path, command):
    result = run(*command, "--store", path)
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "There is no file of the SQLite database" in result.output
    assert "read_only" not in result.output
    assert not os.path.exists(path)


@pytest.mark.parametrize("command", LOOKS)
def test_a_database_without_a_store_is_one_line(run, path, command):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE another (id)")
    result = run(*command, "--store", path)
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "There is no store in the SQLite database" in result.output


@pytest.mark.parametrize("command", ["history", "explain", "doctor"])
def test_an_unknown_thread_is_one_line(run, path, command):
    keep(path, idle())
    result = run(command, "thread_9", "--store", path)
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "thread_9" in result.output


@pytest.mark.parametrize(
    "command",
    [["history", "--json"], ["explain"], ["doctor"], ["timeline"], ["diagram", "--thread"]],
)
def test_a_thread_can_be_named_by_its_key_and_ids_win_over_keys(run, path, command):
    keep(path, idle(), parked())
    with contextlib.closing(SQLStore(f"sqlite:///{path}")) as store:
        store.claim_key("ann", "thread_2")
        store.claim_key("thread_2", "thread_1")
    by_key, by_id = (run(*command, name, "--store", path) for name in ("ann", "thread_2"))
    assert by_key.output == by_id.output != ""
    assert by_id.exit_code == by_key.exit_code
    assert by_id.output != run(*command, "thread_1", "--store", path).output


@pytest.mark.parametrize("command", LOOKS)
def test_looking_takes_nothing_over(run, path, command):
    with contextlib.closing(SQLStore(f"sqlite:///{path}")) as store:
        store.commit(idle().snapshot, consumed=0, events=[], at=1.0, due=None)
        assert run(*command, "--store", path).exit_code == 0
        store.commit(idle().snapshot, consumed=0, events=[], at=2.0, due=None)


@pytest.mark.parametrize(
    "arguments",
    [
        ["threads"],
        ["threads", "--store", "x", "--watch", "--json"],
        ["threads", "--store", "x", "--interval", "2"],
        ["threads", "--store", " "],
        ["doctor", "--store", "x"],
        ["doctor", "thread_1", "--all", "--store", "x"],
        ["doctor", "--all", "--yes", "--store", "x"],
        ["doctor", "--all", "--take-over", "--store", "x"],
        ["doctor", "--all", "--repair", "--force", "--store", "x"],
        ["prune", "--older-than", "1d", "--force", "--store", "x"],
        ["doctor", "--all", "--repair", "--json", "--store", "x"],
        ["prune", "--store", "x"],
        ["prune", "--store", "x", "--older-than", "30"],
        ["prune", "--store", "x", "--older-than", "-1d"],
    ],
)
def test_a_wrong_command_exits_with_2(run, arguments):
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("command", [["threads"], ["history", "thread_1"], ["doctor", "--all", "--repair"]])
def test_a_missing_store_names_the_option_and_the_variable(run, command):
    assert "Missing option '--store' (env var: 'GPT_AGENT_STORE')." in run(*command).output


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ((), "give a THREAD, or --all for all threads of the store."),
        (("thread_1", "--all"), "--all examines all threads of the store; leave out --all or thread_1."),
    ],
)
def test_the_doctor_needs_a_thread_or_all_of_them(run, arguments, advice):
    assert run("doctor", *arguments, "--store", "x").output.splitlines()[-1] == f"Error: {advice}"


def test_the_doctor_exits_with_0_if_all_is_well_and_with_1_if_not(run, path):
    keep(path, idle())
    well = run("doctor", "--all", "--store", path)
    assert (well.exit_code, well.output) == (0, "All is well.\n")
    keep(path, idle(), parked(), awaiting(LOCATE), polling())
    result = run("doctor", "--all", "--store", path, "--json")
    assert result.exit_code == 1
    kinds = {(each["thread_id"], each["kind"]) for each in json.loads(result.output)}
    assert kinds == {("thread_2", "parked_queue"), ("thread_3", "open_call"), ("thread_4", "stuck_run")}


def test_the_messages_behind_an_open_call_are_counted(run, path):
    keep(path, awaiting(LOCATE).tell(say(key="k2"), say(key="k3")))
    for command in (["doctor", "--all"], ["explain", "thread_1"], ["threads"]):
        assert "2 messages are queued behind it." in run(*command, "--store", path).output
    (row,) = json.loads(run("threads", "--store", path, "--json").output)
    assert row["queued"] == 2


def test_the_doctor_finds_a_thread_that_cannot_be_read(run, path):
    keep(path, idle())
    with contextlib.closing(SQLStore(f"sqlite:///{path}")) as store, store._database.writing.begin() as connection:
        connection.exec_driver_sql("UPDATE gpt_agent_threads SET snapshot = '{'")
    result = run("doctor", "--all", "--store", path)
    assert result.exit_code == 1
    assert "thread_1" in result.output
    assert "well" not in result.output


def test_a_repair_is_asked_for_and_makes_the_thread_well(run, path):
    keep(path, parked())
    refused = run("doctor", "thread_1", "--store", path, "--repair", input="n\n")
    assert refused.exit_code == 1
    accepted = run("doctor", "thread_1", "--store", path, "--repair", input="y\n")
    assert (accepted.exit_code, accepted.output.splitlines()[-1]) == (0, "All that was found is repaired.")
    with contextlib.closing(SQLStore(f"sqlite:///{path}", read_only=True)) as store:
        saved = store.load("thread_1")
    assert not saved.snapshot.queue
    assert [type(record.event) for record in saved.unannounced] == [events.MessagesDiscarded]


def test_the_doctor_names_the_command_before_the_method_if_a_repair_is_possible(run, path, monkeypatch):
    keep(path, parked(), polling())
    advice = (
        "  To drop the messages that were not sent, and the run that was not created, run:\n"
        f"    gpt-agent-fsm doctor thread_1 --repair --store {path}\n"
        "  In a program: remove the cause"
    )
    output = run("doctor", "--all", "--store", path).output
    assert advice in output
    assert output.count("--repair") == 1
    assert "--repair" not in run("doctor", "--all", "--store", path, "--repair", input="n\n").output
    with contextlib.closing(SQLStore(f"sqlite:///{path}")), monkeypatch.context() as patched:
        holder = os.getpid()
        patched.setattr(os, "getpid", lambda: holder + 1)  # the command runs in another process
        assert "--repair" not in run("doctor", "thread_1", "--store", path).output


def test_a_repair_that_the_server_does_not_know_yet_says_which_program_sends_it_and_is_no_failure(run, path):
    keep(path, awaiting(LOCATE))
    result = run("doctor", "--all", "--store", path, "--repair", "--yes")
    assert result.exit_code == 0
    assert result.output.endswith(
        "thread_1: repaired. The server does not know this yet.\n"
        "  Your program, the one whose Runtime has this store, sends it when it starts, and follows the run.\n"
        "All that was found is repaired.\n"
    )


@pytest.mark.parametrize(
    ("stories", "answers", "code"),
    [
        ([idle()], "", 0),
        ([parked(), awaiting(LOCATE)], "y\ny\n", 0),
        ([parked(), awaiting(LOCATE)], "y\nn\n", 1),
        ([awaiting(LOCATE, MEASURE)], "y\nn\n", 1),
        ([awaiting(LOCATE, MEASURE)], "y\ny\n", 0),
        ([polling()], "", 1),
        ([parked(), polling()], "y\n", 1),
    ],
)
def test_the_doctor_exits_with_1_if_something_is_left_after_the_repairs(run, path, stories, answers, code):
    keep(path, *stories)
    assert run("doctor", "--all", "--store", path, "--repair", input=answers).exit_code == code


def test_a_repair_says_what_was_found_what_was_done_and_what_is_left(run, path):
    keep(path, parked(), awaiting(LOCATE), polling())
    assert run("doctor", "--all", "--store", path, "--repair", "--yes").output.splitlines() == [
        "thread_1: parked queue. The queue is parked until the next command; one message waits. "
        "Posting the message failed (x): No.",
        "  Drop the messages that were not sent, and the run that was not created? Yes.",
        "  Repaired.",
        "thread_2: open call. The call locate (call_1) of the run run_1 waits for its output.",
        "  Answer the call call_1 with an error? Yes.",
        "  Repaired.",
        "thread_3: stuck run. The run run_1 is in progress on the server.",
        "  This needs the server: start your program, the one whose Runtime has this store. It resumes the run.",
        "thread_2: repaired. The server does not know this yet.",
        "  Your program, the one whose Runtime has this store, sends it when it starts, and follows the run.",
    ]


def test_a_refused_repair_is_left_and_shown_once(run, path):
    keep(path, parked(), awaiting(LOCATE))
    result = run("doctor", "--all", "--store", path, "--repair", input="n\ny\n")
    assert [line.split(".")[0] for line in result.output.splitlines() if line.startswith("thread_")] == [
        "thread_1: parked queue",
        "thread_2: open call",
        "thread_2: repaired",
    ]
    assert "  In a program: remove the cause, and call connect() to try again." in result.output


def test_a_question_without_an_answer_repairs_nothing(run, path):
    keep(path, parked())
    unanswered = run("doctor", "--all", "--store", path, "--repair", input="")
    assert unanswered.exit_code == 1
    assert unanswered.stderr == (
        "Error: The input has ended without an answer. To carry out all possible repairs without a question, add "
        "--yes.\n"
    )
    assert run("doctor", "--all", "--store", path).exit_code == 1


@pytest.mark.parametrize("command", [["doctor", "--all", "--repair", "--yes"], ["prune", "--older-than", "0s"]])
def test_a_store_that_a_process_holds_is_not_written(run, path, command, monkeypatch):
    with contextlib.closing(SQLStore(f"sqlite:///{path}")) as store:
        with monkeypatch.context() as patched:
            holder = os.getpid()
            patched.setattr(os, "getpid", lambda: holder + 1)  # the command runs in another process
            result = run(*command, "--store", path)
        assert result.exit_code == 1
        assert f"process {holder}" in result.output
        store.commit(idle().snapshot, consumed=0, events=[], at=1.0, due=None)
    assert run(*command, "--store", path).exit_code == 0


@pytest.mark.skipif(os.name != "posix", reason="only there a living process is recognised")
def test_a_store_of_a_living_process_is_taken_over_only_by_force(run, path, monkeypatch):
    command = ["prune", "--older-than", "0s", "--store", path, "--take-over"]
    with contextlib.closing(SQLStore(f"sqlite:///{path}")) as store:
        holder = os.getpid()
        with monkeypatch.context() as patched:
            patched.setattr(os, "getpid", lambda: holder + 1)  # the command runs in another process
            refused, forced = run(*command), run(*command, "--force")
        assert (refused.exit_code, forced.exit_code) == (1, 0)
        assert f"process {holder} on" in refused.output
        assert "still runs" in refused.output
        with pytest.raises(StoreTaken):
            store.commit(idle().snapshot, consumed=0, events=[], at=1.0, due=None)


def test_a_process_that_has_died_in_a_container_and_had_the_same_number_holds_nothing(run, path, monkeypatch):
    before = Holder(host=socket.gethostname(), pid=os.getpid(), since=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(Holder, "here", classmethod(lambda _cls: before))
        store = SQLStore(f"sqlite:///{path}")
    with contextlib.closing(store):
        assert run("prune", "--older-than", "0s", "--store", path).exit_code == 0


@pytest.mark.skipif(os.name != "posix", reason="only there a dead process is recognised")
def test_a_dead_process_holds_nothing_and_one_on_another_computer_may(run, path, monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    for host, code in ((socket.gethostname(), 0), ("elsewhere", 1)):
        dead = Holder(host=host, pid=child.pid, since=1.0)
        with monkeypatch.context() as patch:
            patch.setattr(Holder, "here", classmethod(lambda _cls, dead=dead: dead))
            store = SQLStore(f"sqlite:///{path}")
            store._database.dispose()
        assert run("prune", "--older-than", "1d", "--store", path).exit_code == code
    assert run("prune", "--older-than", "1d", "--store", path, "--take-over").exit_code == 0


@pytest.mark.parametrize("command", [["doctor", "--all", "--repair", "--yes"], ["prune", "--older-than", "0s"]])
def test_a_program_that_starts_at_that_very_moment_keeps_its_store(run, path, command, monkeypatch):
    keep(path, idle())
    with contextlib.ExitStack() as stack:

        def start_a_program(_engine):
            monkeypatch.undo()
            stack.enter_context(contextlib.closing(SQLStore(f"sqlite:///{path}")))
            holder = os.getpid()
            monkeypatch.setattr(os, "getpid", lambda: holder + 1)  # the command runs in another process

        # This is the last step before the transaction that takes the store over.
        monkeypatch.setattr(schema, "prefer_log", start_a_program)
        result = run(*command, "--store", path)
        assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
        assert "holds this store and still runs. Stop it first." in result.output


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="only there a zombie is recognised")
def test_a_process_that_was_killed_but_not_waited_for_holds_nothing(run, path, monkeypatch):
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        zombie = Holder(host=socket.gethostname(), pid=child.pid, since=1.0)
        with monkeypatch.context() as patch:
            patch.setattr(Holder, "here", lambda: zombie)
            SQLStore(f"sqlite:///{path}")._database.dispose()
        assert run("prune", "--older-than", "0s", "--store", path).exit_code == 0


def test_prune_forgets_old_events_and_keeps_the_thread(run, path):
    keep(path, idle(), awaiting(LOCATE))
    output = run("prune", "--older-than", "30d", "--store", path).output
    assert output.splitlines()[0] == "1 event was forgotten."
    history = run("history", "thread_1", "--store", path)
    assert (history.stdout, history.stderr) == ("", "Older events were pruned.\n")
    as_json = run("history", "thread_1", "--store", path, "--json")
    assert (as_json.stdout, as_json.stderr) == ("[]\n", "Older events were pruned.\n")
    assert "There are no records: the history was pruned." in run("timeline", "thread_1", "--store", path).output
    assert "pruned" not in run("history", "thread_2", "--store", path).output
    assert "pruned" not in run("timeline", "thread_2", "--store", path).output
    assert "thread_1" in run("threads", "--store", path).output


def test_prune_says_why_threads_keep_their_events(run, path, tmp_path):
    keep(path, parked(), awaiting(LOCATE))
    assert run("prune", "--older-than", "30d", "--store", path).output == (
        "0 events were forgotten.\n"
        "2 threads are not at rest and keep all their events until the next program on this store has finished them, "
        f"or a person has. To see where a person must act: gpt-agent-fsm doctor --all --store {path}\n"
    )
    recent = str(tmp_path / "recent.db")
    keep(recent, idle(), awaiting(LOCATE), idle(), at=time.time())
    assert run("prune", "--older-than", "30d", "--store", recent).output == (
        "0 events were forgotten.\n"
        "1 thread is not at rest and keeps all its events until the next program on this store has finished it, "
        f"or a person has. To see where a person must act: gpt-agent-fsm doctor --all --store {recent}\n"
        "2 threads at rest have only younger events.\n"
    )


@pytest.mark.skipif(os.name != "posix", reason="needs the signals of POSIX")
@pytest.mark.parametrize("command", [["history", "thread_1", "--follow"], ["threads", "--watch"]])
def test_ctrl_c_ends_a_command_that_follows_with_130_and_no_traceback(path, command):
    keep(path, idle())
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *command, "--store", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, problem = process.communicate(timeout=30)
    assert (process.returncode, problem) == (130, "")


@pytest.mark.parametrize("command", commands.cli.list_commands(None))
def test_each_command_has_examples_and_a_whole_summary(run, command):
    assert "Examples:" in run(command, "--help").output
    (summary,) = [line for line in run("--help").output.splitlines() if line.split()[:1] == [command]]
    assert summary.endswith(".")


@pytest.mark.parametrize(("height", "width"), [(24, 80), (12, 200), (8, 40)])
def test_the_table_of_threads_says_how_many_do_not_fit_on_the_screen(height, width):
    rows = [(f"thread_{number:024}", "idle", "RunCompleted", "3 min", "7", "a person" * 4) for number in range(50)]
    console = Console(height=height, width=width, file=io.StringIO())
    page = _fitting(_HEADS, rows, "No process holds the store.", console)
    console.print(page)
    lines = console.file.getvalue().splitlines()
    shown = sum("thread_0" in line for line in lines)
    assert lines[0] == "No process holds the store."
    assert f"{50 - shown} of 50 threads do not fit" in " ".join(lines)
    assert len(lines) <= height

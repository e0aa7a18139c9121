"""`gpt-agent-fsm timeline` and `gpt-agent-fsm diagram --thread`: what they read, print and refuse."""

import contextlib

import pytest
from click.testing import CliRunner

from gpt_agent_fsm import Runtime, diagrams
from gpt_agent_fsm.cli import commands, pictures
from gpt_agent_fsm.stores import SQLStore
from gpt_agent_fsm.testing import Answer, Call, SimulatedServer, VirtualScheduler


@pytest.fixture
def path(tmp_path):
    return tmp_path / "agents.db"


@pytest.fixture
def thread_id(path):
    """A thread in the store that waits for a tool, and whose process has ended."""
    server = SimulatedServer(lambda text: [Call((("get_weather", '{"city":"Oslo"}'),)), Answer("Cold")])
    scheduler = VirtualScheduler()
    with Runtime(server, store=SQLStore(f"sqlite:///{path}"), scheduler=scheduler) as runtime:
        agent = runtime.connect(thread_id=runtime.create_thread(), assistant_id="asst_1", last_message_id=None)
        agent.add_user_message("a secret question")
        scheduler.advance(10)
        assert agent.state == "awaiting_tools"
        return agent.thread_id


@pytest.fixture
def run(monkeypatch):
    monkeypatch.delenv("GPT_AGENT_STORE", raising=False)

    def invoke(*arguments):
        return CliRunner().invoke(commands.cli, [str(argument) for argument in arguments])

    return invoke


def records(path, thread_id):
    with contextlib.closing(SQLStore(f"sqlite:///{path}", read_only=True)) as store:
        return store.history(thread_id)


@pytest.mark.parametrize("form", ["text", "svg"])
def test_timeline_prints_the_timeline_of_a_thread_until_now(run, path, thread_id, form, monkeypatch):
    with contextlib.closing(SQLStore(f"sqlite:///{path}", read_only=True)) as store:
        told, snapshot = store.history(thread_id), store.load(thread_id).snapshot
    now = told[-1].at + 50
    monkeypatch.setattr(pictures.time, "time", lambda: now)
    result = run("timeline", thread_id, "--store", f"sqlite:///{path}", "--format", form)
    expected = diagrams.TIMELINE_FORMATS[form](diagrams.timeline_of(told, snapshot=snapshot, now=now))
    assert "output of get_weather" in expected
    assert (result.exit_code, result.stdout, result.stderr) == (0, expected, "")
    assert "get_weather" in result.stdout
    assert "secret" not in result.stdout
    assert "Oslo" not in result.stdout


def test_the_store_may_be_a_path_or_come_from_the_environment(run, path, thread_id, monkeypatch):
    by_url = run("timeline", thread_id, "--store", f"sqlite:///{path}")
    assert run("timeline", thread_id, "--store", path).stdout == by_url.stdout
    monkeypatch.setenv("GPT_AGENT_STORE", str(path))
    assert run("timeline", thread_id).stdout == by_url.stdout


@pytest.mark.parametrize("form", diagrams.FORMATS)
def test_diagram_lights_the_state_of_a_thread(run, path, thread_id, form):
    result = run("diagram", "--thread", thread_id, "--store", path, "--format", form)
    lit = diagrams.diagram_of("awaiting_tools", [record.event for record in records(path, thread_id)])
    assert [(arrow.source, arrow.dest) for arrow in lit.taken] == [("idle", "running"), ("running", "awaiting_tools")]
    assert (result.exit_code, result.stdout, result.stderr) == (0, diagrams.render(lit, form), "")


def test_the_process_that_owns_the_store_keeps_it(run, path, thread_id):
    with contextlib.closing(SQLStore(f"sqlite:///{path}")) as store:
        assert run("timeline", thread_id, "--store", path).exit_code == 0
        assert run("diagram", "--thread", thread_id, "--store", path).exit_code == 0
        saved = store.load(thread_id)
        store.commit(saved.snapshot, consumed=0, events=(), at=1.0, due=None)


@pytest.mark.parametrize("command", [["timeline"], ["diagram", "--thread"]], ids=["timeline", "diagram"])
def test_an_unknown_thread_is_one_sentence(run, path, thread_id, command):
    result = run(*command, "thread_unknown", "--store", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: There is no thread 'thread_unknown' in this store; "
        f"check the id or key and --store. To list the ids: gpt-agent-fsm threads --store {path}\n"
    )


@pytest.mark.parametrize("command", [["timeline"], ["diagram", "--thread"]], ids=["timeline", "diagram"])
@pytest.mark.parametrize("url", ["{}/missing.db", "sqlite:///{}/missing.db", "oracle://", "sqlite:///{}"])
def test_a_store_that_cannot_be_read_is_one_line_and_nothing_is_created(run, tmp_path, command, url):
    result = run(*command, "thread_1", "--store", url.format(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_exits_with_2(run, tmp_path):
    for arguments, complaint in [
        (["timeline", "thread_1"], "Missing option '--store'"),
        (["timeline"], "Missing argument 'THREAD'"),
        (["timeline", "t", "--store", "x", "--format", "png"], "'png' is not one of"),
        (["diagram", "--thread", "thread_1"], "--thread needs --store, or GPT_AGENT_STORE in the environment."),
        (["diagram", "--thread", "thread_1", "--write", str(tmp_path)], "leave out --write or --thread"),
        (["diagram", "--format", "svg", "--write", str(tmp_path)], "leave out --write or --format"),
        (["diagram", "--store", "x"], "--store needs --thread"),
        (["diagram", "--store", "x", "--write", str(tmp_path)], "--store needs --thread"),
    ]:
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert complaint in result.stderr


def test_a_store_in_the_environment_does_not_prevent_a_diagram_without_a_thread(run, monkeypatch, tmp_path):
    monkeypatch.setenv("GPT_AGENT_STORE", "agents.db")
    assert run("diagram").exit_code == 0
    assert run("diagram", "--write", tmp_path).exit_code == 0


def test_the_help_has_examples_and_whole_sentences(run):
    for name in ("timeline", "diagram"):
        text = run(name, "--help").stdout
        assert f"  gpt-agent-fsm {name} " in text
    summaries = run("--help").stdout
    assert "timeline " in summaries
    assert "..." not in summaries.split("timeline ")[1]

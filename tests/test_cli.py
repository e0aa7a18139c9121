"""The command line: its output and its exit codes."""

import io
import logging
import os
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import attrs
import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from gpt_agent_fsm import cli as package
from gpt_agent_fsm import diagrams, errors, events
from gpt_agent_fsm.cli import commands, live, report, scenes
from gpt_agent_fsm.local import ModelError

FAST = ["--speed", "20"]
DEMOS = {"assistants": ["demo"], "responses": ["demo", "--api", "responses"]}
THREADS = {"assistants": "thread_", "responses": "conv_"}
HINT = "pip install click rich flask waitress pyyaml SQLAlchemy"
# Tests that run in the background may ignore Ctrl-C, and children inherit that.
CODE = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from gpt_agent_fsm.cli import main; sys.argv[1:] = {}; main()"
)
PATIENCE = 30.0

on_posix = pytest.mark.skipif(os.name != "posix", reason="needs the signals and terminals of POSIX")


@pytest.fixture
def run(monkeypatch):
    """Run a command in this process and return the result."""
    for name in ("CI", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*arguments):
        return CliRunner().invoke(commands.cli, arguments)

    return invoke


@pytest.fixture(params=DEMOS)
def api(request):
    """The wire that the demo goes over."""
    return request.param


@pytest.fixture
def demo(api):
    return DEMOS[api]


@pytest.fixture
def fast(demo):
    """A demo for people in a hurry."""
    return demo + FAST


def spawn(arguments, before="", **kwargs):
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{before}\n{CODE.format(list(arguments))}"],
        stdout=kwargs.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def changed(monkeypatch, name, **changes):
    """Change one of the demo's scenes."""
    changed_scenes = [attrs.evolve(s, **changes) if s.name == name else s for s in scenes.SCENES]
    monkeypatch.setattr(scenes, "SCENES", tuple(changed_scenes))


# --- the command itself --------------------------------------------------------------------------------


def test_the_version_is_the_installed_one(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpt-agent-fsm", "--version"])
    with pytest.raises(SystemExit) as ended:
        package.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"gpt-agent-fsm {metadata.version('gpt-agent-fsm')}\n"


def test_the_installed_command_is_this_one():
    (entry,) = metadata.entry_points(group="console_scripts", name="gpt-agent-fsm")
    assert entry.load() is package.main


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dance"], "No such command 'dance'"),
        (["list"], "No such command 'list'. Did you mean 'threads'?"),
        (["--store", "x.db", "threads"], "Write a command's options after its name."),
        (["demo", "--loud"], "--loud"),
        (["demo", "--speed", "0"], "Invalid value for '--speed'"),
        (["demo", "--api", "telex"], "'telex' is not one of 'assistants', 'responses'"),
        (["diagram", "--format", "oil"], "'oil' is not one of 'mermaid', 'dot', 'svg'"),
    ],
)
def test_a_wrong_command_is_explained(run, arguments, complaint):
    result = run(*arguments)
    assert result.exit_code == 2
    # Versions of click differ in their quotes.
    assert complaint.replace("'", "") in result.stderr.replace("'", "")
    assert result.stdout == ""


def test_help_names_the_commands(run):
    result = run("-h")
    assert result.exit_code == 0
    assert "demo " in result.stdout
    assert "diagram " in result.stdout
    assert "import-thread " in result.stdout


# --- diagram --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "draw"),
    [
        ([], diagrams.mermaid),
        (["--format", "mermaid"], diagrams.mermaid),
        (["--format", "dot"], diagrams.dot),
        (["--format", "svg"], diagrams.svg),
        (["--format", "md"], diagrams.markdown),
    ],
)
def test_diagram_prints_the_machine(run, arguments, draw):
    result = run("diagram", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (0, draw(), "")


def test_diagram_writes_all_formats_into_a_directory(run, tmp_path):
    directory = tmp_path / "new" / "pictures"
    result = run("diagram", "--write", str(directory))
    assert result.exit_code == 0
    assert {path.name: path.read_bytes().decode() for path in directory.iterdir()} == {
        "machine.mmd": diagrams.mermaid(),
        "machine.dot": diagrams.dot(),
        "machine.svg": diagrams.svg(),
        "happy-path.svg": diagrams.happy_path(),
    }
    assert result.stdout.splitlines() == [
        f"wrote {directory / n}" for n in ("machine.mmd", "machine.dot", "machine.svg", "happy-path.svg")
    ]


def test_a_directory_that_cannot_be_written_is_explained(run, tmp_path):
    (tmp_path / "file").touch()
    result = run("diagram", "--write", str(tmp_path / "file" / "pictures"))
    assert result.exit_code == 1
    assert re.fullmatch(r"Error: cannot write to .*pictures: .+\n", result.stderr)


# --- demo -------------------------------------------------------------------------------------------------


def test_the_demo_ends_well_and_says_what_happened(run, fast):
    result = run(*fast)
    assert (result.exit_code, result.stderr) == (0, "")
    live_part, summary = result.stdout.split("\n\n", 1)
    told = [line.split(maxsplit=1)[1] for line in live_part.splitlines()]
    assert "plain    idle -> running" in told
    assert 'tools    wants get_forecast(city="Oslo")' in told
    assert "crowded  rate limited, 9 retries remaining" in told
    assert "broken   run failed, server_error: The model stumbled over its own feet." in told
    assert "4 of 4 conversations ended as expected, in " in summary
    assert "6 runs, 3 answers, 2 tool calls, 2 rate limits, 1 failure, 15 state changes; 42 events in all." in summary


def test_the_summary_has_a_line_for_each_conversation(run, api, fast):
    paragraphs = {part.split(" ", 1)[0]: part for part in run(*fast).stdout.split("\n\n")[1:]}
    assert "asked     What is a state machine?" in paragraphs["plain"]
    assert "answered  A set of states" in paragraphs["plain"]
    assert "idle -> running -> awaiting_tools -> submitting -> running -> idle" in paragraphs["tools"]
    assert "answered  Yes. You want to walk around the lake, and 4 mm of rain" in paragraphs["tools"]
    path = "idle -> running -> rate_limited -> running -> rate_limited -> running -> idle"
    assert path in paragraphs["crowded"]
    assert "failed    The model stumbled over its own feet. (server_error)" in paragraphs["broken"]
    assert all(re.search(rf", {THREADS[api]}\w+\n", paragraphs[scene.name]) for scene in scenes.SCENES)


def test_the_demo_is_the_same_over_both_apis(run):
    told = [run("demo", "--api", api, *FAST).stdout.split("\n\n", 1)[1] for api in DEMOS]
    first, second = (re.sub(r"(thread|conv)_\w+|\d\.\d seconds", "...", story) for story in told)
    assert first == second


def test_over_responses_the_assistants_go_along_with_each_request(run, monkeypatch):
    asked = []
    answer = next(scene.answer for scene in scenes.SCENES if scene.name == "tools")
    changed(monkeypatch, "tools", answer=lambda request: asked.append(request) or answer(request))
    assert run(*DEMOS["responses"], *FAST).exit_code == 0
    told = {
        (request.model, request.instructions, *(tool["function"]["name"] for tool in request.tools))
        for request in asked
    }
    assert told == {("demo-model", "Answer in one or two sentences.", "get_calendar", "get_forecast")}


@pytest.mark.parametrize("environ", [{}, {"TERM": "dumb"}, {"CI": "true"}, {"FORCE_COLOR": "1"}])
def test_without_a_terminal_there_are_no_control_codes(environ, fast):
    with spawn(fast, env=os.environ | environ) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out)
    # A line per event, as it comes; all can be printed anywhere.
    assert out.isascii()
    assert all(re.match(r" *\d+\.\d\d  \w+ +\S", line) for line in out.split("\n\n")[0].splitlines())


def test_a_demo_that_goes_wrong_says_so_and_fails(run, monkeypatch, fast):
    def answer(_):
        raise ModelError("server_error", "Not today.")

    changed(monkeypatch, "plain", answer=answer)
    result = run(*fast)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Error: plain: ended failed, not idle",
        "Error: plain: 0 x RunCompleted, not 1",
        "Error: plain: 0 x AssistantMessageAdded, not 1",
    ]
    assert "3 of 4 conversations ended as expected" in result.stdout


def test_a_conversation_that_should_fail_and_does_not_is_noticed(run, monkeypatch, fast):
    changed(monkeypatch, "broken", answer=lambda _: "I can walk!")
    result = run(*fast)
    assert result.exit_code == 1
    assert "Error: broken: ended idle, not failed" in result.stderr


def test_a_conversation_that_does_not_end_is_noticed(run, monkeypatch, fast):
    changed(monkeypatch, "crowded", thinks=PATIENCE * 100)
    monkeypatch.setattr(scenes, "_PATIENCE", 8.0)  # the other conversations must end in this time, on any machine
    result = run(*fast)
    assert result.exit_code == 1
    assert result.stderr == "Error: crowded: did not end, and is running\n"


def test_a_demo_that_cannot_continue_says_why(run, monkeypatch, fast):
    def play(*_):
        raise errors.RuntimeClosed("It was closed.")

    monkeypatch.setattr(scenes, "play", play)
    result = run(*fast)
    assert (result.exit_code, result.stderr) == (1, "Error: the demo could not continue: It was closed.\n")


def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(run, monkeypatch, fast):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    assert run(*fast).exit_code == 0
    assert os.environ["no_proxy"] == "example.org"


def test_the_environment_is_left_as_it_was(run, monkeypatch, fast):
    monkeypatch.delenv("no_proxy", raising=False)
    before = dict(os.environ)
    assert run(*fast).exit_code == 0
    assert dict(os.environ) == before


# --- interruptions -------------------------------------------------------------------------------------------


def test_demo_after_demo_leaves_the_log_as_it_was(run, fast):
    handlers = list(logging.getLogger("gpt_agent_fsm").handlers)
    run(*fast)
    run(*fast)
    assert logging.getLogger("gpt_agent_fsm").handlers == handlers


def test_an_interrupt_ends_with_130(run, monkeypatch, fast):
    def play(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scenes, "play", play)
    result = run(*fast)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "\nStopped.\n")


@pytest.mark.parametrize("module", ["gpt_agent_fsm.cli.commands", "gpt_agent_fsm.cli.looking.threads"])
def test_an_interrupt_while_the_command_is_loaded_ends_with_130(monkeypatch, module):
    class Impatient:
        def find_spec(self, name, *_):
            if name == module:
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Impatient(), *sys.meta_path])
    monkeypatch.setattr(sys, "argv", ["gpt-agent-fsm", "threads"])
    with pytest.raises(SystemExit) as ended:
        package.main()
    assert ended.value.code == 130


@on_posix
@pytest.mark.parametrize("moment", ["user: What is", "wants get_forecast"])
def test_ctrl_c_ends_the_demo_at_once(demo, moment):
    with spawn(demo) as process:
        while moment not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err == "\nStopped.\n"
    assert time.monotonic() - began < 5


@on_posix
def test_a_reader_that_closes_its_pipe_ends_the_demo_without_a_traceback(fast):
    with spawn(fast) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 1
    assert err == ""


def test_a_running_tool_is_released_when_the_demo_stops():
    class Agent:
        outputs: ClassVar[list] = []

        def submit_tool_output(self, *output):
            self.outputs.append(output)

    call = events.ToolCallRequested(
        id="c", thread_id="t", run_id="r", name="get_calendar", arguments={"day": "Saturday"}
    )
    began = time.monotonic()
    with scenes._toolbox(speed=1 / PATIENCE) as use_tool:
        use_tool(Agent(), call)
    assert time.monotonic() - began < PATIENCE / 2
    assert Agent.outputs == []


def test_lines_that_nobody_reads_stop(monkeypatch):
    conversation = scenes.Conversation(scenes.SCENES[0])
    screen = report.Plain([conversation])
    calls = []

    def echo(line):
        calls.append(line)
        raise BrokenPipeError

    monkeypatch.setattr(click, "echo", echo)
    for _ in range(2):
        event = events.AgentStopped(thread_id="t", reason="shutdown")
        conversation.hear(1.0, event)
        screen.show(conversation, event)
    assert calls == [" 1.00  plain  agent stopped, shutdown"]


# --- missing packages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [("click", ["--version"]), ("click", ["demo"]), ("flask", ["demo"]), ("waitress", ["demo"]), ("yaml", ["demo"])],
)
def test_missing_packages_are_named_with_the_way_to_install_them(missing, arguments):
    with spawn(arguments, before=f"import sys; sys.modules[{missing!r}] = None") as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    (line,) = err.splitlines()
    assert f"{missing} is not installed; " in line
    assert HINT in line


def test_diagrams_need_neither_rich_nor_the_server():
    before = "import sys; sys.modules.update(rich=None, flask=None, yaml=None)"
    with spawn(["diagram"], before=before) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, diagrams.mermaid(), "")


def test_without_click_there_is_a_sentence(monkeypatch):
    monkeypatch.delitem(sys.modules, "gpt_agent_fsm.cli.commands")
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(
        SystemExit, match=re.escape(f"click is not installed; install what the command line needs with: {HINT}")
    ):
        package.main()


def test_another_import_that_fails_is_not_hidden(monkeypatch):
    monkeypatch.delitem(sys.modules, "gpt_agent_fsm.cli.commands")
    monkeypatch.setitem(sys.modules, "gpt_agent_fsm.errors", None)
    with pytest.raises(ImportError, match="errors"):
        package.main()


def test_a_defect_of_the_demo_is_not_taken_for_a_missing_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gpt_agent_fsm.cli.scenes", None)
    result = run("demo")
    assert isinstance(result.exception, ImportError)
    assert not isinstance(result.exception, SystemExit)


def test_a_missing_server_is_a_sentence(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "gpt_agent_fsm.cli.scenes")
    monkeypatch.delitem(sys.modules, "gpt_agent_fsm.local")
    monkeypatch.setitem(sys.modules, "flask", None)
    result = run("demo")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: flask is not installed; ")


# --- the terminal -----------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Return the demo's screen if the output goes to a terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)

    def screen():
        # Not in the fixture's own time: pytest puts its stream back before the test begins.
        monkeypatch.setattr(sys, "stdout", Terminal())
        return commands.screen_for([scenes.Conversation(scene) for scene in scenes.SCENES])

    return screen


def test_a_terminal_gets_the_live_picture(terminal):
    assert isinstance(terminal(), live.Live)


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("CI", "1")])
def test_a_terminal_that_cannot_show_it_gets_lines(terminal, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert isinstance(terminal(), report.Plain)


def test_a_terminal_without_rich_gets_a_sentence(terminal, monkeypatch):
    monkeypatch.delitem(sys.modules, "gpt_agent_fsm.cli.live")
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(click.ClickException, match="rich is not installed"):
        terminal()


def on_a_terminal(demo, environ, interrupt_at=None):
    """Play the demo on a pseudo terminal; return its exit code and all it wrote."""
    import pty

    leader, follower = pty.openpty()
    names = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "FORCE_COLOR")}
    written = b""
    with spawn(demo, stdout=follower, env=names | environ) as process:
        os.close(follower)
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # Linux says so at the end
                chunk = b""
            if not chunk:
                break
            written += chunk
            if interrupt_at is not None and interrupt_at in written:
                process.send_signal(signal.SIGINT)
                interrupt_at = None
        err = process.stderr.read()
    os.close(leader)
    return process.returncode, written.decode(), err


@on_posix
def test_on_a_terminal_the_demo_is_drawn_live_and_the_cursor_comes_back(fast):
    code, out, err = on_a_terminal(fast, {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"})
    assert (code, err) == (0, "")
    assert out.index("\x1b[?25l") < out.index("transcript") < out.rindex("\x1b[?25h")
    assert "\x1b[35m" in out
    assert "4 of 4 conversations ended as expected" in out.rpartition("\x1b[?25h")[2]


@on_posix
def test_no_color_is_honoured(fast):
    code, out, _ = on_a_terminal(fast, {"TERM": "xterm-256color", "NO_COLOR": "1"})
    assert code == 0
    assert "transcript" in out
    assert not re.search(r"\x1b\[(\d+;)*[349]\d", out)


@on_posix
def test_ctrl_c_on_a_terminal_gives_the_cursor_back(demo):
    code, out, err = on_a_terminal(demo, {"TERM": "xterm-256color"}, interrupt_at=b"What is a state machine?")
    assert (code, err) == (130, "\nStopped.\n")
    assert out.rindex("\x1b[?25h") > out.rindex("\x1b[?25l")


# --- words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", events.Event.__args__, ids=lambda kind: kind.__name__)
def test_every_event_has_words(kind):
    values = {field.name: {"a": 1} if field.name == "arguments" else "{x}" for field in attrs.fields(kind)}
    words = report.describe(kind(**values))
    assert words
    assert "\n" not in words


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (events.UserMessageAdded(id="m", thread_id="t", content="{0} or {}?"), "user: {0} or {}?"),
        (
            events.ToolCallRequested(id="c", thread_id="t", run_id="r", name="add", arguments={"a": 1, "b": "x"}),
            'wants add(a=1, b="x")',
        ),
        (events.StateChanged(thread_id="t", source="idle", dest="failed", trigger="x"), "idle -> failed"),
        (
            events.RateLimitRetriesExhausted(run_id="r", thread_id="t", assistant_id="a"),
            "RateLimitRetriesExhausted",
        ),
    ],
)
def test_words_say_what_happened(event, words):
    assert report.describe(event) == words


def test_the_summary_of_each_command_is_whole(run):
    assert "..." not in run("--help").output.split("Commands:")[1]


def test_the_summary_of_each_command_is_also_that_of_its_module():
    context = click.Context(commands.cli)
    loaded = {name: commands.cli.resolve_command(context, [name])[1] for name in commands.cli.list_commands(context)}
    assert len(loaded) >= 12
    assert {name: command.get_short_help_str(100) for name, command in loaded.items()} == {
        name: command.get_short_help_str() for name, command in commands.cli.commands.items()
    }


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["thread"]])
def test_no_command_is_imported_before_it_is_used(words):
    before = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    with spawn(words, before=before) as process:
        _, err = process.communicate(timeout=PATIENCE)
    loaded = err.splitlines()[-1].split()
    own = {"", ".cli", ".cli.commands", ".cli.exits", ".cli.values", ".errors"}
    assert {name for name in loaded if name.partition(".")[0] == "gpt_agent_fsm"} == {f"gpt_agent_fsm{n}" for n in own}
    assert {"attr", "requests", "rich", "sqlalchemy", "flask"} & set(loaded) == set()


def test_the_help_says_how_the_shell_completes_and_the_line_for_each_shell_works(run):
    text = run("--help").output
    for shell in ("bash", "zsh", "fish"):
        assert f"_GPT_AGENT_FSM_COMPLETE={shell}_source gpt-agent-fsm" in text
        source = CliRunner().invoke(
            commands.cli, prog_name="gpt-agent-fsm", env={"_GPT_AGENT_FSM_COMPLETE": f"{shell}_source"}
        )
        assert (source.exit_code, "_GPT_AGENT_FSM_COMPLETE" in source.output) == (0, True)


@pytest.mark.parametrize("words", [["threads", "--store"], ["chat", "--db"], ["serve", "--model"], ["serve", "--db"]])
def test_the_shell_completes_files_where_an_option_takes_a_path(words):
    complete = ShellComplete(commands.cli, {}, "gpt-agent-fsm", "_GPT_AGENT_FSM_COMPLETE")
    (found,) = complete.get_completions(words, "ag")
    assert (found.type, found.value) == ("file", "ag")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_in_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gpt_agent_fsm", "diagram"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "gpt-agent-fsm: No space left on device\n"

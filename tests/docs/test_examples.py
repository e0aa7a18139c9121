"""The code on the pages does what the pages say."""

import contextlib
import shlex
import subprocess
import sys

import pytest

from gpt_agent_fsm.local import LocalServer, ScriptedModel
from tests.docs.pages import PAGES, README, ROOT, blocks, name_of
from tests.docs.test_readme import COMMANDS

LINE = 80
"""The maximum length of a line of code. A longer line scrolls, even on a desktop with the menus beside the page."""
FORMAT = f"ruff format --config line-length={LINE} --config format.exclude=[] *.md docs/*.md docs/decisions/*.md"
WITH_CODE = [page for page in PAGES if any(block.kind == "python" for block in blocks(page))]


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
@pytest.mark.usefixtures("clean_signals", "azure")
def test_the_code_of_a_page_runs_from_top_to_bottom_and_prints_what_is_shown(page, environment, capsys, request):
    if page.name == "cluster.md":
        request.getfixturevalue("database")
    with contextlib.ExitStack() as programs:
        run(page, environment, capsys, programs)


def run(page, environment, capsys, programs):
    """Run the code of a page. The programs that the page starts end with `programs`."""
    names = {"__name__": "page"}
    printed = None
    for block in blocks(page):
        if block.file:
            (environment / block.file).write_text(block.body, encoding="utf-8")
        elif block.is_started:
            programs.enter_context(started(block.body, environment))
        elif block.is_executed:
            # The empty lines make a traceback name the line of the page.
            code = compile("\n" * (block.line - 1) + block.body, page, "exec", dont_inherit=True)
            known = set(names)
            exec(code, names)  # noqa: S102 - it is ours
            for name in [name for name in names if name.startswith("test_") and name not in known]:
                names[name]()
            printed = capsys.readouterr().out
        elif block.kind == "output":
            assert printed == block.body, f"{name_of(page)}, line {block.line}"


@contextlib.contextmanager
def started(command, folder):
    """Let a command of this library run until the `with` block ends."""
    program, *arguments = shlex.split(command)
    assert program == "gpt-agent-fsm"
    with subprocess.Popen([sys.executable, "-m", "gpt_agent_fsm", *arguments], cwd=folder) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.usefixtures("environment")
def test_tokens_run_out_while_the_page_about_azure_is_executed(azure, capsys):
    page = next(page for page in PAGES if page.name == "azure.md")
    exec(next(block.body for block in blocks(page) if block.kind == "python"), {})  # noqa: S102 - it is ours
    assert capsys.readouterr().out.count("You said: ") == 3
    assert azure.refused >= 3


def executed(script):
    """Run a script as a program of its own; return what it printed and what it complained of."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout, done.stderr


def test_the_first_script_of_the_readme_needs_no_server_and_no_key(environment, monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    script = next(block.body for block in blocks(README) if block.kind == "python")
    printed = next(block.body for block in blocks(README) if block.kind == "output")
    assert executed(script) == (printed, "")


def test_the_second_script_of_the_readme_talks_to_the_server_with_the_model_of_the_readme(environment, monkeypatch):
    first, second = [block.body for block in blocks(README) if block.kind == "python"][:2]
    prints = "".join([block.body for block in blocks(README) if block.kind == "output"][:2])
    model = next(block.body for block in blocks(README) if block.kind == "yaml")
    with LocalServer(ScriptedModel.from_yaml(model)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        assert executed(first + "\n\n" + second) == (prints, "")


def test_every_block_that_is_not_executed_says_why():
    skipped = [
        block.remark for page in PAGES for block in blocks(page) if block.kind == "python" and not block.is_executed
    ]
    assert skipped == []


def test_every_block_has_a_known_language():
    kinds = {block.kind for page in PAGES for block in blocks(page)}
    directives = {"{eval-rst}", "{gpt-agent-fsm}", "{image}", "{include}", "{literalinclude}", "{toctree}"}
    assert kinds <= {"python", "output", "sh", "yaml", "ini", "mermaid", "rst", "text", ""} | directives
    assert all(text.count("```") % 2 == 0 for text in (page.read_text(encoding="utf-8") for page in PAGES))


def test_no_line_of_code_is_too_long_for_a_narrow_page():
    written = ("python", "sh", "yaml", "ini", "rst")
    long = [
        f"{name_of(page)}:{block.line + number}"
        for page in PAGES
        for block in blocks(page)
        # Scripts of other programs read the commands of the README, each in one line.
        if block.kind in written and block.body not in COMMANDS.values()
        for number, line in enumerate(block.body.splitlines())
        if len(line) > LINE
    ]
    assert long == []


def test_the_code_on_the_pages_is_formatted():
    command = [
        sys.executable,
        "-m",
        "ruff",
        "format",
        "--check",
        "--config",
        f"line-length={LINE}",
        "--config",
        "format.exclude=[]",
        *PAGES,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\nto format: {FORMAT}"

"""The extension of Sphinx: it draws the machine on the pages of a small project."""

import re
import subprocess
import sys

import pytest

from gpt_agent_fsm import diagrams

pytest.importorskip("sphinx", reason="Sphinx is not installed")


@pytest.fixture
def build(tmp_path):
    """Build a project with one page; return the result of the command and the folder of the output."""

    def run(text, builder="html"):
        (tmp_path / "conf.py").write_text('project = "shop"\nextensions = ["gpt_agent_fsm.sphinx"]\n')
        (tmp_path / "index.rst").write_text(f"Shop\n====\n\n{text}\n")
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", builder, str(tmp_path), str(tmp_path / builder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return done, tmp_path / builder

    return run


def test_the_directive_draws_the_machine_without_arguments(build):
    done, out = build(".. gpt-agent-fsm::\n\n.. gpt-agent-fsm:: machine")
    assert (done.returncode, done.stderr) == (0, "")
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count(diagrams.svg().strip()) == 2
    assert "prefers-color-scheme:dark" in page
    assert "[data-theme=dark]" in page


def test_the_directive_draws_a_part_with_a_lit_state_and_other_formats(build):
    done, out = build(
        ".. gpt-agent-fsm:: machine\n   :states: running, awaiting_tools, submitting\n   :lit: submitting\n"
        "   :class: wide\n\n.. gpt-agent-fsm::\n   :format: mermaid\n   :states: idle failed\n\n"
        ".. gpt-agent-fsm:: happy-path\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    page = (out / "index.html").read_text(encoding="utf-8")
    part = diagrams.diagram_of("submitting", states=["running", "awaiting_tools", "submitting"])
    assert diagrams.svg(part).strip() in page
    assert 'class="gpt-agent-fsm-picture wide"' in page
    assert re.search("stateDiagram-v2", page)
    assert diagrams.happy_path().strip() in page


def test_other_builders_write_the_title_of_the_picture(build):
    done, out = build(".. gpt-agent-fsm::\n   :lit: failed", "text")
    assert (done.returncode, done.stderr) == (0, "")
    assert (out / "index.txt").read_text(encoding="utf-8") == "Shop\n****\n\nThe thread is failed\n"


@pytest.mark.parametrize(
    ("directive", "complaint"),
    [
        (".. gpt-agent-fsm:: engine", "gpt-agent-fsm draws machine, with the options states, lit and format, or"),
        (".. gpt-agent-fsm:: happy-path\n   :lit: idle", "or happy-path, without them"),
        (".. gpt-agent-fsm::\n   :states: idle, asleep", "'asleep' is not a state; the states are idle, running"),
        (".. gpt-agent-fsm::\n   :states:", "needs at least one of the states"),
        (".. gpt-agent-fsm::\n   :lit: asleep", "'asleep' is not a state"),
        (".. gpt-agent-fsm::\n   :format: png", '"png" unknown; choose from "mermaid", "dot", "svg"'),
    ],
)
def test_a_wrong_directive_is_reported_with_its_place_on_the_page(build, directive, complaint):
    done, _ = build(directive)
    assert done.returncode != 0
    assert complaint in " ".join(done.stderr.split())
    assert re.search(r"index\.rst:4: ", done.stderr)

"""Type checkers find the mistakes in a user's program, and report nothing else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("program.py")


@pytest.fixture(scope="module")
def marked():
    lines = enumerate(PROGRAM.read_text(encoding="utf-8").splitlines(), start=1)
    return {number: line.partition("# mistake: ")[2] for number, line in lines if "# mistake: " in line}


def reported(output):
    """Return the numbers of the lines with an error."""
    return {int(number) for number in re.findall(r"program\.py:(\d+)[:\d]* ?-? ?error", output)}


def run(*command):
    # `--verifytypes` asks the first Python of the PATH, and does not find a package that is installed as editable.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False).stdout


def test_mypy_finds_each_mistake_and_nothing_else(marked, tmp_path):
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\n", encoding="utf-8")
    program = shutil.copy(PROGRAM, tmp_path)
    output = run(sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", tmp_path, program)
    assert reported(output) == set(marked), output


@pytest.fixture(scope="module")
def pyright():
    beside_python = shutil.which("basedpyright", path=Path(sys.executable).parent)
    program = beside_python or shutil.which("basedpyright") or shutil.which("pyright")
    if program is None:
        pytest.skip("needs basedpyright, which the extra test installs, or pyright")
    return program


def test_pyright_finds_each_mistake_and_nothing_else(marked, pyright):
    output = run(pyright, "--level", "error", "--pythonpath", sys.executable, PROGRAM)
    assert reported(output) == set(marked), output


def test_pyright_knows_the_type_of_nearly_everything(pyright):
    output = run(pyright, "--pythonpath", sys.executable, "--verifytypes", "gpt_agent_fsm", "--ignoreexternal")
    assert float(re.search(r"Type completeness score: ([\d.]+)%", output)[1]) >= 99, output[-3000:]


def test_there_are_many_mistakes_to_find(marked):
    assert len(marked) == len(set(marked.values())) >= 8

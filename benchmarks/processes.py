"""What whole processes cost: imports, the command line, and the memory of idle agents."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial

from benchmarks.serving import ROOT, command
from benchmarks.tables import Row, Table, interleaved, table_of

_DEPENDENCIES = "import requests, transitions, attrs, cattrs, blinker"
_NAMES = "from gpt_agent_fsm import Runtime; from gpt_agent_fsm.backends import AssistantsBackend"
"""What a program needs. The library imports a name only when a program asks for it, so `import` alone says little."""
_COMMANDS = {
    "imports of five dependencies": ["-c", _DEPENDENCIES],
    "Python alone": ["-c", "pass"],
    "import of the library, no name used": ["-c", "import gpt_agent_fsm, gpt_agent_fsm.backends"],
    "import of the library and one backend": ["-c", _NAMES],
    "import of the library and its backends": ["-c", f"{_NAMES}, ResponsesBackend"],
    "import of the official SDK": ["-c", "import openai"],
    "`gpt-agent-fsm --help`": ["-m", "gpt_agent_fsm", "--help"],
}


def cpu() -> float:
    """Return the CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def cpu_of(arguments: list[str], bytecode: str) -> float:
    """Return the CPU seconds of a new Python process. `bytecode` is the folder of the compiled modules."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    # Otherwise each import would compile the library again, but not the packages that an installer has compiled.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-W", "ignore", *arguments], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} has ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def tables(rounds: int, agents: int, report: Callable[[str], None]) -> list[Table]:
    """Return the tables of processes, and of the memory of an idle agent."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        measures: dict[str, Callable[[], float]] = {
            name: partial(cpu_of, each, folder) for name, each in _COMMANDS.items()
        }
        for measure in measures.values():
            measure()  # the first process compiles the modules
        results = interleaved(measures, rounds, report)
    run = command("conversations", "--memory-of", agents)
    done = subprocess.run(run, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own program
    return [
        table_of("CPU of a whole process", results, lambda seconds: f"{1e3 * seconds:.0f} ms"),
        Table("Memory", (Row(f"an idle agent, of {agents:,}", f"{float(done.stdout):.1f} kB"),)),
    ]

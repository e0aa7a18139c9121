"""How long the command `threads` takes for a large store: python -m benchmarks.threads.

A SQLite file is created in the current directory. The time is the CPU of a whole process, with its start.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.store import commit, snapshot_of
from gpt_agent_fsm.stores import SQLStore


def cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print all results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=5000)
    threads = parser.parse_args().threads
    with tempfile.TemporaryDirectory(dir=".", ignore_cleanup_errors=True) as folder:
        path = Path(folder).resolve() / "store.db"
        with contextlib.closing(SQLStore(f"sqlite:///{path}")) as store:
            for number in range(threads):
                commit(store, snapshot_of(number))
            start = time.process_time()
            store.threads()
            print(f"store.threads() of {threads} threads: {time.process_time() - start:.2f} s of CPU")
        for arguments in (["threads"], ["threads", "--json"], ["doctor", "--all"], ["prune", "--older-than", "0s"]):
            before = cpu_of_children()
            command = [sys.executable, "-m", "gpt_agent_fsm", *arguments, "--store", str(path)]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - our own program
            print(f"{' '.join(arguments)}: {cpu_of_children() - before:.2f} s of CPU")


if __name__ == "__main__":
    main()

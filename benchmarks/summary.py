"""The benchmarks that fit on one page: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import textwrap
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from benchmarks import processes, turns
from benchmarks.bars import bars
from benchmarks.serving import ROOT
from benchmarks.tables import Table

PAGE, PICTURE = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "_static" / "benchmarks.svg"
_PACKAGES = ("openai", "requests", "urllib3", "transitions", "attrs", "cattrs", "msgspec", "blinker", "SQLAlchemy")
_SHORT, _FULL = (3, 20), (5, 40)
"""How many rounds, and how many conversations in each of them."""
_TURNS = 4


def conditions() -> str:
    """Return a sentence that says where and when a run took place, and with which versions."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    return (
        f"{time.strftime('%Y-%m-%d')}, {platform.system()} on {platform.machine()} with {os.cpu_count()} cores "
        f"({_processor()}), {platform.python_implementation()} {platform.python_version()}, "
        f"gpt-agent-fsm {metadata.version('gpt-agent-fsm')}, {versions}."
    )


def _processor() -> str:
    """Return the name of the processor, as far as the system reports it."""
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or "unknown processor"


def all_tables(rounds: int, conversations: int, agents: int, report: Callable[[str], None]) -> list[Table]:
    """Measure everything."""
    return [
        *turns.tables(rounds, conversations, _TURNS, report),
        *processes.tables(rounds, agents, report),
    ]


def write_into_page(name: str, text: str) -> None:
    """Replace the part of the page of the documentation that has this name."""
    page = PAGE.read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- measured: {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    PAGE.write_text(place.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", page), encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Measure, print the tables, and write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="more rounds with more conversations: about 8 minutes")
    parser.add_argument(
        "--folder", type=Path, default=Path("build/benchmarks"), help="where the tables and the picture are written"
    )
    parser.add_argument("--docs", action="store_true", help="write into the page of the documentation instead")
    options = parser.parse_args(arguments)
    rounds, conversations = _FULL if options.full else _SHORT
    tables = all_tables(rounds, conversations, 5_000 if options.full else 1_000, _to_stderr)
    size = f"Medians of {rounds} rounds, with {conversations} conversations of {_TURNS} turns each."
    text = "\n".join([f"{textwrap.fill(f'{conditions()} {size}', 120)}\n", *(table.markdown() for table in tables)])
    picture = bars("CPU time: shorter is better. Each number is the ratio to the first bar of its group.", tables)
    print(text)
    if options.docs:
        write_into_page("summary", text)
        PICTURE.write_text(picture, encoding="utf-8")
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "benchmarks.md").write_text(text, encoding="utf-8")
    (options.folder / "benchmarks.svg").write_text(picture, encoding="utf-8")


def _to_stderr(line: str) -> None:
    print(f"\r{line:<60}", end="", file=sys.stderr, flush=True)

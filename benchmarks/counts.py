"""Counts that say what a turn costs, and that are the same on each machine: `python -m benchmarks counts`.

The library talks to the small server of `turn_server.py`. All work happens on one OS thread, in virtual time. So
nothing depends on the speed of the machine, and a test can compare the counts with those on record in `counts.json`.
`python -m benchmarks counts --write` renews the record.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeAlias

import attrs
import requests
import sqlalchemy as sa

import gpt_agent_fsm
from benchmarks.clients import ASSISTANT, assistants_backend, check, responses_backend
from benchmarks.serving import server
from benchmarks.turn_server import TEXT
from gpt_agent_fsm import Agent, Runtime, Settings, events, tool
from gpt_agent_fsm.ports import Backend, Store
from gpt_agent_fsm.stores import MemoryStore, SQLStore
from gpt_agent_fsm.testing import VirtualScheduler

__all__ = ["RECORD", "counted", "versions"]

RECORD = Path(__file__).with_name("counts.json")
_OWN = Path(gpt_agent_fsm.__file__).parent
_NOT_COUNTED = _OWN / "testing"
"""The virtual time is no part of what a turn costs."""
_FEW, _MANY = 2, 12
"""How many polls each of the two stops of a run takes."""
_PACKAGES = ("requests", "urllib3", "attrs", "cattrs", "msgspec", "SQLAlchemy")
_Begin: TypeAlias = Callable[[str, str, Store], contextlib.AbstractContextManager["Conversation"]]
_WIRES: dict[str, Callable[[str], Backend]] = {"assistants": assistants_backend, "responses": responses_backend}


class Calls:
    """Counts the calls of Python functions on this OS thread, in a `with` block.

    Attributes:
        own: the calls of the library's functions.
        all: the calls of all functions that are written in Python.
    """

    def __init__(self) -> None:
        self.own = self.all = 0
        self._is_own: dict[CodeType, bool] = {}

    def __enter__(self) -> Calls:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code not in self._is_own:
            place = Path(code.co_filename)
            is_own = place.is_relative_to(_OWN) and not place.is_relative_to(_NOT_COUNTED)
            # A comprehension is a call in Python 3.11, but not in later versions.
            self._is_own[code] = is_own and not code.co_name.endswith("comp>")
        self.all += 1
        self.own += self._is_own[code]


@attrs.frozen
class Conversation:
    """A conversation in virtual time, on a real connection to the small server."""

    agent: Agent
    base_url: str
    heard: list[str]

    def turn(self, polls: int) -> None:
        """Take one turn."""
        self.agent.add_user_message(TEXT.format(polls))
        self.agent.wait()
        check(self.heard.pop())

    def requests(self) -> int:
        """Return how many requests the server has answered."""
        return int(requests.get(f"{self.base_url}/requests", timeout=60).json())


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@attrs.frozen
class Question(Conversation):
    """A conversation without handlers: a function answers the tool call, and `ask` returns the answer."""

    def turn(self, polls: int) -> None:
        """Take one turn."""
        check(self.agent.ask(TEXT.format(polls)).text)


@contextlib.contextmanager
def question(base_url: str, wire: str, store: Store) -> Iterator[Conversation]:
    """Yield a conversation without handlers that has had two turns."""
    with Runtime(_WIRES[wire](base_url), Settings(), store, scheduler=VirtualScheduler(), tools=[add]) as runtime:
        held = Question(runtime.start(ASSISTANT), base_url, [])
        held.turn(_FEW)
        held.turn(_FEW)
        yield held


@contextlib.contextmanager
def conversation(base_url: str, wire: str, store: Store) -> Iterator[Conversation]:
    """Yield a conversation that has had two turns, so that everything that is loaded late is loaded."""
    heard: list[str] = []

    def handle(agent: Agent, event: events.Event) -> None:
        if isinstance(event, events.ToolCallRequested):
            agent.submit_tool_output(event.id, event.arguments["a"] + event.arguments["b"])
        elif isinstance(event, events.AssistantMessageAdded):
            heard.append(event.content)

    with Runtime(_WIRES[wire](base_url), Settings(), store, scheduler=VirtualScheduler()) as runtime:
        held = Conversation(runtime.start(ASSISTANT, subscribe=handle), base_url, heard)
        held.turn(_FEW)
        held.turn(_FEW)
        yield held


def counted() -> dict[str, int]:
    """Count everything. Takes some seconds."""
    found: dict[str, int] = {}
    with server("turn_server") as base_url:
        for wire in _WIRES:
            with conversation(base_url, wire, MemoryStore()) as held:
                before = held.requests()
                held.turn(_FEW)
                found[f"requests of a turn, {wire}, memory"] = held.requests() - before
                found |= {f"{what}, {wire}": count for what, count in _calls(held).items()}
            found |= {f"{what}, {wire}, SQLite": count for what, count in _writes(base_url, wire).items()}
            writes = _writes(base_url, wire, question)
            found[f"commits of a turn, {wire}, SQLite, no handlers"] = writes["commits of a turn"]
    return found


def _writes(base_url: str, wire: str, begin: _Begin = conversation) -> dict[str, int]:
    """Return how many requests and transactions a turn makes with a SQLite file, and how many bytes it writes."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder).resolve() / "counts.db"
        with begin(base_url, wire, SQLStore(f"sqlite:///{file}")) as held:
            commits: list[object] = []
            note = commits.append
            sa.event.listen(sa.Engine, "commit", note)
            try:
                before, written = held.requests(), _size(file)
                held.turn(_FEW)
                return {
                    "requests of a turn": held.requests() - before,
                    "commits of a turn": len(commits),
                    "bytes written by a turn": _size(file) - written,
                }
            finally:
                sa.event.remove(sa.Engine, "commit", note)


def _size(file: Path) -> int:
    """Return the size of a database with its log, to which each commit appends the pages that it has changed."""
    return sum(each.stat().st_size for each in (file, file.with_name(f"{file.name}-wal")))


def _calls(held: Conversation) -> dict[str, int]:
    """Return how many functions a turn and a poll call."""
    counts = []
    for polls in (_FEW, _MANY):
        with Calls() as calls:
            held.turn(polls)
        counts.append(calls)
    few, many = counts
    more_polls = 2 * (_MANY - _FEW)
    return {
        "own calls of a turn": few.own,
        "own calls of a poll": round((many.own - few.own) / more_polls),
        "all calls of a turn": few.all,
        "all calls of a poll": round((many.all - few.all) / more_polls),
    }


def versions() -> dict[str, str]:
    """Return the versions that the calls of other packages depend on."""
    python = sysconfig.get_python_version()
    return {"Python": python, **{name: metadata.version(name) for name in _PACKAGES}}


def main(arguments: Sequence[str]) -> None:
    """Print the counts, or write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks counts", description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew the record")
    options = parser.parse_args(arguments)
    record: dict[str, Any] = {"versions": versions(), "counts": counted()}
    text = json.dumps(record, indent=2) + "\n"
    if options.write:
        RECORD.write_text(text, encoding="utf-8")
    else:
        print(text, end="")

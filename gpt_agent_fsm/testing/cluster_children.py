"""The processes that `cluster_kill_test` kills: a worker drives threads, and a client is the users of some threads."""

from __future__ import annotations

import json
import os
import queue
import random
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import attrs

from gpt_agent_fsm import events
from gpt_agent_fsm.agent import Agent
from gpt_agent_fsm.cluster import Cluster
from gpt_agent_fsm.errors import StoreError, TransientError, WaitTimeout
from gpt_agent_fsm.runtime import Runtime
from gpt_agent_fsm.settings import Settings
from gpt_agent_fsm.testing.kill_books import ASSISTANT, WIRES, note
from gpt_agent_fsm.testing.kill_tools import BY_HAND, functions, is_denied

__all__ = ["ENOUGH", "PROCESS", "Plan", "key_of", "place_of", "run_child"]

T = TypeVar("T")

SETTINGS = Settings(
    heartbeat_interval=0.5,
    idle_timeout=None,
    receive_timeout=5.0,
    request_retry_delay=0.05,
    request_retry_max_delay=1.0,
    tool_output_retry_delay=0.1,
)
PROCESS = "X-Process"
"""The header with the id of the process that sends a request."""
ENOUGH = "enough"
"""The name of the file that says that a thread needs no more than the smallest number of messages."""
_PAUSE = 0.05
_PAUSE_AFTER_FAILURE = 1.0
_TIME_TO_CONNECT = 0.2
_LAST_LOOK = 20.0
"""Seconds for which a client waits at its end until it sees that its threads rest."""
_MESSAGE = re.compile(r"m\d+\.\d+\.\d\b")


@attrs.frozen(kw_only=True)
class Plan:
    """What the processes of an experiment know.

    Attributes:
        database: the URL of the database.
        threads: how many threads there are.
        messages: how many messages each thread gets at least.
        clients: how many clients there are.
        think: the longest time in seconds between an answer and the next message.
    """

    database: str
    base_url: str
    wire: str
    threads: int
    messages: int
    clients: int
    think: float

    def write(self, folder: Path) -> None:
        """Save the plan for the processes."""
        (folder / "plan").write_text(json.dumps(attrs.asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Return the plan of an experiment."""
        return cls(**json.loads((folder / "plan").read_text()))


def key_of(place: int) -> str:
    """Return the key of a thread."""
    return f"user-{place}"


def place_of(message: str) -> tuple[int, int]:
    """Return the thread of a message, and its number in the thread."""
    place, number, _ = message.removeprefix("m").split(".")
    return int(place), int(number)


def run_child(role: str, number: int, folder: Path) -> None:
    """Be a process of the experiment until it is killed, or until its standard input ends."""
    threading.stack_size(256 * 1024)
    plan, ended = Plan.read(folder), threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    if role == "worker":
        _work(plan, folder, ended)
    else:
        _Client(plan, folder, number).run(ended)


@contextmanager
def _opened(plan: Plan, *, drive: bool, note_run: Callable[[str], object] | None = None) -> Iterator[Runtime]:
    """Open a runtime on the cluster. Wait while the database is away."""
    backend = WIRES[plan.wire].backend(plan.base_url, {PROCESS: str(os.getpid())})
    tools = () if note_run is None else functions(note_run)

    def open_runtime() -> Runtime:
        cluster = Cluster(plan.database, drive=drive, concurrency=plan.threads, account="kill")
        try:
            return Runtime(backend, SETTINGS, cluster, tools=tools)
        except BaseException:
            cluster.close()
            raise

    with _insisted(open_runtime) as runtime:
        yield runtime


def _insisted(call: Callable[[], T]) -> T:
    """Repeat a call while the database or the server is away."""
    while True:
        try:
            return call()
        except (StoreError, TransientError) as error:
            print(f"{time.time():.3f} tried again: {error}", file=sys.stderr, flush=True)
            time.sleep(0.2)


def _say_ready(folder: Path) -> None:
    (folder / f"ready.{os.getpid()}").touch()


def _work(plan: Plan, folder: Path, ended: threading.Event) -> None:
    with (folder / "ran").open("a") as ran, _opened(plan, drive=True, note_run=lambda line: note(ran, line)):
        _say_ready(folder)
        ended.wait()


@attrs.define
class _User:
    """The user of one thread."""

    agent: Agent
    tried: int
    """How many messages were sent, with or without success."""
    accepted: int
    ready_at: float | None = None
    """When the next message may be sent; None if the thread has not rested since the last one."""


class _Client:
    """Sends messages to some threads, and answers tool calls and approvals of those of another client."""

    def __init__(self, plan: Plan, folder: Path, number: int) -> None:
        self._plan = plan
        self._folder = folder
        self._mine = range(number, plan.threads, plan.clients)
        self._helped = range((number - 1) % plan.clients, plan.threads, plan.clients)
        self._answers: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        with ExitStack() as files:
            self._files = {
                name: files.enter_context((folder / f"{name}.{number}").open("a+"))
                for name in ("tried", "accepted", "heard", "wrong")
            }
            self._close = files.pop_all().close
        self._tried = Counter(place_of(message)[0] for message in self._read("tried"))
        self._accepted = defaultdict[int, list[str]](list)
        for message in self._read("accepted"):
            self._accepted[place_of(message)[0]].append(message)
        self._users: dict[int, _User] = {}
        self._missing = list({*self._mine, *self._helped})
        random.shuffle(self._missing)

    def run(self, ended: threading.Event) -> None:
        with _opened(self._plan, drive=False) as runtime:
            self._runtime = runtime
            _say_ready(self._folder)
            while not ended.is_set():
                self._connect()
                is_enough = (self._folder / ENOUGH).exists()
                for place, user in self._users.items():
                    self._talk(place, user, is_enough=is_enough)
                self._answer()
                ended.wait(_PAUSE)
            self._hear_the_rest()
        self._close()

    def _hear_the_rest(self) -> None:
        """Hear every answer before the end. The threads rest already, but news of the last answers may be on its way.

        A client that was started late makes the rest of its agents now, which hear the history.
        """
        while self._missing:
            self._connect()
        deadline = time.monotonic() + _LAST_LOOK
        for place, user in self._users.items():
            try:
                user.agent.wait(max(0.0, deadline - time.monotonic()))
            except WaitTimeout:
                note(self._files["wrong"], f"the client of thread {place} does not see that the thread rests")

    def _read(self, name: str) -> list[str]:
        file = self._files[name]
        file.seek(0)
        return file.read().split()

    # --- the users ------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        """Make some of the agents that are missing. There are many, and the users of the others do not wait."""
        until = time.monotonic() + _TIME_TO_CONNECT
        while self._missing and time.monotonic() < until:
            place = self._missing.pop()
            if place in self._mine:
                self._check(place)
            agent = _insisted(partial(self._start, place))
            if place in self._mine:
                self._users[place] = _User(agent, self._tried[place], len(self._accepted[place]))

    def _start(self, place: int) -> Agent:
        """Make the agent of a thread. Decide what a former process of this client has left undecided."""
        heard: set[str] = set()

        def hear(agent: Agent, event: events.Event) -> None:
            if isinstance(event, events.AssistantMessageAdded) and place in self._mine:
                if event.message_id in heard:
                    note(self._files["wrong"], f"a client heard the answer {event.message_id} twice")
                heard.add(event.message_id)
                note(self._files["heard"], event.message_id)
            elif isinstance(event, events.ToolCallRequested) and event.name == BY_HAND and place in self._helped:
                self._answers.put(partial(agent.submit_tool_output, event.id, {"n": 1}))
            elif isinstance(event, events.ToolApprovalRequested) and place in self._helped:
                self._decide(agent, event.id)

        replay_after = 0 if place in self._mine else None
        agent = self._runtime.start(ASSISTANT, key=key_of(place), subscribe=hear, replay_after=replay_after)
        if place in self._helped:
            for event in agent.open_approvals:
                self._decide(agent, event.id)
        return agent

    def _decide(self, agent: Agent, call_id: str) -> None:
        self._answers.put(partial(agent.deny if is_denied(call_id) else agent.approve, call_id))

    def _check(self, place: int) -> None:
        """Note each message that a former process of this client was told is accepted, and that is not there now."""
        accepted = self._accepted[place]
        thread_id = _insisted(partial(self._runtime.find, key_of(place))) if accepted else None
        known: set[str] = set()
        if thread_id is not None:
            known.update(_MESSAGE.findall(repr(_insisted(partial(self._runtime.store.load, thread_id)))))
            # The history is read later, so that a message is not missed on its way into it.
            history = _insisted(partial(self._runtime.store.history, thread_id))
            known.update(each.event.content for each in history if isinstance(each.event, events.UserMessageAdded))
        for message in accepted:
            if message not in known:
                note(self._files["wrong"], f"{message} was accepted, and a new process of the client does not find it")

    def _talk(self, place: int, user: _User, *, is_enough: bool) -> None:
        """Send the next message, or two at once, if the thread has rested for a while."""
        if not user.agent._driver.is_settled():
            return
        now = time.monotonic()
        if user.ready_at is None:
            user.ready_at = now + random.uniform(0.0, self._plan.think)  # noqa: S311 - a pause
        if now < user.ready_at or (is_enough and user.accepted >= self._plan.messages):
            return
        for _ in range(2 if (place + user.tried) % 3 == 0 else 1):
            message = f"m{place}.{user.tried}.{(place + user.tried) % 10}"
            user.tried += 1
            note(self._files["tried"], message)
            try:
                user.agent.add_user_message(message)
            except StoreError:
                # It is not known to be accepted. The next message gets another number.
                user.ready_at = time.monotonic() + _PAUSE_AFTER_FAILURE
                return
            note(self._files["accepted"], message)
            user.accepted += 1
        user.ready_at = None

    def _answer(self) -> None:
        """Give the answers that wait. If the database is away, an answer is given later."""
        for _ in range(self._answers.qsize()):
            answer = self._answers.get()
            try:
                answer()
            except StoreError:
                self._answers.put(answer)

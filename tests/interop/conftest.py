"""Servers are started once per module, each in front of a model of its own; every client has a runtime of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from attrs import frozen

from gpt_agent_fsm import Agent, Assistant, FunctionTool, Runtime, Settings
from gpt_agent_fsm.backends import ResponsesBackend
from gpt_agent_fsm.events import Event, StateChanged, ToolCallRequested
from tests.interop.programs import find
from tests.interop.servers import AGENTIC_API, BACKGROUND, FOREGROUND, OGX, Server
from tests.interop.upstream import TOOL, Upstream

PATIENCE = 30.0
"""Seconds after which a test that waits has failed."""

SETTINGS = Settings(heartbeat_interval=0.05, request_retry_delay=0.05, tool_output_retry_delay=0.05, workers=2)

WEATHER = FunctionTool(TOOL, "How warm it is.", {"type": "object", "properties": {"city": {"type": "string"}}})


@frozen
class Running:
    """A server that runs, and the model behind it."""

    server: Server
    base_url: str
    upstream: Upstream


@pytest.fixture(scope="module", params=[AGENTIC_API, OGX], ids=lambda server: server.name)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server: Server = request.param
    program = find(server.program)
    if program is None:
        pytest.skip(f"{server.program} is neither beside the interpreter nor on PATH; {server.install}")
    home = tmp_path_factory.mktemp(server.name)
    with Upstream() as upstream, server.start(program, home, upstream) as base_url:
        yield Running(server, base_url, upstream)


class Client:
    """One agent, what it has announced, and who answers its tool calls. Close the runtime, or leave it to `connect`."""

    def __init__(self, runtime: Runtime, thread_id: str, assistant_id: str, *, answers: bool) -> None:
        self.runtime = runtime
        self._answers = answers
        self._events: list[Event] = []
        self._announced = threading.Condition()
        self.agent = runtime.connect(
            thread_id=thread_id, assistant_id=assistant_id, last_message_id=None, subscribe=self._hear
        )

    def _hear(self, agent: Agent, event: Event) -> None:
        with self._announced:
            self._events.append(event)
            self._announced.notify_all()
        if self._answers and isinstance(event, ToolCallRequested):
            agent.submit_tool_output(event.id, {"celsius": 21})

    def first(self, *kinds: type[Event]) -> Any:
        """Wait for the first event of one of these kinds."""

        def found() -> Event | None:
            return next((event for event in self._events if isinstance(event, kinds)), None)

        with self._announced:
            event = self._announced.wait_for(found, PATIENCE)
        assert event is not None, f"only these came: {self._events}"
        return event

    def settled(self) -> list[Event]:
        """Wait until all is said; return what was announced since the last time, without changes of state."""
        assert self.agent.wait(PATIENCE) == "idle", self._events
        with self._announced:
            said, self._events = self._events, []
        return [event for event in said if not isinstance(event, StateChanged)]


@pytest.fixture
def connect(running, monkeypatch) -> Iterator[Callable[..., Client]]:
    """Connect to a thread, a new one unless told which, with a runtime and a store of its own."""
    server = running.server
    for name in ("HTTP_PROXY", "ALL_PROXY", "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assistants = {
        BACKGROUND: Assistant(server.model, "Be brief.", [WEATHER]),
        FOREGROUND: Assistant(server.model, "Be brief.", [WEATHER], options={"background": False}),
    }
    with ExitStack() as runtimes:

        def connect(
            thread_id: str | None = None, *, assistant_id: str = server.assistant_id, answers: bool = True
        ) -> Client:
            backend = ResponsesBackend(running.base_url, server.api_key, assistants=assistants)
            runtime = runtimes.enter_context(Runtime(backend, SETTINGS))
            return Client(runtime, thread_id or runtime.create_thread(), assistant_id, answers=answers)

        yield connect

"""The conversations of the demo, and the code that drives them. This code is also an example of the library's use."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import attrs

from gpt_agent_fsm import Agent, Assistant, FunctionTool, Runtime, Settings, State, events
from gpt_agent_fsm.backends import AssistantsBackend, ResponsesBackend
from gpt_agent_fsm.errors import WaitTimeout
from gpt_agent_fsm.local import LocalServer, ModelError, ModelRequest, ToolCall

__all__ = ["SCENES", "Conversation", "Scene", "play"]

Show = Callable[["Conversation", events.Event], object]
UseTool = Callable[[Agent, events.ToolCallRequested], None]

_KEY = "none-needed"
_PER_WORD = 0.06
"""The seconds that the model takes for each word at speed 1."""
_PATIENCE = 30.0
"""The seconds, at speed 1, after which a conversation counts as stuck."""


# --- models and tools -------------------------------------------------------------------------------


def _plain(_: ModelRequest) -> str:
    return "A set of states, and rules that say which input leads from one to another. Nothing else can happen."


def _tools(request: ModelRequest) -> str | list[ToolCall]:
    if not request.outputs:
        return [ToolCall("get_calendar", {"day": "Saturday"}), ToolCall("get_forecast", {"city": "Oslo"})]
    calendar, forecast = (json.loads(output) for output in request.outputs)
    return f"Yes. You want to {calendar['plan']}, and {forecast['rain_mm']} mm of rain is on its way."


def _crowded(request: ModelRequest) -> str:
    if request.attempt <= 2:
        raise ModelError("rate_limit_exceeded", "Rate limit reached for this model. Please try again later.")
    return "Thank you for waiting. It was sent once; only the run was started again."


def _broken(_: ModelRequest) -> str:
    raise ModelError("server_error", "The model stumbled over its own feet.")


TOOLS: Mapping[str, Callable[..., Any]] = {
    "get_calendar": lambda day: {"day": day, "plan": "walk around the lake"},
    "get_forecast": lambda city: {"city": city, "rain_mm": 4},
}


# --- assistants -----------------------------------------------------------------------------------------


def _function(name: str, parameter: str) -> FunctionTool:
    schema = {"type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]}
    return FunctionTool(name, parameters=schema)


_SPEAKER = Assistant("demo-model", "Answer in one or two sentences.")
_PLANNER = attrs.evolve(_SPEAKER, tools=(_function("get_calendar", "day"), _function("get_forecast", "city")))


@attrs.frozen
class Scene:
    """One conversation of the demo, with the events and the state that are expected.

    Attributes:
        says: the user's message. It is unique among the scenes.
        assistant: the assistant, for an API whose requests define the assistant.
        answer: the model of this scene, a function that answers a request.
        thinks: the seconds that the model takes for each turn.
        ends: the final state.
        brings: the expected number of events by class.
    """

    name: str
    about: str
    says: str
    answer: Callable[[ModelRequest], str | list[ToolCall]]
    thinks: float
    ends: State
    brings: Mapping[type[events.Event], int]
    assistant: Assistant = _SPEAKER

    @property
    def assistant_id(self) -> str:
        """The id of the assistant."""
        return f"asst_{self.name}"


SCENES = (
    Scene(
        name="plain",
        about="a question and its answer",
        says="What is a state machine?",
        answer=_plain,
        thinks=1.4,
        ends=State.IDLE,
        brings={events.RunCompleted: 1, events.AssistantMessageAdded: 1},
    ),
    Scene(
        name="tools",
        about="two tool calls",
        says="Do I need an umbrella on Saturday?",
        answer=_tools,
        thinks=0.9,
        ends=State.IDLE,
        brings={events.ToolCallRequested: 2, events.ToolCallOutputRecorded: 2, events.AssistantMessageAdded: 1},
        assistant=_PLANNER,
    ),
    Scene(
        name="crowded",
        about="rate limited twice, then served",
        says="Was my question lost in the crowd?",
        answer=_crowded,
        thinks=0.8,
        ends=State.IDLE,
        brings={events.RateLimited: 2, events.RunStarted: 3, events.AssistantMessageAdded: 1},
    ),
    Scene(
        name="broken",
        about="a run that fails",
        says="Please trip over your own feet.",
        answer=_broken,
        thinks=2.0,
        ends=State.FAILED,
        brings={events.RunFailed: 1, events.AssistantMessageAdded: 0},
    ),
)


# --- playing the scenes -----------------------------------------------------------------------------------


class Conversation:
    """A scene while it is played: its thread, and its events so far."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.thread_id = ""
        self.state: State = State.IDLE
        self.ended = False
        self.heard: list[tuple[float, events.Event]] = []
        """Each event with the seconds since the demo began."""
        self.written: str = ""
        """The text so far of the message that the assistant is writing; "" if it writes none."""

    def hear(self, seconds: float, event: events.Event) -> None:
        """Record an event. A piece of a message only adds to the message that is being written."""
        if isinstance(event, events.AssistantMessageDelta):
            self.written += event.text
            return
        self.written = ""
        if isinstance(event, events.StateChanged):
            self.state = State(event.dest)
        self.heard.append((seconds, event))

    @property
    def states(self) -> list[str]:
        """All states that the conversation was in, in order."""
        changes = [event.dest for _, event in self.heard if isinstance(event, events.StateChanged)]
        return [str(State.IDLE), *changes]

    def count(self, kind: type[events.Event]) -> int:
        """Return the number of events of a class so far."""
        return Counter(type(event) for _, event in self.heard)[kind]

    def problems(self) -> list[str]:
        """Return a sentence for each deviation from the scene. Without deviations, the list is empty."""
        scene = self.scene
        if not self.ended:
            return [f"{scene.name}: did not end, and is {self.state}"]
        found = [f"{scene.name}: ended {self.state}, not {scene.ends}"] if self.state != scene.ends else []
        return found + [
            f"{scene.name}: {self.count(kind)} x {kind.__name__}, not {count}"
            for kind, count in scene.brings.items()
            if self.count(kind) != count
        ]


def play(conversations: list[Conversation], show: Show, speed: float = 1.0, api: str = "assistants") -> None:
    """Play all conversations at the same time, and return when they have ended. `api` is "assistants" or "responses".

    The workers of the runtime call `show(conversation, event)` for each event.
    """
    by_words = {conversation.scene.says: conversation.scene for conversation in conversations}

    def model(request: ModelRequest) -> Iterator[str] | list[ToolCall]:
        scene = by_words[request.user_message]
        request.cancelled.wait(scene.thinks / speed)
        answer = scene.answer(request)
        return _spoken(answer, request, speed) if isinstance(answer, str) else answer

    settings = Settings(heartbeat_interval=0.3 / speed, rate_limit_retry_delay=1.0 / speed)
    with (
        _direct_loopback(),
        LocalServer(model) as server,
        _toolbox(speed) as use_tool,
        Runtime(_backend(api, server.base_url, conversations), settings) as runtime,
    ):
        began = time.monotonic()
        agents = [_begin(runtime, conversation, show, began, use_tool) for conversation in conversations]
        deadline = began + _PATIENCE / min(speed, 1.0)
        for agent, conversation in zip(agents, conversations, strict=True):
            try:
                agent.wait(timeout=max(deadline - time.monotonic(), 0.0))
            except WaitTimeout:
                continue
            conversation.ended = True


def _spoken(text: str, request: ModelRequest, speed: float) -> Iterator[str]:
    """Yield a text word by word, with a pause before each word."""
    for word in re.findall(r"\S+\s*", text):
        request.cancelled.wait(_PER_WORD / speed)
        yield word


def _backend(api: str, base_url: str, conversations: list[Conversation]) -> AssistantsBackend | ResponsesBackend:
    """Return a backend for the API."""
    if api == "assistants":
        # The embedded server accepts any assistant id; on another server, `publish` creates the assistant.
        return AssistantsBackend(base_url, _KEY)
    scenes = [conversation.scene for conversation in conversations]
    return ResponsesBackend(base_url, _KEY, assistants={scene.assistant_id: scene.assistant for scene in scenes})


def _begin(runtime: Runtime, conversation: Conversation, show: Show, began: float, use_tool: UseTool) -> Agent:
    """Create a thread on the server, connect an agent to that thread, and add the first message."""

    def hear(agent: Agent, event: events.Event) -> None:
        conversation.hear(time.monotonic() - began, event)
        show(conversation, event)
        if isinstance(event, events.ToolCallRequested):
            use_tool(agent, event)

    conversation.thread_id = runtime.create_thread()
    agent = runtime.connect(
        thread_id=conversation.thread_id,
        assistant_id=conversation.scene.assistant_id,
        last_message_id=None,
        subscribe=hear,
        stream=True,
    )
    agent.add_user_message(conversation.scene.says)
    return agent


@contextmanager
def _toolbox(speed: float) -> Iterator[UseTool]:
    """Yield the function that answers a tool call. It can be used inside the `with` block.

    Tools take time, so they run on OS threads of their own. A handler that blocks would hold up its conversation.
    """
    closing = threading.Event()
    with ThreadPoolExecutor(thread_name_prefix="demo-tool") as pool:

        def use(agent: Agent, event: events.ToolCallRequested) -> None:
            interrupted = closing.wait((0.7 if event.name == "get_calendar" else 1.2) / speed)
            if not interrupted:
                agent.submit_tool_output(event.id, TOOLS[event.name](**event.arguments))

        def on_tool_call(agent: Agent, event: events.ToolCallRequested) -> None:
            pool.submit(use, agent, event)

        try:
            yield on_tool_call
        finally:
            closing.set()


@contextmanager
def _direct_loopback() -> Iterator[None]:
    """Inside the `with` block, send requests to this computer without the proxy from the environment."""
    before = os.environ.get("no_proxy")
    others = before or os.environ.get("NO_PROXY") or ""
    os.environ["no_proxy"] = f"{others},127.0.0.1".lstrip(",")
    try:
        yield
    finally:
        if before is None:
            del os.environ["no_proxy"]
        else:
            os.environ["no_proxy"] = before

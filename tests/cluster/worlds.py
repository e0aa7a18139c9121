"""A server, a database and runtimes on them, each as in a process of its own."""

from __future__ import annotations

import threading
import time

import requests

from gpt_agent_fsm import Runtime, Settings, events
from gpt_agent_fsm.backends import AssistantsBackend
from gpt_agent_fsm.cluster import Cluster
from gpt_agent_fsm.local import LocalServer, ToolCall
from tests.cluster.helpers import PATIENCE, query

SETTINGS = Settings(heartbeat_interval=0.05, request_retry_delay=0.05, tool_output_retry_delay=0.05, workers=4)
ASSISTANT = "asst_1"


class World:
    """A server whose model waits when a message says "hold", and calls a tool when it says "call".

    Attributes:
        asked: the user messages for which the model was asked, in order.
    """

    def __init__(self, url, ends):
        self.url, self._ends = url, ends
        self.asked, self._changed, self._held = [], threading.Condition(), threading.Event()
        ends.callback(self._held.set)
        self.server = ends.enter_context(LocalServer(self._model))

    def _model(self, request):
        said = request.user_message
        with self._changed:
            self.asked.append(said)
            self._changed.notify_all()
        if said.startswith("hold"):
            self._held.wait(PATIENCE)
        if said.startswith("call") and not request.outputs:
            return [ToolCall("locate", {"city": "Oslo"})]
        return f"{said}: {request.outputs[0]}" if request.outputs else f"You said: {said}"

    def wait_until_asked(self, said, times=1):
        """Wait until the model was asked about this message."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.asked.count(said) >= times, PATIENCE), self.asked

    def let_go(self):
        """Let the model answer what it holds."""
        self._held.set()

    def open(self, *, drive=False, tools=(), url=None, settings=SETTINGS, backend=None, **options):
        """Return a runtime on the cluster. It is closed after the test."""
        store = Cluster(url or self.url, drive=drive, **options)
        self._ends.callback(store.close)
        backend = backend or AssistantsBackend(self.server.base_url, "the-key")
        return self._ends.enter_context(Runtime(backend, settings, store, tools=tools))

    def open_worker(self, **options):
        """Return a runtime that drives threads."""
        return self.open(drive=True, **options)

    def messages(self, thread_id):
        """Return the first messages on the server, oldest first, as pairs of role and text."""
        headers, params = (
            {"OpenAI-Beta": "assistants=v2", "Authorization": "Bearer the-key"},
            {"order": "asc", "limit": "100"},
        )
        url = f"{self.server.base_url}/threads/{thread_id}/messages"
        page = requests.get(url, params=params, headers=headers, timeout=PATIENCE).json()
        return [(each["role"], each["content"][0]["text"]["value"]) for each in page["data"]]


class Listener:
    """A subscriber that keeps what it hears, and lets a test wait for it."""

    def __init__(self):
        self.heard, self._changed = [], threading.Condition()

    def __call__(self, agent, event):
        with self._changed:
            self.heard.append(event)
            self._changed.notify_all()

    def wait_for(self, kind, times=1):
        """Wait for an event of this class, and return the last one."""
        with self._changed:
            in_time = self._changed.wait_for(lambda: len(self.of(kind)) >= times, PATIENCE)
            assert in_time, self.heard
            return self.of(kind)[-1]

    def of(self, kind):
        return [event for event in self.heard if isinstance(event, kind)]

    @property
    def lasting(self):
        """The events that are in the history."""
        return [each for each in self.heard if not isinstance(each, events.AgentStopped | events.AssistantMessageDelta)]


def driving(runtime):
    """Return the drivers of a runtime."""
    return runtime._own_roster.driving


def drives(runtime, thread_id):
    """Return whether this runtime drives the thread now."""
    return driving(runtime).leases.of(thread_id) is not None


def wait_until_free(world):
    """Wait until the database says that no worker owns the only thread. A worker lets go a moment before it says so."""
    wait_until(lambda: query(world.url, "SELECT worker FROM gpt_agent_owners") == [(None,)])


def wait_until(question):
    """Wait until a question that no event answers is answered with yes."""
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline, "nothing happened"
        threading.Event().wait(0.01)

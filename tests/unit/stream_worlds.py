"""A server whose runs are streams, and the processes that use it."""

from __future__ import annotations

import threading

from gpt_agent_fsm import Runtime, Settings, events
from gpt_agent_fsm.errors import TransientError
from gpt_agent_fsm.machine.run_status import RunStatus
from gpt_agent_fsm.ports import Piece
from gpt_agent_fsm.stores import MemoryStore
from gpt_agent_fsm.testing import Answer, Fail, Linger, SimulatedServer, VirtualScheduler

NEWS = "an event without a text, and then a break"
BROKEN = TransientError(None, None, "The connection was lost.")
SLOW = Linger(60)
PLAN = (SLOW, Answer("Hello you"))
RATE = Fail(RunStatus.RATE_LIMITED, message="Rate limit reached")


class FakeStream:
    """A stream that says what a test wants, one thing after the other: a text, an error, or None for its end.

    Its pieces belong to the next message of the server, unless the test names another message.
    """

    def __init__(self, server, says, after=None):
        self.says, self.closed, self.resumed = list(says), False, 0
        self.ended = threading.Event()
        self._server = server
        self._position = 0 if after is None else after

    @property
    def position(self):
        return self._position if self._server.can_resume else None

    def next_piece(self, *, silence):
        assert silence > 0
        said = self.says.pop(0) if self.says and not self.closed else None
        if said == NEWS:
            self._position += 1
            said = BROKEN
        if isinstance(said, Exception):
            raise said
        if said is None:
            return None
        self._position += 1
        message_id, text = said if isinstance(said, tuple) else (self._server.next_message, said)
        position = self._position if self._server.can_resume else None
        return Piece(message_id=message_id, text=text, position=position)

    def resume(self, *, timeout):
        assert timeout.seconds_left > 0
        self.resumed += 1
        return self._server.can_resume

    def close(self):
        self.closed = True
        self.ended.set()


class StreamingServer(SimulatedServer):
    """A server whose runs are streams. `scripts` are what the next streams say."""

    def __init__(self, plan):
        super().__init__(plan)
        self.scripts, self.streams, self.opened, self.polls = [], [], [], 0
        self.can_resume = False
        self.failure, self.creations = None, []

    @property
    def next_message(self):
        return f"msg_{self._count + 1}"

    def _stream(self, after=None):
        script = self.scripts.pop(0) if self.scripts else None
        if script is None:
            return None
        self.streams.append(FakeStream(self, script, after))
        return self.streams[-1]

    def create_run(self, request, *, timeout):
        self.creations.append("plain")
        return super().create_run(request, timeout=timeout)

    def create_run_streamed(self, request, *, timeout):
        self.creations.append("streamed")
        if self.failure is not None:
            raise self.failure
        return super().create_run(request, timeout=timeout), self._stream()

    def submit_tool_outputs_streamed(self, request, *, timeout):
        return self.submit_tool_outputs(request, timeout=timeout), self._stream()

    def open_stream(self, thread_id, run_id, *, handle, after, timeout):
        self.opened.append((run_id, after))
        return self._stream(after)

    def get_run(self, *args, **kwargs):
        self.polls += 1
        return super().get_run(*args, **kwargs)


class World:
    def __init__(self, **settings):
        self.plans, self.deltas = [], []
        self.server = StreamingServer(lambda text: self.plans.pop(0) if self.plans else [Answer("Hello you")])
        self.store, self.settings = MemoryStore(), Settings(**settings)
        self.scheduler = VirtualScheduler()
        self.heard = []
        self.thread_id = self.server.create_thread(timeout=1)
        self.start()

    def start(self):
        self.runtime = Runtime(self.server, self.settings, self.store, scheduler=self.scheduler)

    def restart(self):
        self.runtime.close()
        self.scheduler.restart()
        self.start()

    def connect(self, **options):
        options = {"assistant_id": "asst_1", "last_message_id": None, "thread_id": self.thread_id, **options}
        return self.runtime.connect(**options)

    def hear(self, agent, event):
        self.heard.append(event)

    @property
    def texts(self):
        return [event.text for event in self.heard if isinstance(event, events.AssistantMessageDelta)]

    @property
    def names(self):
        return [type(event).__name__ for event in self.heard if not isinstance(event, events.StateChanged)]


def say(world, *script, plan=PLAN, **options):
    """Ask in a streamed thread, and return the pieces that its subscriber has heard when everything has settled."""
    world.server.scripts.append(script)
    world.plans.append(list(plan))
    agent = world.connect(stream=True, subscribe=world.hear, **options)
    agent.add_user_message("Hi")
    agent.wait(timeout=600)
    return world.texts

"""A runtime in virtual time, over a server in memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gpt_agent_fsm import Runtime, Settings, signals
from gpt_agent_fsm.testing import SimulatedServer, VirtualScheduler
from tests.unit import stream_worlds


@pytest.fixture
def world():
    """Everything a test needs: `world.plans` are the plans of the next runs, `world.heard` are the announced events."""
    plans: list = []
    server = SimulatedServer(lambda text: plans.pop(0) if plans else SimulatedServer()._plan(text))
    scheduler = VirtualScheduler()
    runtime = Runtime(server, Settings(), scheduler=scheduler)
    heard: list = []

    def hear(agent, event):
        heard.append(event)

    def connect(thread_id=None, **options):
        options = {"assistant_id": "asst_1", "last_message_id": None, **options}
        return runtime.connect(thread_id=thread_id or runtime.create_thread(), **options)

    def names():
        return [type(event).__name__ for event in heard if type(event).__name__ != "StateChanged"]

    with signals.event.connected_to(hear), runtime:
        yield SimpleNamespace(
            plans=plans,
            server=server,
            scheduler=scheduler,
            runtime=runtime,
            heard=heard,
            connect=connect,
            names=names,
        )


@pytest.fixture
def make_world():
    """Make worlds whose runs are streams. They are closed at the end of the test."""
    made = []

    def make(**settings):
        made.append(stream_worlds.World(**settings))
        return made[-1]

    yield make
    for world in made:
        world.runtime.close()

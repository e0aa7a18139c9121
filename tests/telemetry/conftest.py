"""A runtime in virtual time over a server in memory, whose runs take given steps."""

import pytest

from gpt_agent_fsm import Runtime
from gpt_agent_fsm.testing import Answer, SimulatedServer, VirtualScheduler


@pytest.fixture
def make_runtime():
    """Make runtimes. Each argument is the plan of one run; later runs answer at once. They are closed at the end."""
    made = []

    def make(*plans, server=SimulatedServer, **options):
        waiting = [list(plan) for plan in plans]
        backend = server(lambda text: waiting.pop(0) if waiting else [Answer("Done")])
        made.append(Runtime(backend, scheduler=VirtualScheduler(), **options))
        return made[-1]

    yield make
    for runtime in made:
        runtime.close()

"""Tools for testing code that uses the library: virtual time, and a server in memory.

::

    scheduler = VirtualScheduler()
    server = SimulatedServer()
    runtime = Runtime(server, scheduler=scheduler)

With these objects, all work happens on the OS thread of the test, inside `agent.wait()` and
`scheduler.advance(seconds)`, without real waiting.
"""

from gpt_agent_fsm.testing.clock import VirtualClock, VirtualScheduler
from gpt_agent_fsm.testing.server import SimulatedServer
from gpt_agent_fsm.testing.steps import Answer, Call, Fail, Linger

__all__ = ["Answer", "Call", "Fail", "Linger", "SimulatedServer", "VirtualClock", "VirtualScheduler"]

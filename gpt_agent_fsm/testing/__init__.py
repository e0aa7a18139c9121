"""For tests of code that uses the library: time that is told to pass, and a server that lives in memory.

::

    scheduler = VirtualScheduler()
    server = SimulatedServer()
    runtime = Runtime(server, scheduler=scheduler)

Everything then happens on the thread of the test, inside `agent.wait()` and `scheduler.advance(seconds)`, in no time.
"""

from gpt_agent_fsm.testing.clock import VirtualClock, VirtualScheduler
from gpt_agent_fsm.testing.server import Answer, Call, Fail, Linger, SimulatedServer

__all__ = ["Answer", "Call", "Fail", "Linger", "SimulatedServer", "VirtualClock", "VirtualScheduler"]

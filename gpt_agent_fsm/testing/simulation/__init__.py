"""Simulates whole lives: users, agents, crashes and restarts over a faulty network, in virtual time.

The simulation has this model: A request takes effect at once, or late (within a fixed time, the grace, after its
client gave up), or never. The server keeps the metadata that the library sends. A store keeps everything that it has
confirmed. `HONEST` faults respect this model, and then nothing may be lost or done twice. `BREAKING` faults violate
the model on purpose: requests take effect later than the grace, and metadata is dropped. Then an unknown outcome must
at least be reported as `RequestFailed`.

Every second honest life has `Troubles` on top: gateways and outages, servers with habits of their own, processes that
lose the store or are stopped, a clock that is set, users who cancel and discard. They respect the model, too.

Every second life has `Equipment`, drawn apart from the troubles: functions that answer tool calls, approvals, and
limits of tokens.

The invariants are in `invariants`, one per file. A seed always gives the same life;
`python -m gpt_agent_fsm.testing.simulate` simulates many.
"""

from gpt_agent_fsm.testing.simulation.equipment import BARE, Equipment
from gpt_agent_fsm.testing.simulation.life import Life
from gpt_agent_fsm.testing.simulation.scenario import simulate
from gpt_agent_fsm.testing.simulation.troubles import NONE, Troubles
from gpt_agent_fsm.testing.simulation.world import BREAKING, HONEST, Wire

live = simulate
"""The former name of `simulate`."""

__all__ = ["BARE", "BREAKING", "HONEST", "NONE", "Equipment", "Life", "Troubles", "Wire", "live", "simulate"]

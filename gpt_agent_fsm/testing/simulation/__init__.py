"""Simulates whole lives: users, agents, crashes and restarts over a faulty network, in virtual time.

A life is one simulated set of conversations, from the first process to the last. The simulation assumes this model:

- A request takes effect immediately, late, or never. A late request takes effect within a fixed time after its client
  gave up. This time is called the grace.
- The server keeps the metadata that the library sends.
- A store keeps everything that it has confirmed.

`HONEST` faults respect this model, so nothing may be lost or done twice. `BREAKING` faults violate the model on
purpose: requests may take effect after the grace, and metadata is dropped. With these faults, an unknown outcome must
at least be reported as `RequestFailed`.

About half of the lives with honest faults also have `Troubles`: gateways and outages, servers with unusual habits,
processes that lose the store or are stopped, changes of the wall clock, and users who cancel runs and discard messages.
Troubles respect the model, too.

About half of all lives have `Equipment`, for example functions that answer tool calls, approvals of calls, and token
limits. The equipment is chosen independently of the troubles.

The invariants are in `invariants`, one per file. A seed always gives the same life;
`python -m gpt_agent_fsm.testing.simulate` simulates many lives.
"""

from gpt_agent_fsm.testing.simulation.equipment import BARE, Equipment
from gpt_agent_fsm.testing.simulation.life import Life
from gpt_agent_fsm.testing.simulation.scenario import simulate
from gpt_agent_fsm.testing.simulation.troubles import NONE, Troubles
from gpt_agent_fsm.testing.simulation.world import BREAKING, HONEST, Wire

live = simulate
"""The former name of `simulate`."""

__all__ = ["BARE", "BREAKING", "HONEST", "NONE", "Equipment", "Life", "Troubles", "Wire", "live", "simulate"]

"""Whole lives by seed: users, agents, crashes and restarts over a faulty network, in virtual time.

The model. A request lands at once, within the grace after its client gave up on it, or never; the server keeps the
metadata we send; a store keeps what it returned from. `HONEST` faults keep to this, and then nothing may be lost or
done twice. `BREAKING` faults break it on purpose: requests land later than the grace, and metadata is dropped. Then
what cannot be known must at least be reported as `RequestFailed`.

What must hold stands in `invariants`, one invariant a file. A seed gives the same life each time;
`python -m gpt_agent_fsm.testing.lives` lives many.
"""

from gpt_agent_fsm.testing.simulation.life import Life
from gpt_agent_fsm.testing.simulation.scenario import live
from gpt_agent_fsm.testing.simulation.world import BREAKING, HONEST, Wire

__all__ = ["BREAKING", "HONEST", "Life", "Wire", "live"]

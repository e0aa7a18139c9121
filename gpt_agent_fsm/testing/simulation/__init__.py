"""Whole lives by seed: users, agents, crashes and restarts over a faulty network, in virtual time.

The model. A request lands at once, within the grace after its client gave up on it, or never. The server keeps the
metadata we send. A store keeps everything that it acknowledged. `HONEST` faults respect this model, and then nothing
may be lost or done twice. `BREAKING` faults violate it on purpose: requests land later than the grace, and metadata is
dropped. Then an unknown outcome must at least be reported as `RequestFailed`.

The invariants are in `invariants`, one per file. A seed always gives the same life;
`python -m gpt_agent_fsm.testing.simulate` simulates many.
"""

from gpt_agent_fsm.testing.simulation.life import Life
from gpt_agent_fsm.testing.simulation.scenario import simulate
from gpt_agent_fsm.testing.simulation.world import BREAKING, HONEST, Wire

live = simulate
"""The former name of `simulate`."""

__all__ = ["BREAKING", "HONEST", "Life", "Wire", "live", "simulate"]

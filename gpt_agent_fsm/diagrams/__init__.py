"""Pictures of the machine, drawn from `gpt_agent_fsm.machine.table.TABLE` and never by hand.

All pictures show the same arrows: the rows between two states as one arrow, said as `input [guard]`. Left out are
rows that stay in their state. What holds in every state of a run that is on the server is drawn once, from the frame
around these states. The same table gives the same text, byte for byte.
"""

from gpt_agent_fsm.diagrams.picture import svg
from gpt_agent_fsm.diagrams.text import dot, mermaid, table_markdown

__all__ = ["dot", "mermaid", "svg", "table_markdown"]

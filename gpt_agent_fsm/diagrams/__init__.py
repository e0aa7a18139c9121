"""Draws diagrams of the state machine from its table of rules, `gpt_agent_fsm.machine.table.TABLE`.

All diagrams show the same arrows. One arrow stands for all rows between two states, and its label is `input [guard]`.
Rows that do not change the state are omitted. All states with a run on the server are in one frame. If a row applies to
all of these states, it is one arrow from the frame. The same table always gives the same text, byte for byte.
"""

from gpt_agent_fsm.diagrams.picture import svg
from gpt_agent_fsm.diagrams.text import dot, mermaid, table_markdown

__all__ = ["dot", "mermaid", "svg", "table_markdown"]

"""Diagrams of the machine, generated from `gpt_agent_fsm.machine.table.TABLE`.

All diagrams show the same arrows. One arrow stands for all rows between two states, and its label is `input [guard]`.
Rows that do not change the state are omitted. A row that applies to all states with a run on the server is drawn once,
from the frame around these states. The same table always gives the same text, byte for byte.
"""

from gpt_agent_fsm.diagrams.picture import svg
from gpt_agent_fsm.diagrams.text import dot, mermaid, table_markdown

__all__ = ["dot", "mermaid", "svg", "table_markdown"]

"""Pictures of the machine and of threads.

A diagram of the machine is generated from `gpt_agent_fsm.machine.table.TABLE`. All rows from one
state to another are drawn as one arrow, whose label lists them, each as `input [guard]`. Rows that do not change the
state are omitted. A row that applies to all states with a run on the server is drawn once, from the frame around these
states. The same table always gives the same text, byte for byte.

A timeline shows the history of one thread. `model` defines what a diagram shows, and `timeline` defines what a timeline
shows. The other modules draw diagrams or timelines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gpt_agent_fsm.diagrams.model import Diagram, diagram_of
from gpt_agent_fsm.diagrams.paths import Path, simple_paths
from gpt_agent_fsm.diagrams.picture import machine_styles, svg
from gpt_agent_fsm.diagrams.small import happy_path
from gpt_agent_fsm.diagrams.text import dot, markdown, mermaid, table_markdown
from gpt_agent_fsm.diagrams.timeline import Timeline, timeline_of
from gpt_agent_fsm.diagrams.timeline_svg import timeline_styles, timeline_svg
from gpt_agent_fsm.diagrams.timeline_text import timeline_text

__all__ = [
    "FORMATS",
    "TIMELINE_FORMATS",
    "Diagram",
    "Path",
    "Timeline",
    "diagram_of",
    "dot",
    "happy_path",
    "machine_styles",
    "markdown",
    "mermaid",
    "render",
    "simple_paths",
    "svg",
    "table_markdown",
    "timeline_of",
    "timeline_styles",
    "timeline_svg",
    "timeline_text",
]

FORMATS: Mapping[str, Callable[[Diagram], str]] = {"mermaid": mermaid, "dot": dot, "svg": svg, "md": markdown}
"""The renderers of diagrams by the names of their formats."""

TIMELINE_FORMATS: Mapping[str, Callable[[Timeline], str]] = {"svg": timeline_svg, "text": timeline_text}
"""The renderers of timelines by the names of their formats."""


def render(diagram: Diagram, format: str) -> str:
    """Return the diagram in a format. Raises `ValueError` for an unknown format."""
    if format not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}, not {format!r}")
    return FORMATS[format](diagram)

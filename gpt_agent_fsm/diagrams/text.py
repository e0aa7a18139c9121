"""Writes the machine as text: as a Mermaid diagram, as a Graphviz digraph, and as tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from gpt_agent_fsm.diagrams.arrows import FRAME, FRAME_TITLE, OTHERWISE, Arrow, rows
from gpt_agent_fsm.diagrams.model import Diagram, diagram_of
from gpt_agent_fsm.diagrams.style import LIGHT
from gpt_agent_fsm.machine.states import ANY, LIVE, State
from gpt_agent_fsm.machine.table import IGNORED, ILLEGAL, TABLE, TRIGGERS

__all__ = ["dot", "markdown", "mermaid", "table_markdown"]

_TAKEN = "✔ "
"""The mark of an arrow that was taken, for a format that has no wider lines."""


def mermaid(diagram: Diagram | None = None) -> str:
    """Return the diagram in Mermaid. The default is the whole machine."""
    diagram = diagram or diagram_of()
    lines = ["stateDiagram-v2", *(f"    [*] --> {state}" for state in diagram.states if state is State.IDLE)]
    if diagram.is_framed:
        lines += [f'    state "{FRAME_TITLE}" as {FRAME} {{', *(f"        {state}" for state in LIVE), "    }"]
    named = {state for arrow in diagram.arrows for state in (arrow.source, arrow.dest)}
    lines += [f"    {state}" for state in _outside(diagram) if state not in named]
    for arrow in diagram.arrows:
        mark = _TAKEN if arrow in diagram.taken else ""
        lines.append(f"    {arrow.source} --> {arrow.dest} : {mark}{'<br/>'.join(map(str, arrow.causes))}")
    if diagram.lit:
        lines += [f"    classDef lit fill:{LIGHT.line(diagram.lit)},color:{LIGHT.page}", f"    class {diagram.lit} lit"]
    return "\n".join(lines) + "\n"


def dot(diagram: Diagram | None = None) -> str:
    """Return the diagram for Graphviz. The default is the whole machine."""
    diagram = diagram or diagram_of()
    lines = [
        "digraph machine {",
        '    graph [compound=true, nodesep=0.9, ranksep=0.9, fontname="Helvetica"];',
        '    node [shape=box, style="rounded,filled", fontname="Helvetica", margin="0.2,0.1"];',
        '    edge [fontname="Helvetica", fontsize=10];',
    ]
    if State.IDLE in diagram.states:
        lines += ['    start [shape=point, width=0.15, label=""];', f"    start -> {State.IDLE};"]
    if diagram.is_framed:
        lines += [f"    subgraph cluster_{FRAME} {{", f'        label="{FRAME_TITLE}"; style="rounded,dashed";']
        lines += [*(f"        {_node(state, diagram)}" for state in LIVE), "    }"]
    lines += [f"    {_node(state, diagram)}" for state in _outside(diagram)]
    lines += [_edge(arrow, diagram) for arrow in diagram.arrows]
    return "\n".join([*lines, "}"]) + "\n"


def _outside(diagram: Diagram) -> list[State]:
    """Return the states that are not within a frame."""
    return [state for state in diagram.states if not (diagram.is_framed and state in LIVE)]


def _node(state: State, diagram: Diagram) -> str:
    fill, line = LIGHT.fill(state), LIGHT.line(state)
    if state is diagram.lit:
        return f'{state} [fillcolor="{line}", color="{line}", fontcolor="{LIGHT.page}"];'
    return f'{state} [fillcolor="{fill}", color="{line}"];'


def _edge(arrow: Arrow, diagram: Diagram) -> str:
    # Short lines that end in \\l, which aligns them left, let Graphviz keep the labels apart.
    label = "".join(f"{cause}\\l".replace(" [", "\\l[").replace(" / ", " /\\l") for cause in arrow.causes)
    # Graphviz draws from node to node and clips the line at the frame.
    source, cut = (LIVE[1], f", ltail=cluster_{FRAME}") if arrow.source == FRAME else (arrow.source, "")
    cut += ", penwidth=4" if arrow in diagram.taken else ""
    return f'    {source} -> {arrow.dest} [label="{label}", color="{LIGHT.line(arrow.dest)}"{cut}];'


def markdown(diagram: Diagram | None = None) -> str:
    """Return a Markdown table: the destinations of each input in each state, and where the thread is."""
    diagram = diagram or diagram_of()
    if diagram.lit is None:
        return _overview(diagram)
    ways = ", ".join(f"`{source}` → `{dest}`" for source, dest in diagram.moves)
    moved = f" It moved: {ways}." if ways else ""
    return f"The thread is **`{diagram.lit}`**.{moved}\n\n{_overview(diagram)}"


def table_markdown() -> str:
    """Return two Markdown tables: first the destinations of each input in each state, then all rows in detail."""
    details = ["| input | in state | to state | if | does |", "|---" * 5 + "|"]
    details += [f"| `{trigger}` | {row} |" for trigger in TRIGGERS for row in _details(trigger)]
    return "\n".join([_overview(diagram_of()), *details]) + "\n"


def _overview(diagram: Diagram) -> str:
    heads = [f"**`{state}`**" if state is diagram.lit else f"`{state}`" for state in diagram.states]
    lines = [f"| input | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for trigger in TRIGGERS:
        lines.append(f"| `{trigger}` | " + " | ".join(_cell(trigger, state) for state in diagram.states) + " |")
    return "\n".join(lines) + "\n"


def _cell(trigger: str, state: State) -> str:
    """Return the states that an input may lead to from a state, in the table's order."""
    leads = dict.fromkeys("stays" if to is state else f"`{to}`" for to, _ in rows(trigger, state))
    for word, table in (("ignored", IGNORED), ("illegal", ILLEGAL)):
        if any(row.trigger == trigger and state in row.states for row in table):
            leads[word] = None
    return ", ".join(leads)


def _details(trigger: str) -> list[str]:
    """Return the rows of an input in the order of the tables. Rows are evaluated in this order."""
    guarded: set[State] = set()
    details = []
    for row in TABLE:
        if row.trigger == trigger:
            condition = f"`{row.condition}`" if row.condition else _condition(row.states, guarded)
            dest = f"`{row.dest}`" if row.dest else "the same"
            details.append(f"{_names(row.states)} | {dest} | {condition} | `{row.verb}`")
            guarded |= set(row.states) if row.condition else set()
    for word, table in (("ignored", IGNORED), ("illegal", ILLEGAL)):
        for silence in table:
            if silence.trigger == trigger:
                condition = _condition(silence.states, guarded)
                details.append(f"{_names(silence.states)} | {word} | {condition} | {silence.reason}")
    return details


def _condition(states: Sequence[State], guarded: set[State]) -> str:
    return OTHERWISE if guarded.intersection(states) else ""


def _names(states: Sequence[State]) -> str:
    return "any" if tuple(states) == ANY else ", ".join(f"`{state}`" for state in states)

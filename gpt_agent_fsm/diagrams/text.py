"""Writes the machine as text: as a Mermaid diagram, as a Graphviz digraph, and as tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from gpt_agent_fsm.diagrams.arrows import COLOURS, FRAME, FRAME_TITLE, OTHERWISE, arrows, rows
from gpt_agent_fsm.machine.states import ANY, LIVE, State
from gpt_agent_fsm.machine.table import IGNORED, ILLEGAL, TABLE, TRIGGERS

__all__ = ["dot", "mermaid", "table_markdown"]


def mermaid() -> str:
    """Return the machine as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.IDLE}", f'    state "{FRAME_TITLE}" as {FRAME} {{']
    lines += [f"        {state}" for state in LIVE]
    lines.append("    }")
    lines += [f"    {a.source} --> {a.dest} : {'<br/>'.join(map(str, a.causes))}" for a in arrows()]
    return "\n".join(lines) + "\n"


def dot() -> str:
    """Return the machine as a Graphviz digraph."""
    lines = [
        "digraph machine {",
        '    graph [compound=true, nodesep=0.9, ranksep=0.9, fontname="Helvetica"];',
        '    node [shape=box, style="rounded,filled", fontname="Helvetica", margin="0.2,0.1"];',
        '    edge [fontname="Helvetica", fontsize=10];',
        '    start [shape=point, width=0.15, label=""];',
        f"    start -> {State.IDLE};",
        f"    subgraph cluster_{FRAME} {{",
        f'        label="{FRAME_TITLE}"; style="rounded,dashed";',
        *(f"        {_node(state)}" for state in LIVE),
        "    }",
        *(f"    {_node(state)}" for state in State if state not in LIVE),
    ]
    for arrow in arrows():
        # Short lines that end in \\l, which aligns them left, let Graphviz keep the labels apart.
        label = "".join(f"{cause}\\l".replace(" [", "\\l[").replace(" / ", " /\\l") for cause in arrow.causes)
        # Graphviz draws from node to node and clips the line at the frame.
        source, cut = (LIVE[1], f", ltail=cluster_{FRAME}") if arrow.source == FRAME else (arrow.source, "")
        lines.append(f'    {source} -> {arrow.dest} [label="{label}", color="{COLOURS[arrow.dest][1]}"{cut}];')
    return "\n".join([*lines, "}"]) + "\n"


def _node(state: State) -> str:
    fill, line, _, _ = COLOURS[state]
    return f'{state} [fillcolor="{fill}", color="{line}"];'


def table_markdown() -> str:
    """Return two Markdown tables: first the destinations of each input in each state, then all rows in detail."""
    lines = ["| input | " + " | ".join(f"`{state}`" for state in State) + " |", "|---" * (len(State) + 1) + "|"]
    details = ["| input | in state | to state | if | does |", "|---" * 5 + "|"]
    for trigger in TRIGGERS:
        lines.append(f"| `{trigger}` | " + " | ".join(_cell(trigger, state) for state in State) + " |")
        details += [f"| `{trigger}` | {row} |" for row in _details(trigger)]
    return "\n".join([*lines, "", *details]) + "\n"


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

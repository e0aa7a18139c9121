"""The style sheet that is made from the colours of the pictures. The rest of the styles is a file."""

from __future__ import annotations

import functools

from gpt_agent_fsm.diagrams import machine_styles, timeline_styles
from gpt_agent_fsm.diagrams.style import DARK, LIGHT, Theme
from gpt_agent_fsm.machine.states import State

__all__ = ["colours"]


@functools.cache
def colours() -> str:
    """Return the colours of the pages, light and dark, and the styles of the pictures."""
    dark = f"@media (prefers-color-scheme:dark){{\n{_themed(DARK)}\n}}"
    return "\n".join([_themed(LIGHT), dark, machine_styles(), timeline_styles()])


def _themed(theme: Theme) -> str:
    named = {
        "page": theme.page,
        "frame": theme.frame,
        "ink": theme.ink,
        "soft": theme.soft,
        "link": theme.line(State.RUNNING),
        "bad": theme.line(State.FAILED),
        "good": theme.line(State.SUBMITTING),
    }
    lines = [":root{" + ";".join(f"--{name}:{colour}" for name, colour in named.items()) + "}"]
    lines += [f".badge.{state}{{background:{theme.fill(state)};border-color:{theme.line(state)}}}" for state in State]
    return "\n".join(lines)

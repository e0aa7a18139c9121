"""The colours of the pictures, and their style sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from gpt_agent_fsm.machine.states import State

__all__ = ["COLOURS", "DARK", "FONT", "LETTER", "LIGHT", "ROOT", "Rules", "Theme", "style_sheet"]

COLOURS: Mapping[str, tuple[str, str, str, str]] = {
    # state: fill and line on a light page, fill and line on a dark one
    State.IDLE: ("#eef1f5", "#5b6b80", "#2a323d", "#9fb0c7"),
    State.RUNNING: ("#e1effe", "#1f6fc4", "#14304f", "#6db3f8"),
    State.AWAITING_TOOLS: ("#f0e7fd", "#7a45c4", "#34214f", "#bd95f5"),
    State.SUBMITTING: ("#dff5f0", "#0f7f6c", "#10392f", "#52cbb2"),
    State.RATE_LIMITED: ("#fdf1d6", "#a16207", "#40300c", "#e5b64b"),
    State.FAILED: ("#fde5e4", "#c22f2a", "#4a1b1a", "#f58680"),
}

ROOT = "gpt-agent-fsm"
"""The CSS class of every picture. All rules of a style sheet name this class, so the rest of a page stays unchanged."""
FONT = 14
"""The size of the texts, in pixels."""
LETTER = 7.3
"""The assumed width of a letter. It is wider than an average letter, because the font of the page is unknown."""

Rules = Mapping[str, str]
"""Declarations of CSS by their selectors."""


@attrs.frozen
class Theme:
    """The colours on a light page or on a dark one. `offset` is the place of the theme's colours in `COLOURS`."""

    page: str
    frame: str
    ink: str
    soft: str
    offset: int

    def fill(self, state: str) -> str:
        """Return the colour of a state's area."""
        return COLOURS[state][self.offset]

    def line(self, state: str) -> str:
        """Return the colour of a state's border, and of the arrows that lead to the state."""
        return COLOURS[state][self.offset + 1]


LIGHT = Theme("#ffffff", "#f8fafc", "#1b2430", "#55606e", 0)
DARK = Theme("#14181f", "#1a2029", "#e6eaf0", "#a9b4c2", 2)

# In Furo and other themes of Sphinx, in JupyterLab and in VS Code, an element around a picture names the chosen theme.
_CHOSEN = ":is([data-theme={0}],[data-jp-theme-light={1}],.vscode-{0}) "


def style_sheet(kind: str, common: Rules, themed: Callable[[Theme], Rules]) -> str:
    """Return a style sheet for pictures of this kind.

    It contains light colours, and dark colours for users who prefer dark pages. If the page around the picture has
    chosen a theme, that theme applies.
    """
    root = f".{ROOT}.{kind} "
    lines = [_block(root, {"text": f"font:{FONT}px Helvetica,Arial,'Liberation Sans',sans-serif"} | dict(common))]
    lines.append(_block(root, themed(LIGHT)))
    lines.append(f"@media (prefers-color-scheme:dark){{\n{_block(root, themed(DARK))}\n}}")
    lines.append(_block(_CHOSEN.format("light", "true") + root, themed(LIGHT)))
    lines.append(_block(_CHOSEN.format("dark", "false") + root, themed(DARK)))
    return "\n".join(lines)


def _block(root: str, rules: Rules) -> str:
    return "\n".join(
        ",".join(root + each for each in selector.split(",")) + f"{{{declarations}}}"
        for selector, declarations in rules.items()
    )

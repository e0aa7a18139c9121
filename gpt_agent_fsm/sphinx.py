"""A Sphinx extension that draws the state machine on a page. It needs neither a network nor another program.

Add `gpt_agent_fsm.sphinx` to `extensions` in `conf.py`. Then a page may contain the directive `gpt-agent-fsm`; the page
"Pictures" of the documentation describes its options.
"""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

from gpt_agent_fsm import diagrams

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["Machine", "setup"]

_HAPPY_PATH = "happy-path"


def _names(argument: str | None) -> list[str]:
    return (argument or "").replace(",", " ").split()


def _format(argument: str) -> str:
    return str(directives.choice(argument, tuple(diagrams.FORMATS)))


class Machine(SphinxDirective):
    """Draws the state machine, or a part of it, or the path from a message to an answer.

    The argument of the directive is `machine` (the default) for the machine or a part of it, and `happy-path` for the
    path.
    """

    optional_arguments = 1
    option_spec = {  # noqa: RUF012 - docutils reads it from the class
        "states": _names,
        "lit": directives.unchanged_required,
        "format": _format,
        "class": directives.class_option,
    }

    def run(self) -> list[nodes.Node]:
        """Return the picture, or the diagram as text in another format."""
        kind, options = (*self.arguments, "machine")[0], dict(self.options)
        classes = options.pop("class", [])
        if kind == _HAPPY_PATH and not options:
            return _picture(diagrams.happy_path(), classes)
        if kind != "machine":
            raise self.error(
                f"gpt-agent-fsm draws machine, with the options states, lit and format, or {_HAPPY_PATH}, without them"
            )
        try:
            diagram = diagrams.diagram_of(options.get("lit"), states=options.get("states"))
        except ValueError as error:
            raise self.error(f"gpt-agent-fsm: {error}") from error
        form = options.get("format", "svg")
        text = diagrams.render(diagram, form)
        return _picture(text, classes) if form == "svg" else [nodes.literal_block(text, text, language="text")]


def _picture(svg: str, classes: list[str]) -> list[nodes.Node]:
    """Return nodes that show the picture on HTML pages, and only its title in other formats."""
    # An HTML page may be narrower than the picture, so the picture scrolls.
    box = f'<div class="{" ".join(["gpt-agent-fsm-picture", *classes])}" style="overflow-x:auto">{svg}</div>'
    title = unescape(re.findall("<title>(.*?)</title>", svg)[0])
    return [
        addnodes.only("", nodes.raw("", box, format="html"), expr="html"),
        addnodes.only("", nodes.paragraph("", title), expr="not html"),
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("gpt-agent-fsm", Machine)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

"""The contents of a page: blocks of code, and the remarks about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(
    r"^(?:<!-- (?P<remark>[^\n]*) -->\n)?```(?P<kind>\{?[\w-]*\}?)[^\n`]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


@attrs.frozen
class Block:
    """A fenced block.

    Attributes:
        kind: the word behind the fence: "python", "output", "sh", "{toctree}", ...
        remark: the HTML comment right above it, or "".
        line: the line its body begins on, from 1.
    """

    kind: str
    body: str
    remark: str
    line: int

    @property
    def file(self) -> str | None:
        """The file whose text it shows, or None."""
        return self.remark.removeprefix("file: ") if self.remark.startswith("file: ") else None

    @property
    def is_started(self) -> bool:
        """True for a command that runs until the end of the page."""
        return self.remark == "started"

    @property
    def is_executed(self) -> bool:
        """False if a remark says why it cannot be."""
        return self.kind == "python" and not re.fullmatch("not executed: .+", self.remark)


def blocks(page: Path) -> Iterator[Block]:
    """Return the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("body")) + 1
        yield Block(found["kind"], found["body"], found["remark"] or "", line)


def name_of(page: Path) -> str:
    """Return the name of a page in a report."""
    return str(page.relative_to(ROOT))

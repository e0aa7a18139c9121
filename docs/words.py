"""Words that the project does not use, and what it writes instead. `python docs/words.py` lists where they stand.

Only patterns without an exception are in the list. Comments, docstrings and texts of the source are read, and pages
outside their blocks of code.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSTEAD = {
    r"\bcan not\b": "cannot",
    r"\bfor ever\b": "forever",
    r"\bas a rule\b": "usually",
    r"\bseldom\b": "rarely",
    r"\btell whether\b": "return whether",
    r"\bis no JSON\b": "is not valid JSON",
    r"\bhalf of a surrogate\b": "unpaired surrogate",
    r"\b(failed|fails) for rate\b": "rate limited",
}
_PLACES = ("gpt_agent_fsm/**/*.py", "*.py", "docs/*.py", "benchmarks/*.py", "*.md", "docs/**/*.md", "benchmarks/*.md")
_COMPILED = [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in INSTEAD.items()]


def findings(text: str, *, python: bool) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the words and what to write instead, for each place in a text."""
    for line, words in _python_words(text) if python else _page_words(text):
        for pattern, instead in _COMPILED:
            for match in pattern.finditer(words):
                yield line, match.group(), instead


def _python_words(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.start[0], token.string


def _page_words(text: str) -> Iterator[tuple[int, str]]:
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code:
            yield number, line


def everywhere() -> Iterator[str]:
    """Yield a line for each place in the project."""
    for path in sorted({path for place in _PLACES for path in ROOT.glob(place)} - {Path(__file__)}):
        text = path.read_text(encoding="utf-8")
        for line, words, instead in findings(text, python=path.suffix == ".py"):
            yield f"{path.relative_to(ROOT)}:{line}: {words!r}, write {instead!r}"


if __name__ == "__main__":
    found = list(everywhere())
    print(*found, sep="\n")
    sys.exit(1 if found else 0)

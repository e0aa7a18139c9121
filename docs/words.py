"""Words that the project does not use, and what it writes instead. `python docs/words.py` lists their places.

The list has only patterns without an exception, with a reason if the better word does not show it. The program reads
comments, docstrings, texts and the names of tests, and pages outside their blocks of code.
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
    # People are told something; results and failures are not.
    r"\btold apart\b": "distinguished",
    r"\btold by\b": "recognised by",
    r"\btells? of\b": "report",
    r"\bwhat was said\b": "the message",
    # These verbs have several meanings, and a reader often takes the wrong one first.
    r"\b(go|goes|going|gone|went) on\b": "continue",
    r"\b(tak(e|es|en|ing)|took) up\b(?! to\b)": "resume",
    r"\b(hand|hands|handed) on\b": "export or pass",
    r"\b(go|goes|going|went) out\b": "is sent",
    r"\bturns? up\b": "appears",
    r"\blook(s|ed)? for\b": "search for",
    # These name a place instead of an effect.
    r"\bin the way\b": "blocks",
    r"\bunder way\b": "in flight or in progress",
    r"\bat work\b": "active",
    # These have a plainer form.
    r"\b(is|are|was|were) to be\b": "must be",
    r"\bany more\b": "no longer",
    r"\ball the same\b": "still",
    r"\banew\b": "again",
    r"\bamid\b": "during",
    r"\bmeanwhile\b": "name the time",
    # These have a second meaning: "anyway", and a balance that was always empty.
    r"\bin any case\b": "name the case",
    r"\bempty balance\b": "exhausted balance",
    # A thread is a conversation.
    r"\bworker threads?\b": "worker",
    r"\bfrom any thread\b": "from any OS thread",
    # Only those who write a backend know the word "wire".
    r"\b(both|either|every|other|each) wires?\b": "API",
    # The inputs of the machine say which of the three it is.
    r"\bturn(s|ed)? away\b": "delayed, refused or denied",
    # The name of a test begins with its subject.
    r"^test (what|whatever|who|whoever)\b": "a noun",
    # A reader does not know who "we" are.
    r"\b(of|from|to) ours\b": "the library's",
}
_PLACES = (
    "gpt_agent_fsm/**/*.py",
    "*.py",
    "*.md",
    "docs/*.py",
    "docs/**/*.md",
    "benchmarks/*.*",
    "examples/**/*.py",
    "tests/**/*.py",
)
_NOT_READ = {Path(__file__), ROOT / "tests" / "docs" / "test_words.py"}
"""They quote the words."""
_SPACE = r"(?:[ \t]+|[ \t]*\n[ \t]*)"
"""A line may break between two words, but a blank line is the end of a paragraph."""
_COMPILED = [(re.compile(pattern.replace(" ", _SPACE), re.IGNORECASE), instead) for pattern, instead in INSTEAD.items()]


def findings(text: str, *, python: bool) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the words and what to write instead, for each place in a text."""
    for line, words in _python_words(text) if python else _page_words(text):
        for pattern, instead in _COMPILED:
            for match in pattern.finditer(words):
                yield line + words.count("\n", 0, match.start()), match.group(), instead


def _python_words(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.start[0], token.string
        elif token.string.startswith("test_"):
            yield token.start[0], token.string.replace("_", " ")


def _page_words(text: str) -> Iterator[tuple[int, str]]:
    in_code, lines = False, []
    for line in text.splitlines():
        is_fence = line.lstrip().startswith("```")
        lines.append("" if in_code or is_fence else line)
        in_code ^= is_fence
    yield 1, "\n".join(lines)


def everywhere() -> Iterator[str]:
    """Yield a line for each place in the project."""
    for path in sorted({path for place in _PLACES for path in ROOT.glob(place)} - _NOT_READ):
        text = path.read_text(encoding="utf-8")
        for line, words, instead in findings(text, python=path.suffix == ".py"):
            yield f"{path.relative_to(ROOT)}:{line}: {words!r}, write {instead!r}"


if __name__ == "__main__":
    found = list(everywhere())
    print(*found, sep="\n")
    sys.exit(1 if found else 0)

"""Reads descriptions from docstrings in the styles of Google, NumPy and Sphinx."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

import attrs
from docstring_parser import parse

__all__ = ["Documentation", "class_documentation", "documentation"]

_LISTED = re.compile(r"^(\s|[-*+•>|]|\d+[.)]\s)", re.MULTILINE)
"""A line that must not be joined with the line before: a part of a list, a table, a quotation, or code."""


@attrs.frozen
class Documentation:
    """The parts of a docstring that describe a function or class and its parameters to a model."""

    text: str = ""
    parameters: Mapping[str, str] = attrs.field(factory=dict)


def documentation(docstring: str | None) -> Documentation:
    """Return the parts of a docstring. Sections such as "Returns" and "Raises" are left out."""
    parsed = parse(inspect.cleandoc(docstring or ""))
    parts = [part for part in (parsed.short_description, parsed.long_description) if part]
    gap = "\n\n" if parsed.blank_after_short_description else "\n"
    parameters = {
        name.strip().lstrip("*"): _reflowed(parameter.description)
        for parameter in parsed.params
        for name in parameter.arg_name.split(",")
        if parameter.description
    }
    return Documentation(_reflowed(gap.join(parts)), parameters)


def class_documentation(cls: type) -> Documentation:
    """Return the parts of a class's own docstring. A docstring that Python has generated is ignored."""
    docstring = vars(cls).get("__doc__") or ""
    return Documentation() if docstring.startswith(f"{cls.__name__}(") else documentation(docstring)


def _reflowed(text: str) -> str:
    """Return a text with each paragraph on one line. Lists and code keep their lines."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(each if _LISTED.search(each) else " ".join(each.split()) for each in paragraphs)

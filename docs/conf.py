"""How Sphinx builds these pages: `sphinx-build -W -b html docs docs/_build/html`. Nothing is fetched for it."""

from __future__ import annotations

import enum
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

sys.path.insert(0, str(Path(__file__).parent))

import attrs
import reference

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "gpt-agent-fsm"
release = metadata.version(project)
copyright = "the authors of gpt-agent-fsm"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton", "gpt_agent_fsm.sphinx"]
exclude_patterns = ["_build", "decisions/template.md"]
# What a block of code prints is not copied.
copybutton_selector = "div:not(.highlight-output) > div.highlight > pre"
# Text in single backticks in a docstring is code, or a name from this package.
default_role = "py:obj"

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"gpt-agent-fsm {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sphinx = False


def _renew(_app: Sphinx, _docname: str, source: list[str]) -> None:
    source[0] = reference.renewed(source[0])


def _sections(_app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Turn the sections of a docstring into field lists. Napoleon would take `word: rest` for a type as well."""
    field, found = "", []
    for line in lines:
        entry = re.match(r"    (\w[\w, ]*): (.*)", line)
        if line in _FIELDS:
            field = _FIELDS[line]
        elif field and entry:
            found += [f":{field} {name}: {entry[2]}" for name in entry[1].split(", ")]
        else:
            field = field if not line or line.startswith("    ") else ""
            found.append(line)
    lines[:] = found


_FIELDS = {"Args:": "param", "Attributes:": "ivar"}


def _plain_signature(
    _app: Sphinx, _what: str, _name: str, documented: object, _options: object, signature: str | None, *more: str | None
) -> tuple[str | None, str | None]:
    """Write `Event` instead of a list of all classes of events, and a default instead of how attrs looks it up."""
    every = " | ".join(f"~{each.__module__}.{each.__name__}" for each in reference.EVENTS)
    signature = signature and signature.replace(every, "Event")
    if signature and isinstance(documented, type) and attrs.has(documented):
        defaults = {field.name: field.default for field in attrs.fields(documented)}
        signature = re.sub(r"attr_dict\['(\w+)'\]\.default", lambda found: _source(defaults[found[1]]), signature)
        signature = re.sub(r"=( ?)NOTHING", r"=\1...", signature)  # a new object for each call
    return signature, *more


def _source(value: object) -> str:
    """Return how a program writes a value."""
    if isinstance(value, enum.Enum):
        return str(value)
    return getattr(value, "__name__", None) or repr(value)


def _breaks(_app: Sphinx, _pagename: str, _templatename: str, context: dict[str, object], _doctree: object) -> None:
    """Mark the places where a name in code may break: after `_`, `.` and `/`, and before a capital letter.

    Without them a name breaks anywhere in the narrow columns of a phone.
    """
    body = str(context.get("body", ""))
    context["body"] = re.sub(r'(?<=<span class="pre">)[^<]+', lambda name: _BREAK.sub("<wbr>", name[0]), body)


_BREAK = re.compile(r"(?<=[\w}][_./])(?=[\w{])|(?<=[a-z])(?=[A-Z])")


def setup(app: Sphinx) -> None:
    """Make the build renew the generated parts of pages, and read the sections of docstrings."""
    app.add_lexer("mermaid", TextLexer)  # the text of a picture that is not drawn here
    app.connect("source-read", _renew)
    app.connect("autodoc-process-docstring", _sections)
    app.connect("autodoc-process-signature", _plain_signature)
    app.connect("html-page-context", _breaks)

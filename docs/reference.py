"""The parts of these pages that are generated from the code. `python docs/reference.py` writes them into the pages.

A page holds such a part between `<!-- generated: NAME -->` and `<!-- end of NAME -->`, so that it can be read without a
build. The build renews it as well, and a test fails while a page is stale.
"""

from __future__ import annotations

import ast
import enum
import functools
import importlib
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import architecture
import attrs
from timeline_example import example

from gpt_agent_fsm import Settings, State, diagrams, errors, events, signals
from gpt_agent_fsm.machine.table import IGNORED, ILLEGAL, TABLE, TRIGGERS
from gpt_agent_fsm.settings import PREFIX

DOCS = Path(__file__).parent
PICTURE = DOCS / "_static" / "timeline.svg"
_MARKED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


# --- docstrings ------------------------------------------------------------------------------------------


def _paragraphs(documented: type) -> tuple[str, dict[str, str]]:
    """Return a docstring's prose, as one line, and the meanings under `Attributes:`, by name."""
    prose, _, section = (inspect.getdoc(documented) or "").partition("Attributes:\n")
    # An entry begins where the indentation is smallest; lines with more indentation continue it.
    entries = re.split(r"\n(?=\S)", textwrap.dedent(section).strip())
    meanings: dict[str, str] = {}
    for entry in filter(None, entries):
        names, _, meaning = entry.partition(":")
        meanings |= dict.fromkeys(names.split(", "), _one_line(meaning))
    return _one_line(prose), meanings


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _sentence(text: str) -> str:
    """Return text as a sentence of a table."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?")) else f"{text}."


def _code(text: object) -> str:
    """Return text as code in a cell of a table."""
    return f"`{text}`".replace("|", "\\|")


def _table(*header: str) -> list[str]:
    return [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


# --- events ------------------------------------------------------------------------------------------------

EVENTS: tuple[type, ...] = typing.get_args(events.Event)

_COMMON = {
    "thread_id": "the thread's id on the server",
    "run_id": "the run's id",
    "assistant_id": "the assistant of the run",
}
"""The meaning of a field in an event whose docstring does not mention it."""

FOLLOWS = {
    "UserMessageAdded": "`RunStarted`, after the run for the message is created.",
    "RunStarted": "The state is `running` and the run is polled. The run ends in `RunCompleted`, `RunFailed` or "
    "`RateLimited`; before that it may ask for tools.",
    "ToolCallRequested": "Nothing follows until the call has an output. Several calls of one run are announced "
    "together.",
    "ToolCallOutputRecorded": "After the last output of the run, all outputs are sent and the run continues.",
    "ToolCallOutputSubmissionFailed": "`StateChanged` to `failed`. The `RequestFailed` before this event says why.",
    "RunCompleted": "`StateChanged` to `idle`, then one `AssistantMessageAdded` for each new message. Then the next "
    "queued message is sent.",
    "AssistantMessageAdded": "The cursor is now the id of this message. After the last message of the run the next "
    "queued message is sent.",
    "RunFailed": "`StateChanged` to `failed`. The next queued message is sent at once.",
    "RateLimited": "`StateChanged` to `rate_limited`, and after the delay `RunStarted` with a new id. If 0 retries "
    "remain: `RateLimitRetriesExhausted`.",
    "RateLimitRetriesExhausted": "`StateChanged` to `failed`. The next queued message is sent at once.",
    "MessagesDiscarded": "Nothing follows: the queue is empty, or holds only a message that may have been sent.",
    "OrganizationQuotaExceeded": "If a run failed: `RunFailed`. Otherwise the queue is parked until the next command, "
    "or until a run is created on another thread.",
    "StateChanged": "This depends on the new state; see the [state machine](machine.md).",
    "RequestFailed": "If `will_retry` is true, the state stays and another attempt follows. Otherwise the state is "
    "`failed`, unless the run is being cancelled.",
    "ToolApprovalRequested": "The thread waits until your code calls `agent.approve(id)` or `agent.deny(id)`.",
    "ToolApproved": "`ToolStarted`, as soon as the function starts.",
    "ToolDenied": "`ToolCallOutputRecorded` with the reason, unless the run has ended.",
    "ToolStarted": "`ToolCallOutputRecorded`, or `ToolOutcomeUnknown`.",
    "AssistantMessageDelta": "More pieces of the message, and then `AssistantMessageAdded` with the whole content.",
    "HostedToolUsed": "Nothing: the server has used the result already.",
    "ToolOutcomeUnknown": "`ToolCallOutputRecorded` with a sentence for the model.",
    "BudgetExceeded": "The queue waits for a larger limit, or for `agent.discard_queue()`.",
    "ThreadStalled": "The library continues to wait. Call `agent.explain()`, and perhaps "
    "`agent.cancel_run()` or `agent.discard_queue()`.",
    "AgentStopped": "Nothing follows. This is the agent's last event, and it is not part of the thread's history.",
}
"""The consequences of an event, which the docstring of a single event cannot say."""


def _signal(event: type) -> str:
    return signals.by_class[event].name


def events_reference() -> str:
    """Return a table of all events, and a section with all fields for each."""
    lines = _table("event and signal", "sent when", "what follows")
    for event in EVENTS:
        name, (prose, _) = event.__name__, _paragraphs(event)
        names = f"[`{name}`](#{name.lower()})<br>`{_signal(event)}`"
        lines.append(_row(names, prose, FOLLOWS.get(name, "")))
    for event in EVENTS:
        prose, meanings = _paragraphs(event)
        lines += ["", f"### {event.__name__}", "", f"{prose} The signal is `signals.{_signal(event)}`.", ""]
        lines += _table("field", "type", "meaning")
        for field in attrs.fields(event):
            meaning = meanings.get(field.name) or _COMMON.get(field.name, "")
            lines.append(_row(f"`{field.name}`", _code(inspect.get_annotations(event)[field.name]), _sentence(meaning)))
    return "\n".join(lines) + "\n"


# --- settings ----------------------------------------------------------------------------------------------


def settings_reference() -> str:
    """Return a table of all settings, with the docstring below each of them in the code."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(Settings))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - says so to the type checker
    meanings = {
        before.target.id: _one_line(after.value.value)
        for before, after in zip(body.body, body.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
    }
    lines = _table("setting and environment variable", "default", "meaning")
    for field in attrs.fields(Settings):
        names = f"`{field.name}`<br>`{PREFIX}{field.name.upper()}`"
        lines.append(_row(names, f"`{field.default!r}`", meanings[field.name]))
    return "\n".join(lines) + "\n"


# --- errors ------------------------------------------------------------------------------------------------


def errors_reference() -> str:
    """Return the table at the head of the module of errors, then what each error means and carries."""
    rule, header, *_ = (line for line in (errors.__doc__ or "").splitlines() if line.startswith(("=", "error")))
    columns = [slice(*found.span()) for found in re.finditer("=+", rule)]
    columns[-1] = slice(columns[-1].start, None)

    def cells(line: str) -> list[str]:
        return [line[column].strip() for column in columns]

    lines = _table(*cells(header))
    lines += [_row(*cells(line)) for line in (errors.__doc__ or "").splitlines() if line.startswith("`")]
    lines += ["", *_table("error and its base", "meaning", "attributes")]
    for name in sorted(errors.__all__, key=lambda name: len(getattr(errors, name).__mro__)):
        error = getattr(errors, name)
        prose, meanings = _paragraphs(error)
        bases = "".join(f"<br>({base.__name__})" for base in error.__bases__)
        carried = "<br>".join(f"`{attribute}`: {meaning}" for attribute, meaning in meanings.items())
        lines.append(_row(f"`{name}`{bases}", prose, carried))
    return "\n".join(lines) + "\n"


# --- the machine -------------------------------------------------------------------------------------------


def _tables_of_the_machine() -> tuple[str, str]:
    overview, _, rows = diagrams.table_markdown().partition("\n\n")
    return overview + "\n", rows


def machine_overview() -> str:
    """Return the table of the new state for each input in each state."""
    return _tables_of_the_machine()[0]


def machine_rows() -> str:
    """Return every row of the machine."""
    return _tables_of_the_machine()[1]


def machine_size() -> str:
    """Return how many states, inputs and rows there are."""
    rows, ignored, illegal = len(TABLE), len(IGNORED), len(ILLEGAL)
    return (
        f"{len(State)} states, {len(TRIGGERS)} inputs, {rows} rows; "
        f"{ignored} more rows name the inputs that are ignored, and {illegal} rows the inputs that cannot happen.\n"
    )


def machine_paths() -> str:
    """Return the simple paths of a thread, each with its states and its story."""
    lines = []
    for title, paths in diagrams.simple_paths().items():
        lines += [f"### {title}", ""]
        lines += [f"- {' → '.join(_code(state) for state in path.states)}: {path.story}" for path in paths]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def timeline_example() -> str:
    """Return the example of a timeline as text."""
    return f"```text\n{diagrams.timeline_text(example())}```\n"


# --- all names -------------------------------------------------------------------------------------------

_MODULES = ("", ".tools", ".backends", ".stores", ".cluster", ".local", ".testing", ".ports", ".diagrams")
_ELSEWHERE = {"Settings": "settings.md"}
"""Classes whose arguments have a page of their own."""
_GIVEN = {"Agent"}
"""Classes whose arguments are not public, because only the library makes their objects."""
_MAX_DEFAULT = 20


def names_reference() -> str:
    """Return the public names of each module, with their arguments and the first sentences of their docstrings.

    A name that several modules export is shown once. Types are left out, because the API reference has them.
    """
    lines: list[str] = []
    shown: list[object] = []
    for name in _MODULES:
        module = importlib.import_module(f"gpt_agent_fsm{name}")
        lines += [f"## gpt_agent_fsm{name}", ""]
        for public in module.__all__:
            value = getattr(module, public)
            if (inspect.isclass(value) or inspect.isfunction(value)) and value not in shown:
                shown.append(value)
                lines.append(f"- {_use(public, value)}: {_first_sentence(value)}")
                lines += _members(value)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _members(value: object) -> Iterator[str]:
    """Yield a line for each method and property. Those of a class that only implements a protocol are left out."""
    kinds = (classmethod, property, functools.cached_property)
    for name, member in vars(value).items() if inspect.isclass(value) else ():
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, kinds)):
            sentence = _first_sentence(member)
            if sentence and not sentence.startswith("See `"):
                yield f"  - {_use(name, member)}: {sentence}"


def _use(name: str, value: Any) -> str:  # noqa: ANN401 - any public object
    """Return how a program uses a name: with its arguments and their defaults, as code."""
    if name in _ELSEWHERE:
        return f"[`{name}(...)`]({_ELSEWHERE[name]})"
    value = value.__func__ if isinstance(value, classmethod) else value
    if not callable(value) or name in _GIVEN or (inspect.isclass(value) and _is_never_made(value)):
        return f"`{name}`"
    signature = inspect.signature((typing.get_overloads(value) or [value])[-1])
    arguments = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    plain = [each.replace(annotation=each.empty, default=_default(each.default)) for each in arguments]
    return f"`{name}{signature.replace(parameters=plain, return_annotation=signature.empty)}`"


def _is_never_made(cls: type) -> bool:
    """Return whether a class is an enum, an error, a protocol or a `TypedDict`."""
    return issubclass(cls, enum.Enum | Exception | dict) or getattr(cls, "_is_protocol", False)


class _Default(str):
    """A default that is shown as this text, without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _default(value: object) -> object:
    if value is inspect.Parameter.empty:
        return value
    text = str(value) if isinstance(value, enum.Enum) else repr(value)
    return _Default("..." if len(text) > _MAX_DEFAULT or value is attrs.NOTHING or text.startswith("<") else text)


def _first_sentence(value: object) -> str:
    first, _, _ = (inspect.getdoc(value) or "").partition("\n\n")
    return re.split(r"(?<=[.?])\s", _one_line(first))[0]


# --- the plan of the package -------------------------------------------------------------------------------


def rooms() -> str:
    """Return the size of the package's plan, the rooms as a flowchart, and a table of every arrow."""
    plan = architecture.room_graph(architecture.module_graph())
    lines = [architecture.figures(plan), "", "```mermaid", architecture.flowchart(plan), "```", ""]
    lines += _table("room", "floor", "imports")
    for room, floor, needed in architecture.directory(plan):
        lines.append(_row(_code(room), str(floor), ", ".join(map(_code, needed)) or "no other room"))
    return "\n".join(lines) + "\n"


# --- pages ---------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], str]] = {
    "events": events_reference,
    "settings": settings_reference,
    "errors": errors_reference,
    "names": names_reference,
    "machine_overview": machine_overview,
    "machine_rows": machine_rows,
    "machine_size": machine_size,
    "machine_paths": machine_paths,
    "timeline_example": timeline_example,
    "rooms": rooms,
}


def renewed(text: str) -> str:
    """Return a page whose generated parts are current."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", text)


def main() -> None:
    """Renew all pages."""
    for path in sorted(DOCS.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            path.write_text(after, encoding="utf-8", newline="\n")
            print(f"renewed {path.relative_to(DOCS.parent)}")
    PICTURE.write_text(diagrams.timeline_svg(example()), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

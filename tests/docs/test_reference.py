"""The parts of the pages that are made from the code."""

import re

import attrs
import blinker
import pytest
import reference
from timeline_example import example

from gpt_agent_fsm import Settings, State, diagrams, errors, events, signals
from gpt_agent_fsm import __all__ as public
from gpt_agent_fsm.machine.table import TRIGGERS
from tests.docs.pages import ROOT

DOCS = ROOT / "docs"
GENERATED = ["contributing.md", "errors.md", "events.md", "machine.md", "names.md", "pictures.md", "settings.md"]


def rows_of(text):
    """Return the cells of every row of the tables in a text, headers left out."""
    lines = [line.strip("| ") for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]
    rules = [number for number, row in enumerate(rows) if row[0].startswith("---")]
    return [row for number, row in enumerate(rows) if number not in rules and number + 1 not in rules]


# --- the pages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATED)
def test_a_stale_page_is_noticed(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    if reference.renewed(text) != text:
        pytest.fail(f"docs/{name} differs from the code; renew it: python docs/reference.py")


def test_a_stale_picture_of_a_timeline_is_noticed():
    if reference.PICTURE.read_text(encoding="utf-8") != diagrams.timeline_svg(example()):
        pytest.fail("docs/_static/timeline.svg differs from the code; renew it: python docs/reference.py")


def test_every_generated_part_is_on_a_page():
    texts = "".join((DOCS / name).read_text(encoding="utf-8") for name in GENERATED)
    assert sorted(re.findall("<!-- generated: (.*?) -->", texts)) == sorted(reference.PARTS)
    assert sorted(re.findall("<!-- end of (.*?) -->", texts)) == sorted(reference.PARTS)


def test_renewing_fills_a_page_in_and_leaves_the_rest_alone(tmp_path, monkeypatch, capsys):
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text("Above\n<!-- generated: settings -->\nold\n<!-- end of settings -->\nBelow\n", encoding="utf-8")
    monkeypatch.setattr(reference, "DOCS", page.parent)
    monkeypatch.setattr(reference, "PICTURE", tmp_path / "timeline.svg")
    reference.main()
    text = page.read_text(encoding="utf-8")
    assert text.startswith("Above\n<!-- generated: settings -->\n\n| setting")
    assert text.endswith("<!-- end of settings -->\nBelow\n")
    assert "old\n" not in text
    reference.main()
    assert capsys.readouterr().out == "renewed docs/page.md\n"


# --- events ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", reference.EVENTS, ids=lambda event: event.__name__)
def test_an_event_is_there_with_its_signal_and_all_its_fields(event):
    text = reference.events_reference()
    assert f"[`{event.__name__}`](#{event.__name__.lower()})<br>`{signals.by_class[event].name}`" in text
    section = text.split(f"### {event.__name__}\n")[1].split("###")[0]
    assert [row[0] for row in rows_of(section)] == [f"`{field.name}`" for field in attrs.fields(event)]
    assert all(len(meaning) > 3 for _, _, meaning in rows_of(section))


@pytest.mark.parametrize("event", reference.EVENTS, ids=lambda event: event.__name__)
def test_an_event_says_when_it_is_sent_and_what_follows(event):
    (row,) = (row for row in rows_of(reference.events_reference()) if row[0].startswith(f"[`{event.__name__}`]"))
    _, sent_when, follows = row
    assert sent_when.endswith(".")
    assert follows.endswith("."), f"say in docs/reference.py what follows {event.__name__}"


def test_no_removed_event_is_described():
    assert set(reference.FOLLOWS) == set(events.__all__) - {"Event"}


def test_a_new_event_appears_by_itself(monkeypatch):
    @attrs.frozen(kw_only=True)
    class DogBarked:
        """A dog barked, and
        nobody knows why.

        Attributes:
            dogs, cats: how many of them
                were there.
        """

        thread_id: str
        dogs: "int | None"
        cats: int

    monkeypatch.setattr(reference, "EVENTS", (*reference.EVENTS, DogBarked))
    monkeypatch.setitem(signals.by_class, DogBarked, blinker.Signal())
    signals.by_class[DogBarked].name = "dog_barked"
    text = reference.events_reference()
    assert "| [`DogBarked`](#dogbarked)<br>`dog_barked` | A dog barked, and nobody knows why. |  |" in text
    assert text.endswith(
        "### DogBarked\n\nA dog barked, and nobody knows why. The signal is `signals.dog_barked`.\n\n"
        "| field | type | meaning |\n|---|---|---|\n"
        "| `thread_id` | `<class 'str'>` | The thread's id on the server. |\n"
        "| `dogs` | `int \\| None` | How many of them were there. |\n"
        "| `cats` | `<class 'int'>` | How many of them were there. |\n"
    )


# --- all names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(public) - {"errors", "events", "ports", "signals"}))
def test_every_public_name_is_there_with_a_sentence(name):
    section = reference.names_reference().partition("\n## gpt_agent_fsm.tools\n")[0]
    lines = [line for line in section.splitlines() if re.match(rf"- \[?`{name}\b", line)]
    assert len(lines) == 1
    assert lines[0].endswith((".", "?"))


@pytest.mark.parametrize(
    "line",
    [
        "  - `wait(timeout=None)`: Block until",
        "  - `state`: The thread's state.",
        "- `Agent`: Drives one thread.",
        "- `tool(*, timeout=None, approve=False, retry='never', strict=None, name=None, description=None)`: Make",
        "- `Runtime(backend, settings=..., store=None, *, tools=(), scheduler=None, rng=None, trace=None)`: Drives",
        "- [`Settings(...)`](settings.md): The intervals",
        "  - `from_env(environ=None)`: Return the settings from the environment",
        "  - `from_yaml(source, *, wait=None)`: Return a model",
        "- `Backend`: One API.",
    ],
)
def test_a_name_is_there_as_a_program_uses_it(line):
    assert f"\n{line}" in reference.names_reference()


def test_a_method_that_only_implements_a_protocol_is_described_there_alone():
    assert reference.names_reference().count("`create_run(request, *, timeout)`") == 1


# --- settings, errors, the machine ----------------------------------------------------------------------------


def test_every_setting_is_there_with_its_default_variable_and_meaning():
    rows = rows_of(reference.settings_reference())
    expected = [
        (f"`{field.name}`<br>`GPT_AGENT_{field.name.upper()}`", f"`{field.default}`")
        for field in attrs.fields(Settings)
    ]
    assert [tuple(row[:2]) for row in rows] == expected
    assert all(meaning.endswith(".") for _, _, meaning in rows)


def test_every_error_is_there():
    rows = rows_of(reference.errors_reference())
    assert set(errors.__all__) <= {row[0].split("`")[1] for row in rows}
    who_must_act = [row for row in rows if "<br>" not in row[0]]
    assert ["`RequestRefused`", "the caller", "does not repeat the request"] in who_must_act


def test_an_error_says_what_it_carries():
    (row,) = (row for row in rows_of(reference.errors_reference()) if row[0].startswith("`TransientError`<br>"))
    assert row[0] == "`TransientError`<br>(ApiError)"
    assert "`retry_after`: seconds" in row[2]


def test_every_state_and_every_input_is_on_the_page_of_the_machine():
    text = (DOCS / "machine.md").read_text(encoding="utf-8")
    section = text.split("## The states")[1].split("##")[0]
    assert [row[0] for row in rows_of(section)] == [f"`{state}`" for state in State]
    assert {row[0] for row in rows_of(reference.machine_rows())} == {f"`{trigger}`" for trigger in TRIGGERS}
    assert [row[0] for row in rows_of(reference.machine_overview())] == [f"`{trigger}`" for trigger in TRIGGERS]


def test_the_page_of_the_machine_explains_only_existing_inputs():
    page = (DOCS / "machine.md").read_text(encoding="utf-8")
    explained = page.split("## How to read the tables")[1].split("## Where each input leads")[0]
    named = re.findall(r"^\| `([a-z_]+)` \|", explained, re.MULTILINE)
    assert len(named) >= 9
    assert set(named) <= set(TRIGGERS)

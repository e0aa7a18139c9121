"""What a diagram shows: a thread in the machine, or a part of the machine."""

import itertools
import re
from xml.etree import ElementTree

import pytest

from gpt_agent_fsm import diagrams
from gpt_agent_fsm.diagrams import diagram_of
from gpt_agent_fsm.diagrams.arrows import FRAME, arrows
from gpt_agent_fsm.events import RunStarted, StateChanged
from gpt_agent_fsm.machine.states import LIVE, State
from tests import test_diagrams as checks

PARTS = [part for size in range(1, 7) for part in itertools.combinations(State, size)]


def check_readable(svg):
    """Check that no label is hidden or cut. Return the picture."""
    picture = ElementTree.fromstring(svg)  # noqa: S314 - ours
    checks.test_no_label_overlaps_another_one(picture)
    checks.test_no_label_lies_on_a_state_or_outside_of_the_page(picture)
    checks.test_no_arrow_crosses_a_label_or_a_state(picture)
    return picture


def moved(*moves):
    """Return the events of a thread that changed its state so."""
    return [StateChanged(thread_id="t", source=a, dest=b, trigger=trigger) for a, b, trigger in moves]


TALK = moved(("idle", "running", "run_created"), ("running", "awaiting_tools", "run_seen"))
ENDED = moved(("awaiting_tools", "idle", "run_seen"))


def ways(diagram):
    return [(arrow.source, arrow.dest) for arrow in diagram.taken]


# --- a thread in the machine -------------------------------------------------------------------------------


def test_without_a_thread_nothing_is_lit_or_taken():
    diagram = diagram_of()
    assert (diagram.states, diagram.arrows) == (tuple(State), tuple(arrows()))
    assert (diagram.lit, diagram.taken) == (None, ())


def test_the_arrows_since_the_thread_last_left_rest_are_taken():
    assert ways(diagram_of("idle", [*TALK, *ENDED])) == [
        ("idle", "running"), ("running", "awaiting_tools"), (FRAME, "idle"),
    ]  # fmt: skip
    assert ways(diagram_of("running", [*TALK, *ENDED, TALK[0]])) == [("idle", "running")]


def test_other_events_between_changes_of_state_are_skipped():
    started = RunStarted(id="r", thread_id="t", assistant_id="a")
    assert ways(diagram_of("running", [started, TALK[0], started])) == [("idle", "running")]


@pytest.mark.parametrize(("trigger", "source"), [("run_seen", FRAME), ("request_unresolved", "submitting")])
def test_the_input_says_whether_an_arrow_of_the_frame_or_of_a_state_was_taken(trigger, source):
    assert ways(diagram_of("failed", moved(("submitting", "failed", trigger)))) == [(source, "failed")]


def test_a_move_of_an_older_version_that_the_table_no_longer_has_is_not_drawn():
    assert ways(diagram_of("failed", moved(("idle", "submitting", "leap")))) == []


def test_svg_lights_the_state_and_marks_the_arrows_and_their_labels():
    picture = diagrams.svg(diagram_of("awaiting_tools", TALK))
    assert re.findall('class="state (\\w+) lit"', picture) == ["awaiting_tools"]
    assert sorted(re.findall('class="to (\\w+) taken"', picture)) == ["awaiting_tools", "running"]
    assert 'class="guard taken end"' in picture
    assert "<title>The thread is awaiting tools; it moved from idle to running, running to awaiting tools</title>" in (
        picture
    )


def test_mermaid_lights_the_state_and_marks_the_arrows():
    lines = diagrams.mermaid(diagram_of("awaiting_tools", TALK)).splitlines()
    assert "    class awaiting_tools lit" in lines
    assert [line.split(" : ")[0].strip() for line in lines if " : ✔ " in line] == [
        "idle --> running", "running --> awaiting_tools",
    ]  # fmt: skip


def test_dot_lights_the_state_and_marks_the_arrows():
    lines = diagrams.dot(diagram_of("awaiting_tools", TALK)).splitlines()
    assert [line.split()[0] for line in lines if "fontcolor" in line] == ["awaiting_tools"]
    assert [line.split(" [")[0].strip() for line in lines if "penwidth=4" in line] == [
        "idle -> running", "running -> awaiting_tools",
    ]  # fmt: skip


def test_markdown_says_where_the_thread_is_and_marks_its_column():
    first, _, head, *_ = diagrams.markdown(diagram_of("awaiting_tools", TALK)).splitlines()
    assert first == ("The thread is **`awaiting_tools`**. It moved: `idle` → `running`, `running` → `awaiting_tools`.")
    assert "**`awaiting_tools`**" in head
    assert "**" not in diagrams.markdown()


@pytest.mark.parametrize("form", diagrams.FORMATS)
def test_each_format_can_be_rendered_by_its_name(form):
    assert diagrams.render(diagram_of("failed"), form) == diagrams.FORMATS[form](diagram_of("failed"))


@pytest.mark.parametrize("form", ["png", "SVG", "", None, 3])
def test_an_unknown_format_is_a_clear_error(form):
    with pytest.raises(ValueError, match=f"the format must be one of mermaid, dot, svg, md, not {form!r}"):
        diagrams.render(diagram_of(), form)


# --- a part of the machine ---------------------------------------------------------------------------------


def test_a_part_has_the_arrows_between_its_states():
    diagram = diagram_of(states=["rate_limited", "idle", "failed"])
    assert diagram.states == (State.IDLE, State.RATE_LIMITED, State.FAILED)
    assert [(arrow.source, arrow.dest) for arrow in diagram.arrows] == [
        ("idle", "failed"), ("rate_limited", "failed"), ("failed", "idle"),
    ]  # fmt: skip


def test_a_part_with_an_arrow_from_the_frame_has_all_states_of_a_run():
    diagram = diagram_of(states=["submitting", "idle"])
    assert diagram.states == (State.IDLE, *LIVE)
    assert [(arrow.source, arrow.dest) for arrow in diagram.arrows] == [(FRAME, "idle")]


@pytest.mark.parametrize("states", [["idle", "asleep"], ["Idle"], [""]])
def test_a_part_with_an_unknown_state_is_a_clear_error(states):
    with pytest.raises(ValueError, match="is not a state; the states are idle, running"):
        diagram_of(states=states)


def test_a_part_without_states_and_an_unknown_lit_state_are_clear_errors():
    with pytest.raises(ValueError, match="needs at least one of the states"):
        diagram_of(states=[])
    with pytest.raises(ValueError, match="'asleep' is not a state"):
        diagram_of("asleep")


@pytest.mark.parametrize("part", PARTS, ids="-".join)
def test_every_part_can_be_drawn_and_read(part):
    diagram = diagram_of(states=part)
    check_readable(diagrams.svg(diagram))
    for draw in (diagrams.mermaid, diagrams.dot, diagrams.markdown):
        assert all(state in draw(diagram) for state in part)


def test_the_happy_path_has_five_arrows_and_can_be_read():
    picture = check_readable(diagrams.happy_path())
    paths = [each.get("class") for each in picture.iter() if (each.get("class") or "").startswith("to ")]
    assert paths == ["to idle", "to running", "to awaiting_tools", "to submitting", "to running", "to idle"]
    # A phone has about 360 pixels; the texts must not become smaller than 9.
    assert float(picture.get("width")) * 9 / 14 <= 340

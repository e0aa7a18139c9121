"""The pictures of the machine: they say what the table says, and can be read."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gpt_agent_fsm import diagrams
from gpt_agent_fsm.diagrams import arrows as arrows_module
from gpt_agent_fsm.diagrams import text as text_module
from gpt_agent_fsm.diagrams.arrows import FRAME, Arrow, Cause, arrows
from gpt_agent_fsm.diagrams.style import COLOURS, DARK, LIGHT
from gpt_agent_fsm.machine.rows import Row, states_of
from gpt_agent_fsm.machine.states import LIVE, State
from gpt_agent_fsm.machine.table import IGNORED, ILLEGAL, TABLE, TRIGGERS

COMMITTED = Path(__file__).parents[1] / "diagrams"
SVG = "{http://www.w3.org/2000/svg}"
LETTER = 7.0
"""What a letter takes in the picture's font, in its units; most fonts take less."""


MOVES = [
    (row.trigger, state, row.dest, row.condition)
    for row in TABLE
    for state in row.states
    if row.dest not in (None, state)
]


def named(name):
    """Return a function of this name; None for none."""

    def function(copy, input_):
        pass

    function.__name__ = name or ""
    return function if name else None


def made_up(trigger, source, dest, guard, action):
    """Return a row of an input that the real machine does not know."""
    kind = type(trigger, (), {"trigger": trigger})
    return Row(kind, states_of(source), dest, named(guard), named(action), "made up")


# --- renewing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("machine.mmd", diagrams.mermaid),
        ("machine.dot", diagrams.dot),
        ("machine.svg", diagrams.svg),
        ("happy-path.svg", diagrams.happy_path),
    ],
)
def test_a_stale_diagram_is_noticed(name, draw):
    committed = (COMMITTED / name).read_text(encoding="utf-8")
    if committed != draw():
        pytest.fail(f"diagrams/{name} is not what the table says; renew it: gpt-agent-fsm diagram --write diagrams")


def test_the_same_table_gives_the_same_bytes():
    code = "from gpt_agent_fsm import diagrams as d; print(d.mermaid(), d.dot(), d.svg(), d.table_markdown())"

    def drawn(seed):
        environ = os.environ | {"PYTHONHASHSEED": seed}
        return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=True).stdout

    assert drawn("1") == drawn("2")


def test_the_library_does_not_import_its_pictures():
    code = "import sys, gpt_agent_fsm; sys.exit(any('diagrams' in name or '.cli' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- what the arrows say ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trigger", "source", "dest", "guard"), MOVES)
def test_every_row_that_moves_is_on_an_arrow(trigger, source, dest, guard):
    sources = {source, FRAME} if source in LIVE else {source}
    causes = [c for arrow in arrows() if arrow.source in sources and arrow.dest == dest for c in arrow.causes]
    assert any(trigger in c.inputs and (not c.guards or (guard or "otherwise") in c.guards) for c in causes)


@pytest.mark.parametrize("arrow", arrows(), ids=lambda arrow: f"{arrow.source}-{arrow.dest}")
def test_every_arrow_is_made_of_rows(arrow):
    for source in LIVE if arrow.source == FRAME else [arrow.source]:
        rows = {(t, g or "otherwise") for t, state, dest, g in MOVES if (state, dest) == (source, arrow.dest)}
        for cause in arrow.causes:
            for trigger in cause.inputs:
                guards = cause.guards or tuple(g for t, g in rows if t == trigger)
                assert guards
                assert {(trigger, guard) for guard in guards} <= rows


def test_an_input_that_always_leads_the_same_way_needs_no_guard(monkeypatch):
    table = [
        made_up("bell", State.IDLE, State.FAILED, "is_loud", "ring"),
        made_up("bell", State.IDLE, State.FAILED, None, "hum"),
        made_up("knock", State.IDLE, State.FAILED, "is_loud", "open"),
        made_up("knock", State.IDLE, None, None, "ignore"),
    ]
    monkeypatch.setattr(arrows_module, "TABLE", table)
    monkeypatch.setattr(arrows_module, "TRIGGERS", ("bell", "knock"))
    assert arrows() == [Arrow("idle", "failed", (Cause(("bell",), ()), Cause(("knock",), ("is_loud",))))]


def test_a_row_for_all_states_of_a_run_is_drawn_once_from_the_frame(monkeypatch):
    table = [
        made_up("seen", LIVE, State.IDLE, "is_over", "end"),
        made_up("seen", State.SUBMITTING, State.IDLE, "is_odd", "end"),
        made_up("told", LIVE, State.IDLE, None, "end"),
        made_up("lost", State.SUBMITTING, State.IDLE, "is_odd", "end"),
        made_up("lost", LIVE, State.IDLE, None, "end"),
        made_up("cut", [State.RUNNING, State.AWAITING_TOOLS], State.IDLE, None, "end"),
        made_up("cut", State.SUBMITTING, State.IDLE, "is_odd", "end"),
    ]
    monkeypatch.setattr(arrows_module, "TABLE", table)
    monkeypatch.setattr(arrows_module, "TRIGGERS", ("seen", "told", "lost", "cut"))
    assert arrows() == [
        Arrow("running", "idle", (Cause(("cut",), ()),)),
        Arrow("awaiting_tools", "idle", (Cause(("cut",), ()),)),
        Arrow("submitting", "idle", (Cause(("seen", "cut"), ("is_odd",)),)),
        Arrow(FRAME, "idle", (Cause(("seen",), ("is_over",)), Cause(("told", "lost"), ()))),
    ]


# --- mermaid and dot ------------------------------------------------------------------------------------------


def test_mermaid_has_the_initial_mark_and_one_line_per_arrow():
    lines = [line.strip() for line in diagrams.mermaid().splitlines()]
    assert lines[:2] == ["stateDiagram-v2", "[*] --> idle"]
    assert f"{FRAME} --> idle : run_seen [run_is_completed]" in lines
    assert sum(" --> " in line for line in lines) == len(arrows()) + 1
    # A colon or a semicolon would end a label.
    assert not any(re.search("[:;]", line.partition(" : ")[2]) for line in lines)


def test_dot_has_the_initial_mark_all_states_and_one_edge_per_arrow():
    lines = [line.strip() for line in diagrams.dot().splitlines()]
    assert (lines[0], lines[-1]) == ("digraph machine {", "}")
    assert "start -> idle;" in lines
    assert all(any(line.startswith(f"{state} [fillcolor=") for line in lines) for state in State)
    assert sum(" -> " in line for line in lines) == len(arrows()) + 1
    assert sum(f"ltail=cluster_{FRAME}" in line for line in lines) == sum(a.source == FRAME for a in arrows())


# --- svg ----------------------------------------------------------------------------------------------------


def boxes(elements):
    for element in elements:
        x, y, width, height = (float(element.get(name)) for name in ("x", "y", "width", "height"))
        yield element.get("class"), (x, y, x + width, y + height)


def written(root):
    """Yield the texts with the room they take."""
    for element in root.iter(f"{SVG}text"):
        x, y, width = float(element.get("x")), float(element.get("y")), len(element.text) * LETTER
        style = element.get("class").split()
        left = x - width / 2 if "middle" in style else x - width if "end" in style else x
        yield element.text, (left, y - 11, left + width, y + 3)


def lines(root):
    """Yield the straight parts of the arrows."""
    for element in root.iter(f"{SVG}path"):
        if element.get("class").startswith("to "):
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", element.get("d"))]
            points = list(zip(numbers[::2], numbers[1::2], strict=True))
            for (x1, y1), (x2, y2) in itertools.pairwise(points):
                yield element.get("d"), (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))


def touch(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.fixture(scope="module")
def picture():
    return ElementTree.fromstring(diagrams.svg())  # noqa: S314 - ours


def test_the_picture_shows_six_states_the_initial_mark_and_every_arrow(picture):
    names = [element.text for element in picture.iter(f"{SVG}text") if "name" in element.get("class")]
    assert sorted(names) == sorted(State)
    assert len(picture.findall(f"{SVG}circle")) == 1
    arrow_paths = [path for path in picture.iter(f"{SVG}path") if path.get("class").startswith("to ")]
    assert len(arrow_paths) == len(arrows()) + 1


def test_the_picture_says_every_input_and_guard_in_words(picture):
    texts = " ".join(element.text for element in picture.iter(f"{SVG}text"))
    for cause in (cause for arrow in arrows() for cause in arrow.causes):
        for word in (*cause.inputs, *(f"[{guard}]" for guard in cause.guards)):
            assert word.replace("_", " ") in texts


def test_no_label_overlaps_another_one(picture):
    for (one, room), (other, other_room) in itertools.combinations(written(picture), 2):
        assert not touch(room, other_room), f"{one} and {other} overlap"


def test_no_label_lies_on_a_state_or_outside_of_the_page(picture):
    rectangles = list(boxes(picture.iter(f"{SVG}rect")))
    page = next(room for style, room in rectangles if style == "page")
    for text, room in written(picture):
        assert page[0] <= room[0], text
        assert room[2] <= page[2], text
        assert page[1] <= room[1], text
        assert room[3] <= page[3], text
        for style, box in rectangles:
            if style.startswith("state ") and style != f"state {text}":
                assert not touch(room, box), f"{text} lies on {style}"


def test_no_arrow_crosses_a_label_or_a_state(picture):
    states = [box for style, box in boxes(picture.iter(f"{SVG}rect")) if style.startswith("state ")]
    for path, line in lines(picture):
        for text, room in written(picture):
            assert not touch(line, room), f"{path} crosses {text}"
        # It may begin and end on a border.
        assert not any(touch(line, (box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1)) for box in states), path


def test_the_picture_stands_alone(picture):
    assert {element.tag.removeprefix(SVG) for element in picture.iter()} <= {
        "svg", "title", "style", "path", "rect", "circle", "text",
    }  # fmt: skip
    assert re.findall(r"https?://[^\"]*", diagrams.svg()) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"url\(|@import|\bid=", diagrams.svg())


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_the_picture_can_be_read_on_light_and_on_dark_pages(theme):
    for colour, ground in itertools.product((theme.ink, theme.soft), (theme.page, theme.frame)):
        assert contrast(colour, ground) >= 4.5
    for state in State:
        assert contrast(theme.ink, theme.fill(state)) >= 4.5
        assert contrast(theme.line(state), theme.frame) >= 3
        # The name of a lit state stands on the colour of its border.
        assert contrast(theme.page, theme.line(state)) >= 4.5


def test_the_picture_follows_the_choice_of_its_page_before_that_of_the_browser(picture):
    light, browser, chosen_light, chosen_dark = (
        block[block.index(".state.idle{") :].partition("}")[0]
        for block in re.split(
            r"(?=@media)|(?=:is\(\[data-theme=\w+\],\S+ \.gpt-agent-fsm\.machine \.page)", style_of(picture)
        )
    )
    assert (light, browser) == (chosen_light, chosen_dark)
    assert COLOURS["idle"][0] in light
    assert COLOURS["idle"][2] in browser


def style_of(root):
    return root.find(f"{SVG}style").text


def test_every_rule_is_limited_to_pictures_of_its_kind(picture):
    rules = re.findall(r"([^{}]+)\{[^{}]+\}", style_of(picture).replace("@media (prefers-color-scheme:dark){", ""))
    for selector in itertools.chain.from_iterable(re.split(r",(?![^(]*\))", rule) for rule in rules):
        assert ".gpt-agent-fsm.machine " in selector


def test_an_arrow_without_a_path_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(arrows_module, "TABLE", [*TABLE, made_up("leap", State.IDLE, State.SUBMITTING, None, "jump")])
    monkeypatch.setattr(arrows_module, "TRIGGERS", (*TRIGGERS, "leap"))
    with pytest.raises(LookupError, match="no route for an arrow from idle to submitting"):
        diagrams.svg()


def test_the_picture_grows_with_its_labels(monkeypatch):
    small = ElementTree.fromstring(diagrams.svg())  # noqa: S314 - ours
    guards = [f"has_a_guard_with_quite_a_long_name_that_needs_more_room_{n}" for n in range(20)]
    rows = [made_up("run_seen", State.RUNNING, State.AWAITING_TOOLS, guard, "wait") for guard in guards]
    monkeypatch.setattr(arrows_module, "TABLE", [*TABLE, *rows])
    large = ElementTree.fromstring(diagrams.svg())  # noqa: S314 - ours
    assert float(large.get("width")) > float(small.get("width"))
    assert float(large.get("height")) > float(small.get("height"))
    test_no_label_overlaps_another_one(large)
    test_no_label_lies_on_a_state_or_outside_of_the_page(large)
    test_no_arrow_crosses_a_label_or_a_state(large)


# --- the table ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables():
    """Return the cells of both tables, without their heads."""
    parts = diagrams.table_markdown().strip().split("\n\n")
    return [[[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()[2:]] for part in parts]


def test_the_overview_says_where_each_input_leads_in_each_state(tables):
    overview = {line[0]: dict(zip(State, line[1:], strict=True)) for line in tables[0]}
    assert list(overview) == [f"`{trigger}`" for trigger in TRIGGERS]
    assert overview["`run_created`"][State.IDLE] == "`running`"
    assert overview["`run_created`"][State.FAILED] == "illegal"
    assert overview["`add_user_message`"][State.RUNNING] == "stays"
    assert overview["`submit_tool_output`"][State.AWAITING_TOOLS] == "`submitting`, stays, ignored"
    assert all(all(cells.values()) for cells in overview.values())


def test_the_second_table_has_every_row_in_the_order_in_which_it_is_tried(tables):
    for trigger in TRIGGERS:
        rows = [line[1:] for line in tables[1] if line[0] == f"`{trigger}`"]
        expected = [(row.condition, row.verb) for row in TABLE if row.trigger == trigger]
        assert [row[3] for row in rows[: len(expected)]] == [f"`{action}`" for _, action in expected]
        assert [row[2] for row in rows if row[2] not in ("", "otherwise")] == [f"`{g}`" for g, _ in expected if g]
        reasons = [(row[1], row[3]) for row in rows[len(expected) :]]
        assert reasons == [("ignored", row.reason) for row in IGNORED if row.trigger == trigger] + [
            ("illegal", row.reason) for row in ILLEGAL if row.trigger == trigger
        ]


def test_a_row_after_guarded_ones_says_otherwise(tables):
    assert ["`run_created`", "`idle`, `rate_limited`", "`running`", "", "`start_run`"] in tables[1]
    assert ["`request_blocked`", "`idle`, `rate_limited`", "`failed`", "otherwise", "`give_up`"] in tables[1]
    assert ["`resume`", "any", "ignored", "otherwise", "no request was in flight"] in tables[1]


def test_a_row_says_otherwise_only_after_guarded_rows_of_its_own_states(monkeypatch):
    table = [
        made_up("bell", State.IDLE, None, "is_loud", "ring"),
        made_up("bell", State.FAILED, None, None, "hum"),
        made_up("bell", State.IDLE, None, None, "hush"),
    ]
    monkeypatch.setattr(text_module, "TABLE", table)
    monkeypatch.setattr(text_module, "TRIGGERS", ("bell",))
    assert diagrams.table_markdown().splitlines()[-3:] == [
        "| `bell` | `idle` | the same | `is_loud` | `ring` |",
        "| `bell` | `failed` | the same |  | `hum` |",
        "| `bell` | `idle` | the same | otherwise | `hush` |",
    ]


def test_a_picture_without_styles_differs_only_in_its_styles():
    """A page that forbids styles inside the page serves the style sheet on its own."""
    whole, bare = diagrams.svg(), diagrams.svg(styled=False)
    assert "style" not in bare
    without = re.sub(r' style="[^"]*"', "", whole.replace(f"<style>\n{diagrams.machine_styles()}\n</style>\n", ""))
    assert without == bare

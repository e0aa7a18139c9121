"""Timelines as a picture and as text: where the bars and the names are, and how large a timeline becomes."""

import itertools
import re
from xml.etree import ElementTree

import pytest

from gpt_agent_fsm.diagrams import timeline_of, timeline_styles, timeline_svg, timeline_text
from gpt_agent_fsm.diagrams.axis import axis_of, clock, duration, ticks_of
from gpt_agent_fsm.diagrams.lanes import rows_of
from gpt_agent_fsm.events import RunCompleted, RunStarted, ToolCallRequested
from tests.diagrams.test_timeline import CALLED, COMPLETED, RECORDED, STARTED, make, moved, records
from tests.test_diagrams import SVG, style_of, touch

HOUR = 3600.0


def talk(at, number=1, seconds=4.0):
    """Return a run of a few seconds that calls a tool."""
    run = f"run_{number}"
    return [
        (at, make(RunStarted, id=run)),
        (at, moved("idle", "running", "run_created")),
        (at + seconds / 4, make(ToolCallRequested, id=f"c{number}", run_id=run, name="get_weather", arguments={})),
        (at + seconds / 4, moved("running", "awaiting_tools")),
        (at + seconds / 2, make(type(RECORDED), id=f"c{number}", run_id=run, name="get_weather", output="1")),
        (at + seconds / 2, moved("awaiting_tools", "submitting", "submit_tool_output")),
        (at + seconds, make(RunCompleted, id=run, prompt_tokens=1, completion_tokens=1, total_tokens=2)),
        (at + seconds, moved("submitting", "idle")),
    ]


def many(count, every):
    return timeline_of(records(*itertools.chain.from_iterable(talk(n * every, n) for n in range(count))))


TIMELINES = {
    "empty": timeline_of([]),
    "pruned": timeline_of([], "thread_1", was_pruned=True),
    "the rest": timeline_of(records((1, STARTED)), was_pruned=True),
    "one record": timeline_of(records((1, STARTED))),
    "a run": timeline_of(records(*talk(0))),
    "open": timeline_of(records(*talk(0)[:4])),
    "two days": timeline_of(records(*talk(0), *talk(48 * HOUR, 2), *talk(60 * HOUR, 3))),
    "without pauses": many(1250, 5.0),
    "a day each": many(1250, 24 * HOUR),
}


@pytest.fixture(params=TIMELINES)
def timeline(request):
    return TIMELINES[request.param]


# --- the axis ----------------------------------------------------------------------------------------------


def test_without_a_long_pause_the_axis_is_even():
    axis = axis_of([0, 1, 2, 10], left=100, width=300, gap=20)
    assert [axis.place(time) for time in (0, 5, 10)] == [100, 250, 400]
    assert axis.pauses == []


def test_a_long_pause_is_cut_out_and_its_length_is_known():
    axis = axis_of([0, 1, 2, 2 + 5 * HOUR, 4 + 5 * HOUR], left=0, width=320, gap=20)
    assert axis.pauses == [(160, 5 * HOUR)]
    assert [axis.place(time) for time in (0, 2, 100, 2 + 5 * HOUR, 4 + 5 * HOUR)] == [0, 150, 150, 170, 320]


def test_several_long_pauses_of_different_lengths_are_all_cut_out():
    axis = axis_of([0, 5, 90 * HOUR, 90 * HOUR + 5, 91 * HOUR, 91 * HOUR + 3, 99 * HOUR], left=0, width=900, gap=10)
    assert [round(seconds / HOUR) for _, seconds in axis.pauses] == [90, 1, 8]


@pytest.mark.parametrize("times", [[0, 1, 50], [0, HOUR, 2 * HOUR, 3 * HOUR], [5], [0, HOUR], [0, 200, 500, 900]])
def test_short_pauses_and_pauses_among_their_like_stay(times):
    assert axis_of(times, left=0, width=100, gap=10).pauses == []


def test_an_axis_with_many_long_pauses_begins_after_one_of_them():
    axis = axis_of([time for day in range(30) for time in (day * HOUR, day * HOUR + 2)], left=0, width=900, gap=10)
    assert (len(axis.pauses), axis.start) == (11, 18 * HOUR)


def test_a_short_chapter_beside_a_long_one_can_be_seen():
    axis = axis_of([0, 0.001, 80 * HOUR, 80 * HOUR + 60, 80 * HOUR + 110], left=0, width=600, gap=30)
    assert min(chapter.width for chapter in axis.chapters) > 90


@pytest.mark.parametrize("length", [0.001, 0.2, 1, 7, 59, 100, 4000, 40_000, 300_000, 3e7])
def test_ticks_are_some_and_far_enough_apart(length):
    (chapter,) = axis_of([0, length], left=0, width=800, gap=0).chapters
    places = [place for place, _ in ticks_of(chapter, 90)]
    assert 1 <= len(places) <= 8
    assert all(after - before >= 89 for before, after in itertools.pairwise([0, *places]))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 ms"), (0.04, "40 ms"), (2.5, "2.5 s"), (200, "3 min 20 s"), (7200, "2 h"), (187_200, "2 d 4 h")],
)
def test_durations_have_their_two_largest_units(seconds, words):
    assert duration(seconds) == words


def test_a_time_that_no_calendar_has_is_a_number():
    assert (clock(0), clock(1e18)) == ("00:00:00", "1000000000000000000")


def test_rooms_of_a_row_do_not_overlap_and_rooms_without_a_row_have_none():
    assert rows_of([(0, 5), (1, 3), (2, 9), (3, 4), (5, 6)], most=2) == [0, 1, None, 1, 0]


# --- the picture -------------------------------------------------------------------------------------------


def rooms(root, tag, width_of):
    for each in root.iter(f"{SVG}{tag}"):
        if each.get("class") != "page":
            x, y, width = float(each.get("x")), float(each.get("y")), width_of(each)
            left = x - width if "end" in each.get("class") else x
            yield each, (left, y - (11 if tag == "text" else 0), left + width, y + (3 if tag == "text" else 18))


def test_no_name_is_cut_or_lies_on_another_name(timeline):
    root = ElementTree.fromstring(timeline_svg(timeline))  # noqa: S314 - ours
    texts = list(rooms(root, "text", lambda each: len(each.text) * (9.2 if each.get("class") == "name" else 8)))
    for each, (left, top, right, bottom) in texts:
        assert left >= 0 and right <= float(root.get("width")), each.text  # noqa: PT018
        assert top >= 0 and bottom <= float(root.get("height")), each.text  # noqa: PT018
    for (one, room), (other, other_room) in itertools.combinations(texts, 2):
        assert not touch(room, other_room), f"{one.text} and {other.text} overlap"


def test_bars_of_a_lane_do_not_overlap(timeline):
    root = ElementTree.fromstring(timeline_svg(timeline))  # noqa: S314 - ours
    bars = [room for each, room in rooms(root, "rect", lambda each: float(each.get("width")))]
    # The narrowest bar has a width of 4, so neighbours may touch by that.
    inner = [(left + 4, top, right, bottom) for left, top, right, bottom in bars if right - left > 4]
    assert not any(touch(one, other) for one, other in itertools.combinations(inner, 2))


def test_the_size_of_a_timeline_is_bounded(timeline):
    svg, text = timeline_svg(timeline), timeline_text(timeline)
    root = ElementTree.fromstring(svg)  # noqa: S314 - ours
    assert float(root.get("width")) == 960
    assert float(root.get("height")) < 1400
    assert len(svg) < 120_000
    assert len(text.splitlines()) < 60
    assert max(map(len, text.splitlines())) <= 100


def test_the_same_records_give_the_same_bytes():
    assert timeline_svg(many(30, 5.0)) == timeline_svg(many(30, 5.0))
    assert timeline_text(many(30, 5.0)) == timeline_text(many(30, 5.0))


def test_the_picture_stands_alone_and_has_both_themes(timeline):
    svg = timeline_svg(timeline)
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"url\(|@import|\bid=|<script", svg)
    assert style_of(ElementTree.fromstring(svg)).count("prefers-color-scheme:dark") == 1  # noqa: S314 - ours


def test_names_of_the_server_cannot_become_elements():
    evil = records((1, make(RunStarted, id="<script>&\"'")), (2, COMPLETED))
    svg = timeline_svg(timeline_of(evil, '<b>&"'))
    assert "<script>" not in svg
    assert "<b>" not in svg
    assert [each.text for each in ElementTree.fromstring(svg).iter(f"{SVG}text")][0] == '<b>&"'  # noqa: S314, RUF015


def test_a_picture_and_a_text_say_what_they_do_not_show():
    for draw in (timeline_svg, timeline_text):
        assert "Older records are not shown." in draw(TIMELINES["without pauses"])
        assert "Long pauses are cut out." in draw(TIMELINES["two days"])
        assert "1 d 23 h" in draw(TIMELINES["two days"])
        assert "more" in draw(many(40, 4.1))
        assert "not shown" not in draw(TIMELINES["two days"])


# --- the text ----------------------------------------------------------------------------------------------


def test_the_text_has_a_line_for_each_lane():
    pairs = [(0, STARTED), (0, CALLED), (6, RECORDED), (8, COMPLETED), (8, CALLED)]
    lines = timeline_text(timeline_of(records(*pairs))).splitlines()
    assert lines[:4] == ["thread_1", "1970-01-01 00:00:00 UTC, 8 s.", "", "            00:00:00"]
    runs, calls = lines[4:]
    assert re.fullmatch("runs        ├run_1 completed─{70}┤", runs)
    assert re.fullmatch("tool calls  ├pay─{60}┤ {18}pay ●", calls)


def test_a_bar_that_has_not_ended_is_open_in_both_formats():
    assert re.search("├run_1─+>", timeline_text(TIMELINES["open"]))
    assert 'class="bar running open"' in timeline_svg(TIMELINES["open"])


@pytest.mark.parametrize("draw", [timeline_svg, timeline_text])
def test_a_timeline_without_records_names_no_time_and_says_whether_they_were_pruned(draw):
    assert "There are no records yet." in draw(TIMELINES["empty"])
    assert "There are no records: the history was pruned." in draw(TIMELINES["pruned"])
    assert "Older records were pruned." in draw(TIMELINES["the rest"])
    assert all(text not in draw(TIMELINES["empty"]) for text in ("1970", "00:00:00"))


def test_a_timeline_names_the_last_state_which_may_have_no_room():
    timeline = timeline_of(records((0, moved("running", "awaiting_tools"))))
    assert "The last state is awaiting_tools." in timeline_text(timeline)
    assert "The last state is awaiting_tools." in timeline_svg(timeline)


def legend_of(timeline):
    boxes = re.findall(
        r'<rect class="([^"]+)"[^>]* width="12" height="12"[^>]*/>\n<text[^>]*>([^<]+)', timeline_svg(timeline)
    )
    return {meaning: style for style, meaning in boxes}


def test_the_legend_explains_the_colour_of_every_bar_and_the_border_of_an_open_one():
    legend = legend_of(TIMELINES["open"])
    assert legend["not ended"] == "bar idle open"
    assert "not ended" not in legend_of(TIMELINES["a run"])
    for timeline in TIMELINES.values():
        bars = set(re.findall(r'<rect class="bar (\w+)', timeline_svg(timeline)))
        assert bars <= {style.split()[1] for style in legend_of(timeline).values()}


def test_a_timeline_without_styles_differs_only_in_its_styles(timeline):
    whole, bare = timeline_svg(timeline), timeline_svg(timeline, styled=False)
    assert "style" not in bare
    assert re.sub(r' style="[^"]*"', "", whole.replace(f"<style>\n{timeline_styles()}\n</style>\n", "")) == bare


def test_a_name_from_a_server_cannot_add_elements_to_the_picture():
    odd = make(ToolCallRequested, id='c"1', run_id="run_1", name='<script>alert("&")</script>', arguments={})
    picture = timeline_svg(timeline_of(records((1, odd)), "<b>&"))
    elements = list(ElementTree.fromstring(picture).iter())  # noqa: S314 - it is ours
    assert {element.tag.removeprefix(SVG) for element in elements} == {"svg", "title", "style", "rect", "text", "path"}
    assert any('<script>alert("&")</script>' in (element.text or "") for element in elements)


def test_a_list_of_records_is_no_timeline():
    with pytest.raises(TypeError, match=r"pass a Timeline, as timeline_of\(\) returns, not a list"):
        timeline_svg([])


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("timeline", TIMELINES.values(), ids=TIMELINES)
def test_a_timeline_is_as_wide_as_requested(timeline, width):
    assert max(map(len, timeline_text(timeline, width=width).splitlines())) <= width


def test_a_timeline_that_is_too_narrow_is_refused():
    with pytest.raises(ValueError, match="width must be at least 60, not 59"):
        timeline_text(TIMELINES["empty"], width=59)

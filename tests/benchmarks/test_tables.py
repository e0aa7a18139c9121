"""Tables of figures, their picture, and the exponents."""

from xml.etree import ElementTree

import pytest

from benchmarks.bars import bars
from benchmarks.growth import exponent
from benchmarks.summary import PAGE
from benchmarks.tables import Row, Table, interleaved, table_of

RESULTS = {"by hand": [1.0, 2.0, 4.0], "library, `wait`": [2.0, 2.0, 2.0]}


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds():
    first, second = table_of("CPU", RESULTS, "{:.0f} s".format).rows
    assert first == Row("by hand", "2 s", 1.0, (1.0, 1.0))
    assert second == Row("library, `wait`", "2 s", 1.0, (0.5, 2.0))


def test_each_round_measures_everything_once():
    order = []
    measures = {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}
    assert interleaved(measures, 2, lambda _: None) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_the_picture_has_a_bar_for_each_ratio_and_none_without():
    memory = Table("Memory", (Row("an idle agent", "4 kB"),))
    picture = ElementTree.fromstring(bars("CPU < time", [table_of("CPU", RESULTS, "{} s".format), memory]))  # noqa: S314
    styles = [each.get("class") for each in picture if each.tag.endswith("rect")]
    assert styles == ["page", "bar idle", "bar running"]
    assert "an idle agent" not in "".join(picture.itertext())


def test_the_picture_has_light_and_dark_colours():
    assert "prefers-color-scheme:dark" in bars("CPU", [table_of("CPU", RESULTS, str)])


@pytest.mark.parametrize(("costs", "expected"), [((5, 5, 5), 0), ((1, 10, 100), 1), ((1, 100, 10_000), 2)])
def test_the_exponent_is_the_slope_of_the_logarithms(costs, expected):
    assert exponent((100, 1_000, 10_000), costs) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["summary", "growth"])
def test_the_page_contains_measured_figures(name):
    _, begin, rest = PAGE.read_text(encoding="utf-8").partition(f"<!-- measured: {name} -->\n")
    measured, end, _ = rest.partition(f"<!-- end of {name} -->")
    assert begin
    assert end
    assert "CPython" in measured
    assert "|---|" in measured

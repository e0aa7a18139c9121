"""Tables of figures with their ratios, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import attrs

__all__ = ["Row", "Table", "interleaved", "table_of"]


@attrs.frozen
class Row:
    """One figure.

    Attributes:
        name: what was measured.
        figure: the median, with its unit.
        ratio: the median of the ratios to the first row, each from one round; None if there is nothing to compare.
        spread: the smallest and the largest of these ratios.
    """

    name: str
    figure: str
    ratio: float | None = None
    spread: tuple[float, float] = (1.0, 1.0)


@attrs.frozen
class Table:
    """Figures that belong together. The ratios are those to the first row."""

    title: str
    rows: tuple[Row, ...]

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [f"| {self.title} | median | ratio | ratios of the rounds |", "|---|---|---|---|"]
        for row in self.rows:
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            spread = "" if row.ratio is None else f"{row.spread[0]:.2f} to {row.spread[1]:.2f}"
            lines.append(f"| {row.name} | {row.figure} | {ratio} | {spread} |")
        return "\n".join(lines) + "\n"


def interleaved(
    measures: Mapping[str, Callable[[], float]], rounds: int, report: Callable[[str], None]
) -> dict[str, list[float]]:
    """Return the results of each measure. In each round, every measure runs once, so that noise meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            report(f"round {number + 1} of {rounds}: {name}")
            found[name].append(measure())
    return found


def table_of(title: str, results: Mapping[str, list[float]], figure: Callable[[float], str]) -> Table:
    """Return the table of these results. `figure` writes a result with its unit."""
    base = next(iter(results.values()))
    rows = []
    for name, values in results.items():
        ratios = [value / first for value, first in zip(values, base, strict=True)]
        spread = min(ratios), max(ratios)
        rows.append(Row(name, figure(statistics.median(values)), statistics.median(ratios), spread))
    return Table(title, tuple(rows))

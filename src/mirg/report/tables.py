"""What tables of the pages contain: numbers with intervals, small bars as SVG text, and confusion matrices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from html import escape
from typing import NamedTuple

from mirg.report.data import OUTCOME_TITLES, Interval, Matrix, Outcome

WIDTH, HEIGHT = 120, 12


def interval_bar(value: Interval, chance: float | None = None) -> str:
    """The estimate as a tick, its interval as a band, chance as a dotted line; the scale is 0 to 1."""
    label = points(value) + ("" if chance is None else f", chance {chance * 100:.1f}")
    track = f'<rect class="track" x="0" y="5" width="{WIDTH}" height="2"/>'
    dotted = "" if chance is None else _line("chance", _x(chance))
    return _svg(label, track + _band(_x, value) + dotted + _tick(_x(value.mean)))


def difference_bar(value: Interval, reach: float) -> str:
    """The same around 0 in the middle; the scale ends at ±``reach``. Intervals that exclude 0 are drawn stronger."""

    def x(v: float) -> float:
        return _x(0.5 + v / (2 * reach) if reach > 0 else 0.5)

    kind = "sure" if value.excludes_zero else "unsure"
    track = f'<rect class="track" x="0" y="5" width="{WIDTH}" height="2"/>'
    return _svg(signed_points(value), track + _line("zero", x(0.0)) + _band(x, value) + _tick(x(value.mean)), kind)


def advantage_bar(value: float, reach: float = 2.5) -> str:
    """A bar from 0 in the middle to ``value``; the scale ends at ±``reach``."""
    middle, end = _x(0.5), _x(0.5 + value / (2 * reach))
    kind, width = "up" if value > 0 else "down", abs(end - middle)
    bar = f'<rect class="{kind}" x="{min(middle, end):.1f}" y="2" width="{width:.1f}" height="8"/>'
    return _svg(f"advantage {value:+.2f}", bar + _line("zero", middle))


def difference_reach(values: list[Interval]) -> float:
    """A round scale end (0.05, 0.1, 0.25, 0.5, 1) that holds every interval."""
    sizes = [abs(v) for i in values for v in (i.mean, i.low, i.high) if v is not None]
    return next((r for r in (0.05, 0.1, 0.25, 0.5) if max(sizes, default=0.0) <= r), 1.0)


def outcome_bar(counts: Mapping[Outcome, int]) -> str:
    """Shares of the four outcomes as one stacked bar, 600 units wide."""
    total, left, parts, said = sum(counts.values()), 0.0, [], []
    for outcome, title in OUTCOME_TITLES.items():
        count = counts.get(outcome, 0)
        width = 600 * count / total if total else 0.0
        if count:
            # A gap of one unit keeps neighbours apart for eyes that do not see their colours as different.
            parts.append(
                f'<rect class="o-{outcome}" x="{left:.2f}" y="0" width="{max(width - 1, 0.5):.2f}" height="18"/>'
            )
            said.append(f"{title} {count}")
        left += width
    label = escape(", ".join(said) or "no items")
    return (
        f'<svg class="stack" viewBox="0 0 600 18" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def points(value: Interval) -> str:
    """``75.3 [72.1, 78.2]``: points of 100, with the interval if there is one."""
    if value.low is None or value.high is None:
        return f"{value.mean * 100:.1f}"
    return f"{value.mean * 100:.1f} [{value.low * 100:.1f}, {value.high * 100:.1f}]"


def signed_points(value: Interval) -> str:
    """``+8.3 [+5.0, +11.7]``, with a true minus sign."""
    if value.low is None or value.high is None:
        return signed(value.mean)
    return f"{signed(value.mean)} [{signed(value.low)}, {signed(value.high)}]"


def signed(value: float) -> str:
    """A fraction as signed points of 100; what rounds to nothing is ``0.0`` without a sign."""
    text = f"{value * 100:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\N{MINUS SIGN}")


def _x(share: float) -> float:
    return min(max(share, 0.0), 1.0) * WIDTH


def _band(x: Callable[[float], float], value: Interval) -> str:
    if value.low is None or value.high is None:
        return ""
    left, right = x(value.low), x(value.high)
    return f'<rect class="band" x="{left:.1f}" y="3" width="{max(right - left, 1.0):.1f}" height="6" rx="1"/>'


def _tick(x: float) -> str:
    return f'<rect class="mean" x="{min(max(x - 1.25, 0), WIDTH - 2.5):.1f}" y="1" width="2.5" height="10" rx="1"/>'


def _line(kind: str, x: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>'


def _svg(label: str, body: str, kind: str = "") -> str:
    classes = f"bar {kind}".strip()
    return f'<svg class="{classes}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{body}</svg>'


SHADES = 10  # classes h1 … h10 of the style sheet


class Cell(NamedTuple):
    """``number`` items and their share; ``shade`` 0 … 10; ``same`` where answer and truth are one class."""

    number: int
    share: float
    shade: int
    same: bool


class Row(NamedTuple):
    """One true class with its ``n`` items."""

    name: str
    n: int
    cells: tuple[Cell, ...]


class Grid(NamedTuple):
    """The matrix of one model, as the page shows it."""

    model: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def grids(matrices: tuple[Matrix, ...]) -> list[Grid]:
    """Shares of the rows that have items, with the same columns everywhere.

    These are the columns that are used in any matrix, or are a true class of one.
    """
    used = {
        name
        for matrix in matrices
        for row, counts in zip(matrix.rows, matrix.counts, strict=True)
        for name, count in zip(matrix.columns, counts, strict=True)
        if count or (name == row and any(counts))
    }
    found = [_grid(matrix, used) for matrix in matrices]
    return [grid._replace(rows=tuple(row for row in grid.rows if row.n)) for grid in found]


def shade_grid(matrix: Matrix) -> Grid:
    """Counts of a table as shares of the whole table; the darkest cell is the fullest one."""
    counts = [count for row in matrix.counts for count in row]
    return _grid(matrix, matrix.columns, sum(counts), max(counts, default=0))


def _grid(matrix: Matrix, shown: Collection[str], total: int = 0, top: int = 0) -> Grid:
    """Cells as shares of ``total``, shaded up to ``top``; by default, both are the items of the row."""
    rows = []
    for name, counts in zip(matrix.rows, matrix.counts, strict=True):
        n = sum(counts)
        cells = (
            Cell(
                count,
                count / (total or n or 1),
                max(1, round(SHADES * count / (top or n))) if count else 0,
                name == column,
            )
            for column, count in zip(matrix.columns, counts, strict=True)
            if column in shown
        )
        rows.append(Row(name, n, tuple(cells)))
    return Grid(matrix.model, tuple(column for column in matrix.columns if column in shown), tuple(rows))

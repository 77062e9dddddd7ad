"""What tables of the pages contain: numbers with intervals, small bars as SVG text, and confusion matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from mirg.report.data import OUTCOME_TITLES, OUTCOMES, Interval, Matrix, Outcomes

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


def difference_reach(values: list[Interval]) -> float:
    """A round scale end (0.05, 0.1, 0.25, 0.5, 1) that holds every interval."""
    sizes = [abs(v) for i in values for v in (i.mean, i.low, i.high) if v is not None]
    return next((r for r in (0.05, 0.1, 0.25, 0.5) if max(sizes, default=0.0) <= r), 1.0)


def outcome_bar(outcomes: Outcomes) -> str:
    """Shares of the four outcomes as one stacked bar, 600 units wide."""
    total, left, parts, said = outcomes.total, 0.0, [], []
    for outcome in OUTCOMES_BY_WORTH:
        count = outcomes.counts.get(outcome, 0)
        width = 600 * count / total if total else 0.0
        if count:
            # A gap of one unit keeps neighbours apart for eyes that do not see their colours as different.
            parts.append(
                f'<rect class="o-{outcome}" x="{left:.2f}" y="0" width="{max(width - 1, 0.5):.2f}" height="18"/>'
            )
            said.append(f"{OUTCOME_TITLES[outcome]} {count}")
        left += width
    label = escape(", ".join(said) or "no items")
    return (
        f'<svg class="stack" viewBox="0 0 600 18" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


OUTCOMES_BY_WORTH = tuple(sorted(OUTCOMES, key=list(OUTCOME_TITLES).index))


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


@dataclass(frozen=True)
class Cell:
    """``count`` items and their share of the row; ``shade`` 0 … 10; ``same`` where answer and truth are one class."""

    count: int
    share: float
    shade: int
    same: bool


@dataclass(frozen=True)
class Row:
    """One true class with its ``n`` items."""

    name: str
    n: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    """The matrix of one model, as the page shows it."""

    model: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def grids(matrices: tuple[Matrix, ...]) -> list[Grid]:
    """The matrices with the same columns everywhere: those that are used in any of them, or are a true class of one."""
    used = {
        name
        for matrix in matrices
        for row, counts in zip(matrix.rows, matrix.counts, strict=True)
        for name, count in zip(matrix.columns, counts, strict=True)
        if count or (name == row and any(counts))
    }
    return [_matrix_grid(matrix, used) for matrix in matrices]


def _matrix_grid(matrix: Matrix, used: set[str]) -> Grid:
    shown = [(place, name) for place, name in enumerate(matrix.columns) if name in used]
    rows = []
    for name, counts in zip(matrix.rows, matrix.counts, strict=True):
        n = sum(counts)
        if n:
            rows.append(Row(name, n, tuple(_cell(counts[place], n, name == column) for place, column in shown)))
    return Grid(matrix.model, tuple(name for _, name in shown), tuple(rows))


def _cell(count: int, n: int, same: bool) -> Cell:
    share = count / n
    return Cell(count, share, max(1, round(share * SHADES)) if count else 0, same)


def shade_grid(matrix: Matrix) -> Grid:
    """Counts of a table as shares of the whole table; the darkest cell is the fullest one."""
    total = sum(map(sum, matrix.counts))
    top = max((count for row in matrix.counts for count in row), default=0)
    rows = []
    for name, counts in zip(matrix.rows, matrix.counts, strict=True):
        cells = tuple(
            Cell(count, count / total if total else 0.0, max(1, round(10 * count / top)) if count else 0, same=False)
            for count in counts
        )
        rows.append(Row(name, sum(counts), cells))
    return Grid(matrix.model, matrix.columns, tuple(rows))

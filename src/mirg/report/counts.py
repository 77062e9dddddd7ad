"""How often each of several values occurs, as bars in SVG text; looks like the other charts of the pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from mirg.console import one_line
from mirg.report.curves import HEIGHT, LEFT, RIGHT, TOP, WIDTH, short, ticks
from mirg.report.data import Matrix
from mirg.report.matrix import Cell, Grid, Row

BOTTOM = 26
LABEL_WIDTH = 40  # pixels that a name under the axis may take
_INSIDE = WIDTH - LEFT - RIGHT


def render_counts(title: str, bars: Sequence[tuple[str, int]]) -> str:
    """One bar for each (name, count); names that would not fit are left out evenly. Empty where nothing was counted."""
    top = max((count for _, count in bars), default=0)
    if top <= 0:
        return ""
    axis = ticks(0.0, float(top))
    room = _INSIDE / len(bars)
    gap = min(2.0, room * 0.2)
    step = math.ceil(LABEL_WIDTH / room)
    parts = []
    for value in axis:
        y = _y(value, axis[-1])
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 7}" y="{y + 3.5:.1f}">{short(value)}</text>')
    for place, (name, count) in enumerate(bars):
        x, y = LEFT + place * room, _y(count, axis[-1])
        said = escape(one_line(f"{name}: {count:,}"))
        parts.append(
            f'<rect class="bin good" x="{x + gap / 2:.1f}" y="{y:.1f}" width="{max(room - gap, 0.5):.1f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}"><title>{said}</title></rect>'
        )
        if place % step == 0:
            label = escape(one_line(name, 8))
            parts.append(f'<text class="tick mid" x="{x + room / 2:.1f}" y="{HEIGHT - BOTTOM + 16}">{label}</text>')
    said = escape(one_line(f"{title}: " + ", ".join(f"{name} {count}" for name, count in bars), 400))
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'


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


def _y(count: float, top: float) -> float:
    return HEIGHT - BOTTOM - min(max(count / top, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM)

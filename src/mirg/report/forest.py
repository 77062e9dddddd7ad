"""A forest plot: paired differences with their intervals around a line at zero, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mirg.console import one_line
from mirg.report.bars import signed, signed_points
from mirg.report.curves import ticks
from mirg.report.data import Interval

WIDTH, ROW, TOP, BOTTOM = 760, 30, 8, 30
NAMES, NUMBERS = 330, 150  # pixels left and right of the drawing


def forest(rows: Sequence[tuple[str, Interval]]) -> str:
    """One line per difference, by name; "" where there is none. The axis is in points of 100."""
    if not rows:
        return ""
    ends = [v for _, value in rows for v in (value.mean, value.low, value.high) if v is not None]
    marks = [100 * mark for mark in ticks(min(0.0, *ends), max(0.0, *ends), 6)]
    low, high = marks[0], marks[-1]
    height = TOP + ROW * len(rows) + BOTTOM

    def x(points: float) -> float:
        return NAMES + (points - low) / (high - low) * (WIDTH - NAMES - NUMBERS)

    parts = []
    for mark in marks:
        kind = "zero" if abs(mark) < 1e-9 else "grid"
        parts.append(f'<line class="{kind}" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        text = signed(mark / 100).removesuffix(".0")
        parts.append(f'<text class="tick mid" x="{x(mark):.1f}" y="{height - 10}">{text}</text>')
    for number, (name, value) in enumerate(rows):
        y = TOP + ROW * number + ROW / 2
        kind = "sure" if value.excludes_zero else "unsure"
        parts.append(f'<text class="name" x="0" y="{y + 4:.1f}">{escape(one_line(name, 60))}</text>')
        if value.low is not None and value.high is not None:
            parts.append(
                f'<line class="reach {kind}" x1="{x(100 * value.low):.1f}" x2="{x(100 * value.high):.1f}" '
                f'y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        parts.append(
            f'<rect class="mean {kind}" x="{x(100 * value.mean) - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
        )
        parts.append(f'<text class="number end" x="{WIDTH}" y="{y + 4:.1f}">{signed_points(value)}</text>')
    label = escape("; ".join(f"{one_line(name, 60)} {signed_points(value)}" for name, value in rows))
    return f'<svg class="forest" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'

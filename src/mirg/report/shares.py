"""Shares as SVG text: a histogram of one model, and the estimates of several models by group, with their intervals."""

from __future__ import annotations

import math
from html import escape
from itertools import pairwise

from mirg.console import one_line
from mirg.report.bars import points
from mirg.report.curves import HEIGHT, LEFT, N_STYLES, RIGHT, TOP, WIDTH, short, ticks
from mirg.report.data import Group, GroupChart, Histogram, Interval

BOTTOM = 38  # two lines below the axis: names, and numbers of items
LABEL_WIDTH = 46  # pixels that a name under the axis may take
_INSIDE = WIDTH - LEFT - RIGHT


def render_histogram(histogram: Histogram, top: float) -> str:
    """Shares of the counts as bars, those from ``mark`` on stronger; the axis ends at the share ``top`` or above it.

    An empty string where nothing was counted.
    """
    total = sum(histogram.counts)
    if not total:
        return ""
    axis = ticks(0.0, top)
    first, last = histogram.edges[0], histogram.edges[-1]

    def x(edge: float) -> float:
        return LEFT + (edge - first) / (last - first) * _INSIDE

    bars = []
    for (low, high), count in zip(pairwise(histogram.edges), histogram.counts, strict=True):
        kind = "bin good" if low >= histogram.mark else "bin"
        y = _y(count / total, axis[-1])
        bars.append(
            f'<rect class="{kind}" x="{x(low) + 1:.1f}" y="{y:.1f}" width="{x(high) - x(low) - 2:.1f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}"><title>{short(low)} – {short(high)}: {count} of {total}</title></rect>'
        )
    marks = [
        f'<text class="tick mid" x="{x(edge):.1f}" y="{HEIGHT - BOTTOM + 15}">{short(edge)}</text>'
        for edge in histogram.edges[:: max(1, len(histogram.edges) // 5)]
    ]
    at = f"{x(histogram.mark):.1f}"
    line = f'<line class="mark" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    counts = ", ".join(map(str, histogram.counts))
    label = f"{histogram.model}: {total} values, {counts} from {short(first)} to {short(last)}"
    return _svg(label, _grid(axis) + "".join(bars) + line + "".join(marks))


def render_groups(chart: GroupChart) -> str:
    """Estimates as dots with their intervals as whiskers, the models beside each other within a group.

    A group's reference is a line across it. An empty string where there is nothing to draw.
    """
    estimates = [value for series in chart.series.values() for value in series if value is not None]
    if not estimates:
        return ""
    references = [group.reference for group in chart.groups if group.reference is not None]
    reach = max([value.mean if value.high is None else value.high for value in estimates] + references)
    axis = ticks(0.0, chart.high or reach or 1.0)
    room = _INSIDE / len(chart.groups)
    parts = [_grid(axis), _names(chart.groups, room)]
    for place, group in enumerate(chart.groups):
        if group.reference is not None:
            left, y = LEFT + (place + 0.1) * room, _y(group.reference, axis[-1])
            parts.append(
                f'<line class="reference" x1="{left:.1f}" x2="{left + 0.8 * room:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
    for number, (model, series) in enumerate(chart.series.items()):
        offset = (number + 1) / (len(chart.series) + 1)
        for place, (group, value) in enumerate(zip(chart.groups, series, strict=True)):
            if value is not None:
                x = LEFT + (place + 0.1 + 0.8 * offset) * room
                title = f"{model}, {group.name}: {points(value)}, {group.n} items"
                parts.append(_estimate(x, value, axis[-1], number % N_STYLES, title))
    said = "; ".join(
        f"{model}: {', '.join('–' if value is None else points(value) for value in series)}"
        for model, series in chart.series.items()
    )
    names = ", ".join(group.name for group in chart.groups)
    return _svg(f"{chart.title} ({names}): {said}", "".join(parts))


def _estimate(x: float, value: Interval, top: float, style: int, title: str) -> str:
    whisker = ""
    if value.low is not None and value.high is not None:
        low, high = _y(value.low, top), _y(value.high, top)
        whisker = f'<line class="whisker s{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
    dot = f'<circle class="s{style}" cx="{x:.1f}" cy="{_y(value.mean, top):.1f}" r="3.6"/>'
    return f"<g>{whisker}{dot}<title>{escape(one_line(title))}</title></g>"


def _names(groups: tuple[Group, ...], room: float) -> str:
    """Names and numbers of items under the axis; of many groups only every second, third … is named."""
    step = math.ceil(LABEL_WIDTH / room)
    parts = []
    for place, group in list(enumerate(groups))[::step]:
        x = LEFT + (place + 0.5) * room
        name = escape(one_line(group.name, 12))
        parts.append(f'<text class="tick mid name" x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}">{name}</text>')
        parts.append(f'<text class="tick mid" x="{x:.1f}" y="{HEIGHT - BOTTOM + 29}">n {group.n}</text>')
    return "".join(parts)


def _grid(axis: list[float]) -> str:
    """Lines across, labelled in points of 100."""
    parts = []
    for value in axis:
        y = _y(value, axis[-1])
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 7}" y="{y + 3.5:.1f}">{short(value * 100)}</text>')
    return "".join(parts)


def _y(share: float, top: float) -> float:
    return HEIGHT - BOTTOM - min(max(share / top, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM)


def _svg(label: str, body: str) -> str:
    said = escape(one_line(label, 400))
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{body}</svg>'

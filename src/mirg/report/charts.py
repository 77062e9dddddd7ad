"""Charts of the pages as SVG text: curves over steps, histograms, shares by group, counts, and forest plots.

No plotting library and no script is needed. Colours and type come from the style sheet of the page through classes
(``line s0`` …, ``grid``, ``tick``), so that a chart fits the light and the dark theme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from mirg.console import one_line
from mirg.report.data import Chart, Group, GroupChart, Histogram, Interval, Series
from mirg.report.tables import points, signed, signed_points

WIDTH, HEIGHT = 360, 212
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 26
MAX_POINTS = 400
SMOOTH_FROM = 12  # points; a shorter series is not smoothed
N_STYLES = 5


def smooth(values: Sequence[float], span: int) -> list[float]:
    """Centred moving average over at most ``span`` values; same length.

    At both ends the window loses its outer half, so the last value is the mean of half a window and not one noisy
    point.

    >>> smooth([0.0, 1.0, 0.0, 1.0, 0.0], 3)
    [0.5, 0.3333333333333333, 0.6666666666666666, 0.3333333333333333, 0.5]
    """
    half = max(span, 1) // 2
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def thin(steps: Sequence[float], values: Sequence[float], limit: int = MAX_POINTS) -> tuple[list[float], list[float]]:
    """At most ``limit`` points: means over neighbouring points, so that no part of the run is dropped."""
    size = max(1, math.ceil(len(steps) / limit))
    cuts = range(0, len(steps), size)
    return (
        [sum(steps[i : i + size]) / len(steps[i : i + size]) for i in cuts],
        [sum(values[i : i + size]) / len(values[i : i + size]) for i in cuts],
    )


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) that cover [low, high] in about ``count`` steps.

    >>> ticks(0.0, 1.0)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    size = max(abs(low), abs(high))
    if high - low <= max(1e-9 * size, 1e-18):  # nothing an axis could show apart
        pad = 0.1 * size if size > 1e-18 else 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def short(value: float) -> str:
    """A number in few characters for an axis: 1500 → 1.5k, 0.00002 → 2e-5, 0.25 → 0.25."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e9 or size < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    for bound, suffix in ((1e6, "M"), (1e3, "k")):
        if size >= bound:
            return f"{value / bound:.3g}{suffix}"
    return f"{value:.3g}"


def render_chart(chart: Chart) -> str:
    """The chart as one ``<svg>`` element with every text escaped; an empty string if there is nothing to draw."""
    series = [line for line in (_usable(s) for s in chart.series) if line.steps]
    if not series:
        return ""
    plot = _Plot(series, chart.low, chart.high)
    lines = "".join(plot.line(s, i % N_STYLES) for i, s in enumerate(series))
    label = escape(one_line(f"{chart.title}: " + "; ".join(_summary(s) for s in series), 400))
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{plot.axes()}{lines}</svg>'
    )


def last_value(series: Series) -> float | None:
    """The end of the smoothed line: what the legend says the run arrived at."""
    line = _usable(series)
    if not line.values:
        return None
    return _smoothed(thin(line.steps, line.values)[1])[-1]


def _usable(series: Series) -> Series:
    """Finite points only, ordered by step; magnitudes that an axis cannot show are not points."""
    pairs = zip(series.steps, series.values, strict=False)
    kept = sorted((s, v) for s, v in pairs if math.isfinite(s) and math.isfinite(v) and max(abs(s), abs(v)) < 1e15)
    return Series(series.name, tuple(s for s, _ in kept), tuple(v for _, v in kept))


def _smoothed(values: Sequence[float]) -> list[float]:
    return smooth(values, 2 * (len(values) // 16) + 1) if len(values) >= SMOOTH_FROM else list(values)


def _summary(series: Series) -> str:
    return f"{series.name} from {short(series.values[0])} to {short(series.values[-1])}"


class _Plot:
    """The mapping from data to the drawing area, fixed by all series together."""

    def __init__(self, series: Sequence[Series], low: float | None, high: float | None) -> None:
        values = [v for s in series for v in thin(s.steps, s.values)[1]]
        steps = [v for s in series for v in s.steps]
        self.y_ticks = ticks(min(values) if low is None else low, max(values) if high is None else high)
        self.y0, self.y1 = self.y_ticks[0], self.y_ticks[-1]
        self.x0, self.x1 = min(steps), max(steps)
        if 0 < self.x0 <= 0.05 * self.x1:
            self.x0 = 0.0  # a run that logs every 10 steps still begins at 0
        if self.x0 == self.x1:
            self.x0, self.x1 = self.x0 - 1, self.x1 + 1

    def x(self, step: float) -> float:
        return LEFT + (step - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = min(max((value - self.y0) / (self.y1 - self.y0), 0.0), 1.0)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def axes(self) -> str:
        parts = []
        for value in self.y_ticks:
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick end" x="{LEFT - 7}" y="{y + 3.5:.1f}">{short(value)}</text>')
        for value in ticks(self.x0, self.x1):
            if self.x0 <= value <= self.x1:
                x = min(self.x(value), WIDTH - RIGHT - 4)
                parts.append(f'<text class="tick mid" x="{x:.1f}" y="{HEIGHT - 8}">{short(value)}</text>')
        return "".join(parts)

    def line(self, series: Series, style: int) -> str:
        steps, values = thin(series.steps, series.values)
        smoothed = _smoothed(values)
        if len(steps) == 1:
            return f'<circle class="dot s{style}" cx="{self.x(steps[0]):.1f}" cy="{self.y(values[0]):.1f}" r="3"/>'
        raw = f'<path class="raw s{style}" d="{self._path(steps, values)}"/>' if smoothed != values else ""
        return f'{raw}<path class="line s{style}" d="{self._path(steps, smoothed)}"/>'

    def _path(self, steps: Sequence[float], values: Sequence[float]) -> str:
        points = (f"{self.x(s):.1f} {self.y(v):.1f}" for s, v in zip(steps, values, strict=True))
        return "M" + "L".join(points)


SHARES_BOTTOM = 38  # two lines below the axis: names, and numbers of items
SHARES_LABEL = 46  # pixels that a name under the axis may take
_INSIDE = WIDTH - LEFT - RIGHT


def render_histogram(histogram: Histogram, top: float) -> str:
    """Shares of the counts as bars, those from ``mark`` on stronger; the axis ends at the share ``top`` or above it.

    An empty string if nothing was counted.
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
        y = _share_y(count / total, axis[-1])
        title = f"{short(low)} – {short(high)}: {count} of {total}"
        bars.append(
            f'<rect class="{kind}" x="{x(low) + 1:.1f}" y="{y:.1f}" width="{x(high) - x(low) - 2:.1f}" '
            f'height="{HEIGHT - SHARES_BOTTOM - y:.1f}"><title>{title}</title></rect>'
        )
    marks = [
        f'<text class="tick mid" x="{x(edge):.1f}" y="{HEIGHT - SHARES_BOTTOM + 15}">{short(edge)}</text>'
        for edge in histogram.edges[:: max(1, len(histogram.edges) // 5)]
    ]
    at = f"{x(histogram.mark):.1f}"
    line = f'<line class="mark" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - SHARES_BOTTOM}"/>'
    counts = ", ".join(map(str, histogram.counts))
    label = f"{histogram.model}: {total} values, {counts} from {short(first)} to {short(last)}"
    return _share_svg(label, _grid(axis) + "".join(bars) + line + "".join(marks))


def render_groups(chart: GroupChart) -> str:
    """Estimates as dots with their intervals as whiskers, the models beside each other within a group.

    A group's reference is a line across it. An empty string if there is nothing to draw.
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
            left, y = LEFT + (place + 0.1) * room, _share_y(group.reference, axis[-1])
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
    return _share_svg(f"{chart.title} ({names}): {said}", "".join(parts))


def _estimate(x: float, value: Interval, top: float, style: int, title: str) -> str:
    whisker = ""
    if value.low is not None and value.high is not None:
        low, high = _share_y(value.low, top), _share_y(value.high, top)
        whisker = f'<line class="whisker s{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
    dot = f'<circle class="s{style}" cx="{x:.1f}" cy="{_share_y(value.mean, top):.1f}" r="3.6"/>'
    return f"<g>{whisker}{dot}<title>{escape(one_line(title))}</title></g>"


def _names(groups: tuple[Group, ...], room: float) -> str:
    """Names and numbers of items under the axis; of many groups only every second, third … is named."""
    step = math.ceil(SHARES_LABEL / room)
    parts = []
    for place, group in list(enumerate(groups))[::step]:
        x = LEFT + (place + 0.5) * room
        name = escape(one_line(group.name, 12))
        parts.append(f'<text class="tick mid name" x="{x:.1f}" y="{HEIGHT - SHARES_BOTTOM + 15}">{name}</text>')
        parts.append(f'<text class="tick mid" x="{x:.1f}" y="{HEIGHT - SHARES_BOTTOM + 29}">n {group.n}</text>')
    return "".join(parts)


def _grid(axis: list[float]) -> str:
    """Lines across, labelled in points of 100."""
    parts = []
    for value in axis:
        y = _share_y(value, axis[-1])
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 7}" y="{y + 3.5:.1f}">{short(value * 100)}</text>')
    return "".join(parts)


def _share_y(share: float, top: float) -> float:
    return HEIGHT - SHARES_BOTTOM - min(max(share / top, 0.0), 1.0) * (HEIGHT - TOP - SHARES_BOTTOM)


def _share_svg(label: str, body: str) -> str:
    said = escape(one_line(label, 400))
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{body}</svg>'


COUNTS_LABEL = 40  # pixels that a name under the axis may take


def render_counts(title: str, bars: Sequence[tuple[str, int]]) -> str:
    """One bar for each (name, count); names that would not fit are left out evenly. Empty if nothing was counted."""
    top = max((count for _, count in bars), default=0)
    if top <= 0:
        return ""
    axis = ticks(0.0, float(top))
    room = _INSIDE / len(bars)
    gap = min(2.0, room * 0.2)
    step = math.ceil(COUNTS_LABEL / room)
    parts = []
    for value in axis:
        y = _count_y(value, axis[-1])
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 7}" y="{y + 3.5:.1f}">{short(value)}</text>')
    for place, (name, count) in enumerate(bars):
        x, y = LEFT + place * room, _count_y(count, axis[-1])
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


def _count_y(count: float, top: float) -> float:
    return HEIGHT - BOTTOM - min(max(count / top, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM)


FOREST_WIDTH, FOREST_ROW, FOREST_TOP, FOREST_BOTTOM = 760, 30, 8, 30
FOREST_NAMES, FOREST_NUMBERS = 330, 150  # pixels left and right of the drawing


def forest(rows: Sequence[tuple[str, Interval]]) -> str:
    """One line for each difference, as an SVG with an axis in points of 100; "" without differences."""
    if not rows:
        return ""
    ends = [v for _, value in rows for v in (value.mean, value.low, value.high) if v is not None]
    marks = [100 * mark for mark in ticks(min(0.0, *ends), max(0.0, *ends), 6)]
    low, high = marks[0], marks[-1]
    height = FOREST_TOP + FOREST_ROW * len(rows) + FOREST_BOTTOM

    def x(points: float) -> float:
        return FOREST_NAMES + (points - low) / (high - low) * (FOREST_WIDTH - FOREST_NAMES - FOREST_NUMBERS)

    parts = []
    for mark in marks:
        kind = "zero" if abs(mark) < 1e-9 else "grid"
        ends = f'y1="{FOREST_TOP}" y2="{height - FOREST_BOTTOM}"'
        parts.append(f'<line class="{kind}" x1="{x(mark):.1f}" x2="{x(mark):.1f}" {ends}/>')
        text = signed(mark / 100).removesuffix(".0")
        parts.append(f'<text class="tick mid" x="{x(mark):.1f}" y="{height - 10}">{text}</text>')
    for number, (name, value) in enumerate(rows):
        y = FOREST_TOP + FOREST_ROW * number + FOREST_ROW / 2
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
        parts.append(f'<text class="number end" x="{FOREST_WIDTH}" y="{y + 4:.1f}">{signed_points(value)}</text>')
    label = escape("; ".join(f"{one_line(name, 60)} {signed_points(value)}" for name, value in rows))
    size = f"0 0 {FOREST_WIDTH} {height}"
    return f'<svg class="forest" viewBox="{size}" role="img" aria-label="{label}">{"".join(parts)}</svg>'

"""Charts of the pages as SVG text: curves over steps, histograms, shares by group, counts, and forest plots.

What they show is chosen in :mod:`mirg.report.training_curves` and :mod:`mirg.evaluation.page_failures`.

No plotting library and no script is needed. Colours and type come from the style sheet of the page through classes
(``line s0`` …, ``grid``, ``tick``), so that a chart fits the light and the dark theme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from mirg.console import one_line
from mirg.report.data import Chart, GroupChart, Histogram, Interval, Series
from mirg.report.tables import points, signed, signed_points

WIDTH, HEIGHT = 360, 212
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 26
SHARES_BOTTOM = 38  # two lines below the axis: names, and numbers of items
SHARES_LABEL, COUNTS_LABEL = 46, 40  # pixels that a name under the axis may take
MAX_POINTS = 400
SMOOTH_FROM = 12  # points; a shorter series is not smoothed
N_STYLES = 5
_INSIDE = WIDTH - LEFT - RIGHT


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
    low, high = min(low, high), max(low, high)  # a chart may have a lower end above all of its values
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
    series = [line for line in map(_usable, chart.series) if line.steps]
    if not series:
        return ""
    thinned = [thin(s.steps, s.values) for s in series]
    values = [value for _, line in thinned for value in line]
    axis = ticks(min(values) if chart.low is None else chart.low, max(values) if chart.high is None else chart.high)
    first, last = min(s.steps[0] for s in series), max(s.steps[-1] for s in series)
    if 0 < first <= 0.05 * last:
        first = 0.0  # a run that logs every 10 steps still begins at 0
    if first == last:
        first, last = first - 1, last + 1

    def x(step: float) -> float:
        return LEFT + (step - first) / (last - first) * _INSIDE

    def path(steps: Sequence[float], values: Sequence[float]) -> str:
        return "M" + "L".join(f"{x(s):.1f} {_y(v, axis):.1f}" for s, v in zip(steps, values, strict=True))

    parts = [_grid(axis)]
    for value in ticks(first, last):
        if first <= value <= last:
            at = min(x(value), WIDTH - RIGHT - 4)
            parts.append(f'<text class="tick mid" x="{at:.1f}" y="{HEIGHT - 8}">{short(value)}</text>')
    for number, one in enumerate(series):
        if one.band:
            ends = [*((s, low) for s, (low, _) in zip(one.steps, one.band, strict=True))]
            ends += reversed([(s, high) for s, (_, high) in zip(one.steps, one.band, strict=True)])
            parts.append(f'<path class="band s{number % N_STYLES}" d="{path(*zip(*ends, strict=True))}Z"/>')
    for number, (steps, line) in enumerate(thinned):
        style, smoothed = number % N_STYLES, line if series[number].band else _smoothed(line)
        if len(steps) == 1:
            parts.append(f'<circle class="dot s{style}" cx="{x(steps[0]):.1f}" cy="{_y(line[0], axis):.1f}" r="3"/>')
            continue
        if smoothed != line:
            parts.append(f'<path class="raw s{style}" d="{path(steps, line)}"/>')
        parts.append(f'<path class="line s{style}" d="{path(steps, smoothed)}"/>')
    said = (f"{s.name} from {short(s.values[0])} to {short(s.values[-1])}" for s in series)
    return _svg(f"{chart.title}: " + "; ".join(said), parts)


def last_value(series: Series) -> float | None:
    """The end of the smoothed line: what the legend says the run arrived at."""
    line = _usable(series)
    if line.band:
        return line.values[-1]
    return _smoothed(thin(line.steps, line.values)[1])[-1] if line.values else None


def _usable(series: Series) -> Series:
    """Finite points only, ordered by step; magnitudes that an axis cannot show are not points."""
    if series.band:
        return series
    pairs = zip(series.steps, series.values, strict=False)
    kept = sorted((s, v) for s, v in pairs if math.isfinite(s) and math.isfinite(v) and max(abs(s), abs(v)) < 1e15)
    return Series(series.name, tuple(s for s, _ in kept), tuple(v for _, v in kept))


def _smoothed(values: Sequence[float]) -> list[float]:
    return smooth(values, 2 * (len(values) // 16) + 1) if len(values) >= SMOOTH_FROM else list(values)


def render_histogram(histogram: Histogram, top: float) -> str:
    """Shares of the counts as bars, those from ``mark`` on stronger; the axis ends at the share ``top`` or above it.

    An empty string if nothing was counted.
    """
    total = sum(histogram.counts)
    if not total:
        return ""
    axis, floor = ticks(0.0, top), HEIGHT - SHARES_BOTTOM
    first, last = histogram.edges[0], histogram.edges[-1]

    def x(edge: float) -> float:
        return LEFT + (edge - first) / (last - first) * _INSIDE

    parts = [_grid(axis, SHARES_BOTTOM, 100)]
    for (low, high), count in zip(pairwise(histogram.edges), histogram.counts, strict=True):
        kind = "bin good" if low >= histogram.mark else "bin"
        y = _y(count / total, axis, SHARES_BOTTOM)
        title = f"{short(low)} – {short(high)}: {count} of {total}"
        parts.append(
            f'<rect class="{kind}" x="{x(low) + 1:.1f}" y="{y:.1f}" width="{x(high) - x(low) - 2:.1f}" '
            f'height="{floor - y:.1f}"><title>{title}</title></rect>'
        )
    at = f"{x(histogram.mark):.1f}"
    parts.append(f'<line class="mark" x1="{at}" x2="{at}" y1="{TOP}" y2="{floor}"/>')
    for edge in histogram.edges[:: max(1, len(histogram.edges) // 5)]:
        parts.append(f'<text class="tick mid" x="{x(edge):.1f}" y="{floor + 15}">{short(edge)}</text>')
    counts = ", ".join(map(str, histogram.counts))
    return _svg(f"{histogram.model}: {total} values, {counts} from {short(first)} to {short(last)}", parts)


def render_groups(chart: GroupChart) -> str:
    """Estimates as dots with their intervals as whiskers, the models beside each other within a group.

    A group's reference is a line across it. Of many groups only every second, third … is named under the axis. An
    empty string if there is nothing to draw.
    """
    estimates = [value for series in chart.series.values() for value in series if value is not None]
    if not estimates:
        return ""
    references = [group.reference for group in chart.groups if group.reference is not None]
    reach = max([value.mean if value.high is None else value.high for value in estimates] + references)
    axis = ticks(0.0, chart.high or reach or 1.0)
    room = _INSIDE / len(chart.groups)
    parts = [_grid(axis, SHARES_BOTTOM, 100)]
    for place, group in list(enumerate(chart.groups))[:: math.ceil(SHARES_LABEL / room)]:
        x, y = LEFT + (place + 0.5) * room, HEIGHT - SHARES_BOTTOM
        name = escape(one_line(group.name, 12))
        parts.append(f'<text class="tick mid name" x="{x:.1f}" y="{y + 15}">{name}</text>')
        parts.append(f'<text class="tick mid" x="{x:.1f}" y="{y + 29}">n {group.n}</text>')
    for place, group in enumerate(chart.groups):
        if group.reference is not None:
            left, y = LEFT + (place + 0.1) * room, _y(group.reference, axis, SHARES_BOTTOM)
            ends = f'x1="{left:.1f}" x2="{left + 0.8 * room:.1f}"'
            parts.append(f'<line class="reference" {ends} y1="{y:.1f}" y2="{y:.1f}"/>')
    for number, (model, series) in enumerate(chart.series.items()):
        offset = (number + 1) / (len(chart.series) + 1)
        for place, (group, value) in enumerate(zip(chart.groups, series, strict=True)):
            if value is not None:
                x = LEFT + (place + 0.1 + 0.8 * offset) * room
                title = f"{model}, {group.name}: {points(value)}, {group.n} items"
                parts.append(_estimate(x, value, axis, number % N_STYLES, title))
    said = "; ".join(
        f"{model}: {', '.join('–' if value is None else points(value) for value in series)}"
        for model, series in chart.series.items()
    )
    return _svg(f"{chart.title} ({', '.join(group.name for group in chart.groups)}): {said}", parts)


def _estimate(x: float, value: Interval, axis: Sequence[float], style: int, title: str) -> str:
    whisker = ""
    if value.low is not None and value.high is not None:
        low, high = (_y(end, axis, SHARES_BOTTOM) for end in (value.low, value.high))
        whisker = f'<line class="whisker s{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
    dot = f'<circle class="s{style}" cx="{x:.1f}" cy="{_y(value.mean, axis, SHARES_BOTTOM):.1f}" r="3.6"/>'
    return f"<g>{whisker}{dot}<title>{escape(one_line(title))}</title></g>"


def render_counts(title: str, bars: Sequence[tuple[str, int]]) -> str:
    """One bar for each (name, count); names that would not fit are left out evenly. Empty if nothing was counted."""
    top = max((count for _, count in bars), default=0)
    if top <= 0:
        return ""
    axis = ticks(0.0, float(top))
    room = _INSIDE / len(bars)
    gap = min(2.0, room * 0.2)
    step = math.ceil(COUNTS_LABEL / room)
    parts = [_grid(axis)]
    for place, (name, count) in enumerate(bars):
        x, y = LEFT + place * room, _y(count, axis)
        said = escape(one_line(f"{name}: {count:,}"))
        parts.append(
            f'<rect class="bin good" x="{x + gap / 2:.1f}" y="{y:.1f}" width="{max(room - gap, 0.5):.1f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}"><title>{said}</title></rect>'
        )
        if place % step == 0:
            label = escape(one_line(name, 8))
            parts.append(f'<text class="tick mid" x="{x + room / 2:.1f}" y="{HEIGHT - BOTTOM + 16}">{label}</text>')
    return _svg(f"{title}: " + ", ".join(f"{name} {count}" for name, count in bars), parts)


def _y(value: float, axis: Sequence[float], bottom: int = BOTTOM) -> float:
    """The height of ``value``; ``axis`` are its marks, and ``bottom`` the pixels below it."""
    share = min(max((value - axis[0]) / (axis[-1] - axis[0]), 0.0), 1.0)
    return HEIGHT - bottom - share * (HEIGHT - TOP - bottom)


def _grid(axis: Sequence[float], bottom: int = BOTTOM, unit: int = 1) -> str:
    """Lines across, labelled with the values in 1 / ``unit``."""
    parts = []
    for value in axis:
        y = _y(value, axis, bottom)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 7}" y="{y + 3.5:.1f}">{short(value * unit)}</text>')
    return "".join(parts)


def _svg(label: str, parts: Sequence[str]) -> str:
    said = escape(one_line(label, 400))
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'


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

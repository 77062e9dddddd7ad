"""Line charts over training steps as SVG text: no plotting library, no script, readable in light and dark.

Colours and type come from the page's style sheet through classes (``line s0`` …, ``grid``, ``tick``), so the same
chart fits both themes. A series is drawn twice where it is noisy: faint as measured, strong as smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from mirg.console import one_line
from mirg.report.data import Chart, Series

WIDTH, HEIGHT = 360, 212
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 26
MAX_POINTS = 400
SMOOTH_FROM = 12  # points; a shorter series is shown as it is
N_STYLES = 5


def smooth(values: Sequence[float], span: int) -> list[float]:
    """Centred moving average over at most ``span`` values; same length.

    At both ends the window loses its outer half, so the last value stands for the last half window and not for
    one noisy point.

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
    """The chart as one ``<svg>`` element with every text escaped; an empty string where there is nothing to draw."""
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

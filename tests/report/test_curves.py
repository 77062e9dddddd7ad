"""Charts: points in place, axes with round numbers, nothing unescaped, odd data survived."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, last_value, render_chart, short, smooth, thin, ticks
from mirg.report.data import Chart, Series

FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def numbers(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def paths(svg: str, kind: str) -> list[str]:
    return [e.attrib["d"] for e in ET.fromstring(svg).iter("path") if e.attrib["class"].startswith(kind)]


def test_a_straight_line_goes_from_corner_to_corner() -> None:
    (d,) = paths(render_chart(Chart("t", (Series("s", (0, 10), (0.0, 1.0)),), 0.0, 1.0)), "line")
    assert numbers(d) == [(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, 12.0)]


@given(st.lists(st.tuples(FLOATS, FLOATS), max_size=30), st.one_of(st.none(), st.just(0.0)))
def test_any_values_give_well_formed_svg_inside_the_drawing(
    points: list[tuple[float, float]], low: float | None
) -> None:
    series = Series("s", tuple(p[0] for p in points), tuple(p[1] for p in points))
    svg = render_chart(Chart("t", (series,), low))
    if not svg:
        assert not any(math.isfinite(a) and math.isfinite(b) and max(abs(a), abs(b)) < 1e15 for a, b in points)
        return
    ET.fromstring(svg)
    assert "nan" not in svg.replace("aria", "") and "inf" not in svg
    for d in paths(svg, ""):
        assert all(-1 <= x <= WIDTH + 1 and -1 <= y <= HEIGHT + 1 for x, y in numbers(d))


def test_texts_are_escaped() -> None:
    evil = '"><script>x</script>'
    svg = render_chart(Chart(evil, (Series(evil, (0, 1), (0, 1)),)))
    assert "<script" not in svg
    ET.fromstring(svg)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.25, 0.5, 0.75, 1]),
        (0, 380, [0, 100, 200, 300, 400]),
        (0.7, 0.72, [0.7, 0.705, 0.71, 0.715, 0.72]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
def test_ticks_cover_the_range_with_few_numbers(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):
        return
    found = ticks(low, high)
    slack = (found[1] - found[0]) * 1e-6
    assert found[0] <= low + slack and found[-1] >= high - slack and 2 <= len(found) <= 12
    assert found == sorted(set(found))


def test_a_flat_line_has_an_axis() -> None:
    assert len(ticks(3.0, 3.0)) >= 2 and len(ticks(0.0, 0.0)) >= 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (1500, "1.5k"), (2e6, "2M"), (2e-5, "2e-5"), (-0.001, "-0.001"), (1e12, "1e12")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.integers(1, 20))
def test_smoothing_keeps_length_range_and_constants(values: list[float], span: int) -> None:
    smoothed = smooth(values, span)
    assert len(smoothed) == len(values)
    assert all(min(values) - 1e-6 <= v <= max(values) + 1e-6 for v in smoothed)
    assert smooth([2.0] * len(values), span) == pytest.approx([2.0] * len(values))


def test_thinning_keeps_the_mean_of_a_long_run() -> None:
    steps = [float(i) for i in range(4000)]
    thinned_steps, values = thin(steps, [s % 2 for s in steps])
    assert len(values) == 400 and values == pytest.approx([0.5] * 400) and thinned_steps[0] == 4.5


def test_last_value_is_the_end_of_the_smoothed_line() -> None:
    noisy = Series("r", tuple(range(64)), tuple(0.5 + (-1) ** i * 0.5 for i in range(64)))
    assert last_value(noisy) == pytest.approx(0.5, abs=0.15)
    assert last_value(Series("r", (), ())) is None
    assert last_value(Series("r", (3, 1, 2), (0.9, 0.1, 0.2))) == 0.9, "of the last step, wherever it stands"

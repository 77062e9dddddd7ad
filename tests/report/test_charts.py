"""Charts: points in place, axes with round numbers, nothing unescaped, odd data survived."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mirg.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    SHARES_BOTTOM,
    TOP,
    WIDTH,
    last_value,
    render_chart,
    render_groups,
    render_histogram,
    short,
    smooth,
    thin,
    ticks,
)
from mirg.report.data import Chart, Group, GroupChart, Histogram, Interval, Series

FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def numbers(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def paths(svg: str, kind: str) -> list[str]:
    return [e.attrib["d"] for e in ET.fromstring(svg).iter("path") if e.attrib["class"].startswith(kind)]


def test_a_straight_line_goes_from_corner_to_corner() -> None:
    (d,) = paths(render_chart(Chart("t", (Series("s", (0, 10), (0.0, 1.0)),), 0.0, 1.0)), "line")
    assert numbers(d) == [(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, 12.0)]
    lines = (Series("s", (10, 20), (0.0, 1.0)), Series("u", (0, 30), (0.0, 1.0)))
    short_line, long_line = (numbers(d) for d in paths(render_chart(Chart("t", lines, 0.0, 1.0)), "line"))
    assert [x for x, _ in long_line] == [LEFT, WIDTH - RIGHT] and LEFT < short_line[0][0] < short_line[1][0] < 300


@given(st.lists(st.tuples(FLOATS, FLOATS), max_size=30), st.one_of(st.none(), st.just(0.0)))
@example([(0.0, -1.0)], 0.0)
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


ROOM = HEIGHT - TOP - SHARES_BOTTOM


def elements(svg: str, tag: str, kind: str) -> list[dict[str, Any]]:
    return [e.attrib for e in ElementTree.fromstring(svg).iter(tag) if kind in e.attrib.get("class", "").split()]


def test_bars_are_as_high_as_their_share_and_strong_from_the_mark() -> None:
    svg = render_histogram(Histogram("m", (0.0, 0.25, 0.5, 0.75, 1.0), (5, 0, 10, 5), 0.5), top=1.0)
    bars = elements(svg, "rect", "bin")
    assert [float(bar["height"]) / ROOM for bar in bars] == pytest.approx([0.25, 0.0, 0.5, 0.25], abs=0.01)
    assert ["good" in bar["class"] for bar in bars] == [False, False, True, True]
    (mark,) = elements(svg, "line", "mark")
    assert float(mark["x1"]) == pytest.approx((LEFT + WIDTH - RIGHT) / 2, abs=0.1)
    assert all(float(a["x"]) + float(a["width"]) < float(b["x"]) for a, b in pairwise(bars))


def test_nothing_counted_draws_nothing() -> None:
    assert render_histogram(Histogram("m", (0.0, 1.0), (0,), 0.5), top=1.0) == ""
    assert render_groups(GroupChart("t", (Group("1", 0),), {"m": (None,)})) == ""


def test_dots_and_whiskers_lie_at_their_values() -> None:
    chart = GroupChart(
        "t",
        (Group("1", 4, 0.25), Group("2", 4)),
        {"a": (Interval(0.5, 0.25, 0.75), None), "b": (None, Interval(1.0))},
        high=1.0,
    )
    svg = render_groups(chart)
    first, second = (e.attrib for e in ElementTree.fromstring(svg).iter("circle"))
    assert float(first["cy"]) == pytest.approx(TOP + ROOM / 2, abs=0.1) and float(second["cy"]) == pytest.approx(TOP)
    assert float(first["cx"]) < LEFT + (WIDTH - LEFT - RIGHT) / 2 < float(second["cx"])
    (whisker,) = elements(svg, "line", "whisker")
    assert [float(whisker["y1"]), float(whisker["y2"])] == pytest.approx(
        [TOP + 0.75 * ROOM, TOP + 0.25 * ROOM], abs=0.1
    )
    (reference,) = elements(svg, "line", "reference")
    assert float(reference["y1"]) == pytest.approx(TOP + 0.75 * ROOM, abs=0.1)
    assert (first["class"], second["class"]) == ("s0", "s1")


def test_models_of_a_group_stand_beside_each_other_inside_it() -> None:
    names = [f"m{k}" for k in range(7)]
    chart = GroupChart("t", (Group("1", 4), Group("2", 4)), {name: (Interval(0.5), Interval(0.5)) for name in names})
    xs = [float(e.attrib["cx"]) for e in ElementTree.fromstring(render_groups(chart)).iter("circle")]
    assert len(set(xs)) == 14 and max(xs[::2]) < min(xs[1::2])


@pytest.mark.parametrize("n", [1, 5, 12, 40])
def test_names_under_the_axis_never_run_into_each_other(n: int) -> None:
    groups = tuple(Group(str(k), 10) for k in range(n))
    svg = render_groups(GroupChart("t", groups, {"m": tuple(Interval(0.5) for _ in groups)}))
    xs = [float(e["x"]) for e in elements(svg, "text", "name")]
    assert xs and all(b - a >= 45 for a, b in pairwise(xs))


def test_names_are_escaped() -> None:
    chart = GroupChart("<t>", (Group("<q>", 1),), {"<m>": (Interval(0.5),)})
    assert not re.search(r"<[tqm]>", render_groups(chart))
    assert "<m>" not in render_histogram(Histogram("<m>", (0.0, 1.0), (1,), 0.5), top=1.0)

"""Histograms and estimates by group: what is drawn is proportional to what was counted."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from mirg.report.charts import HEIGHT, LEFT, RIGHT, TOP, WIDTH, render_groups, render_histogram
from mirg.report.charts import SHARES_BOTTOM as BOTTOM
from mirg.report.data import Group, GroupChart, Histogram, Interval

ROOM = HEIGHT - TOP - BOTTOM


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

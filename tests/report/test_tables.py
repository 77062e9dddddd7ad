"""What tables contain: small drawings in scale with the numbers as text, and confusion matrices."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.report.data import Interval, Matrix
from mirg.report.tables import (
    SHADES,
    WIDTH,
    difference_bar,
    difference_reach,
    grids,
    interval_bar,
    outcome_bar,
    points,
    signed,
    signed_points,
)


def band(svg: str) -> tuple[float, float]:
    (rect,) = [e for e in ET.fromstring(svg).iter("rect") if e.attrib["class"] == "band"]
    return float(rect.attrib["x"]), float(rect.attrib["x"]) + float(rect.attrib["width"])


def test_interval_and_chance_are_in_scale() -> None:
    svg = interval_bar(Interval(0.5, 0.25, 0.75), chance=0.1)
    assert band(svg) == (WIDTH / 4, WIDTH * 3 / 4)
    (line,) = [e for e in ET.fromstring(svg).iter("line")]
    assert float(line.attrib["x1"]) == WIDTH / 10
    assert ET.fromstring(svg).attrib["aria-label"] == "50.0 [25.0, 75.0], chance 10.0"


def test_difference_is_centred_on_zero() -> None:
    svg = difference_bar(Interval(0.0, -0.25, 0.25), reach=0.25)
    assert band(svg) == (0, WIDTH) and "unsure" in svg
    assert "unsure" not in difference_bar(Interval(0.1, 0.05, 0.15), reach=0.25)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)), max_size=5))
def test_reach_holds_every_interval(rows: list[tuple[float, float, float]]) -> None:
    intervals = [Interval(sorted(r)[1], min(r), max(r)) for r in rows]
    reach = difference_reach(intervals)
    assert all(max(abs(v) for v in (i.mean, i.low or 0, i.high or 0)) <= reach for i in intervals)


@pytest.mark.parametrize(
    ("value", "text"), [(0.083, "+8.3"), (-0.301, "−30.1"), (0.0, "0.0"), (-0.0001, "0.0"), (0.0004, "0.0")]
)
def test_signed_points(value: float, text: str) -> None:
    assert signed(value) == text


def test_numbers_as_text() -> None:
    assert points(Interval(0.753, 0.721, 0.782)) == "75.3 [72.1, 78.2]" and points(Interval(1.0)) == "100.0"
    assert (
        signed_points(Interval(0.083, -0.001, 0.117)) == "+8.3 [−0.1, +11.7]"
        and signed_points(Interval(0.1)) == "+10.0"
    )


def test_outcome_shares_fill_the_bar() -> None:
    svg = outcome_bar({"right": 3, "wrong_image": 1})
    rects = list(ET.fromstring(svg).iter("rect"))
    assert [r.attrib["class"] for r in rects] == ["o-right", "o-wrong_image"]
    assert float(rects[1].attrib["x"]) == 450 and float(rects[0].attrib["width"]) == 449
    assert not list(ET.fromstring(outcome_bar({})).iter("rect"))


CLASSES = ("1", "2", "none")
COLUMNS = (*CLASSES, "several", "unreadable")


def test_shares_are_of_the_row() -> None:
    (grid,) = grids((Matrix("m", CLASSES, COLUMNS, ((3, 1, 0, 0, 0), (0, 5, 0, 0, 0), (0, 0, 0, 0, 0))),))
    assert grid.columns == ("1", "2") and [row.name for row in grid.rows] == ["1", "2"], "what nobody uses is left out"
    assert [cell.share for cell in grid.rows[0].cells] == [0.75, 0.25] and grid.rows[0].n == 4
    assert [[cell.same for cell in row.cells] for row in grid.rows] == [[True, False], [False, True]]
    assert grid.rows[1].cells[1].shade == SHADES and grid.rows[1].cells[0].shade == 0


def test_models_share_their_columns() -> None:
    a = Matrix("a", CLASSES, COLUMNS, ((2, 0, 0, 0, 0), (0, 0, 0, 0, 1), (0, 0, 0, 0, 0)))
    b = Matrix("b", CLASSES, COLUMNS, ((0, 0, 0, 1, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)))
    assert [grid.columns for grid in grids((a, b))] == [("1", "2", "several", "unreadable")] * 2


def test_a_true_class_never_answered_keeps_its_column() -> None:
    (grid,) = grids((Matrix("m", CLASSES, COLUMNS, ((0, 4, 0, 0, 0), (0, 4, 0, 0, 0), (0, 0, 0, 0, 0))),))
    assert grid.columns == ("1", "2") and grid.rows[0].cells[0].number == 0 and grid.rows[0].cells[0].same


@pytest.mark.parametrize(("count", "shade"), [(0, 0), (1, 1), (500, 5), (1000, 10)])
def test_what_is_there_is_never_drawn_as_nothing(count: int, shade: int) -> None:
    (grid,) = grids((Matrix("m", ("1",), ("1", "2"), ((count, 1000 - count),)),))
    assert grid.rows[0].cells[0].shade == shade

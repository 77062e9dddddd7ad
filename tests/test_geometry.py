"""Boxes: against hand-made values, against slow references, and by their laws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.geometry import FEW_PAIRS, area, as_boxes, box_problem, clip, iou, iou_matrix, match, match_ious

ANY = st.floats(allow_nan=True, allow_infinity=True, width=64)
UNIT = st.floats(0, 1, width=32)


@st.composite
def proper_boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """Boxes with integer corners in a 100 x 100 image: their IoUs can be counted pixel by pixel."""
    x1, x2 = sorted(draw(st.lists(st.integers(0, 100), min_size=2, max_size=2, unique=True)))
    y1, y2 = sorted(draw(st.lists(st.integers(0, 100), min_size=2, max_size=2, unique=True)))
    return (float(x1), float(y1), float(x2), float(y2))


any_boxes = st.tuples(ANY, ANY, ANY, ANY)


@pytest.mark.parametrize(
    ("a", "b", "expected", "why"),
    [
        ((0, 0, 1, 1), (0, 0, 1, 1), 1.0, "itself"),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, "a corner in common"),
        ((0, 0, 1, 1), (1, 0, 2, 1), 0.0, "an edge in common has no area"),
        ((0, 0, 4, 4), (1, 1, 3, 3), 0.25, "one inside the other"),
        ((0, 0, 1, 1), (5, 5, 6, 6), 0.0, "apart"),
        ((2, 2, 0, 0), (0, 0, 2, 2), 0.0, "inverted in both directions would have a positive area"),
        ((1, 1, 1, 1), (0, 0, 2, 2), 0.0, "a point"),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0.0, "0/0 is 0"),
        ((0, 0, math.inf, 1), (0, 0, 1, 1), 0.0, "infinite"),
        ((0, 0, math.inf, 1), (0, 0, 2, 2), 0.0, "infinite, with a finite part in common"),
        ((0, 0, math.nan, 1), (0, 0, 1, 1), 0.0, "not a number"),
        ((0, 0, 1e308, 1e308), (0, 0, 1e308, 1e308), 0.0, "an area that overflows"),
        ((0, 0, 1e-200, 1e-200), (0, 0, 1e-200, 1e-200), 0.0, "an area that underflows"),
    ],
)
def test_iou_table(a: tuple[float, ...], b: tuple[float, ...], expected: float, why: str) -> None:
    for one, other in ((a, b), (b, a)):
        assert iou(one, other) == pytest.approx(expected, abs=1e-12), why
        many = iou_matrix([one] * (FEW_PAIRS + 1), [other])
        assert many == pytest.approx(np.full((FEW_PAIRS + 1, 1), expected), abs=1e-12), "as arrays"


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ((0, 0, 100, 50), None),
        ((60, 40, 100, 50), None),
        ((0, 0, 50, 51), "outside"),
        ((0, 0, 101, 50), "outside"),
        ((0, -1, 5, 5), "outside"),
        ((-1, 0, 5, 5), "outside"),
        ((0, 9, 5, 5), "inverted"),
        ((9, 0, 5, 5), "inverted"),
        ((0, 5, 5, 5), "empty"),
        ((5, 0, 5, 5), "empty"),
    ],
)
def test_the_edges_of_an_image_that_is_not_square(box: tuple[float, ...], problem: str | None) -> None:
    assert box_problem(box, width=100, height=50) == problem
    turned = (box[1], box[0], box[3], box[2])
    assert box_problem(turned, width=50, height=100) == problem


@given(proper_boxes(), proper_boxes())
def test_iou_equals_counting_pixels(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    grid_a, grid_b = np.zeros((100, 100), bool), np.zeros((100, 100), bool)
    for grid, box in ((grid_a, a), (grid_b, b)):
        grid[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
    assert iou(a, b) == pytest.approx((grid_a & grid_b).sum() / (grid_a | grid_b).sum(), abs=1e-12)


@given(proper_boxes(), proper_boxes(), st.floats(0.001, 1000), st.integers(-50, 50))
def test_iou_laws(a: tuple[float, ...], b: tuple[float, ...], scale: float, shift: int) -> None:
    value = iou(a, b)
    assert 0.0 <= value <= 1.0
    assert value == iou(b, a)
    assert iou(a, a) == 1.0
    moved = [tuple((v + shift) * scale for v in box) for box in (a, b)]
    assert iou(*moved) == pytest.approx(value, abs=1e-9)


@pytest.mark.filterwarnings("error")
@given(st.lists(any_boxes, max_size=4), st.lists(any_boxes, max_size=4))
def test_total_over_all_floats(a: list[tuple[float, ...]], b: list[tuple[float, ...]]) -> None:
    """Finite and in [0, 1] for any numbers; what is not a box overlaps nothing."""
    scores = iou_matrix(a, b)
    assert scores.shape == (len(a), len(b))
    assert np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()
    for i, j in itertools.product(range(len(a)), range(len(b))):
        if box_problem(a[i], width=math.inf, height=math.inf) in {"non-finite", "inverted", "empty"}:
            assert scores[i, j] == 0
    assert np.isfinite(area(as_boxes(a))).all()
    pairs = match(a, b)
    assert len({i for i, _, _ in pairs}) == len({j for _, j, _ in pairs}) == len(pairs)


@given(st.lists(proper_boxes(), max_size=5), st.lists(proper_boxes(), max_size=5))
def test_match_equals_trying_every_assignment(a: list[tuple[float, ...]], b: list[tuple[float, ...]]) -> None:
    scores = iou_matrix(a, b)
    if len(a) > len(b):
        scores = scores.T
    rows, columns = scores.shape
    best = max(
        (sum(scores[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(columns), rows)),
        default=0.0,
    )
    pairs = match(a, b)
    assert sum(value for _, _, value in pairs) == pytest.approx(best, abs=1e-9)
    assert [i for i, _, _ in pairs] == sorted(i for i, _, _ in pairs)
    assert all(value == iou(a[i], b[j]) > 0 for i, j, value in pairs)


def test_match_is_not_greedy() -> None:
    """Taking the best pair first would leave the other box with nothing."""
    predicted = [(0, 0, 10, 10), (0, 0, 10, 8)]
    true = [(0, 0, 10, 9), (0, 0, 10, 20)]
    assert [(i, j) for i, j, _ in match(predicted, true)] == [(0, 1), (1, 0)]
    assert match([], true) == match(predicted, []) == []


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 1, 1), None),
        ((0.2, 0.1, 0.5, 0.9), None),
        ((0, 0, 1 + 1e-12, 1 + 1e-12), None),  # rounding
        ((-1e-12, -1e-12, 1, 1), None),  # rounding at the other two edges
        ((0, 0, 1.001, 1), "outside"),
        ((0, 0, 1, 1.001), "outside"),
        ((-0.001, 0, 1, 1), "outside"),
        ((0, -0.001, 1, 1), "outside"),
        ((0.5, 0, 0.4, 1), "inverted"),
        ((0, 0.5, 1, 0.4), "inverted"),
        ((0.5, 0, 0.5, 1), "empty"),
        ((0, 0.5, 1, 0.5), "empty"),
        ((0, 0, math.nan, 1), "non-finite"),
        ((0, -math.inf, 1, 1), "non-finite"),
        ((0, 0, 1), "non-finite"),
        ((), "non-finite"),
    ],
)
def test_box_problem(box: tuple[float, ...], expected: str | None) -> None:
    assert box_problem(box) == expected


def test_box_problem_in_pixels() -> None:
    assert box_problem((0, 0, 640, 480), width=640, height=480) is None
    assert box_problem((0, 0, 641, 480), width=640, height=480) == "outside"
    assert box_problem((0, 0, 480, 481), width=640, height=480) == "outside"


@given(st.tuples(*[st.floats(-5, 5)] * 4))
def test_clip_stays_inside_and_keeps_what_is_inside(box: tuple[float, float, float, float]) -> None:
    clipped = clip(box)
    assert clipped == tuple(sorted((0.0, v, 1.0))[1] for v in box)


ODD = st.sampled_from([0.0, 1.0, -1.0, math.nan, math.inf, 1e308, -1e308, 1e-320]) | st.floats(0, 1)


odd_boxes = st.tuples(ODD, ODD, ODD, ODD) | proper_boxes()


@given(odd_boxes, odd_boxes)
def test_one_pair_is_the_matrix_bit_for_bit(a: tuple, b: tuple) -> None:
    assert iou(a, b) == float(iou_matrix([a] * (FEW_PAIRS + 1), [b])[0, 0])
    assert match([a], [b]) == match_ious(iou_matrix([a], [b]))

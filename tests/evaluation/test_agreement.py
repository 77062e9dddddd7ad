from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.evaluation.agreement import NOTHING, Agreement, Placed, agree, agree_by_iou, iou_of_answer
from mirg.geometry import Box

A: Box = (0.1, 0.1, 0.3, 0.3)
A2: Box = (0.1, 0.1, 0.3, 0.25)  # IoU 0.75 with A
A3: Box = (0.1, 0.1, 0.3, 0.18)  # IoU 0.40 with A
B: Box = (0.6, 0.6, 0.9, 0.9)
BAD: Box = (0.3, 0.3, 0.1, 0.1)


@pytest.mark.parametrize(
    ("predicted", "true", "expected", "why"),
    [
        ([(2, A)], [(2, A)], (1.0, 1.0, True, True), "right"),
        ([(1, A)], [(2, A)], (1.0, 1.0, False, False), "wrong image: the published metrics do not see it"),
        ([(2, A2)], [(2, A)], (0.75, 0.75, True, True), "close"),
        ([(2, A3)], [(2, A)], (0.4, 0.4, True, False), "right image, wrong box"),
        ([(2, B)], [(2, A)], (0.0, 0.0, True, False), "apart"),
        ([(2, BAD)], [(2, A)], (0.0, 0.0, True, False), "a bad box names its image and matches nothing"),
        ([(0, A)], [(2, A)], (1.0, 1.0, False, False), "no image named"),
        ([(9, A)], [(2, A)], (1.0, 1.0, False, False), "no such image"),
        ([(2, A), (2, B)], [(2, A)], (0.5, 0.0, True, False), "a box too many"),
        ([(2, A), (2, BAD)], [(2, A)], (0.5, 0.0, True, False), "a bad box too many counts like any"),
        ([(2, A)], [(2, A), (3, B)], (0.5, 0.0, False, False), "a box too few"),
        ([(3, B), (2, A)], [(2, A), (3, B)], (1.0, 1.0, True, True), "order is nothing"),
        ([(3, A), (2, B)], [(2, A), (3, B)], (1.0, 1.0, True, False), "both images named, boxes exchanged"),
        ([(2, A), (3, A3)], [(2, A), (3, B)], (0.5, 0.0, True, False), "the box of the second image is wrong"),
        ([(2, B), (3, B)], [(2, A), (3, B)], (0.5, 0.0, True, False), "the box of the first image is wrong"),
        ([(2, A), (2, B)], [(2, A), (2, B)], (1.0, 1.0, True, True), "two in one image"),
        ([(2, A), (2, A)], [(2, A), (2, B)], (0.5, 0.0, True, False), "one box twice"),
        ([], [], (1.0, 1.0, True, True), "none, rightly"),
        ([], [(2, A)], (0.0, 0.0, False, False), "none, wrongly"),
        ([(2, A)], [], (0.0, 0.0, False, False), "a box although there is no target"),
    ],
)
def test_table(
    predicted: list[Placed], true: list[Placed], expected: tuple[float, float, bool, bool], why: str
) -> None:
    found = agree(predicted, true)
    assert (found.iou, found.worst) == (pytest.approx(expected[0]), pytest.approx(expected[1])), why
    assert (found.images, found.joint) == expected[2:], why


def test_thresholds_are_inclusive() -> None:
    found = Agreement(iou=0.5, worst=0.5, images=True, joint=True)
    assert found.at(0.5) and found.at(0.3) and not found.at(0.7)
    assert not NOTHING.at(0.3)


def _boxes() -> st.SearchStrategy[Box]:
    corner = st.integers(0, 9)
    size = st.integers(1, 5)
    return st.builds(lambda x, y, w, h: (x / 20, y / 20, (x + w) / 20, (y + h) / 20), corner, corner, size, size)


_placed = st.lists(st.tuples(st.integers(1, 3), _boxes()), max_size=4)


@given(_placed, _placed, st.randoms())
def test_properties(predicted: list[Placed], true: list[Placed], rng: object) -> None:
    found = agree(predicted, true)
    assert 0.0 <= found.worst <= 1.0 and 0.0 <= found.iou <= 1.0
    if found.joint:
        assert found.images and len(predicted) == len(true)
    shuffled = list(predicted)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    again = agree(shuffled, true)
    assert again.iou == pytest.approx(found.iou) and again.images == found.images


@given(st.integers(0, 3), st.one_of(_boxes(), st.tuples(*[st.floats(-0.1, 1.1)] * 4)), st.integers(1, 3), _boxes())
def test_a_single_pair_is_compared_as_many_are(image: int, box: Box, true_image: int, true: Box) -> None:
    whole = agree_by_iou([image], [true_image], iou_of_answer([box], [true]))
    assert agree([(image, box)], [(true_image, true)]) == whole


@given(_placed)
def test_truth_against_itself(true: list[Placed]) -> None:
    found = agree(true, true)
    assert found.iou == pytest.approx(1.0) and found.images and found.at(0.7) and found.joint

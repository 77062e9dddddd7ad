"""Boxes that are allowed and look wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.data.checks.problems import BoxLimits, box_warnings, rotated
from mirg.geometry import Box
from mirg.images import Header
from mirg.samples import ImageRef, Sample, Target


def kinds(*boxes: Box, size: tuple[int, int] = (1000, 500), question: str = "?", **limits: float) -> list[str]:
    image = ImageRef(path="a.png", width=size[0], height=size[1])
    targets = tuple(Target(image=1, box=box) for box in boxes)
    sample = Sample(id="s", task="t", images=(image,), question=question, targets=targets)
    return [kind for kind, _, _ in box_warnings(sample, BoxLimits(**limits))]


ROWS = [
    ((0.1, 0.1, 0.5, 0.5), (1000, 500), [], "ordinary"),
    ((0.1, 0.1, 0.109, 0.5), (1000, 500), ["tiny_box", "long_box"], "0.9 % wide, 9 x 200 pixels"),
    ((0.1, 0.1, 0.11001, 0.2), (1000, 500), [], "just over 1 %, ten pixels"),
    ((0.1, 0.1, 0.12, 0.2), (100, 50), ["tiny_box"], "2 % of a small image are 2 pixels"),
    ((0.1, 0.1, 0.2, 0.109), (500, 1000), ["tiny_box"], "0.9 % high, 50 x 9 pixels"),
    ((0.1, 0.1, 0.2, 0.12), (50, 100), ["tiny_box"], "2 % of a small image are 2 pixels, in height"),
    ((0.1, 0.1, 0.12, 0.2), (0, 0), [], "of an image of unknown size only the fraction counts"),
    ((0.0, 0.0, 1.0, 1.0), (1000, 500), ["whole_image_box"], "says nothing about the place"),
    ((0.0, 0.0, 0.99, 0.99), (1000, 500), ["whole_image_box"], "98.01 % of the area"),
    ((0.0, 0.0, 0.99, 0.98), (1000, 500), [], "97 % of the area"),
    ((0.0, 0.4, 1.0, 0.48), (1000, 500), ["long_box"], "1000 x 40 pixels"),
    ((0.0, 0.4, 1.0, 0.48), (100, 1000), [], "100 x 80 pixels: ratios are of pixels"),
]  # fmt: skip


@pytest.mark.parametrize(("box", "size", "found", "why"), ROWS)
def test_one_box(box: Box, size: tuple[int, int], found: list[str], why: str) -> None:
    assert kinds(box, size=size) == found, why


def test_the_same_box_twice() -> None:
    box = (0.1, 0.1, 0.5, 0.5)
    assert kinds(box, box, box) == ["repeated_box", "repeated_box"]
    assert kinds(box, (0.1, 0.1, 0.5, 0.51)) == []


def test_boxes_of_the_question_count_too() -> None:
    assert kinds(question="Find <box image=1>0.0,0.0,1.0,1.0</box>.") == ["whole_image_box"]
    assert kinds(question="Find <box image=7>0.0,0.0,1.0,1.0</box>.") == [], "an error elsewhere, no crash here"


def test_every_box_is_looked_at_in_its_own_image() -> None:
    """The same fractions are 20 x 50 pixels of the first image and 2 x 5 of the second."""
    box = (0.1, 0.1, 0.12, 0.2)
    images = tuple(ImageRef(path=f"{side}.png", width=side, height=side // 2) for side in (1000, 100))
    targets = tuple(Target(image=number, box=box) for number in (1, 2))
    question = "Like <box image=2>0.0,0.0,0.5,0.5</box>?"
    sample = Sample(id="s", task="t", images=images, question=question, targets=targets)
    assert [(kind, field) for kind, field, _ in box_warnings(sample)] == [("tiny_box", "targets.1.box")]
    found = [(kind, field) for kind, field, _ in box_warnings(sample, BoxLimits(max_area=0.2))]
    assert found == [("tiny_box", "targets.1.box"), ("whole_image_box", "question")]


def test_only_images_with_boxes_can_be_rotated_in_a_way_that_matters() -> None:
    """Of four photographs, the second has a target, the question cites the third, and the fourth was settled."""
    images = tuple(ImageRef(path=f"{k}.jpg") for k in range(4))
    targets = tuple(Target(image=number, box=(0.1, 0.1, 0.5, 0.5)) for number in (2, 4))
    question, meta = "Like <box image=3>0.0,0.0,0.5,0.5</box>?", {"exif": [False, None, False, "apply"]}
    one = Sample(id="s", task="t", images=images, question=question, targets=targets, meta=meta)
    assert [place for place, _ in rotated(one, lambda ref: Header(9, 7, 6))] == [1, 2]


def test_limits_are_options() -> None:
    box = (0.1, 0.1, 0.2, 0.5)
    assert kinds(box, min_side=0.2) == ["tiny_box"] and kinds(box, min_pixels=150) == ["tiny_box"]
    assert kinds(box, max_area=0.01) == ["whole_image_box"] and kinds(box, max_ratio=1.5) == ["long_box"]


@given(st.tuples(*[st.floats(0, 1)] * 4), st.tuples(*[st.integers(1, 5000)] * 2))
def test_total(values: tuple[float, ...], size: tuple[int, int]) -> None:
    """Every box that a sample may hold gets an answer, also one of the smallest width there is."""
    x1, x2 = sorted(values[:2])
    y1, y2 = sorted(values[2:])
    if x1 < x2 and y1 < y2:
        assert set(kinds((x1, y1, x2, y2), size=size)) <= {"tiny_box", "whole_image_box", "long_box"}

"""Readings made from boxes, without a text."""

from __future__ import annotations

from collections.abc import Sequence

from mirg.answers.read import ReadBox, Reading
from mirg.geometry import box_problem
from mirg.samples.schema import Target


def reading_of(boxes: Sequence[tuple[int, tuple[float, float, float, float]]]) -> Reading:
    """A well-formatted answer with these (image, box) pairs; no pair means an explicit "none"."""
    read = tuple(ReadBox(image, box, box_problem(box)) for image, box in boxes)
    return Reading(read, not read, None, "", "", 1.0, None, 2)


def truth_of(targets: Sequence[Target]) -> list[tuple[int, tuple[float, float, float, float]]]:
    """The (image, box) pairs of the right answer."""
    return [(t.image, t.box) for t in targets]

"""Boxes that are allowed and look wrong: tiny, the whole image, twice the same, very long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mirg.answers.markup import cited
from mirg.geometry import Box
from mirg.samples import ImageRef, Sample


@dataclass(frozen=True)
class BoxLimits:
    """From where on a box is worth a look.

    ``min_side`` is a fraction of the image's side, ``min_pixels`` a side in pixels of the original image (where its
    size is known), ``max_area`` a fraction of the image's area, ``max_ratio`` the longer side over the shorter one.
    """

    min_side: float = 0.01
    min_pixels: float = 4.0
    max_area: float = 0.98
    max_ratio: float = 20.0


DEFAULT_BOXES = BoxLimits()


def box_warnings(sample: Sample, limits: BoxLimits = DEFAULT_BOXES) -> Iterator[tuple[str, str, str]]:
    """(kind, field, reason) for every target, and every box that the question gives, that is worth a look."""
    seen: set[tuple[int, Box]] = set()
    for number, target in enumerate(sample.targets):
        field = f"targets.{number}.box"
        for kind, reason in _problems(target.box, sample.images[target.image - 1], limits):
            yield kind, field, reason
        key = (target.image, target.box)
        if key in seen:
            yield "repeated_box", field, f"the same box in Image-{target.image} is an earlier target"
        seen.add(key)
    if "<box image=" in sample.question:
        for image, box in cited(sample.question):
            if 1 <= image <= len(sample.images):
                for kind, reason in _problems(box, sample.images[image - 1], limits):
                    yield kind, "question", reason


def _problems(box: Box, ref: ImageRef, limits: BoxLimits) -> Iterator[tuple[str, str]]:
    width, height = box[2] - box[0], box[3] - box[1]
    across, down = width * (ref.width or 1), height * (ref.height or 1)  # pixels where the size is known
    if width < limits.min_side or height < limits.min_side:
        yield "tiny_box", f"is {width * 100:.2g} % x {height * 100:.2g} % of {ref.path}"
    elif ref.width and (across < limits.min_pixels or down < limits.min_pixels):
        yield "tiny_box", f"is {across:.4g} x {down:.4g} pixels of {ref.path}"
    if width * height > limits.max_area:
        yield "whole_image_box", f"is {width * height * 100:.1f} % of {ref.path}"
    short, long = (across, down) if across < down else (down, across)
    if short > 0 and long > limits.max_ratio * short:
        yield "long_box", f"is {long / short:.0f} times as long as wide in {ref.path}"

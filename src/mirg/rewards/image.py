"""Image-level reward: did the answer name the right images?"""

from __future__ import annotations

from collections.abc import Iterable

from mirg.answers.read import Reading
from mirg.rewards.part import BEST, Part


def image_part(reading: Reading, true_images: frozenset[int]) -> Part:
    """Jaccard index of the set of images named and the set of images true (method: image reward).

    One image against one image is right (1) or wrong (0); ``none`` against no target is 1. A box names its image even
    where the box itself is bad; an unreadable answer names none and earns 0.
    """
    if reading.failure is not None:
        return Part(0.0, reading.failure)
    named = named_images(reading)
    if named == true_images:
        return BEST
    both, either = len(named & true_images), len(named | true_images)
    return Part(both / either, f"named {_names(named)}, true is {_names(true_images)}")


def named_images(reading: Reading) -> frozenset[int]:
    """The set of image numbers that an answer names; a box that names none counts as image 0."""
    return frozenset(box.image for box in reading.boxes)


def _names(images: Iterable[int]) -> str:
    ordered = sorted(images)
    shown = ", ".join(f"Image-{n}" if n else "no image" for n in ordered[:8])
    return f"{shown}, …" if len(ordered) > 8 else shown or "none"

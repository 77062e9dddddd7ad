"""An image processor that prepares each image of a call once, however often it occurs.

GRPO asks for every prompt G times in one call, so its images come G times too: the same objects. Rows of equal images
are copied from the first, so the result is the same to the bit (a test holds it).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import BatchFeature

_PATCHES, _GRID = "pixel_values", "image_grid_thw"


def once_per_image(images: Any) -> Any:
    """``images``, a Qwen-VL image processor, as one that works once per distinct image object of a call."""
    return _once(type(images)).from_dict(images.to_dict()) if not hasattr(type(images), "works_once") else images


@cache
def _once(base: type) -> type:
    def preprocess(self: Any, images: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        flat = list(_leaves(images))
        first = {id(image): image for image in flat}
        if len(first) == len(flat):
            return base.preprocess(self, images, *args, **kwargs)  # type: ignore[attr-defined]
        made = base.preprocess(self, list(first.values()), *args, **kwargs)  # type: ignore[attr-defined]
        place = {key: k for k, key in enumerate(first)}
        return _repeat(made, [place[id(image)] for image in flat])

    # The name stays: it is what a saved folder records.
    return type(base.__name__, (base,), {"__doc__": base.__doc__, "works_once": True, "preprocess": preprocess})


def _leaves(images: Any) -> Iterator[Any]:
    if not isinstance(images, list | tuple):
        yield images
        return
    for image in images:
        yield from _leaves(image)


def _repeat(made: BatchFeature, order: list[int]) -> BatchFeature:
    """The features of images ``order`` out of ``made``; the patches of all images lie one after another."""
    counts = np.asarray(made[_GRID]).prod(axis=1)
    starts = np.cumsum(counts) - counts
    rows = np.concatenate([np.arange(starts[k], starts[k] + counts[k]) for k in order])
    made[_PATCHES], made[_GRID] = made[_PATCHES][rows], made[_GRID][order]
    return made

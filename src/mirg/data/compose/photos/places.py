"""Choosing a place in a photograph that can be found again, and only there."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mirg.data.compose.photos.config import PhotoConfig
from mirg.data.compose.pixels import corners
from mirg.data.compose.texture import Pixels, Place, contrast, edge_share, look_alike
from mirg.geometry import iou

if TYPE_CHECKING:
    from PIL import Image

MIN_THUMB_SIDE = 6  # a piece of fewer pixels says nothing about likeness
MAX_SHARED = 0.1  # IoU of two places that still count as distinct


def find_place(
    rng: random.Random,
    thumb: Pixels,
    size: tuple[int, int],
    config: PhotoConfig,
    *,
    taken: Sequence[Place] = (),
    others: Sequence[Pixels] = (),
) -> Place | None:
    """A textured place, in pixels of a photograph of ``size``, that looks like no other place; None where none is.

    ``thumb`` is the same photograph made small. ``taken`` places are avoided, and no window of the ``others`` (small
    copies of further photographs) may look like it either.
    """
    for _ in range(config.tries):
        place = draw_place(rng, size, config)
        if any(iou(corners(place), corners(other)) > MAX_SHARED for other in taken):
            continue
        if is_unique(thumb, thumb_place(place, size, thumb), config, others):
            return place
    return None


def draw_place(rng: random.Random, size: tuple[int, int], config: PhotoConfig) -> Place:
    """A random place (x, y, width, height) of the sizes that ``config`` allows, whole pixels, inside the photograph."""
    sides = [max(1, min(length, round(length * rng.uniform(config.smallest, config.largest)))) for length in size]
    x, y = (rng.randint(0, length - side) for length, side in zip(size, sides, strict=True))
    return (x, y, sides[0], sides[1])


def is_unique(thumb: Pixels, place: Place, config: PhotoConfig, others: Sequence[Pixels] = ()) -> bool:
    """Whether the piece at ``place`` (pixels of ``thumb``) has texture and no look-alike here or in ``others``."""
    x, y, width, height = place
    if min(width, height) < MIN_THUMB_SIDE:
        return False
    piece = thumb[y : y + height, x : x + width]
    if contrast(piece) < config.min_contrast or edge_share(piece) < config.min_edges:
        return False
    for pixels, own in [(thumb, place), *((other, None) for other in others)]:
        correlation, distance = look_alike(pixels, piece, own)
        if correlation > config.max_correlation or distance < config.min_distance:
            return False
    return True


def thumb_place(place: Place, size: tuple[int, int], thumb: Pixels) -> Place:
    """``place`` of a photograph of ``size`` in whole pixels of its ``thumb``, at least one pixel a side."""
    height, width = thumb.shape[:2]
    x, y = round(place[0] * width / size[0]), round(place[1] * height / size[1])
    w, h = max(1, round(place[2] * width / size[0])), max(1, round(place[3] * height / size[1]))
    return (min(x, width - w), min(y, height - h), w, h)


def cut(image: Image.Image, place: Place, config: PhotoConfig) -> Image.Image:
    """The piece of ``image`` at ``place``; as large as every other image where the set is square."""
    from PIL import Image

    piece = image.crop(corners(place))
    return piece.resize((config.side, config.side), Image.Resampling.BICUBIC) if config.square else piece

"""Places of photographs: textured ones that can be found again, free ones to paste on, and other views of a place."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mirg.data.compose.bench import Shown
from mirg.data.compose.edits import View
from mirg.data.compose.photos.pool import PhotoConfig, PhotoPool
from mirg.data.compose.pixels import (
    Pixels,
    Place,
    contrast,
    corners,
    edge_share,
    fraction_box,
    look_alike,
    share_inside,
)
from mirg.geometry import Box, iou
from mirg.samples import ObjectNote, Role, Target

if TYPE_CHECKING:
    from PIL import Image

LABEL = "patch"  # of the targets, since the photographs have no annotation
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
MIN_THUMB_SIDE = 6  # pixels; smaller pieces cannot be compared
MAX_SHARED = 0.1  # IoU of two places that still count as distinct
_DRAWS = 60
_SIDES = (0.7, 0.9)  # of a view, as a share of the sides of its photograph
_MAX_SAME = 0.75  # IoU of the windows of two views
_MARGIN = 0.05  # of the sides of a place: a view shows this much around it


def find_place(
    rng: random.Random, pool: PhotoPool, index: int, *, taken: Sequence[Place] = (), others: Sequence[int] = ()
) -> Place | None:
    """A textured place, in pixels of photograph ``index``, that looks like no other place; None if none is found.

    ``taken`` places are avoided, and no window of the photographs ``others`` may look like it either.
    """
    size, thumb = pool.image(index).size, pool.thumb(index)
    for _ in range(pool.config.tries):
        place = draw_place(rng, size, pool.config)
        if any(iou(corners(place), corners(other)) > MAX_SHARED for other in taken):
            continue
        if _is_unique(thumb, _thumb_place(place, size, thumb), pool.config, [pool.thumb(other) for other in others]):
            return place
    return None


def draw_place(rng: random.Random, size: tuple[int, int], config: PhotoConfig) -> Place:
    """A random place (x, y, width, height) of the sizes that ``config`` allows, whole pixels, inside the photograph."""
    sides = [max(1, min(length, round(length * rng.uniform(config.smallest, config.largest)))) for length in size]
    x, y = (rng.randint(0, length - side) for length, side in zip(size, sides, strict=True))
    return (x, y, sides[0], sides[1])


def _is_unique(thumb: Pixels, place: Place, config: PhotoConfig, others: Sequence[Pixels]) -> bool:
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


def _thumb_place(place: Place, size: tuple[int, int], thumb: Pixels) -> Place:
    """``place`` of a photograph of ``size`` in whole pixels of its ``thumb``, at least one pixel a side."""
    height, width = thumb.shape[:2]
    x, y = round(place[0] * width / size[0]), round(place[1] * height / size[1])
    w, h = max(1, round(place[2] * width / size[0])), max(1, round(place[3] * height / size[1]))
    return (min(x, width - w), min(y, height - h), w, h)


def crop(pool: PhotoPool, index: int, place: Place, role: Role) -> Shown:
    """The piece of a photograph at ``place``, resized to ``side`` x ``side`` if the settings say ``square``."""
    return shown(fitted(pool, pool.image(index).crop(corners(place))), index, role)


def shown(
    image: Image.Image, photo: int, role: Role, boxes: Sequence[Box] = (WHOLE,), also: int | None = None
) -> Shown:
    """An image with its patches as object-level annotation; ``photo`` is the pool index of its photograph."""
    return Shown(photo, role, tuple(ObjectNote(label=LABEL, box=box) for box in boxes), image, also=also)


def target(image: int, box: Box) -> tuple[Target]:
    """The truth of a question about one patch."""
    return (Target(image=image, box=box, label=LABEL),)


def free_place(
    rng: random.Random, size: tuple[int, int], piece: tuple[int, int], taken: Sequence[Place]
) -> Place | None:
    """A random place for a piece (width, height) in an image of ``size`` that overlaps no ``taken`` one, or None."""
    if piece[0] > size[0] or piece[1] > size[1]:
        return None
    for _ in range(_DRAWS):
        place = (rng.randint(0, size[0] - piece[0]), rng.randint(0, size[1] - piece[1]), *piece)
        if not any(overlap(place, other) for other in taken):
            return place
    return None


def overlap(place: Place, other: Place) -> bool:
    """Whether two places share a pixel."""
    return share_inside(corners(place), corners(other)) > 0


def views(rng: random.Random, size: tuple[int, int], place: Place, count: int) -> list[View] | None:
    """``count`` views of an image of ``size`` that differ in offset and scale and show all of ``place``, or None."""
    box = fraction_box(place, size)
    wide, high = _MARGIN * (box[2] - box[0]), _MARGIN * (box[3] - box[1])
    around = (max(box[0] - wide, 0.0), max(box[1] - high, 0.0), min(box[2] + wide, 1.0), min(box[3] + high, 1.0))
    found: list[View] = []
    for _ in range(_DRAWS):
        side = rng.uniform(*_SIDES)
        left, top = (rng.uniform(0, 1 - side) for _ in range(2))
        view = View((left, top, left + side, top + side), rng.uniform(0.8, 1.0)).snapped(size)
        if view.visible(around) > 1 - 1e-9 and all(iou(view.window, other.window) <= _MAX_SAME for other in found):
            found.append(view)
            if len(found) == count:
                return found
    return None


def seen(pool: PhotoPool, index: int, image: Image.Image, view: View, boxes: Sequence[Box] = ()) -> Shown:
    """A view of ``image``, an edition of photograph ``index``; ``boxes`` (its fractions) are noted in the view."""
    return shown(fitted(pool, view.render(image)), index, "candidate", [view.box(box) for box in boxes])


def fitted(pool: PhotoPool, image: Image.Image) -> Image.Image:
    """``image``, resized to ``side`` x ``side`` if the settings say ``square``."""
    from PIL import Image

    side = pool.config.side
    return image.resize((side, side), Image.Resampling.BICUBIC) if pool.config.square else image

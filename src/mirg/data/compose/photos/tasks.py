"""The tasks out of photographs without annotation: region, difference, refer; and places that can be found again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mirg.data.compose.bench import Draft, Shown
from mirg.data.compose.photos.pool import PhotoConfig, PhotoPool
from mirg.data.compose.pixels import (
    Pixels,
    Place,
    change,
    contrast,
    corners,
    edge_share,
    fraction_box,
    look_alike,
    remove,
)
from mirg.geometry import Box, iou
from mirg.samples import ObjectNote, Role, Target

if TYPE_CHECKING:
    from PIL import Image

LABEL = "patch"  # of the targets, since the photographs have no annotation
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
QUESTIONS = {
    "region": "Image-{k} is a part of Image-1. Where in Image-1 is it?",
    "difference": "One of the two images has an altered patch. Which image is it, and where is the patch?",
    "refer": "Image-1 is a part of one of the other images. Which image is it, and where is the part?",
}
MIN_THUMB_SIDE = 6  # pixels; smaller pieces cannot be compared
MAX_SHARED = 0.1  # IoU of two places that still count as distinct


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


def _crop(pool: PhotoPool, index: int, place: Place, role: Role) -> Shown:
    """The piece of a photograph at ``place``, resized to ``side`` x ``side`` if the settings say ``square``."""
    from PIL import Image

    piece, side = pool.image(index).crop(corners(place)), pool.config.side
    return _shown(piece.resize((side, side), Image.Resampling.BICUBIC) if pool.config.square else piece, index, role)


def _shown(image: Image.Image, photo: int, role: Role, boxes: Sequence[Box] = (WHOLE,)) -> Shown:
    """An image with its patches as object-level annotation; ``photo`` is the pool index of its photograph."""
    return Shown(photo, role, tuple(ObjectNote(label=LABEL, box=box) for box in boxes), image)


def _target(image: int, box: Box) -> tuple[Target]:
    return (Target(image=image, box=box, label=LABEL),)


def region(rng: random.Random, pool: PhotoPool) -> Draft | None:
    """Image-1 is a photograph, the others are 1 to ``max_images - 1`` crops of it: where in Image-1 is one of them?

    None if the photograph has no unique place. Image-1 is annotated with the places of all crops: the other crops are
    the distractors.
    """
    index = rng.randrange(len(pool))
    photo = pool.image(index)
    places: list[Place] = []
    for _ in range(rng.randint(1, pool.config.max_images - 1)):
        place = find_place(rng, pool, index, taken=places)
        if place is None:
            break
        places.append(place)
    if not places:
        return None
    asked = rng.randrange(len(places))
    boxes = [fraction_box(place, photo.size) for place in places]
    crops = (_crop(pool, index, place, "reference" if k == asked else "distractor") for k, place in enumerate(places))
    return Draft(
        (_shown(photo, index, "source", boxes), *crops), "region", LABEL, _target(1, boxes[asked]), "part_of",
        image_hidden=False, slots={"k": str(asked + 2)}, meta={"asked_image": asked + 2},
    )  # fmt: skip


def difference(rng: random.Random, pool: PhotoPool) -> Draft | None:
    """A photograph twice, one copy altered at one place: where is it? None if no alteration would be visible.

    Half of the alterations paste a piece of another photograph (or of another place, if the pool has only one), half
    fill the place in from its border. In both cases the target is in the altered copy.
    """
    index = rng.randrange(len(pool))
    photo = pool.image(index)
    paste = rng.random() < 0.5
    for _ in range(4):
        if paste:
            place = draw_place(rng, photo.size, pool.config)
            altered = _pasted(rng, pool, index, place)
        else:
            found = find_place(rng, pool, index)
            if found is None:
                return None
            place, altered = found, remove(photo, found)
        if altered is not None and change(photo, altered, place) >= pool.config.min_change:
            break
    else:
        return None
    box = fraction_box(place, photo.size)
    number = rng.randint(1, 2)
    images = (_shown(altered, index, "candidate", [box]), _shown(photo, index, "candidate", []))
    return Draft(
        images if number == 1 else images[::-1], "difference", LABEL, _target(number, box), "changed_object",
        image_hidden=True, meta={"alteration": "paste" if paste else "remove"},
    )  # fmt: skip


def _pasted(rng: random.Random, pool: PhotoPool, index: int, place: Place) -> Image.Image | None:
    """The photograph with a textured piece of another one at ``place``, scaled to fit; None if none was found."""
    from PIL import Image

    donor = rng.choice([other for other in range(len(pool)) if other != index] or [index])
    piece = find_place(rng, pool, donor, taken=[place] if donor == index else [])
    if piece is None:
        return None
    altered = pool.image(index).copy()
    altered.paste(pool.image(donor).crop(corners(piece)).resize(place[2:], Image.Resampling.BICUBIC), place[:2])
    return altered


def refer(rng: random.Random, pool: PhotoPool) -> Draft | None:
    """Image-1 is a crop of one of the other photographs: which, and where? None if no place is unique among them.

    Needs two photographs in the pool and three images in a sample (the crop and two candidates).
    """
    most = min(pool.config.max_images - 1, len(pool))
    if most < 2:
        return None
    candidates = rng.sample(range(len(pool)), rng.randint(2, most))
    chosen = rng.randrange(len(candidates))
    index = candidates[chosen]
    place = find_place(rng, pool, index, others=[other for other in candidates if other != index])
    if place is None:
        return None
    box = fraction_box(place, pool.image(index).size)
    images = (_shown(pool.image(other), other, "candidate", [box] if other == index else []) for other in candidates)
    return Draft(
        (_crop(pool, index, place, "reference"), *images), "refer", LABEL, _target(chosen + 2, box), "part_of",
        image_hidden=True,
    )  # fmt: skip


TASKS: dict[str, Callable[[random.Random, PhotoPool], Draft | None]] = {
    "region": region,
    "difference": difference,
    "refer": refer,
}

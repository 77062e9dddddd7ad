"""The tasks out of photographs without annotation: region, difference, refer; and places that can be found again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import JsonValue

from mirg.data.compose.bench import Shown
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
from mirg.samples import ObjectNote, Relation, Role, Target

if TYPE_CHECKING:
    from PIL import Image


LABEL = "patch"  # of the targets, since the photographs have no annotation
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def _shown(image: Image.Image, photo: int, role: Role, boxes: Sequence[Box] = ()) -> Shown:
    """An image with its patches as object-level annotation; ``photo`` is the pool index of its photograph."""
    return Shown(photo, role, tuple(ObjectNote(label=LABEL, box=box) for box in boxes), image)


@dataclass(frozen=True)
class Draft:
    """What a task returns; ``target`` points at one patch of ``images``. All images have pixels."""

    task: str
    images: tuple[Shown, ...]
    question: str
    target: Target
    relation: Relation
    image_hidden: bool
    meta: dict[str, JsonValue] = field(default_factory=dict)


MIN_THUMB_SIDE = 6  # pixels; smaller pieces cannot be compared
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
    """A textured place, in pixels of a photograph of ``size``, that looks like no other place; None if none is found.

    ``thumb`` is a small copy of the photograph. ``taken`` places are avoided, and no window of the ``others`` (small
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
    """The piece of ``image`` at ``place``, resized to ``side`` x ``side`` if ``config.square``."""
    from PIL import Image

    piece = image.crop(corners(place))
    return piece.resize((config.side, config.side), Image.Resampling.BICUBIC) if config.square else piece


def region(rng: random.Random, pool: PhotoPool, config: PhotoConfig) -> Draft | None:
    """Image-1 is a photograph, the others are 1 to ``max_images - 1`` crops of it: where in Image-1 is one of them?

    None if the photograph has no unique place.

    Image-1 is annotated with the places of all crops: the other crops are the distractors.
    """
    index = rng.randrange(len(pool))
    photo, thumb = pool.image(index), pool.thumb(index)
    places: list[Place] = []
    for _ in range(rng.randint(1, config.max_images - 1)):
        place = find_place(rng, thumb, photo.size, config, taken=places)
        if place is None:
            break
        places.append(place)
    if not places:
        return None
    asked = rng.randrange(len(places))
    boxes = tuple(fraction_box(place, photo.size) for place in places)
    crops = tuple(
        _shown(cut(photo, place, config), index, "reference" if k == asked else "distractor", (WHOLE,))
        for k, place in enumerate(places)
    )
    number = asked + 2
    return Draft(
        task="region",
        images=(_shown(photo, index, "source", boxes), *crops),
        question=f"Image-{number} is a part of Image-1. Where in Image-1 is it?",
        target=Target(image=1, box=boxes[asked], label=LABEL),
        relation="part_of",
        image_hidden=False,
        meta={"asked_image": number, "choices": 1},
    )


def difference(rng: random.Random, pool: PhotoPool, config: PhotoConfig) -> Draft | None:
    """A photograph twice, one copy altered at one place: where is it? None if no alteration would be visible.

    Half of the alterations paste a piece of another photograph (or of another place, if the pool has only one), half
    fill the place in from its border. In both cases the target is in the altered copy.
    """
    index = rng.randrange(len(pool))
    photo, thumb = pool.image(index), pool.thumb(index)
    paste = rng.random() < 0.5
    for _ in range(4):
        if paste:
            place = draw_place(rng, photo.size, config)
            altered = _paste(rng, pool, index, place, config)
        else:
            found = find_place(rng, thumb, photo.size, config)
            if found is None:
                return None
            place, altered = found, remove(photo, found)
        if altered is not None and change(photo, altered, place) >= config.min_change:
            return _draft(rng, index, photo, altered, place, "paste" if paste else "remove")
    return None


def _paste(rng: random.Random, pool: PhotoPool, index: int, place: Place, config: PhotoConfig) -> Image.Image | None:
    """The photograph with a textured piece of another one at ``place``, scaled to fit; None if none was found."""
    from PIL import Image

    donors = [other for other in range(len(pool)) if other != index] or [index]
    donor = rng.choice(donors)
    source = pool.image(donor)
    taken = [place] if donor == index else []
    piece = find_place(rng, pool.thumb(donor), source.size, config, taken=taken)
    if piece is None:
        return None
    altered = pool.image(index).copy()
    altered.paste(source.crop(corners(piece)).resize(place[2:], Image.Resampling.BICUBIC), place[:2])
    return altered


def _draft(rng: random.Random, index: int, photo: Image.Image, altered: Image.Image, place: Place, kind: str) -> Draft:
    box = fraction_box(place, photo.size)
    number = rng.randint(1, 2)
    original = _shown(photo, index, "candidate")
    changed = _shown(altered, index, "candidate", (box,))
    return Draft(
        task="difference",
        images=(changed, original) if number == 1 else (original, changed),
        question="One of the two images has an altered patch. Which image is it, and where is the patch?",
        target=Target(image=number, box=box, label=LABEL),
        relation="changed_object",
        image_hidden=True,
        meta={"alteration": kind, "choices": 2},
    )


def refer(rng: random.Random, pool: PhotoPool, config: PhotoConfig) -> Draft | None:
    """Image-1 is a crop of one of the other photographs: which, and where? None if no place is unique among them.

    Needs two photographs in the pool and three images in a sample (the crop and two candidates).
    """
    most = min(config.max_images - 1, len(pool))
    if most < 2:
        return None
    candidates = rng.sample(range(len(pool)), rng.randint(2, most))
    chosen = rng.randrange(len(candidates))
    index = candidates[chosen]
    photo = pool.image(index)
    others = [pool.thumb(other) for other in candidates if other != index]
    place = find_place(rng, pool.thumb(index), photo.size, config, others=others)
    if place is None:
        return None
    box = fraction_box(place, photo.size)
    images = tuple(
        _shown(pool.image(other), other, "candidate", (box,) if other == index else ()) for other in candidates
    )
    return Draft(
        task="refer",
        images=(_shown(cut(photo, place, config), index, "reference", (WHOLE,)), *images),
        question="Image-1 is a part of one of the other images. Which image is it, and where is the part?",
        target=Target(image=chosen + 2, box=box, label=LABEL),
        relation="part_of",
        image_hidden=True,
        meta={"choices": len(candidates)},
    )

"""The tasks about an altered place: in one of two copies, or in one of several views, of a photograph.

Most photographs are altered at other places as well, in all copies alike: that a place looks altered does not tell
where the images differ.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirg.data.compose.bench import Draft, Shown
from mirg.data.compose.photos.blend import blended, filled, similar_place
from mirg.data.compose.photos.places import (
    LABEL,
    find_place,
    overlap,
    seen,
    shown,
    target,
    views,
)
from mirg.data.compose.photos.pool import PhotoPool
from mirg.data.compose.pixels import Place, change, corners, fraction_box
from mirg.samples import Target

if TYPE_CHECKING:
    from PIL import Image

_TRIES = 4
_MOST_DECOYS = 2  # places that are altered in all copies


@dataclass(frozen=True)
class Altered:
    """Two copies of a photograph: ``after`` has other pixels than ``before`` at ``place``, by a "paste" or "remove"."""

    before: Image.Image
    after: Image.Image
    place: Place
    kind: str


def altered(rng: random.Random, pool: PhotoPool, index: int) -> Altered | None:
    """Photograph ``index`` in two copies that differ in one place; None if no alteration would be visible.

    Half of the alterations paste a piece of another photograph (or of another place, if the pool has only one), half
    fill the place in from its surroundings.
    """
    found = _alteration(rng, pool, index, pool.image(index), ())
    if found is None:
        return None
    image, place, kind = found
    before = with_decoys(rng, pool, index, rng.randint(0, _MOST_DECOYS), [place])
    after = before.copy()
    after.paste(image.crop(corners(place)), place[:2])
    return Altered(before, after, place, kind)


def with_decoys(rng: random.Random, pool: PhotoPool, index: int, count: int, taken: Sequence[Place]) -> Image.Image:
    """Photograph ``index``, altered at up to ``count`` places outside of those ``taken``."""
    image, places = pool.image(index), list(taken)
    for _ in range(count):
        if found := _alteration(rng, pool, index, image, places):
            image = found[0]
            places.append(found[1])
    return image


def _alteration(
    rng: random.Random, pool: PhotoPool, index: int, image: Image.Image, taken: Sequence[Place]
) -> tuple[Image.Image, Place, str] | None:
    """``image``, an edition of photograph ``index``, altered at a place outside of those ``taken``, and how."""
    paste = rng.random() < 0.5
    for _ in range(_TRIES):
        found = _pasted(rng, pool, index, image, taken) if paste else _removed(rng, pool, index, image, taken)
        if found is not None and change(image, *found) >= pool.config.min_change:
            return *found, "paste" if paste else "remove"
    return None


def _pasted(
    rng: random.Random, pool: PhotoPool, index: int, image: Image.Image, taken: Sequence[Place]
) -> tuple[Image.Image, Place] | None:
    """``image`` with a textured piece of another photograph, and its place; None if no place is found."""
    donor = rng.choice([other for other in range(len(pool)) if other != index] or [index])
    own = find_place(rng, pool, donor)
    if own is None:
        return None
    piece = pool.image(donor).crop(corners(own))
    # The longest sides that crops have in this image.
    most = (max(1, int(pool.config.largest * length)) for length in image.size)
    width, height = map(min, piece.size, most)
    piece = piece.crop((0, 0, width, height))
    place = similar_place(rng, image, piece, [*taken, *([own] if donor == index else [])])
    return None if place is None else (blended(rng, image, piece, place), place)


def _removed(
    rng: random.Random, pool: PhotoPool, index: int, image: Image.Image, taken: Sequence[Place]
) -> tuple[Image.Image, Place] | None:
    """``image`` with a textured place that is covered by another surface, and the place; None if no place is found."""
    place = find_place(rng, pool, index, taken=taken)
    if place is None or any(overlap(place, other) for other in taken):
        return None
    return filled(rng, image, place), place


def difference(rng: random.Random, pool: PhotoPool) -> Draft | None:
    """A photograph twice, one copy altered at one place: where is it? None if no alteration would be visible."""
    return pair(rng, pool, "difference")


def pair(rng: random.Random, pool: PhotoPool, kind: str, *, altered_copy: bool = True) -> Draft | None:
    """A photograph twice; unless ``altered_copy``, both copies are equal, and altered in as many places."""
    index = rng.randrange(len(pool))
    if not altered_copy:
        image = with_decoys(rng, pool, index, rng.randint(1, 1 + _MOST_DECOYS), ())
        if image is pool.image(index):
            return None  # only equal copies would then be without an altered place
        images = (shown(image, index, "candidate", []),) * 2
        return Draft(images, kind, LABEL, (), "none", image_hidden=True)
    found = altered(rng, pool, index)
    if found is None:
        return None
    box = fraction_box(found.place, found.after.size)
    number = rng.randint(1, 2)
    images = (shown(found.after, index, "candidate", [box]), shown(found.before, index, "candidate", []))
    return _draft(kind, images if number == 1 else images[::-1], target(number, box), found)


def view_difference(rng: random.Random, pool: PhotoPool) -> Draft | None:
    """Two views of a photograph (offset, scale), one altered at a place that both show: which view, and where?"""
    return _among_views(rng, pool, "view_difference", 2)


def odd_one_out(rng: random.Random, pool: PhotoPool) -> Draft | None:
    """Three views of a photograph or more, one altered at a place that all show: which view, and where?

    Here the majority shows the altered view. Needs three images in a sample.
    """
    if pool.config.max_images < 3:
        return None
    return _among_views(rng, pool, "odd_one_out", rng.randint(3, pool.config.max_images))


def _among_views(rng: random.Random, pool: PhotoPool, kind: str, count: int) -> Draft | None:
    index = rng.randrange(len(pool))
    found = altered(rng, pool, index)
    chosen = views(rng, found.after.size, found.place, count) if found else None
    if found is None or chosen is None:
        return None
    box = fraction_box(found.place, found.after.size)
    number = rng.randint(1, count)
    images = [
        seen(pool, index, found.after if k == number else found.before, view, [box] if k == number else [])
        for k, view in enumerate(chosen, 1)
    ]
    return _draft(kind, images, target(number, chosen[number - 1].box(box)), found)


def _draft(kind: str, images: Sequence[Shown], targets: tuple[Target], found: Altered) -> Draft:
    return Draft(
        tuple(images), kind, LABEL, targets, "changed_object", image_hidden=True, meta={"alteration": found.kind}
    )

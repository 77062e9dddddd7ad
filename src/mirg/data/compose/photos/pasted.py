"""The tasks about a piece of a photograph that is pasted onto other photographs: tracking it, and finding every copy.

Another piece is pasted as well: that a place looks pasted does not make it the answer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from mirg.answers.markup import box_markup
from mirg.data.compose.bench import Draft, Shown
from mirg.data.compose.photos.blend import blended
from mirg.data.compose.photos.places import LABEL, crop, find_place, free_place, shown
from mirg.data.compose.photos.pool import PhotoPool
from mirg.data.compose.pixels import Place, corners, fraction_box
from mirg.geometry import Box
from mirg.samples import Role, Target

_ALL = 0.4  # of the tracking samples with three images or more: the share that asks for all later images
_TRACKED, _REPEATED = (0.75, 1.15), (0.55, 0.9)  # scales of pasted pieces
_MATCH = 0.3  # of the colours of a piece with those around it (blend.py): copies on other backgrounds stay alike
_MOST_SHARE = 0.5  # of the sides of a background that a piece may take
_COPIES = (2, 4)


def object_tracking(rng: random.Random, pool: PhotoPool) -> Draft | None:
    """A piece of a photograph before other backgrounds, marked in Image-1: where is it in one, or all, of the others?

    Needs three photographs. None if every piece looks like a place of the backgrounds.
    """
    donor, backgrounds = _drawn(rng, pool, rng.randint(2, pool.config.max_images))
    pieces = _pieces(rng, pool, donor, backgrounds)
    editions = [_Edition(pool, index) for index in backgrounds]
    if not pieces or not all(edition.paste(rng, pieces[:1], _TRACKED) for edition in editions):
        return None
    for edition in editions:
        edition.paste(rng, pieces[1:], _TRACKED, asked=False)
    later = range(2, len(editions) + 1)
    asked = later if len(later) > 1 and rng.random() < _ALL else [rng.choice(later)]
    boxes = [edition.boxes[0] for edition in editions]
    kind, k = ("tracking_all", "") if len(asked) > 1 else ("tracking_one", str(asked[0]))
    return Draft(
        tuple(edition.shown("frame", donor) for edition in editions), kind, LABEL,
        tuple(Target(image=number, box=boxes[number - 1], label=LABEL) for number in asked),
        "same_object", image_hidden=False, slots={"box": box_markup(1, boxes[0]), "k": k},
    )  # fmt: skip


def multi_target(rng: random.Random, pool: PhotoPool) -> Draft | None:
    """Image-1 is a piece of a photograph that is pasted two to four times into the others: where is each copy?

    Needs two photographs. None if every piece looks like a place of the backgrounds, or two copies find no room.
    """
    donor, backgrounds = _drawn(rng, pool, rng.randint(1, pool.config.max_images - 1))
    pieces = _pieces(rng, pool, donor, backgrounds)
    if not pieces:
        return None
    editions = [_Edition(pool, index) for index in backgrounds]
    for _ in range(rng.randint(*_COPIES)):
        rng.choice(editions).paste(rng, pieces[:1], _REPEATED)
    for _ in range(rng.randint(1, 2)):
        rng.choice(editions).paste(rng, pieces[1:], _REPEATED, asked=False)
    targets = tuple(
        Target(image=number, box=box, label=LABEL)
        for number, edition in enumerate(editions, 2)
        for box in edition.boxes
    )
    if len(targets) < _COPIES[0]:
        return None
    images = (edition.shown("candidate", donor) for edition in editions)
    return Draft(
        (crop(pool, donor, pieces[0][1], "reference"), *images), "multi_target", LABEL, targets, "same_object",
        image_hidden=True,
    )  # fmt: skip


_Piece = tuple[int, Place]  # a photograph and a place in it


def _drawn(rng: random.Random, pool: PhotoPool, count: int) -> tuple[int, list[int]]:
    """A photograph, and ``count`` others; fewer if the pool is smaller."""
    donor, *rest = rng.sample(range(len(pool)), min(count + 1, len(pool)))
    return donor, rest


def _pieces(rng: random.Random, pool: PhotoPool, donor: int, backgrounds: Sequence[int]) -> list[_Piece]:
    """A place of ``donor`` that looks like no place of the backgrounds, and another one; empty if no place is found."""
    asked = find_place(rng, pool, donor, others=backgrounds)
    if asked is None:
        return []
    other = find_place(rng, pool, donor, taken=[asked])
    return [(donor, asked), *([(donor, other)] if other else [])]


class _Edition:
    """A photograph that pieces are pasted onto; ``boxes`` are those of the pieces in question, fractions."""

    def __init__(self, pool: PhotoPool, index: int) -> None:
        self._pool, self._index = pool, index
        self._image = pool.image(index)
        self._taken: list[Place] = []
        self.boxes: list[Box] = []

    def paste(
        self, rng: random.Random, pieces: Sequence[_Piece], scales: tuple[float, float], *, asked: bool = True
    ) -> bool:
        """Paste each piece at a free place, scaled; False if one has no room."""
        for donor, place in pieces:
            piece = self._pool.image(donor).crop(corners(place))
            room = min(_MOST_SHARE * side / own for side, own in zip(self._image.size, piece.size, strict=True))
            scale = min(rng.uniform(*scales), room)
            size = (max(1, round(scale * piece.width)), max(1, round(scale * piece.height)))
            free = free_place(rng, self._image.size, size, self._taken)
            if free is None:
                return False
            self._image = blended(rng, self._image, piece.resize(size), free, match=_MATCH)
            self._taken.append(free)
            if asked:
                self.boxes.append(fraction_box(free, self._image.size))
        return True

    def shown(self, role: Role, donor: int) -> Shown:
        """The edited photograph with the pieces in question as its annotation."""
        return shown(self._image, self._index, role, self.boxes, also=donor)

"""difference: a photograph twice, altered at one place in one of the two copies; point at the altered place."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from mirg.data.compose.photos.config import PhotoConfig
from mirg.data.compose.photos.draft import LABEL, Draft, DraftImage
from mirg.data.compose.photos.places import draw_place, find_place
from mirg.data.compose.photos.pool import PhotoPool
from mirg.data.compose.pixels import change, corners, fraction_box, remove
from mirg.data.compose.texture import Place
from mirg.samples import Target

if TYPE_CHECKING:
    from PIL import Image


def difference(rng: random.Random, pool: PhotoPool, config: PhotoConfig) -> Draft | None:
    """One difference sample; None where no alteration of the photograph would be seen.

    Half of the alterations paste a piece of another photograph (or of another place, where the pool has only one), half
    remove what is there: the place is filled in from its border. Either way the altered copy holds the target.
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
    """The photograph with a textured piece of another one at ``place``, scaled to fit; None where none was found."""
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
    original = DraftImage(photo, index, "candidate")
    changed = DraftImage(altered, index, "candidate", (box,))
    return Draft(
        task="difference",
        images=(changed, original) if number == 1 else (original, changed),
        question="One of the two images has an altered patch. Which image is it, and where is the patch?",
        target=Target(image=number, box=box, label=LABEL),
        relation="changed_object",
        image_hidden=True,
        meta={"alteration": kind, "choices": 2},
    )

"""region: Image-1 is a photograph, the others are crops of it; where in Image-1 does one of the crops lie?"""

from __future__ import annotations

import random

from mirg.data.compose.photos.config import PhotoConfig
from mirg.data.compose.photos.draft import LABEL, WHOLE, Draft, DraftImage
from mirg.data.compose.photos.places import cut, find_place
from mirg.data.compose.photos.pool import PhotoPool
from mirg.data.compose.pixels import fraction_box
from mirg.data.compose.texture import Place
from mirg.samples import Target


def region(rng: random.Random, pool: PhotoPool, config: PhotoConfig) -> Draft | None:
    """One region sample with one to ``max_images - 1`` crops; None where the photograph has no place that is unique.

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
        DraftImage(cut(photo, place, config), index, "reference" if k == asked else "distractor", (WHOLE,))
        for k, place in enumerate(places)
    )
    number = asked + 2
    return Draft(
        task="region",
        images=(DraftImage(photo, index, "source", boxes), *crops),
        question=f"Image-{number} is a part of Image-1. Where in Image-1 is it?",
        target=Target(image=1, box=boxes[asked], label=LABEL),
        relation="part_of",
        image_hidden=False,
        meta={"asked_image": number, "choices": 1},
    )

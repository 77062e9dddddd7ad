"""refer: Image-1 is a crop of one of the other photographs; which one, and where?"""

from __future__ import annotations

import random

from mirg.data.compose.photos.config import PhotoConfig
from mirg.data.compose.photos.draft import LABEL, WHOLE, Draft, DraftImage
from mirg.data.compose.photos.places import cut, find_place
from mirg.data.compose.photos.pool import PhotoPool
from mirg.data.compose.pixels import fraction_box
from mirg.samples import Target


def refer(rng: random.Random, pool: PhotoPool, config: PhotoConfig) -> Draft | None:
    """One refer sample; None where the photograph has no place that is unique among all candidates.

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
        DraftImage(pool.image(other), other, "candidate", (box,) if other == index else ()) for other in candidates
    )
    return Draft(
        task="refer",
        images=(DraftImage(cut(photo, place, config), index, "reference", (WHOLE,)), *images),
        question="Image-1 is a part of one of the other images. Which image is it, and where is the part?",
        target=Target(image=chosen + 2, box=box, label=LABEL),
        relation="part_of",
        image_hidden=True,
        meta={"choices": len(candidates)},
    )

"""The tasks out of photographs without annotation, their questions, and those about a part of a photograph."""

from __future__ import annotations

import random
from collections.abc import Callable

from mirg.data.compose.bench import Draft
from mirg.data.compose.photos.alter import difference, odd_one_out, pair, view_difference
from mirg.data.compose.photos.pasted import multi_target, object_tracking
from mirg.data.compose.photos.places import LABEL, crop, find_place, shown, target
from mirg.data.compose.photos.pool import PhotoPool
from mirg.data.compose.pixels import Place, fraction_box

QUESTIONS = {  # by the kind of a draft
    "region": "Image-{k} is a part of Image-1. Where in Image-1 is it?",
    "difference": "One of the two images has an altered patch. Which image is it, and where is the patch?",
    "refer": "Image-1 is a part of one of the other images. Which image is it, and where is the part?",
    "view_difference": "The two images are views of one place, and one of them has an altered patch. "
    "Which image is it, and where is the patch?",
    "tracking_one": "Where is the patch at {box} of Image-1 in Image-{k}?",
    "tracking_all": "Where is the patch at {box} of Image-1 in each of the other images?",
    "multi_target": "What Image-1 shows is seen in several places of the other images. Where is it each time?",
    "none_difference": "Does one of the two images have an altered patch? If so, which image is it, "
    "and where is the patch?",
    "none_part": "Is Image-1 a part of one of the other images? If so, which image is it, and where is the part?",
    "odd_one_out": "The images are views of one place, and all but one agree in what they show there. "
    "Which image is the odd one out, and where does it differ?",
}


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
    crops = (crop(pool, index, place, "reference" if k == asked else "distractor") for k, place in enumerate(places))
    return Draft(
        (shown(photo, index, "source", boxes), *crops), "region", LABEL, target(1, boxes[asked]), "part_of",
        image_hidden=False, slots={"k": str(asked + 2)}, meta={"asked_image": asked + 2},
    )  # fmt: skip


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
    images = (shown(pool.image(other), other, "candidate", [box] if other == index else []) for other in candidates)
    return Draft(
        (crop(pool, index, place, "reference"), *images), "refer", LABEL, target(chosen + 2, box), "part_of",
        image_hidden=True,
    )  # fmt: skip


def none_of_them(rng: random.Random, pool: PhotoPool) -> Draft | None:
    """A question as in refer or difference that may have no target, as half of the samples do.

    Image-1 may be a crop of a photograph that is not among the others, and two images may be equal.
    """
    true = rng.random() < 0.5
    most = min(pool.config.max_images, len(pool)) - 1  # candidates beside the photograph that is not among them
    if most < 1 or rng.random() < 0.5:
        return pair(rng, pool, "none_difference", altered_copy=true)
    *candidates, absent = rng.sample(range(len(pool)), rng.randint(min(2, most), most) + 1)
    chosen = rng.randrange(len(candidates))
    index = candidates[chosen] if true else absent
    place = find_place(rng, pool, index, others=[other for other in candidates if other != index])
    if place is None:
        return None
    box = fraction_box(place, pool.image(index).size)
    images = (shown(pool.image(other), other, "candidate", [box] if other == index else []) for other in candidates)
    return Draft(
        (crop(pool, index, place, "reference"), *images), "none_part", LABEL, target(chosen + 2, box) if true else (),
        "part_of" if true else "none", image_hidden=True,
    )  # fmt: skip


TASKS: dict[str, Callable[[random.Random, PhotoPool], Draft | None]] = {
    build.__name__: build
    for build in (
        region, difference, refer, view_difference, object_tracking, multi_target, none_of_them, odd_one_out,
    )
}  # fmt: skip

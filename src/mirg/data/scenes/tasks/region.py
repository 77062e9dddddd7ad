"""Image-1 holds several objects; the other images are crops of it. Where in Image-1 is the object of one crop?"""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.tasks.base import Draft, Picture, any_name, at_least, draw, fill, pick, targets_named
from mirg.data.scenes.world import Scene, WorldConfig, scene_for, zoom

QUESTIONS = (
    "Where in Image-1 is the object of Image-{k}?",
    "Image-{k} is cut out of Image-1. Find its object in Image-1.",
)
# Free room around the object of a crop, as a share of its longer side: the wide range first, then the narrow one.
MARGINS = ((0.05, 0.3), (0.02, 0.05))


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task; the crop asked for has the role ``reference``, the others ``distractor``."""
    source, views = _source_and_crops(rng, config)
    order = rng.permutation(len(views))[: draw(rng, config.images, least=2) - 1].tolist()
    asked = int(rng.integers(len(order)))
    crops = [Picture(views[k], "reference" if n == asked else "distractor") for n, k in enumerate(order)]
    pictures = (Picture(source, "source"), *crops)
    subject = crops[asked].scene.names[0]
    return Draft(
        pictures, pick(rng, QUESTIONS).format(k=asked + 2), targets_named(pictures, subject, [1]),
        "part_of", image_hidden=False, meta={"subject": subject, "choices": 1},
    )  # fmt: skip


def _source_and_crops(rng: np.random.Generator, config: WorldConfig) -> tuple[Scene, list[Scene]]:
    """A scene of two or more different objects, and a crop of each object that can be shown alone."""
    config = at_least(config, 2)
    while True:
        source = scene_for(rng, config, fill(rng, config, any_name(rng, config), 1))
        crops = [_crop(rng, source, index) for index in range(len(source.objects))]
        shown = [crop for crop in crops if crop is not None]
        if shown:
            return source, shown


def _crop(rng: np.random.Generator, source: Scene, index: int) -> Scene | None:
    for margin in MARGINS:
        crop = zoom(source, index, rng.uniform(*margin))
        if crop is not None:
            return crop
    return None

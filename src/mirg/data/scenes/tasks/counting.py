"""A named object is in several images; it is asked for in the image with the most objects."""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.tasks.base import Draft, any_name, choose, draw, fill, holder_pictures, pick, targets_named
from mirg.data.scenes.world import WorldConfig

QUESTIONS = (
    "Find the {name} in the image with the most objects.",
    "Which image has the most objects? Point to its {name}.",
)


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task; no two images have the same number of objects."""
    most = max(config.objects[1], 3)
    count = min(draw(rng, config.images, least=2), most)
    sizes = [k + 1 for k in choose(rng, most, count)]
    holders = {count - 1, *choose(rng, count - 1, draw(rng, (1, count - 1)))}
    subject = any_name(rng, config)
    lists = []
    for k in rng.permutation(count).tolist():
        exactly = config.model_copy(update={"objects": (sizes[k], sizes[k])})
        lists.append(fill(rng, exactly, subject, int(k in holders)))
    number = 1 + max(range(count), key=lambda k: len(lists[k]))
    pictures = holder_pictures(rng, config, lists, subject, asked=number - 1)
    return Draft(
        tuple(pictures), pick(rng, QUESTIONS).format(name=subject), targets_named(pictures, subject, [number]),
        "same_category", image_hidden=True, meta={"subject": subject, "choices": count},
    )  # fmt: skip

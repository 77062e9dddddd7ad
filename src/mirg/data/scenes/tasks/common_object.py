"""Which object is in every image? It is in each of them once, no other name is; the image to answer for is given."""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.tasks.base import Draft, Names, Picture, any_name, draw, fill, pick, targets_named
from mirg.data.scenes.world import WorldConfig, scene_for

QUESTIONS = (
    "Which object is in every image? Point to it in Image-{k}.",
    "Find the object that all images share, in Image-{k}.",
)


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task."""
    count = draw(rng, config.images, least=2)
    subject = any_name(rng, config)
    lists: list[Names] = [fill(rng, config, subject, 1) for _ in range(count - 1)]
    shared = set(lists[0]).intersection(*lists[1:]) - {subject}
    lists.insert(int(rng.integers(count)), fill(rng, config, subject, 1, avoid=sorted(shared)))
    pictures = [Picture(scene_for(rng, config, names)) for names in lists]
    number = int(rng.integers(count)) + 1
    return Draft(
        tuple(pictures), pick(rng, QUESTIONS).format(k=number), targets_named(pictures, subject, [number]),
        "same_category", image_hidden=False, meta={"subject": subject, "choices": 1},
    )  # fmt: skip

"""Image-1 shows one object close up; the same kind of object is in one of the other images."""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.tasks.base import Draft, Picture, any_name, draw, fill, holder_pictures, pick, targets_named
from mirg.data.scenes.world import WorldConfig, scene_for

QUESTIONS = (
    "Find the object of Image-1 in another image.",
    "Which other image shows the object of Image-1? Point to it.",
)
CLOSE_UP = (0.5, 0.7)


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task; the answer is never in Image-1."""
    count = draw(rng, config.images, least=3)
    subject = any_name(rng, config)
    near = scene_for(rng, config.model_copy(update={"object_side": CLOSE_UP}), [subject])
    holder = int(rng.integers(count - 1))
    lists = [fill(rng, config, subject, int(k == holder)) for k in range(count - 1)]
    pictures = [Picture(near, "reference"), *holder_pictures(rng, config, lists, subject)]
    return Draft(
        tuple(pictures), pick(rng, QUESTIONS), targets_named(pictures, subject, range(2, count + 1)),
        "same_category", image_hidden=True, meta={"subject": subject, "choices": count - 1},
    )  # fmt: skip

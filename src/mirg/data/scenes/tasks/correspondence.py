"""An object is marked in Image-1; one of the other images holds its counterpart: the same shape in another colour."""

from __future__ import annotations

import numpy as np

from mirg.answers.markup import box_markup
from mirg.data.scenes.objects import split_name
from mirg.data.scenes.tasks.base import Draft, Picture, any_name, draw, fill, holder_pictures, pick, targets_named
from mirg.data.scenes.world import WorldConfig, scene_for

QUESTIONS = (
    "Find the counterpart of the object at {box} of Image-1: its shape, in another colour.",
    "Which other image has the shape of the object at {box} of Image-1, in another colour? Point to it.",
)


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task; no third object has the shape, and the answer is never in Image-1."""
    count = draw(rng, config.images, least=3)
    subject = any_name(rng, config)
    shape = split_name(subject)[1]
    alike = [name for name in config.names if split_name(name)[1] == shape and name != subject]
    marked = pick(rng, alike)
    first = scene_for(rng, config, fill(rng, config, marked, 1, avoid=[subject, *alike]))
    holder = int(rng.integers(count - 1))
    lists = [fill(rng, config, subject, int(k == holder), avoid=alike) for k in range(count - 1)]
    pictures = (Picture(first, "reference"), *holder_pictures(rng, config, lists, subject, avoid=alike))
    (start,) = targets_named(pictures, marked, [1])
    return Draft(
        pictures, pick(rng, QUESTIONS).format(box=box_markup(1, start.box)), targets_named(pictures, subject),
        "corresponds_to", image_hidden=True, meta={"subject": subject, "reference": marked, "choices": count - 1},
    )  # fmt: skip

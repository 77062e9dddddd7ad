"""Every occurrence of a named object, two to four of them, in several images."""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.tasks.base import Draft, any_name, choose, draw, fill, holder_pictures, pick, targets_named
from mirg.data.scenes.world import WorldConfig

QUESTIONS = ("Find every {name}.", "Point to every {name} in the images.")
MOST_TARGETS = 4
MOST_PER_IMAGE = 2
# One image at least is without a target, or the choice of images would be no question.
LEAST_IMAGES = 3


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task."""
    count = draw(rng, config.images, least=LEAST_IMAGES)
    holders = choose(rng, count, draw(rng, (2, min(count - 1, MOST_TARGETS))))
    copies = {k: 1 for k in holders}
    for k in holders:
        if sum(copies.values()) < MOST_TARGETS and config.objects[1] >= MOST_PER_IMAGE and rng.random() < 0.3:
            copies[k] = MOST_PER_IMAGE
    subject = any_name(rng, config)
    lists = [fill(rng, config, subject, copies.get(k, 0)) for k in range(count)]
    pictures = holder_pictures(rng, config, lists, subject)
    return Draft(
        tuple(pictures), pick(rng, QUESTIONS).format(name=subject), targets_named(pictures, subject),
        "same_category", image_hidden=True, meta={"subject": subject, "choices": count},
    )  # fmt: skip

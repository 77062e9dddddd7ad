"""A named object is in one of several images; the question does not say in which."""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.tasks.base import Draft, any_name, draw, fill, holder_pictures, pick, targets_named
from mirg.data.scenes.world import WorldConfig

QUESTIONS = ("Find the {name}.", "Where is the {name}?")


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task."""
    count = draw(rng, config.images, least=2)
    subject = any_name(rng, config)
    holder = int(rng.integers(count))
    lists = [fill(rng, config, subject, int(k == holder)) for k in range(count)]
    pictures = holder_pictures(rng, config, lists, subject)
    return Draft(
        tuple(pictures), pick(rng, QUESTIONS).format(name=subject), targets_named(pictures, subject),
        "none", image_hidden=True, meta={"subject": subject, "choices": count},
    )  # fmt: skip

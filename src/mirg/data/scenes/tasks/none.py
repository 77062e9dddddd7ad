"""The named object is in none of the images; the question is worded as where it is in one or in several."""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.tasks import group_grounding, multi_target
from mirg.data.scenes.tasks.base import Draft, any_name, draw, fill, holder_pictures, pick
from mirg.data.scenes.world import WorldConfig


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task; wording and number of images do not give the answer away."""
    every = rng.random() < 0.5
    count = draw(rng, config.images, least=multi_target.LEAST_IMAGES if every else 2)
    subject = any_name(rng, config)
    lists = [fill(rng, config, subject, 0) for _ in range(count)]
    questions = multi_target.QUESTIONS if every else group_grounding.QUESTIONS
    return Draft(
        tuple(holder_pictures(rng, config, lists, subject)), pick(rng, questions).format(name=subject), (),
        "none", image_hidden=True, meta={"subject": subject, "choices": count},
    )  # fmt: skip

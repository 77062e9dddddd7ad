"""Every image shows one object of the same name, but one image shows another."""

from __future__ import annotations

import numpy as np

from mirg.scenes.tasks.base import Draft, Picture, any_name, draw, pick, targets_named
from mirg.scenes.world import WorldConfig, distractors, scene_for

QUESTIONS = (
    "One image shows another object than the rest. Point to it.",
    "Which image is the odd one out? Point to its object.",
)


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task."""
    count = draw(rng, config.images, least=3)
    subject = any_name(rng, config)
    usual = distractors(rng, config, 1, subject)[0]
    odd = int(rng.integers(count))
    scenes = [scene_for(rng, config, [subject if k == odd else usual]) for k in range(count)]
    pictures = tuple(Picture(scene, "candidate" if k == odd else "distractor") for k, scene in enumerate(scenes))
    return Draft(
        pictures, pick(rng, QUESTIONS), targets_named(pictures, subject),
        "changed_object", image_hidden=True, meta={"subject": subject, "choices": count},
    )  # fmt: skip

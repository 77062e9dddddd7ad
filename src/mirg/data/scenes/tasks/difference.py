"""Two images, equal but for one object that only one of them has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mirg.data.scenes.tasks.base import Draft, Picture, any_name, at_least, draw, fill, pick, targets_named, without
from mirg.data.scenes.world import WorldConfig, background_for, scene_for

QUESTIONS = (
    "The images hold the same objects but for one. Point to it.",
    "Which object is in only one of the images? Point to it.",
)


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task."""
    subject = any_name(rng, config)
    names = fill(rng, at_least(config, 2), subject, 1)
    full = scene_for(rng, config, names)
    less = without(full, names.index(subject))
    if config.change_background:
        less = replace(less, background=background_for(rng, config))
    number = draw(rng, (1, 2))
    scenes = (full, less) if number == 1 else (less, full)
    pictures = tuple(Picture(scene) for scene in scenes)
    return Draft(
        pictures, pick(rng, QUESTIONS), targets_named(pictures, subject),
        "changed_object", image_hidden=True, meta={"subject": subject, "choices": 2},
    )  # fmt: skip

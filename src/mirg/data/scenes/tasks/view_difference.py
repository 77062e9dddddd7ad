"""Two views of one place, equal but for one object that only one of them has; nothing stays where it was."""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.tasks.base import Draft, Picture, any_name, at_least, draw, fill, pick, targets_named, without
from mirg.data.scenes.world import WorldConfig, another_view, scene_for

QUESTIONS = (
    "The images are two views of one place. One object is in only one of them. Point to it.",
    "Seen from another side, one object is missing or new. Point to it.",
)


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task."""
    subject = any_name(rng, config)
    names = fill(rng, at_least(config, 2), subject, 1)
    full = scene_for(rng, config, names)
    less = another_view(rng, config, without(full, names.index(subject)))
    number = draw(rng, (1, 2))
    scenes = (full, less) if number == 1 else (less, full)
    pictures = tuple(Picture(scene) for scene in scenes)
    return Draft(
        pictures, pick(rng, QUESTIONS), targets_named(pictures, subject),
        "changed_object", image_hidden=True, meta={"subject": subject, "choices": 2},
    )  # fmt: skip

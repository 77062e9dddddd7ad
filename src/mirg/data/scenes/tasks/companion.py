"""Every image shows the object asked for; the question means the one in the image that also shows another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mirg.data.scenes.tasks.base import Draft, Names, any_name, at_least, beside_pictures, draw, pick, targets_named
from mirg.data.scenes.world import WorldConfig, distractors

QUESTIONS = ("Find the {name} in the image with the {mark}.", "Which image shows the {mark}? Point to its {name}.")


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task."""
    return draft(rng, config, QUESTIONS, here=1, elsewhere=0)


def draft(rng: np.random.Generator, config: WorldConfig, questions: Sequence[str], here: int, elsewhere: int) -> Draft:
    """The other object stands ``here`` times in the image that is meant, ``elsewhere`` times in each of the others."""
    config = at_least(config, 1 + here)
    count = draw(rng, config.images, least=2)
    subject = any_name(rng, config)
    mark = distractors(rng, config, 1, subject)[0]
    holder = int(rng.integers(count))
    marks: list[Names] = [[mark] * (here if k == holder else elsewhere) for k in range(count)]
    pictures = beside_pictures(rng, config, subject, marks, asked=holder)
    return Draft(
        tuple(pictures), pick(rng, questions).format(name=subject, mark=mark),
        targets_named(pictures, subject, [holder + 1]),
        "same_category", image_hidden=True, meta={"subject": subject, "mark": mark, "choices": count},
    )  # fmt: skip

"""Every image shows the object asked for; the question means the one in the image that also shows two others.

Each of the other images shows one of the two: whoever looks for one alone finds several.
"""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.tasks.base import Draft, Names, any_name, at_least, beside_pictures, draw, pick, targets_named
from mirg.data.scenes.tasks.companion import QUESTIONS
from mirg.data.scenes.world import WorldConfig, distractors


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task."""
    config = at_least(config, 3)
    count = draw(rng, config.images, least=3)
    subject = any_name(rng, config)
    pair = distractors(rng, config, 2, subject)
    holder = int(rng.integers(count))
    # In turn, so that either of the two is in more than one image.
    turns = iter([pair[k % 2] for k in rng.permutation(count - 1)])
    marks: list[Names] = [pair if k == holder else [next(turns)] for k in range(count)]
    pictures = beside_pictures(rng, config, subject, marks, asked=holder)
    mark = f"{pair[0]} and the {pair[1]}"
    return Draft(
        tuple(pictures), pick(rng, QUESTIONS).format(name=subject, mark=mark),
        targets_named(pictures, subject, [holder + 1]),
        "same_category", image_hidden=True, meta={"subject": subject, "mark": mark, "choices": count},
    )  # fmt: skip

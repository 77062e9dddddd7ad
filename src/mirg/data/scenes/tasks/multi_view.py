"""Views of one place, none of which shows all of it; an object marked in Image-1 is in one of the other views."""

from __future__ import annotations

import numpy as np

from mirg.answers.markup import box_markup
from mirg.data.scenes.tasks.base import (
    Draft,
    Picture,
    any_name,
    at_least,
    choose,
    draw,
    fill,
    pick,
    showing,
    targets_named,
)
from mirg.data.scenes.world import WorldConfig, another_view, scene_for

QUESTIONS = (
    "The images are views of one place. Which other view shows the object at {box} of Image-1? Point to it.",
    "Find the object at {box} of Image-1 in another view of the same place.",
)


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task; the answer is never in Image-1."""
    count = draw(rng, config.images, least=3)
    subject = any_name(rng, config)
    place = scene_for(rng, config, fill(rng, at_least(config, 2), subject, 1))
    others = [k for k, thing in enumerate(place.objects) if thing.name != subject]
    holder = int(rng.integers(1, count))
    pictures = [Picture(place, "reference")]
    for number in range(1, count):
        seen = [others[k] for k in choose(rng, len(others), draw(rng, (1, len(others))))]
        if number == holder:
            seen.append(place.names.index(subject))
        view = another_view(rng, config, showing(place, seen))
        pictures.append(Picture(view, "candidate" if number == holder else "distractor"))
    (start,) = targets_named(pictures, subject, [1])
    return Draft(
        tuple(pictures), pick(rng, QUESTIONS).format(box=box_markup(1, start.box)),
        targets_named(pictures, subject, range(2, count + 1)),
        "same_object", image_hidden=True, meta={"subject": subject, "choices": count - 1},
    )  # fmt: skip

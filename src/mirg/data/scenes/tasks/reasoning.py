"""Image-1 gives a colour and Image-2 a shape; the object that has both is in one of the other images."""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.objects import split_name
from mirg.data.scenes.tasks.base import Draft, Picture, any_name, draw, fill, holder_pictures, pick, targets_named
from mirg.data.scenes.world import WorldConfig, scene_for

QUESTIONS = (
    "Find the object with the colour of the object in Image-1 and the shape of the object in Image-2.",
    "Which object has the colour that Image-1 shows and the shape that Image-2 shows? Point to it.",
)


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task; the answer is never in Image-1 or Image-2."""
    count = draw(rng, config.images, least=4)
    subject = any_name(rng, config)
    colour, shape = split_name(subject)
    coloured = pick(rng, [name for name in config.names if split_name(name)[0] == colour and name != subject])
    shaped = pick(rng, [name for name in config.names if split_name(name)[1] == shape and name != subject])
    hints = [Picture(scene_for(rng, config, [name]), "reference") for name in (coloured, shaped)]
    holder = int(rng.integers(count - 2))
    lists = [fill(rng, config, subject, int(k == holder)) for k in range(count - 2)]
    pictures = (*hints, *holder_pictures(rng, config, lists, subject))
    return Draft(
        pictures, pick(rng, QUESTIONS), targets_named(pictures, subject),
        "none", image_hidden=True, meta={"subject": subject, "choices": count - 2},
    )  # fmt: skip

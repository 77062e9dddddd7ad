"""Every image shows one object of the same name, but one image shows another."""

from __future__ import annotations

import numpy as np

from mirg.data.scenes.tasks.base import Draft, Picture, any_name, draw, look_alike, pick, targets_named
from mirg.data.scenes.world import Scene, WorldConfig, distractors, scene_for

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
    if config.same_place:
        scenes = _at_one_place(rng, config, subject, usual, odd, count)
    else:
        scenes = [scene_for(rng, config, [subject if k == odd else usual]) for k in range(count)]
    pictures = tuple(Picture(scene, "candidate" if k == odd else "distractor") for k, scene in enumerate(scenes))
    return Draft(
        pictures, pick(rng, QUESTIONS), targets_named(pictures, subject),
        "changed_object", image_hidden=True, meta={"subject": subject, "choices": count},
    )  # fmt: skip


def _at_one_place(
    rng: np.random.Generator, config: WorldConfig, subject: str, usual: str, odd: int, count: int
) -> list[Scene]:
    """In a share of the images as ``config.same_place`` says, a look-alike stands just where the odd object does."""
    first = scene_for(rng, config, [subject])
    box = first.objects[0].box
    usual = look_alike(rng, config, subject, box) or usual
    scenes = []
    for k in range(count):
        anchor = (0, box) if rng.random() < config.same_place else None
        scenes.append(first if k == odd else scene_for(rng, config, [usual], anchor=anchor))
    return scenes

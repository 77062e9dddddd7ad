"""Objects move from frame to frame; one is marked by its box in Image-1 and asked for in a later frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mirg.answers.markup import box_markup
from mirg.data.scenes.tasks.base import Draft, Picture, any_name, draw, fill, pick, targets_named
from mirg.data.scenes.world import Scene, WorldConfig, background_for, grid_box, has_room, scene_for
from mirg.geometry import Box

QUESTIONS = (
    "Where is the object at {box} of Image-1 in Image-{k}?",
    "Track the object at {box} of Image-1. Find it in Image-{k}.",
)
# Largest step of an object from one frame to the next, in fractions of the image.
STEP = 0.22


def make(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Draw one sample of the task; the target frame is uniform over Image-2 … Image-N."""
    count = draw(rng, config.frames, least=2)
    subject = any_name(rng, config)
    scene = scene_for(rng, config, fill(rng, config, subject, 1))
    scenes = [scene]
    for _ in range(count - 1):
        scene = _moved(rng, config, scene)
        scenes.append(scene)
    pictures = [Picture(scene, "frame", frame=k) for k, scene in enumerate(scenes, 1)]
    start = targets_named(pictures, subject, [1])[0].box
    number = int(rng.integers(2, count + 1))
    question = pick(rng, QUESTIONS).format(box=box_markup(1, start), k=number)
    return Draft(
        tuple(pictures), question, targets_named(pictures, subject, [number]),
        "same_object", image_hidden=False, meta={"subject": subject, "choices": 1},
    )  # fmt: skip


def _moved(rng: np.random.Generator, config: WorldConfig, scene: Scene) -> Scene:
    """The next frame: each object takes a random step that leaves it in the image and hides nothing."""
    boxes = [thing.box for thing in scene.objects]
    for k in range(len(boxes)):
        others = boxes[:k] + boxes[k + 1 :]
        for _ in range(12):
            box = _stepped(rng, boxes[k], config.side)
            if has_room(box, others, config.max_overlap):
                boxes[k] = box
                break
    objects = tuple(replace(thing, box=box) for thing, box in zip(scene.objects, boxes, strict=True))
    moved = replace(scene, objects=objects)
    if config.change_background:
        moved = replace(moved, background=background_for(rng, config))
    return moved


def _stepped(rng: np.random.Generator, box: Box, side: int) -> Box:
    # Whole pixels, so that the box stays exact.
    x1, y1, x2, y2 = (round(value * side) for value in box)
    dx, dy = (round(value * side) for value in rng.uniform(-STEP, STEP, 2))
    dx = min(max(dx, -x1), side - x2)
    dy = min(max(dy, -y1), side - y2)
    return grid_box(x1 + dx, y1 + dy, x2 + dx, y2 + dy, side)

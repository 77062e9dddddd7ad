"""Tasks with several views of one place: moving objects, other viewpoints, and crops."""

from __future__ import annotations

from dataclasses import replace

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
from mirg.data.scenes.world import Scene, WorldConfig, another_view, background_for, grid_box, has_room, scene_for, zoom
from mirg.geometry import Box

OBJECT_TRACKING_QUESTIONS = (
    "Where is the object at {box} of Image-1 in Image-{k}?",
    "Track the object at {box} of Image-1. Find it in Image-{k}.",
)
# Largest step of an object from one frame to the next, as a fraction of the image.
STEP = 0.22


def object_tracking(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Objects move from frame to frame; one is marked by its box in Image-1 and asked for in a later frame.

    The frame of the answer is uniform over Image-2 … Image-N.
    """
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
    question = pick(rng, OBJECT_TRACKING_QUESTIONS).format(box=box_markup(1, start), k=number)
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
    # The step is a number of whole pixels, so that the box stays exact.
    x1, y1, x2, y2 = (round(value * side) for value in box)
    dx, dy = (round(value * side) for value in rng.uniform(-STEP, STEP, 2))
    dx = min(max(dx, -x1), side - x2)
    dy = min(max(dy, -y1), side - y2)
    return grid_box(x1 + dx, y1 + dy, x2 + dx, y2 + dy, side)


MULTI_VIEW_QUESTIONS = (
    "The images are views of one place. Which other view shows the object at {box} of Image-1? Point to it.",
    "Find the object at {box} of Image-1 in another view of the same place.",
)


def multi_view(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Views of one place, none of which shows all of it; an object marked in Image-1 is in one other view.

    The answer is never in Image-1.
    """
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
        tuple(pictures), pick(rng, MULTI_VIEW_QUESTIONS).format(box=box_markup(1, start.box)),
        targets_named(pictures, subject, range(2, count + 1)),
        "same_object", image_hidden=True, meta={"subject": subject, "choices": count - 1},
    )  # fmt: skip


REGION_QUESTIONS = (
    "Where in Image-1 is the object of Image-{k}?",
    "Image-{k} is cut out of Image-1. Find its object in Image-1.",
)
# Margin around the object of a crop as a share of its longer side. The second range is used if the first has no room.
MARGINS = ((0.05, 0.3), (0.02, 0.05))


def region(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Image-1 shows several objects, and the other images are crops of it. Where in Image-1 is the object of one crop?

    The crop of the question has the role ``reference``, the others ``distractor``.
    """
    source, views = _source_and_crops(rng, config)
    order = rng.permutation(len(views))[: draw(rng, config.images, least=2) - 1].tolist()
    asked = int(rng.integers(len(order)))
    crops = [Picture(views[k], "reference" if n == asked else "distractor") for n, k in enumerate(order)]
    pictures = (Picture(source, "source"), *crops)
    subject = crops[asked].scene.names[0]
    return Draft(
        pictures, pick(rng, REGION_QUESTIONS).format(k=asked + 2), targets_named(pictures, subject, [1]),
        "part_of", image_hidden=False, meta={"subject": subject, "choices": 1},
    )  # fmt: skip


def _source_and_crops(rng: np.random.Generator, config: WorldConfig) -> tuple[Scene, list[Scene]]:
    """A scene of two or more different objects, and a crop of each object of which a crop without others exists."""
    config = at_least(config, 2)
    while True:
        source = scene_for(rng, config, fill(rng, config, any_name(rng, config), 1))
        crops = [_crop(rng, source, index) for index in range(len(source.objects))]
        shown = [crop for crop in crops if crop is not None]
        if shown:
            return source, shown


def _crop(rng: np.random.Generator, source: Scene, index: int) -> Scene | None:
    for margin in MARGINS:
        crop = zoom(source, index, rng.uniform(*margin))
        if crop is not None:
            return crop
    return None

"""Tasks that do not name the object: it must be found by comparing the images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mirg.answers.markup import box_markup
from mirg.data.scenes.objects import split_name
from mirg.data.scenes.tasks.base import (
    Draft,
    Names,
    Picture,
    any_name,
    at_least,
    draw,
    fill,
    holder_pictures,
    look_alike,
    pick,
    targets_named,
    without,
)
from mirg.data.scenes.world import Scene, WorldConfig, another_view, background_for, distractors, scene_for

COMMON_OBJECT_QUESTIONS = (
    "Which object is in every image? Point to it in Image-{k}.",
    "Find the object that all images share, in Image-{k}.",
)


def common_object(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Which object is in every image? No other name is in all of them; the question names the image of the answer."""
    count = draw(rng, config.images, least=2)
    subject = any_name(rng, config)
    lists: list[Names] = [fill(rng, config, subject, 1) for _ in range(count - 1)]
    shared = set(lists[0]).intersection(*lists[1:]) - {subject}
    lists.insert(int(rng.integers(count)), fill(rng, config, subject, 1, avoid=sorted(shared)))
    pictures = [Picture(scene_for(rng, config, names)) for names in lists]
    number = int(rng.integers(count)) + 1
    return Draft(
        tuple(pictures), pick(rng, COMMON_OBJECT_QUESTIONS).format(k=number),
        targets_named(pictures, subject, [number]),
        "same_category", image_hidden=False, meta={"subject": subject, "choices": 1},
    )  # fmt: skip


DIFFERENCE_QUESTIONS = (
    "The images hold the same objects but for one. Point to it.",
    "Which object is in only one of the images? Point to it.",
)


def difference(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Two images are equal except for one object that only one of them has."""
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
        pictures, pick(rng, DIFFERENCE_QUESTIONS), targets_named(pictures, subject),
        "changed_object", image_hidden=True, meta={"subject": subject, "choices": 2},
    )  # fmt: skip


VIEW_DIFFERENCE_QUESTIONS = (
    "The images are two views of one place. One object is in only one of them. Point to it.",
    "Seen from another side, one object is missing or new. Point to it.",
)


def view_difference(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Two views of one place are equal except for one object that only one of them has; every object has moved."""
    subject = any_name(rng, config)
    names = fill(rng, at_least(config, 2), subject, 1)
    full = scene_for(rng, config, names)
    less = another_view(rng, config, without(full, names.index(subject)))
    number = draw(rng, (1, 2))
    scenes = (full, less) if number == 1 else (less, full)
    pictures = tuple(Picture(scene) for scene in scenes)
    return Draft(
        pictures, pick(rng, VIEW_DIFFERENCE_QUESTIONS), targets_named(pictures, subject),
        "changed_object", image_hidden=True, meta={"subject": subject, "choices": 2},
    )  # fmt: skip


ODD_ONE_OUT_QUESTIONS = (
    "One image shows another object than the rest. Point to it.",
    "Which image is the odd one out? Point to its object.",
)


def odd_one_out(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Every image shows one object of the same name, except one image that shows another object."""
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
        pictures, pick(rng, ODD_ONE_OUT_QUESTIONS), targets_named(pictures, subject),
        "changed_object", image_hidden=True, meta={"subject": subject, "choices": count},
    )  # fmt: skip


def _at_one_place(
    rng: np.random.Generator, config: WorldConfig, subject: str, usual: str, odd: int, count: int
) -> list[Scene]:
    """Scenes of which a share ``config.same_place`` of the usual ones has its object at the box of the odd one."""
    first = scene_for(rng, config, [subject])
    box = first.objects[0].box
    usual = look_alike(rng, config, subject, box) or usual
    scenes = []
    for k in range(count):
        anchor = (0, box) if rng.random() < config.same_place else None
        scenes.append(first if k == odd else scene_for(rng, config, [usual], anchor=anchor))
    return scenes


REFER_QUESTIONS = (
    "Find the object of Image-1 in another image.",
    "Which other image shows the object of Image-1? Point to it.",
)
CLOSE_UP = (0.5, 0.7)


def refer(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Image-1 shows one object close up; the same kind of object is in one of the other images.

    The answer is never in Image-1.
    """
    count = draw(rng, config.images, least=3)
    subject = any_name(rng, config)
    near = scene_for(rng, config.model_copy(update={"object_side": CLOSE_UP}), [subject])
    holder = int(rng.integers(count - 1))
    lists = [fill(rng, config, subject, int(k == holder)) for k in range(count - 1)]
    pictures = [Picture(near, "reference"), *holder_pictures(rng, config, lists, subject)]
    return Draft(
        tuple(pictures), pick(rng, REFER_QUESTIONS), targets_named(pictures, subject, range(2, count + 1)),
        "same_category", image_hidden=True, meta={"subject": subject, "choices": count - 1},
    )  # fmt: skip


REASONING_QUESTIONS = (
    "Find the object with the colour of the object in Image-1 and the shape of the object in Image-2.",
    "Which object has the colour that Image-1 shows and the shape that Image-2 shows? Point to it.",
)


def reasoning(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Image-1 gives a colour and Image-2 a shape; the object that has both is in one of the other images.

    The answer is never in Image-1 or Image-2.
    """
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
        pictures, pick(rng, REASONING_QUESTIONS), targets_named(pictures, subject),
        "none", image_hidden=True, meta={"subject": subject, "choices": count - 2},
    )  # fmt: skip


CORRESPONDENCE_QUESTIONS = (
    "Find the counterpart of the object at {box} of Image-1: its shape, in another colour.",
    "Which other image has the shape of the object at {box} of Image-1, in another colour? Point to it.",
)


def correspondence(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """An object is marked in Image-1; another image has its counterpart: the same shape in another colour.

    No third object has the shape, and the answer is never in Image-1.
    """
    count = draw(rng, config.images, least=3)
    subject = any_name(rng, config)
    shape = split_name(subject)[1]
    alike = [name for name in config.names if split_name(name)[1] == shape and name != subject]
    marked = pick(rng, alike)
    first = scene_for(rng, config, fill(rng, config, marked, 1, avoid=[subject, *alike]))
    holder = int(rng.integers(count - 1))
    lists = [fill(rng, config, subject, int(k == holder), avoid=alike) for k in range(count - 1)]
    pictures = (Picture(first, "reference"), *holder_pictures(rng, config, lists, subject, avoid=alike))
    (start,) = targets_named(pictures, marked, [1])
    return Draft(
        pictures, pick(rng, CORRESPONDENCE_QUESTIONS).format(box=box_markup(1, start.box)),
        targets_named(pictures, subject),
        "corresponds_to", image_hidden=True, meta={"subject": subject, "reference": marked, "choices": count - 1},
    )  # fmt: skip

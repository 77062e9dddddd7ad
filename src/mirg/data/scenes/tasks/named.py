"""Tasks that name an object: in which image is it, and where?

A question gives the image, leaves it open, or identifies it by the number of objects or by another object in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mirg.data.scenes.tasks.base import (
    Draft,
    Names,
    any_name,
    at_least,
    beside_pictures,
    choose,
    draw,
    fill,
    holder_pictures,
    pick,
    targets_named,
)
from mirg.data.scenes.world import WorldConfig, distractors

GROUP_GROUNDING_QUESTIONS = ("Find the {name}.", "Where is the {name}?")


def group_grounding(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """A named object is in one of several images, and the question does not say in which."""
    count = draw(rng, config.images, least=2)
    subject = any_name(rng, config)
    holder = int(rng.integers(count))
    lists = [fill(rng, config, subject, int(k == holder)) for k in range(count)]
    pictures = holder_pictures(rng, config, lists, subject)
    return Draft(
        tuple(pictures), pick(rng, GROUP_GROUNDING_QUESTIONS).format(name=subject), targets_named(pictures, subject),
        "none", image_hidden=True, meta={"subject": subject, "choices": count},
    )  # fmt: skip


COUNTING_QUESTIONS = (
    "Find the {name} in the image with the most objects.",
    "Which image has the most objects? Point to its {name}.",
)


def counting(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """A named object is in several images; the question asks for it in the image with the most objects.

    No two images have the same number of objects.
    """
    most = max(config.objects[1], 3)
    count = min(draw(rng, config.images, least=2), most)
    sizes = [k + 1 for k in choose(rng, most, count)]
    holders = {count - 1, *choose(rng, count - 1, draw(rng, (1, count - 1)))}
    subject = any_name(rng, config)
    lists = []
    for k in rng.permutation(count).tolist():
        exactly = config.model_copy(update={"objects": (sizes[k], sizes[k])})
        lists.append(fill(rng, exactly, subject, int(k in holders)))
    number = 1 + max(range(count), key=lambda k: len(lists[k]))
    pictures = holder_pictures(rng, config, lists, subject, asked=number - 1)
    return Draft(
        tuple(pictures), pick(rng, COUNTING_QUESTIONS).format(name=subject), targets_named(pictures, subject, [number]),
        "same_category", image_hidden=True, meta={"subject": subject, "choices": count},
    )  # fmt: skip


MULTI_TARGET_QUESTIONS = ("Find every {name}.", "Point to every {name} in the images.")
MOST_TARGETS = 4
MOST_PER_IMAGE = 2
# At least one image has no target; otherwise there would be no choice of images.
LEAST_IMAGES = 3


def multi_target(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Every occurrence of a named object, two to four of them, in several images."""
    count = draw(rng, config.images, least=LEAST_IMAGES)
    holders = choose(rng, count, draw(rng, (2, min(count - 1, MOST_TARGETS))))
    copies = {k: 1 for k in holders}
    for k in holders:
        if sum(copies.values()) < MOST_TARGETS and config.objects[1] >= MOST_PER_IMAGE and rng.random() < 0.3:
            copies[k] = MOST_PER_IMAGE
    subject = any_name(rng, config)
    lists = [fill(rng, config, subject, copies.get(k, 0)) for k in range(count)]
    pictures = holder_pictures(rng, config, lists, subject)
    return Draft(
        tuple(pictures), pick(rng, MULTI_TARGET_QUESTIONS).format(name=subject), targets_named(pictures, subject),
        "same_category", image_hidden=True, meta={"subject": subject, "choices": count},
    )  # fmt: skip


def none(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """The named object is in no image. The question is worded like those of ``group_grounding`` or ``multi_target``.

    Neither the wording nor the number of images gives the answer away.
    """
    every = rng.random() < 0.5
    count = draw(rng, config.images, least=LEAST_IMAGES if every else 2)
    subject = any_name(rng, config)
    lists = [fill(rng, config, subject, 0) for _ in range(count)]
    questions = MULTI_TARGET_QUESTIONS if every else GROUP_GROUNDING_QUESTIONS
    return Draft(
        tuple(holder_pictures(rng, config, lists, subject)), pick(rng, questions).format(name=subject), (),
        "none", image_hidden=True, meta={"subject": subject, "choices": count},
    )  # fmt: skip


COMPANION_QUESTIONS = (
    "Find the {name} in the image with the {mark}.",
    "Which image shows the {mark}? Point to its {name}.",
)


def companion(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Every image shows the named object; the question means the one in the image that also shows another object."""
    return _companion(rng, config, COMPANION_QUESTIONS, here=1, elsewhere=0)


def _companion(
    rng: np.random.Generator, config: WorldConfig, questions: Sequence[str], here: int, elsewhere: int
) -> Draft:
    """A draft with the other object ``here`` times in the image that is meant, ``elsewhere`` times in the others."""
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


def companion_pair(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Every image shows the named object; the question means the one in the image that also shows two others.

    Each of the other images shows one of the two, so that looking for only one of them finds several images.
    """
    config = at_least(config, 3)
    count = draw(rng, config.images, least=3)
    subject = any_name(rng, config)
    pair = distractors(rng, config, 2, subject)
    holder = int(rng.integers(count))
    # The two alternate, so that each of them is in more than one image if there are enough images.
    turns = iter([pair[k % 2] for k in rng.permutation(count - 1)])
    marks: list[Names] = [pair if k == holder else [next(turns)] for k in range(count)]
    pictures = beside_pictures(rng, config, subject, marks, asked=holder)
    mark = f"{pair[0]} and the {pair[1]}"
    return Draft(
        tuple(pictures), pick(rng, COMPANION_QUESTIONS).format(name=subject, mark=mark),
        targets_named(pictures, subject, [holder + 1]),
        "same_category", image_hidden=True, meta={"subject": subject, "mark": mark, "choices": count},
    )  # fmt: skip


COMPANION_TWICE_QUESTIONS = (
    "Find the {name} in the image that shows the {mark} twice.",
    "Which image shows the {mark} twice? Point to its {name}.",
)


def companion_twice(rng: np.random.Generator, config: WorldConfig) -> Draft:
    """Every image shows the named object and another one; the question means the image that shows the other twice."""
    return _companion(rng, config, COMPANION_TWICE_QUESTIONS, here=2, elsewhere=1)

"""Exercises of perception: naming, locating, telling which image. None uses a question of the benchmark's tasks.

An exercise is (prompt parts, completion): parts are texts and scenes, in the layout of ``mirg.answers.prompts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from mirg.answers.markup import spell
from mirg.frames import Family, to_frame
from mirg.scenes.objects import NAMES, SceneObject
from mirg.scenes.world import Scene, WorldConfig, distractors, scene_for

Part = str | Scene

# (images, objects per image) of the look-up and locate curricula, easiest first.
LEVELS = ((2, 1), (2, 2), (3, 2), (4, 2), (4, 3), (5, 3))
MAX_LABEL = 6
# An exercise says nothing about the form of an answer; a model that learnt from them is asked the same way.
INSTRUCTIONS: Literal["none"] = "none"
POINT_LEVELS = 3
_QUERIES = 3
_ABSENT = 0.15


@dataclass(frozen=True)
class Exercise:
    """A prompt of texts and scenes, and what a model with eyesight would say."""

    parts: tuple[Part, ...]
    completion: str


def look_up(rng: np.random.Generator, level: int) -> Exercise:
    """Text only: which labelled entry holds a name. The form is that of :func:`locate`, with words for images.

    The labels are drawn from all that there are and stand in any order: a label that first appears at a later level
    would have been pushed down by every answer until then.
    """
    lists = _name_lists(rng, *LEVELS[level])
    numbers = [1 + int(k) for k in rng.permutation(MAX_LABEL)[: len(lists)]]
    lines = [f"Image-{number}: {', '.join(names)}." for number, names in zip(numbers, lists, strict=True)]
    name = _queries(rng, lists, 1)[0]
    where = next((number for number, names in zip(numbers, lists, strict=True) if name in names), None)
    return Exercise(("\n".join(lines), f"\nLocate: {name}."), _is_in(name, where))


def point(rng: np.random.Generator, level: int, world: WorldConfig, family: Family) -> Exercise:
    """Where everything is in one of up to three images. Trains reading a box off visual tokens, wherever they stand.

    With a single image, which always stands at the same place of the prompt, the box is read off the position of the
    visual tokens instead of their content, and that is worth nothing in the next prompt.
    """
    lists = _name_lists(rng, int(rng.integers(1, 4)), level + 1, similar=world.similar)
    scenes = [scene_for(rng, world, names) for names in lists]
    number = 1 + int(rng.integers(len(scenes)))
    said = " ".join(_is_at(thing, number, family) for thing in left_to_right(scenes[number - 1]))
    return Exercise((*_shown(scenes), f"\nPoint to everything in Image-{number}."), said)


def locate(rng: np.random.Generator, level: int, world: WorldConfig, family: Family) -> Exercise:
    """Which image holds a name, and where in it; names that are in none are asked for too."""
    lists, scenes = _scenes(rng, level, world)
    queries = _queries(rng, lists)
    said = []
    for name in queries:
        number = next((k for k, names in enumerate(lists, 1) if name in names), None)
        said.append(_is_in(name, number))
        if number:
            thing = next(thing for thing in scenes[number - 1].objects if thing.name == name)
            said.append(_is_at(thing, number, family))
    return Exercise((*_shown(scenes), f"\nLocate: {', '.join(queries)}."), " ".join(said))


def describe(rng: np.random.Generator, level: int, world: WorldConfig, family: Family) -> Exercise:
    """What every image shows, from left to right."""
    _, scenes = _scenes(rng, level, world)
    said = [f"Image-{k}: {', '.join(o.name for o in left_to_right(scene))}." for k, scene in enumerate(scenes, 1)]
    return Exercise((*_shown(scenes), "\nDescribe the images."), " ".join(said))


def left_to_right(scene: Scene) -> list[SceneObject]:
    """The objects in the order in which texts list them."""
    return sorted(scene.objects, key=lambda thing: thing.box)


def _is_in(name: str, number: int | None) -> str:
    return f"Found: {name} Image-{number}." if number else f"Found: {name} in none of the images."


def _is_at(thing: SceneObject, number: int, family: Family) -> str:
    return f"Box: Image-{number} {thing.name} {spell(to_frame(thing.box, (1, 1), family), family, 'text')}."


def _scenes(rng: np.random.Generator, level: int, world: WorldConfig) -> tuple[list[list[str]], list[Scene]]:
    lists = _name_lists(rng, *LEVELS[level], similar=world.similar)
    return lists, [scene_for(rng, world, names) for names in lists]


def _name_lists(rng: np.random.Generator, images: int, objects: int, similar: float = 0.3) -> list[list[str]]:
    """Different names for every image; their number varies up to ``objects``."""
    counts = rng.integers(1, objects + 1, images)
    first = NAMES[int(rng.integers(len(NAMES)))]
    pool = [first, *distractors(rng, WorldConfig(similar=similar), int(counts.sum()) - 1, first)]
    rng.shuffle(pool)
    bounds = np.cumsum([0, *counts])
    return [pool[a:b] for a, b in pairwise(bounds)]


def _queries(rng: np.random.Generator, lists: Sequence[Sequence[str]], most: int = _QUERIES) -> list[str]:
    present = [name for names in lists for name in names]
    count = int(rng.integers(1, min(most, len(present)) + 1))
    chosen = [present[k] for k in rng.choice(len(present), count, replace=False)]
    if rng.random() < _ABSENT * count:
        chosen[int(rng.integers(len(chosen)))] = distractors(rng, WorldConfig(), 1, present[0], present[1:])[0]
    return chosen


def _label(number: int) -> str:
    return f"{'' if number == 1 else chr(10)}Image-{number}: "


def _shown(scenes: Sequence[Scene]) -> list[Part]:
    return [part for k, scene in enumerate(scenes, 1) for part in (_label(k), scene)]

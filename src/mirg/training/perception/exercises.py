"""Exercises of perception: naming, locating, telling which image. None uses a question of the benchmark's tasks.

An exercise is (prompt parts, completion): parts are texts and scenes, in the layout of ``mirg.answers.prompts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mirg.answers.markup import spell
from mirg.frames import Family, to_frame
from mirg.geometry import Box
from mirg.scenes.objects import NAMES
from mirg.scenes.world import Scene, WorldConfig, distractors, scene_for

Part = str | Scene

# (images, objects per image) of the look-up and locate curricula, easiest first.
LEVELS = ((2, 1), (2, 2), (3, 2), (4, 2), (4, 3), (5, 3))
MAX_LABEL = 6
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
    lines = [f"Image-{number}: {'; '.join(names)}" for number, names in zip(numbers, lists, strict=True)]
    name = _queries(rng, lists, 1)[0]
    where = next((f"Image-{number}" for number, names in zip(numbers, lists, strict=True) if name in names), "none")
    return Exercise(("\n".join(lines), f"\nLocate: {name}."), f"{name} {where}.")


def point(rng: np.random.Generator, level: int, world: WorldConfig, family: Family) -> Exercise:
    """One image: where is the object, or where is everything. Trains nothing but reading a box off visual tokens."""
    names = _name_lists(rng, 1, level + 1, similar=world.similar)[0]
    scene = scene_for(rng, world, names)
    if rng.random() < 0.5:
        thing = scene.objects[int(rng.integers(len(names)))]
        return Exercise((*_shown([scene]), f"\nPoint: {thing.name}."), f"{thing.name} {_numbers(thing.box, family)}.")
    said = [f" {o.name} {_numbers(o.box, family)}" for o in scene.objects]
    return Exercise((*_shown([scene]), "\nDescribe Image-1."), f"{';'.join(said)}.".strip())


def locate(rng: np.random.Generator, level: int, world: WorldConfig, family: Family) -> Exercise:
    """Which image holds a name, and where in it; names that are in none are asked for too."""
    lists, scenes = _scenes(rng, level, world)
    queries = _queries(rng, lists)
    said = []
    for name in queries:
        box = next((o.box for scene in scenes for o in scene.objects if o.name == name), None)
        said.append(f" {name} {_where(lists, name)}" + (f" {_numbers(box, family)}" if box else ""))
    return Exercise((*_shown(scenes), f"\nLocate: {'; '.join(queries)}."), f"{';'.join(said)}.".strip())


def describe(rng: np.random.Generator, level: int, world: WorldConfig, family: Family) -> Exercise:
    """What one of the images shows, object by object."""
    _, scenes = _scenes(rng, level, world)
    number = int(rng.integers(len(scenes)))
    said = [f" {o.name} {_numbers(o.box, family)}" for o in scenes[number].objects]
    return Exercise((*_shown(scenes), f"\nDescribe Image-{number + 1}."), f"{';'.join(said)}.".strip())


def check(rng: np.random.Generator, level: int, world: WorldConfig, family: Family) -> Exercise:
    """Image by image: is the name there?"""
    lists, scenes = _scenes(rng, level, world)
    name = _queries(rng, lists)[0]
    said = [f"Image-{k}: {'yes' if name in names else 'no'}." for k, names in enumerate(lists, 1)]
    return Exercise((*_shown(scenes), f"\nCheck: {name}."), " ".join(said))


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
    return [pool[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def _queries(rng: np.random.Generator, lists: Sequence[Sequence[str]], most: int = _QUERIES) -> list[str]:
    present = [name for names in lists for name in names]
    count = int(rng.integers(1, min(most, len(present)) + 1))
    chosen = [present[k] for k in rng.choice(len(present), count, replace=False)]
    if rng.random() < _ABSENT * count:
        chosen[int(rng.integers(len(chosen)))] = distractors(rng, WorldConfig(), 1, present[0], present[1:])[0]
    return chosen


def _where(lists: Sequence[Sequence[str]], name: str) -> str:
    return next((f"Image-{k}" for k, names in enumerate(lists, 1) if name in names), "none")


def _label(number: int) -> str:
    return f"{'' if number == 1 else chr(10)}Image-{number}: "


def _shown(scenes: Sequence[Scene]) -> list[Part]:
    return [part for k, scene in enumerate(scenes, 1) for part in (_label(k), scene)]


def _numbers(box: Box, family: Family) -> str:
    return spell(to_frame(box, (1, 1), family), family, "text")

"""Exercises of perception: looking up, pointing, locating, describing; ``questions.py`` has the shorter ones.

None uses a question of the benchmark's tasks. An exercise is (prompt parts, completion): parts are texts and scenes, in
the layout of ``mirg.answers.prompts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from mirg.answers.markup import spell
from mirg.data.scenes.objects import SceneObject
from mirg.data.scenes.world import Scene, WorldConfig, distractors, scene_for
from mirg.families import Family
from mirg.frames import to_frame

Part = str | Scene

# (images, objects per image) of the look-up and locate curricula, easiest first.
LEVELS = ((2, 1), (2, 2), (3, 2), (4, 2), (4, 3), (5, 3), (6, 3))
# Look-up is about words: it has as many levels in a small world, too.
LOOKUP_LEVELS = 6
MAX_LABEL = 6
# An exercise says nothing about the form of an answer; a model that learnt from them is asked the same way.
INSTRUCTIONS: Literal["none"] = "none"
POINT_LEVELS = 3
_QUERIES = 3
_ABSENT = 0.15
# Shares of distractors like the target where a world has no say: in lists of words, for a name that is in none.
_SIMILAR_WORDS, _SIMILAR_ABSENT = 0.3, 0.4


@dataclass(frozen=True)
class Exercise:
    """A prompt of texts and scenes, what a model with eyesight would say, and the objects that this is ``about``."""

    parts: tuple[Part, ...]
    completion: str
    about: tuple[SceneObject, ...] = ()

    @property
    def scenes(self) -> list[Scene]:
        """The scenes of the prompt, in order."""
        return [part for part in self.parts if isinstance(part, Scene)]


def look_up(rng: np.random.Generator, level: int, world: WorldConfig) -> Exercise:
    """Text only: which labelled entry holds a name. The form is that of :func:`locate`, with words for images.

    The labels are drawn from all labels, in any order: a label that first appears at a later level
    would have been pushed down by every answer until then.
    """
    lists = name_lists(rng, *LEVELS[level], _with_similar(world, _SIMILAR_WORDS))
    numbers = [1 + int(k) for k in rng.permutation(MAX_LABEL)[: len(lists)]]
    lines = [f"Image-{number}: {', '.join(names)}." for number, names in zip(numbers, lists, strict=True)]
    name = _queries(rng, lists, world, 1)[0]
    where = next((number for number, names in zip(numbers, lists, strict=True) if name in names), None)
    return Exercise(("\n".join(lines), f"\nLocate: {name}."), is_in(name, where))


def point(rng: np.random.Generator, level: int, world: WorldConfig, family: Family) -> Exercise:
    """Where everything is in one of up to three images. Trains reading a box off visual tokens, wherever they stand.

    With a single image, which is always at the same place of the prompt, the model would read the box off the
    position of the visual tokens instead of their content, which does not help in another prompt.
    """
    lists = name_lists(rng, int(rng.integers(1, 4)), level + 1, world)
    scenes = [scene_for(rng, world, names) for names in lists]
    number = 1 + int(rng.integers(len(scenes)))
    things = left_to_right(scenes[number - 1])
    said = " ".join(_is_at(thing, number, family) for thing in things)
    return Exercise((*shown(scenes), f"\nPoint to everything in Image-{number}."), said, tuple(things))


def locate(rng: np.random.Generator, level: int, world: WorldConfig, family: Family) -> Exercise:
    """Which image holds a name, and where in it; some names are in no image."""
    lists, scenes = sample_scenes(rng, level, world)
    queries = _queries(rng, lists, world)
    said, about = [], []
    for name in queries:
        number = next((k for k, names in enumerate(lists, 1) if name in names), None)
        said.append(is_in(name, number))
        if number:
            thing = next(thing for thing in scenes[number - 1].objects if thing.name == name)
            said.append(_is_at(thing, number, family))
            about.append(thing)
    return Exercise((*shown(scenes), f"\nLocate: {', '.join(queries)}."), " ".join(said), tuple(about))


def describe(rng: np.random.Generator, level: int, world: WorldConfig, family: Family) -> Exercise:
    """What every image shows, from left to right."""
    _, scenes = sample_scenes(rng, level, world)
    said = [shows(scene, number) for number, scene in enumerate(scenes, 1)]
    about = tuple(thing for scene in scenes for thing in scene.objects)
    return Exercise((*shown(scenes), "\nDescribe the images."), " ".join(said), about)


def left_to_right(scene: Scene) -> list[SceneObject]:
    """The objects in the order in which texts list them."""
    return sorted(scene.objects, key=lambda thing: thing.box)


def shows(scene: Scene, number: int) -> str:
    """``Image-2: red ring, blue cross.``, from left to right."""
    return f"Image-{number}: {', '.join(thing.name for thing in left_to_right(scene))}."


def is_in(name: str, number: int | None) -> str:
    """Which image holds a name, or that none does."""
    return f"Found: {name} Image-{number}." if number else f"Found: {name} in none of the images."


def _is_at(thing: SceneObject, number: int, family: Family) -> str:
    return f"Box: Image-{number} {thing.name} {spell(to_frame(thing.box, (1, 1), family), family, 'text')}."


def sample_scenes(rng: np.random.Generator, level: int, world: WorldConfig) -> tuple[list[list[str]], list[Scene]]:
    """The scenes of one exercise and the names in each, all of them different; ``level`` decides how many."""
    lists = name_lists(rng, *LEVELS[level], world)
    return lists, [scene_for(rng, world, names) for names in lists]


def name_lists(rng: np.random.Generator, images: int, objects: int, world: WorldConfig) -> list[list[str]]:
    """Different names for every image, a subject of ``world`` among them; their number varies up to ``objects``."""
    counts = rng.integers(1, objects + 1, images)
    first = world.subjects[int(rng.integers(len(world.subjects)))]
    pool = [first, *distractors(rng, world, int(counts.sum()) - 1, first)]
    rng.shuffle(pool)
    bounds = np.cumsum([0, *counts])
    return [pool[a:b] for a, b in pairwise(bounds)]


def _queries(
    rng: np.random.Generator, lists: Sequence[Sequence[str]], world: WorldConfig, most: int = _QUERIES
) -> list[str]:
    """Up to ``most`` names to ask for; now and then one of them is in no list."""
    held = [name for names in lists for name in names]
    present = [name for name in held if name in world.subjects]
    count = int(rng.integers(1, min(most, len(present)) + 1))
    chosen = [present[k] for k in rng.choice(len(present), count, replace=False)]
    if rng.random() < _ABSENT * count:
        absent = distractors(rng, _with_similar(world, _SIMILAR_ABSENT), 1, held[0], held[1:])[0]
        chosen[int(rng.integers(len(chosen)))] = absent
    return chosen


def _with_similar(world: WorldConfig, similar: float) -> WorldConfig:
    return world.model_copy(update={"similar": similar})


def _label(number: int) -> str:
    return f"{'' if number == 1 else chr(10)}Image-{number}: "


def shown(scenes: Sequence[Scene]) -> list[Part]:
    """The scenes with their labels, as the first parts of a prompt."""
    return [part for k, scene in enumerate(scenes, 1) for part in (_label(k), scene)]

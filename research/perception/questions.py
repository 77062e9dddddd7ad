"""Short questions of perception about one object, one image or two, and the table of all exercises with images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mirg.answers.markup import spell
from mirg.data.scenes.objects import SceneObject
from mirg.data.scenes.world import Scene, WorldConfig, distractors, scene_for
from mirg.families import Family
from mirg.frames import to_frame
from research.perception.exercises import (
    Exercise,
    describe,
    is_in,
    locate,
    point,
    sample_scenes,
    shown,
    shows,
)
from research.perception.recipe import ExerciseKind

Make = Callable[[np.random.Generator, int, WorldConfig, Family], Exercise]

_SIMILAR_CHANGE = 0.7


def name_it(rng: np.random.Generator, level: int, world: WorldConfig, family: Family) -> Exercise:
    """Which object is at a box of one image?"""
    _, scenes = sample_scenes(rng, level, world)
    number, thing = _subject(rng, scenes, world)
    box = spell(to_frame(thing.box, (1, 1), family), family, "text")
    return Exercise((*shown(scenes), f"\nName: Image-{number} {box}."), f"Name: {thing.name}.", (thing,))


def which_image(rng: np.random.Generator, level: int, world: WorldConfig, _family: Family) -> Exercise:
    """Which image has a name; always one of them does."""
    _, scenes = sample_scenes(rng, level, world)
    number, thing = _subject(rng, scenes, world)
    return Exercise((*shown(scenes), f"\nWhich image has: {thing.name}?"), is_in(thing.name, number), (thing,))


def describe_one(rng: np.random.Generator, level: int, world: WorldConfig, _family: Family) -> Exercise:
    """What one of the images shows, from left to right."""
    _, scenes = sample_scenes(rng, level, world)
    number, _ = _subject(rng, scenes, world)
    scene = scenes[number - 1]
    return Exercise((*shown(scenes), f"\nDescribe Image-{number}."), shows(scene, number), scene.objects)


def compare(rng: np.random.Generator, level: int, world: WorldConfig, _family: Family) -> Exercise:
    """Whether two of the images show the same: as often as not one object is another, mostly one like it.

    Places, sizes, textures and the background differ in any case.
    """
    lists, scenes = sample_scenes(rng, level, world)
    number, thing = _subject(rng, scenes, world)
    first = number - 1
    second = (first + 1 + int(rng.integers(len(scenes) - 1))) % len(scenes)
    names = [lists[first][k] for k in rng.permutation(len(lists[first]))]
    same = rng.random() < 0.5
    if not same:
        alike = world.model_copy(update={"similar": _SIMILAR_CHANGE})
        names[names.index(thing.name)] = distractors(rng, alike, 1, thing.name, names)[0]
    scenes[second] = scene_for(rng, world, names)
    first, second = sorted((first, second))
    said = [shows(scenes[k], k + 1) for k in (first, second)]
    return Exercise(
        (*shown(scenes), f"\nCompare Image-{first + 1} and Image-{second + 1}."),
        " ".join([*said, "Same." if same else "Different."]),
        (*scenes[first].objects, *scenes[second].objects),
    )


EXERCISES: dict[ExerciseKind, Make] = {
    "point": point,
    "locate": locate,
    "describe": describe,
    "describe_one": describe_one,
    "name": name_it,
    "which": which_image,
    "compare": compare,
}


def _subject(rng: np.random.Generator, scenes: list[Scene], world: WorldConfig) -> tuple[int, SceneObject]:
    """An object that ``world`` may ask about, and the number of its image."""
    found = [(k, thing) for k, scene in enumerate(scenes, 1) for thing in scene.objects if thing.name in world.subjects]
    return found[int(rng.integers(len(found)))]

"""The stages of perception: vision, point, look-up, locate. ``loop.py`` runs one.

Every batch is a pure function of (seed, stage, step, curriculum level).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from mirg.data.scenes.world import Scene, WorldConfig, scene_for
from mirg.families import family
from mirg.models.tiny import TINY_FAMILY
from research.perception.exercises import LEVELS, LOOKUP_LEVELS, POINT_LEVELS, Exercise, look_up
from research.perception.eyes import Eyes
from research.perception.losses import Measured, answered, seen
from research.perception.optimise import Curriculum
from research.perception.questions import EXERCISES
from research.perception.recipe import ExerciseKind, PerceptionRecipe

# Vision curriculum: most objects in an image, their sides, textured or not. The last level is the recipe's world.
_EASY_VISION = ((1, (0.45, 0.7)), (2, (0.35, 0.6)))
_PLAIN = WorldConfig(textures=("plain",), clutter=0)
# The least side of the first level where small objects come last.
_LARGE = 0.35


@dataclass(frozen=True)
class Stage:
    """What one stage trains, on what, and when its next level comes.

    ``salt`` is part of the seed of every batch; ``goal`` is the smoothed ``accuracy`` that passes a level.
    """

    name: str
    salt: int
    steps: int
    learning_rate: float
    levels: int
    goal: float
    modules: Callable[[Eyes], list[torch.nn.Module]]
    batch: Callable[[np.random.Generator, Curriculum], Sequence[Any]]
    loss: Callable[[Eyes, Sequence[Any]], Measured]
    accuracy: Callable[[dict[str, float]], float]


def stages_of(recipe: PerceptionRecipe) -> list[Stage]:
    """The stages that ``recipe`` gives steps to, in order."""
    stages = [_vision(recipe), _point(recipe), _look_up(recipe), _locate(recipe)]
    return [stage for stage in stages if stage.steps]


def _vision(recipe: PerceptionRecipe) -> Stage:
    return Stage(
        "vision", 11, recipe.vision_steps, recipe.vision_learning_rate,
        levels=len(_EASY_VISION) + (2 if recipe.small_last else 1),
        goal=0.75,
        modules=lambda eyes: [eyes.model.model.visual, eyes.head, eyes.model.get_input_embeddings()],
        batch=lambda rng, curriculum: [
            _vision_scene(rng, recipe, curriculum.level) for _ in range(recipe.vision_batch)
        ],
        loss=seen,
        accuracy=lambda measured: measured["vision/named"],
    )  # fmt: skip


def _point(recipe: PerceptionRecipe) -> Stage:
    levels = min(POINT_LEVELS, recipe.world.objects[1])
    return Stage(
        "point", 14, recipe.point_steps, recipe.learning_rate,
        levels=levels,
        goal=0.85,
        modules=_all_of,
        batch=partial(_exercises, recipe, ("point",), 2 * recipe.batch_size, levels),
        loss=partial(answered, train_vision=True),
        accuracy=lambda measured: measured.get("near", 0.0),
    )  # fmt: skip


def _look_up(recipe: PerceptionRecipe) -> Stage:
    return Stage(
        "look-up", 12, recipe.lookup_steps, recipe.learning_rate,
        levels=max(LOOKUP_LEVELS, levels_of(recipe.world)),
        goal=0.93,
        modules=lambda eyes: [eyes.model.model.language_model, eyes.owner],
        batch=lambda rng, curriculum: [
            look_up(rng, curriculum.draw(rng), recipe.world) for _ in range(3 * recipe.batch_size)
        ],
        loss=partial(answered, train_vision=False),
        accuracy=lambda measured: measured["image_accuracy"],
    )  # fmt: skip


def _locate(recipe: PerceptionRecipe) -> Stage:
    levels = levels_of(recipe.world)
    return Stage(
        "locate", 13, recipe.locate_steps, recipe.learning_rate,
        levels=levels,
        goal=0.87,
        modules=_all_of,
        batch=partial(_exercises, recipe, recipe.exercises, recipe.batch_size, levels),
        loss=partial(answered, train_vision=True),
        # The next level adds images, and a box that was only read among few is not read among more.
        accuracy=lambda measured: (measured["image_accuracy"] + measured.get("near", 0.0)) / 2,
    )  # fmt: skip


def levels_of(world: WorldConfig) -> int:
    """How many of the levels, from the easiest on, hold no more images and objects than ``world`` does."""
    fits = [images <= world.images[1] and objects <= world.objects[1] for images, objects in LEVELS]
    return max(fits.index(False) if False in fits else len(fits), 1)


def _all_of(eyes: Eyes) -> list[torch.nn.Module]:
    return [eyes.model, eyes.head, eyes.owner]


def _vision_scene(rng: np.random.Generator, recipe: PerceptionRecipe, level: int) -> Scene:
    world = recipe.world
    if level < len(_EASY_VISION):
        most, sides = _EASY_VISION[level]
        count = int(rng.integers(1, most + 1))
        as_in = {"side": world.side, "shapes": world.shapes, "pairs": world.pairs, "object_side": sides}
        return scene_for(rng, _PLAIN.model_copy(update=as_in), None, count)
    count = int(rng.integers(world.objects[0], world.objects[1] + 1))
    return scene_for(rng, _sized(recipe, level - len(_EASY_VISION) + 1, 3), None, count)


def _exercises(
    recipe: PerceptionRecipe,
    kinds: Sequence[ExerciseKind],
    count: int,
    levels: int,
    rng: np.random.Generator,
    curriculum: Curriculum,
) -> list[Exercise]:
    tiny = family(TINY_FAMILY)
    batch = []
    for k in range(count):
        level = curriculum.draw(rng)
        batch.append(EXERCISES[kinds[k % len(kinds)]](rng, level, _sized(recipe, level, levels), tiny))
    return batch


def _sized(recipe: PerceptionRecipe, level: int, levels: int) -> WorldConfig:
    """The recipe's world; where small objects come last, without those that are too small for ``level``."""
    low, high = recipe.world.object_side
    if not recipe.small_last or level >= levels - 1:
        return recipe.world
    least = max(low, min(_LARGE, high) + (low - min(_LARGE, high)) * level / (levels - 1))
    return recipe.world.model_copy(update={"object_side": (least, high)})

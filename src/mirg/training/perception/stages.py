"""The stages of perception, each a plain loop: vision, point, look-up, locate.

Every batch is a pure function of (seed, stage, step, curriculum level).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mirg.frames import family
from mirg.models.tiny import TINY_FAMILY
from mirg.scenes.world import Scene, WorldConfig, sample_scene
from mirg.training.perception.exercises import LEVELS, POINT_LEVELS, describe, locate, look_up, point
from mirg.training.perception.eyes import Eyes
from mirg.training.perception.losses import answered, seen
from mirg.training.perception.optimise import Curriculum, Optimiser, autocast
from mirg.training.recipe import PerceptionRecipe
from mirg.training.run import Progress, RunFolder

Stage = tuple[str, Callable[[Eyes, PerceptionRecipe, RunFolder, int], None], int]  # name, loop, steps

# Vision curriculum: most objects in an image, their sides, textured or not. The last level is the recipe's world.
_EASY_VISION = ((1, (0.45, 0.7)), (2, (0.35, 0.6)))
_VISION_PASS, _POINT_PASS, _LOOKUP_PASS, _LOCATE_PASS = 0.75, 0.85, 0.93, 0.87


def stages_of(recipe: PerceptionRecipe) -> list[Stage]:
    """The stages that ``recipe`` gives steps to, in order."""
    stages: list[Stage] = [
        ("vision", _vision_stage, recipe.vision_steps),
        ("point", _point_stage, recipe.point_steps),
        ("look-up", _lookup_stage, recipe.lookup_steps),
        ("locate", _locate_stage, recipe.locate_steps),
    ]
    return [stage for stage in stages if stage[2]]


def _vision_stage(eyes: Eyes, recipe: PerceptionRecipe, run: RunFolder, offset: int) -> None:
    modules = [eyes.model.model.visual, eyes.head, eyes.model.get_input_embeddings()]
    optimiser = Optimiser(modules, recipe.vision_steps, recipe.vision_learning_rate)
    curriculum = Curriculum(len(_EASY_VISION) + 1, _VISION_PASS)
    progress = Progress("vision", recipe.vision_steps)
    eyes.model.train()
    for step in range(recipe.vision_steps):
        rng = np.random.default_rng((recipe.seed, 11, step, curriculum.level))
        scenes = [_vision_scene(rng, recipe.world, curriculum.level) for _ in range(recipe.vision_batch)]
        with autocast(recipe.dtype):
            loss, measured = seen(eyes, scenes)
        norm = optimiser.step(loss)
        curriculum.update(measured["vision/named"])
        values = {"loss": loss.item(), "grad_norm": norm, **measured, "level": curriculum.level}
        _note(run, progress, recipe, offset, step, values)


def _vision_scene(rng: np.random.Generator, world: WorldConfig, level: int) -> Scene:
    if level < len(_EASY_VISION):
        most, (low, high) = _EASY_VISION[level]
        count = int(rng.integers(1, most + 1))
        return sample_scene(rng, None, count, min_side=low, max_side=high, textures=("plain",), side=world.side)
    count = int(rng.integers(world.objects[0], world.objects[1] + 1))
    low, high = world.object_side
    return sample_scene(
        rng, None, count, min_side=low, max_side=high, textures=world.textures, clutter=world.clutter,
        max_overlap=world.max_overlap, backgrounds=world.backgrounds, side=world.side,
    )  # fmt: skip


def _point_stage(eyes: Eyes, recipe: PerceptionRecipe, run: RunFolder, offset: int) -> None:
    optimiser = Optimiser([eyes.model, eyes.head, eyes.owner], recipe.point_steps, recipe.learning_rate)
    curriculum = Curriculum(min(POINT_LEVELS, recipe.world.objects[1]), _POINT_PASS)
    progress = Progress("point", recipe.point_steps)
    tiny = family(TINY_FAMILY)
    for step in range(recipe.point_steps):
        rng = np.random.default_rng((recipe.seed, 14, step, curriculum.level))
        batch = [point(rng, curriculum.draw(rng), recipe.world, tiny) for _ in range(2 * recipe.batch_size)]
        with autocast(recipe.dtype):
            loss, measured = answered(eyes, batch, train_vision=True)
        norm = optimiser.step(loss)
        curriculum.update(measured.get("near", 0.0))
        values = {"loss": loss.item(), "grad_norm": norm, **measured, "level": curriculum.level}
        _note(run, progress, recipe, offset, step, values)


def _lookup_stage(eyes: Eyes, recipe: PerceptionRecipe, run: RunFolder, offset: int) -> None:
    optimiser = Optimiser([eyes.model.model.language_model, eyes.owner], recipe.lookup_steps, recipe.learning_rate)
    curriculum = Curriculum(len(LEVELS), _LOOKUP_PASS)
    progress = Progress("look-up", recipe.lookup_steps)
    for step in range(recipe.lookup_steps):
        rng = np.random.default_rng((recipe.seed, 12, step, curriculum.level))
        batch = [look_up(rng, curriculum.draw(rng)) for _ in range(3 * recipe.batch_size)]
        with autocast(recipe.dtype):
            loss, measured = answered(eyes, batch, train_vision=False)
        norm = optimiser.step(loss)
        curriculum.update(measured["image_accuracy"])
        values = {"loss": loss.item(), "grad_norm": norm, **measured, "level": curriculum.level}
        _note(run, progress, recipe, offset, step, values)


def _levels_of(world: WorldConfig) -> int:
    """How many of the levels, from the easiest on, hold no more images and objects than the world does."""
    fits = [images <= world.images[1] and objects <= world.objects[1] for images, objects in LEVELS]
    return max(fits.index(False) if False in fits else len(fits), 1)


def _locate_stage(eyes: Eyes, recipe: PerceptionRecipe, run: RunFolder, offset: int) -> None:
    optimiser = Optimiser([eyes.model, eyes.head, eyes.owner], recipe.locate_steps, recipe.learning_rate)
    curriculum = Curriculum(_levels_of(recipe.world), _LOCATE_PASS)
    progress = Progress("locate", recipe.locate_steps)
    kinds = (locate, describe, locate)
    tiny = family(TINY_FAMILY)
    for step in range(recipe.locate_steps):
        rng = np.random.default_rng((recipe.seed, 13, step, curriculum.level))
        batch = [kinds[k % len(kinds)](rng, curriculum.draw(rng), recipe.world, tiny) for k in range(recipe.batch_size)]
        with autocast(recipe.dtype):
            loss, measured = answered(eyes, batch, train_vision=True)
        norm = optimiser.step(loss)
        # The next level adds images, and a box that was only read among few is not read among more.
        curriculum.update((measured["image_accuracy"] + measured.get("near", 0.0)) / 2)
        values = {"loss": loss.item(), "grad_norm": norm, **measured, "level": curriculum.level}
        _note(run, progress, recipe, offset, step, values)


def _note(
    run: RunFolder, progress: Progress, recipe: PerceptionRecipe, offset: int, step: int, values: dict[str, Any]
) -> None:
    if step % recipe.log_every == 0:
        run.log(offset + step + 1, values)
    shown = {k.split("/")[-1]: v for k, v in values.items() if k != "grad_norm"}
    progress.step(step + 1, shown)

"""Perception from recipe to model folder: the loop over the stages.

Every batch is a pure function of (seed, stage, step, curriculum level), so the same recipe gives the same model. A run
that was stopped continues from its last good checkpoint, inside a stage or between two, and gives the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from mirg.console import logger
from mirg.storage import sole_writer
from mirg.training.run import Progress, RunFolder, drop_newer, drop_old, last_good_checkpoint, step_of, writing_run
from research.perception.exercises import INSTRUCTIONS
from research.perception.eyes import new_eyes, save_eyes
from research.perception.loop import Loop
from research.perception.recipe import PerceptionRecipe
from research.perception.stages import Stage, stages_of

_KEPT = 2  # checkpoints: the one before the last serves where the last is damaged


def train_perception(recipe: PerceptionRecipe, output: str | Path) -> Path:
    """Run all stages and return the model folder; a finished run returns at once."""
    run = RunFolder.open(output, recipe)
    if run.finished:
        run.refuse_damaged_model()
        logger.info("perception is finished: %s", run.model)
        return run.model
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    stages = stages_of(recipe)
    with sole_writer(run.path):
        loop = _resume(recipe, run, stages)
        offset = 0
        for number, stage in enumerate(stages):
            if stage is loop.stage:
                _run(loop, run, offset)
                if number + 1 < len(stages):
                    loop = Loop(stages[number + 1], loop.eyes, recipe)
            offset += stage.steps
        run.close()
        eyes = loop.eyes
        facts = {
            "seed": recipe.seed,
            "steps": offset,
            "family": eyes.model.config.mirg_family,
            "instructions": INSTRUCTIONS,
        }
        return run.save_model(lambda folder: save_eyes(eyes, folder), facts)


def _run(loop: Loop, run: RunFolder, offset: int) -> None:
    """The rest of one stage; ``offset`` is the number of steps of the stages before."""
    recipe = loop.recipe
    progress = Progress(loop.stage.name, loop.stage.steps, loop.done)
    while not loop.finished:
        values = loop.step()
        if (loop.done - 1) % recipe.log_every == 0:
            run.log(offset + loop.done, values)
        progress.step(loop.done, {k.split("/")[-1]: v for k, v in values.items() if k != "grad_norm"})
        if loop.finished or loop.done % recipe.save_every == 0:
            with writing_run(run.path):
                loop.save(run.checkpoints / f"checkpoint-{offset + loop.done}")
            drop_old(run.checkpoints, _KEPT)


def _resume(recipe: PerceptionRecipe, run: RunFolder, stages: Sequence[Stage]) -> Loop:
    """The loop as the last good checkpoint has it; without one, at the first step of the first stage."""
    checkpoint = last_good_checkpoint(run.checkpoints)
    step = step_of(checkpoint) if checkpoint else 0
    drop_newer(run.checkpoints, step)
    run.rewind(step)
    if checkpoint is None:
        return Loop(stages[0], new_eyes(recipe), recipe)
    logger.info("resuming from %s", checkpoint)
    return Loop.load(checkpoint, stages, recipe)

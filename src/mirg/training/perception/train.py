"""Perception from recipe to model folder: the loop over the stages.

Every batch is a pure function of (seed, stage, step, curriculum level), so the same recipe gives the same model. A
finished stage is kept as a checkpoint, and a run that was stopped starts again at the stage it was in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from mirg.console import logger
from mirg.models.load import load_model
from mirg.training.checkpoints import is_good
from mirg.training.perception.exercises import INSTRUCTIONS
from mirg.training.perception.eyes import HEAD_FILE, Eyes, eyes_of, new_eyes, save_checkpoint, save_eyes
from mirg.training.perception.stages import Stage, stages_of
from mirg.training.recipe import PerceptionRecipe
from mirg.training.run import RunFolder

__all__ = ["Eyes", "new_eyes", "train_perception"]


def train_perception(recipe: PerceptionRecipe, output: str | Path) -> Path:
    """Run all stages and return the model folder; a finished run returns at once."""
    run = RunFolder.open(output, recipe)
    if run.finished:
        logger.info("perception is finished: %s", run.model)
        return run.model
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    stages = stages_of(recipe)
    eyes, done = _resume(recipe, run, stages)
    offset = 0
    for number, (name, stage, steps) in enumerate(stages):
        if number >= done:
            stage(eyes, recipe, run, offset)
            save_checkpoint(eyes, run.checkpoints / name)
        offset += steps
    run.close()
    facts = {
        "seed": recipe.seed,
        "steps": offset,
        "family": eyes.model.config.mirg_family,
        "instructions": INSTRUCTIONS,
    }
    return run.save_model(lambda folder: save_eyes(eyes, folder), facts)


def _resume(recipe: PerceptionRecipe, run: RunFolder, stages: Sequence[Stage]) -> tuple[Eyes, int]:
    """The eyes as the last stage with a good checkpoint left them, and how many stages that is."""
    from safetensors.torch import load_file

    for done in range(len(stages), 0, -1):
        folder = run.checkpoints / stages[done - 1][0]
        if folder.is_dir() and is_good(folder):
            loaded = load_model(str(folder), device="cpu")  # where new eyes are, on any machine
            eyes = eyes_of(loaded.model, loaded.processor, new_eyes(recipe).config, recipe.seed)
            eyes.readers.load_state_dict(load_file(folder / HEAD_FILE))
            run.rewind(sum(steps for _, _, steps in stages[:done]))
            return eyes, done
    run.rewind(0)
    return new_eyes(recipe), 0

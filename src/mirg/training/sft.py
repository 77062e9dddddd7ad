"""Stage 1, SFT on trajectories: TRL's SFTTrainer over checked rows; only the completion carries loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mirg.console import logger
from mirg.training.data import sft_rows
from mirg.training.launch import ExactResume, Outcome, common_arguments, lora, prepare_model, run_trainer
from mirg.training.recipe import SftRecipe
from mirg.training.run import RunFolder


def train_sft(recipe: SftRecipe, output: str | Path) -> Outcome:
    """Run or resume SFT in the folder ``output``; a finished run returns at once."""
    run = RunFolder.open(output, recipe)
    if run.finished:
        logger.info("SFT is finished: %s", run.model)
        return Outcome(run.model, recipe.steps or 0)
    loaded = prepare_model(recipe)
    prepared = sft_rows(recipe.data, loaded, recipe.prompt, recipe.max_tokens)
    steps = recipe.steps or math.ceil(recipe.epochs * len(prepared) / (recipe.batch_size * recipe.accumulation))
    logger.info("SFT: %d samples, %d steps, longest sample %d tokens", len(prepared), steps, prepared.longest)

    def make(callbacks: list[Any]) -> Any:
        from trl import SFTConfig, SFTTrainer

        class Trainer(ExactResume, SFTTrainer):
            """TRL's trainer with exact resuming."""

        arguments = SFTConfig(
            per_device_train_batch_size=recipe.batch_size,
            gradient_accumulation_steps=recipe.accumulation,
            # TRL's default of 1024 would cut answers off silently; over-long samples were rejected above.
            max_length=None,
            completion_only_loss=True,
            **common_arguments(recipe, run, steps),
        )
        return Trainer(
            model=loaded.model,
            args=arguments,
            train_dataset=prepared.rows,
            processing_class=loaded.processor,
            peft_config=lora(recipe),
            callbacks=callbacks,
        )

    return run_trainer(recipe, run, loaded, steps, make)

"""Stage 1, SFT on trajectories: TRL's SFTTrainer over checked rows; only the completion carries loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mirg.console import logger
from mirg.training.data import sft_rows
from mirg.training.launch import (
    Outcome,
    common_arguments,
    lora,
    prepare_model,
    run_trainer,
    steps_by_epochs,
    train_in,
    world_size,
)
from mirg.training.recipe import SftRecipe
from mirg.training.run import RunFolder
from mirg.training.trainer import NamedBatches, ResumableTrainer


def train_sft(recipe: SftRecipe, output: str | Path) -> Outcome:
    """Run or resume SFT in the folder ``output``; a finished run returns at once."""
    return train_in(recipe, output, _train)


def _train(recipe: SftRecipe, run: RunFolder) -> Outcome:
    loaded = prepare_model(recipe)
    prepared = sft_rows(recipe.data, loaded, recipe.prompt, recipe.max_tokens)
    per_step = recipe.batch_size * recipe.accumulation * world_size()
    steps = recipe.steps or steps_by_epochs(recipe.epochs, len(prepared), per_step)
    logger.info("SFT: %d samples, %d steps, longest sample %d tokens", len(prepared), steps, prepared.longest)

    def make(callbacks: list[Any]) -> Any:
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        class Trainer(ResumableTrainer, SFTTrainer):
            """TRL's trainer with mirg's care."""

        arguments = SFTConfig(
            per_device_train_batch_size=recipe.batch_size,
            gradient_accumulation_steps=recipe.accumulation,
            # TRL's default of 1024 would cut answers off silently; over-long samples were rejected above.
            max_length=None,
            completion_only_loss=True,
            **common_arguments(recipe, run, steps),
        )
        trainer: Any = Trainer(
            model=loaded.model,
            args=arguments,
            train_dataset=prepared.rows,
            processing_class=loaded.processor,
            peft_config=lora(recipe),
            callbacks=callbacks,
        )
        trainer.data_collator = NamedBatches(trainer.data_collator)
        # The only count that TRL does not keep in a checkpoint.
        counts = (row["num_tokens"] for row in reversed(run.rows()) if isinstance(row.get("num_tokens"), int | float))
        trainer._total_train_tokens = int(next(counts, 0))
        return trainer

    return run_trainer(recipe, run, loaded, prepared, steps, make)

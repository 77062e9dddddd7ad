"""Stage 1, SFT on trajectories: TRL's SFTTrainer over checked rows; only the completion carries loss."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from mirg.console import logger
from mirg.errors import DataError
from mirg.models.load import LoadedModel
from mirg.training import launch
from mirg.training.data import EARLIER, Prepared, sft_rows, turn_spans
from mirg.training.health import ACTIVITY, READING_DATA
from mirg.training.recipe import SftRecipe
from mirg.training.run import RunFolder
from mirg.training.trainer import NamedBatches, ResumableTrainer


@launch.in_run_folder
def train_sft(recipe: SftRecipe, run: RunFolder) -> launch.Outcome:
    """Run or resume SFT in a run folder; a finished run returns at once. See ``launch.in_run_folder``."""
    loaded = launch.prepare_model(recipe)
    with ACTIVITY.doing(READING_DATA):
        prepared = sft_rows(recipe.data, loaded, recipe.prompt, recipe.max_tokens, recipe.look)
    steps = launch.steps_of(recipe, len(prepared), launch.world_size())
    logger.info("SFT: %d samples, %d steps, longest sample %d tokens", len(prepared), steps, prepared.longest)
    make = functools.partial(make_trainer, recipe, run, loaded, prepared, steps)
    return launch.fit(make, recipe, run, loaded, prepared, steps)


@dataclass
class TurnLabels:
    """A collator that puts the loss on all turns of the model; ``collate`` puts it on the last one.

    The labels of the crops and of the words of the environment stay -100. A turn is conditioned on what comes before
    it, as in a separate row, so that the loss of a batch is that of a row for each turn.
    """

    collate: Callable[[Sequence[dict[str, Any]]], Any]
    tokenizer: Any

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Any:
        """The batch that ``collate`` makes of ``rows``. DataError if it does not contain a turn as it was written."""
        names, earlier = [row.get("id") for row in rows], [row.pop(EARLIER, ()) for row in rows]
        batch = self.collate(rows)
        for name, ids, labels, turns in zip(names, batch["input_ids"], batch["labels"], earlier, strict=True):
            spans = turn_spans(ids.tolist(), turns, self.tokenizer)
            if len(spans) != len(turns):
                raise DataError(
                    f"{name}: the processor writes a turn of the model with other tokens than the tokenizer",
                    hint="leave this sample out, and report it with the name of the model",
                )
            for start, end in spans:
                labels[start:end] = ids[start:end]
        return batch


class ResumableSFTTrainer(ResumableTrainer, SFTTrainer):
    """TRL's SFTTrainer with exact resuming and checked batches."""


def make_trainer(
    recipe: SftRecipe, run: RunFolder, loaded: LoadedModel, prepared: Prepared, steps: int
) -> ResumableSFTTrainer:
    """The trainer of a recipe at the step where the metrics of ``run`` end."""
    arguments = SFTConfig(
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        # TRL's default of 1024 would cut answers off silently; over-long samples were rejected above.
        max_length=None,
        completion_only_loss=True,
        **launch.common_arguments(recipe, run, steps),
    )
    made: Any = ResumableSFTTrainer(
        model=loaded.model,
        args=arguments,
        train_dataset=prepared.rows,
        processing_class=loaded.processor,
        peft_config=launch.lora(recipe),
    )
    made.data_collator = NamedBatches(TurnLabels(made.data_collator, loaded.tokenizer))
    # Qwen-VL classes say that they take no count of tokens, and the trainer would average the averages of batches and
    # processes, whose answers differ in length. TRL computes the loss itself and divides by the count that it is given.
    made.model_accepts_loss_kwargs = True
    # The only count that TRL does not keep in a checkpoint.
    counts = (row["num_tokens"] for row in reversed(run.rows()) if isinstance(row.get("num_tokens"), int | float))
    made._total_train_tokens = int(next(counts, 0))
    return made

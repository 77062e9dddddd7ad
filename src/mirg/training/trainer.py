"""What mirg changes in TRL's trainers for both stages: exact resuming, batches that are checked and known by id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mirg.errors import DataError

if TYPE_CHECKING:
    from mirg.training.callbacks import FiniteGuard

IDS = "sample_ids"


class ResumableTrainer:
    """Mixed into a TRL trainer, before it. Set ``guard`` before training; None reports no skipped step."""

    guard: FiniteGuard | None = None
    _checked = False

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the weights of a checkpoint by name and completely, or not at all.

        The Trainer's own way reads a full-weight Qwen2.5-VL checkpoint, which is saved in an older key layout, with
        ``strict=False`` and goes on from the INITIAL weights with a warning (transformers issue 43701).
        """
        trainer: Any = self
        target = model if model is not None else trainer.model
        special = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled or hasattr(target, "peft_config")
        if special or not (Path(resume_from_checkpoint) / "config.json").is_file():
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        saved = type(target).from_pretrained(resume_from_checkpoint, dtype=next(target.parameters()).dtype)
        target.load_state_dict(saved.state_dict(), strict=True)

    def _run_epoch(self, *args: Any, **keywords: Any) -> None:
        """One pass over the data, but for a run that was killed after its last step and before its model was written.

        The Trainer asks for ``max_steps`` only after a step: it would take one too many.
        """
        trainer: Any = self
        if trainer.state.global_step >= trainer.state.max_steps:
            trainer.control.should_training_stop = True
            return
        super()._run_epoch(*args, **keywords)  # type: ignore[misc]

    def _prepare_inputs(self, inputs: Any) -> Any:
        """The batch that the loss is computed of; its sample ids are noted.

        DataError if the image tokens of the first batch of a run are not where the model looks for them.
        """
        self.note([row["id"] for row in inputs] if isinstance(inputs, list) else inputs.pop(IDS, ()))
        batch = super()._prepare_inputs(inputs)  # type: ignore[misc]
        if not self._checked:
            check_image_tokens(batch, self.processing_class)  # type: ignore[attr-defined]
            self._checked = True
        return batch

    def note(self, ids: Sequence[str]) -> None:
        """Let the guard know the samples of the step, for the report of a step that has to be skipped."""
        if self.guard is not None:
            self.guard.saw(ids)


class NamedBatches:
    """A collator whose batches carry the ids of their samples under ``sample_ids``."""

    def __init__(self, collate: Callable[[Sequence[dict[str, Any]]], Any]) -> None:
        self._collate = collate

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Any:
        """The batch that ``collate`` makes, and its ids."""
        ids = [row["id"] for row in rows]
        batch = self._collate(rows)
        batch[IDS] = ids
        return batch


def check_image_tokens(inputs: Any, processor: Any) -> None:
    """DataError where placeholders, type ids and image features of a batch do not agree.

    A tokenizer that pads on the other side than its processor shifts the type ids against the tokens.
    """
    ids = (
        inputs["input_ids"] if "input_ids" in inputs else torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    )
    shown = ids == processor.image_token_id
    kinds = inputs.get("mm_token_type_ids")
    if kinds is not None and not torch.equal(shown, kinds == 1):
        raise DataError(
            "mm_token_type_ids do not mark the image tokens of a batch",
            hint="prompt and type ids are padded on different sides; the tokenizer must pad on the left",
        )
    grid = inputs.get("image_grid_thw")
    features = 0 if grid is None else int(grid.prod(-1).sum()) // processor.image_processor.merge_size**2
    if int(shown.sum()) != features:
        raise DataError(
            f"a batch has {int(shown.sum())} image tokens and {features} image features",
            hint="a prompt was cut, or its text holds an image token",
        )

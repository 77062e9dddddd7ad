"""What mirg adds to TRL's trainers for both stages.

A mixin (exact resuming, checked batches that are known by the ids of their samples), and callbacks: the metrics file
and the progress line, verified checkpoints, a clean stop, and a guard against gradients that are not finite.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mirg.console import logger
from mirg.errors import CheckpointError, DataError
from mirg.models.images import image_features
from mirg.storage import append_line, seal_folder
from mirg.training.run import SKIPPED, Progress, RunFolder, drop_old

IDS = "sample_ids"
BAD_STEPS_IN_A_ROW = 3
# Metric names of TRL as people see them in the progress line.
_SHOWN = {
    "loss": "loss",
    "reward": "reward",
    "rewards/format/mean": "format",
    "rewards/image/mean": "image",
    "rewards/object/mean": "object",
    "completions/mean_length": "length",
    "frac_reward_zero_std": "zero-variance",
    "mean_token_accuracy": "token accuracy",
}


class ResumableTrainer:
    """Mixed into a TRL trainer, before it. Set ``guard`` before training; None reports no skipped step."""

    guard: FiniteGuard | None = None
    _checked = False

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the weights of a checkpoint by name and completely, or not at all.

        The Trainer's own way reads a full-weight Qwen2.5-VL checkpoint, which is saved in an older key layout, with
        ``strict=False`` and continues from the INITIAL weights with a warning (transformers issue 43701).
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


@dataclass(frozen=True)
class NamedBatches:
    """A collator whose batches carry the ids of their samples under ``sample_ids``."""

    collate: Callable[[Sequence[dict[str, Any]]], Any]

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Any:
        """The batch that ``collate`` makes, and its ids."""
        ids = [row["id"] for row in rows]
        batch = self.collate(rows)
        batch[IDS] = ids
        return batch


def check_image_tokens(inputs: Any, processor: Any) -> None:
    """DataError where placeholders, type ids and image features of a batch do not agree.

    A tokenizer that pads on the other side than its processor shifts the type ids against the tokens.
    """
    names = ["input_ids"] if "input_ids" in inputs else ["prompt_ids", "completion_ids"]
    ids = torch.cat([inputs[name] for name in names], 1)
    shown = ids == processor.image_token_id
    kinds = inputs.get("mm_token_type_ids")
    if kinds is not None and not torch.equal(shown, kinds == 1):
        raise DataError(
            "mm_token_type_ids do not mark the image tokens of a batch",
            hint="prompt and type ids are padded on different sides; the tokenizer must pad on the left",
        )
    features = image_features(processor, inputs)
    if int(shown.sum()) != features:
        raise DataError(
            f"a batch has {int(shown.sum())} image tokens and {features} image features",
            hint="a prompt was cut, or its text holds an image token",
        )


# Callbacks.


class RunCallback(TrainerCallback):
    """Writes ``metrics.jsonl``, says where the run is, and makes a folder of the Trainer a checkpoint to rely on."""

    def __init__(self, run: RunFolder, steps: int, start: int = 0, keep: int = 2) -> None:
        self.run = run
        self.keep = keep
        self.progress = Progress(run.stage, steps, start)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A saved step is logged too: no average then reaches over a checkpoint, and resuming repeats every row."""
        control.should_log |= control.should_save

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any = None, **_: Any) -> None:
        """One row per logged step; the Trainer's closing summary is left out."""
        values: dict[str, Any] = logs or {}
        if "train_runtime" in values or not state.is_world_process_zero:
            return
        self.run.log(state.global_step, {k: v for k, v in values.items() if k not in ("epoch", "total_flos")})
        self.progress.step(state.global_step, {_SHOWN[k]: v for k, v in values.items() if k in _SHOWN})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The manifest comes last: a checkpoint without one is not complete. Only then do older ones go."""
        PartialState().wait_for_everyone()  # the others may still be writing their part
        folder = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            seal_folder(folder)
            drop_old(folder.parent, self.keep)


class StopCallback(TrainerCallback):
    """Ctrl-C or SIGTERM: finish the step, save a checkpoint, stop. A second signal ends the process at once.

    It stops only after a multiple of ``every`` steps, where a checkpoint is exact.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self.stopped = False

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Inside the block, the signals are handled here; only the main thread may do so."""
        numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        before = [(number, signal.signal(number, self._stop)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def _stop(self, number: int, frame: Any) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        logger.warning("stopping after this step; the same command resumes from there")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and stop at a step's end."""
        if state.global_step % self.every:
            return
        stopped = self.stopped
        if args.world_size > 1:
            # One process's signal stops all at the same step: otherwise the others would wait for it forever.
            flag = torch.tensor(int(stopped), device=args.device)
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
            stopped = bool(flag)
        if stopped:
            self.stopped = True
            control.should_save = control.should_training_stop = True


class FiniteGuard(TrainerCallback):
    """A gradient that is not finite updates nothing; three in a row end the run with the last checkpoint intact.

    The ids of the step's samples go to ``skipped.jsonl`` and the number of such steps to the metrics.
    """

    def __init__(self, run: RunFolder, skipped: int = 0) -> None:
        self.run = run
        self.skipped = skipped
        self._row = 0
        self._ids: dict[str, None] = {}

    def saw(self, ids: Iterable[str]) -> None:
        """Note samples of the step that is being computed."""
        self._ids.update(dict.fromkeys(ids))

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        """Drop the gradients of a bad step, so that the optimiser changes no weight."""
        ids = list(self._ids)
        self._ids.clear()
        norms = [p.grad.detach().float().norm() for p in model.parameters() if p.grad is not None]
        if not norms or bool(torch.isfinite(torch.stack(norms)).all()):
            self._row = 0
            return
        for parameter in model.parameters():
            parameter.grad = None
        self.skipped += 1
        self._row += 1
        step = state.global_step + 1
        logger.warning("step %d: gradient not finite, nothing updated (%d so far)", step, self.skipped)
        if state.is_world_process_zero:
            append_line(self.run.path / SKIPPED, {"step": step, "reason": "gradient not finite", "ids": ids})
        if self._row >= BAD_STEPS_IN_A_ROW:
            raise CheckpointError(
                f"{self._row} steps in a row had gradients that are not finite",
                hint=f"the last checkpoint is intact and {SKIPPED} names the samples; lower optim.learning_rate",
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Add the count to the metrics once there is one: the callbacks that follow get the same dictionary."""
        if self.skipped and logs is not None:
            logs["skipped_steps"] = self.skipped

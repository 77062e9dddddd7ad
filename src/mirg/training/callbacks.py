"""What mirg adds to the transformers Trainer: metrics file, progress line, verified checkpoints, a clean stop, a NaN guard."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mirg.console import logger
from mirg.errors import CheckpointError
from mirg.storage import folder_manifest, manifest_problems, read_json, write_json_atomic
from mirg.training.run import Progress, RunFolder

MANIFEST = "mirg_manifest.json"
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


class RunCallback(TrainerCallback):
    """Writes ``metrics.jsonl``, says where the run is, and gives every checkpoint a manifest of digests."""

    def __init__(self, run: RunFolder, steps: int, start: int = 0) -> None:
        self.run = run
        self.progress = Progress(run.stage, steps, start)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """One row per logged step; the Trainer's closing summary is left out."""
        values = logs or {}
        if "train_runtime" in values or not state.is_world_process_zero:
            return
        self.run.log(state.global_step, {k: v for k, v in values.items() if k not in ("epoch", "total_flos")})
        self.progress.step(state.global_step, {_SHOWN[k]: v for k, v in values.items() if k in _SHOWN})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The manifest comes last: a checkpoint without one is not complete."""
        folder = Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            write_json_atomic(folder / MANIFEST, folder_manifest(folder, ignore=frozenset({MANIFEST})))


class StopCallback(TrainerCallback):
    """Ctrl-C or SIGTERM: finish the step, save a checkpoint, stop. A second signal ends the process at once."""

    def __init__(self) -> None:
        self.stopped = False
        self._old: dict[int, Any] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take the signals over; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._stop)

    def _stop(self, number: int, frame: Any) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        logger.warning("stopping after this step; the same command resumes from there")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and stop at a step's end, where a checkpoint is exact."""
        if self.stopped:
            control.should_save = True
            control.should_training_stop = True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Give the signals back."""
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old.clear()


class FiniteGuard(TrainerCallback):
    """A gradient that is not finite updates nothing; three in a row end the run with the last checkpoint intact."""

    def __init__(self) -> None:
        self.skipped = 0
        self._row = 0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        """Drop the gradients of a bad step, so that the optimiser leaves every weight as it is."""
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if not gradients or bool(torch.isfinite(torch.stack([g.detach().float().norm() for g in gradients])).all()):
            self._row = 0
            return
        for parameter in model.parameters():
            parameter.grad = None
        self.skipped += 1
        self._row += 1
        logger.warning("step %d: gradient not finite, nothing updated (%d so far)", state.global_step + 1, self.skipped)
        if self._row >= BAD_STEPS_IN_A_ROW:
            raise CheckpointError(
                f"{self._row} steps in a row had gradients that are not finite",
                hint="the last checkpoint is intact; lower optim.learning_rate and start from it",
            )


def last_good_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose files are what its manifest says; damaged ones are named and passed over."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in found:
        problems = _problems(checkpoint)
        if not problems:
            return checkpoint
        logger.warning("%s is not used: %s", checkpoint, problems[0])
    return None


def _problems(checkpoint: Path) -> list[str]:
    file = checkpoint / MANIFEST
    if not file.is_file():
        return ["it has no manifest, so it was not written to the end"]
    manifest = read_json(file)
    if not isinstance(manifest, dict):
        return ["its manifest is damaged"]
    return manifest_problems(checkpoint, manifest)

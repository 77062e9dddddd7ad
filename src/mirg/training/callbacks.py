"""What mirg adds to the Trainer: metrics file, progress line, verified checkpoints, a clean stop, a NaN guard."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mirg.console import logger
from mirg.errors import CheckpointError
from mirg.storage import append_line, seal_folder
from mirg.training.checkpoints import drop_old
from mirg.training.run import SKIPPED, Progress, RunFolder

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


class _LogCallback(TrainerCallback):
    """A callback that sees each row of numbers before or while it is written."""

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Hand the row on; the Trainer may come without one."""
        self.logged(state, {} if logs is None else logs)

    def logged(self, state: TrainerState, values: dict[str, Any]) -> None:
        """Take in ``values``, or add to them: the callbacks that follow get the same dictionary."""
        raise NotImplementedError


class RunCallback(_LogCallback):
    """Writes ``metrics.jsonl``, says where the run is, and makes a folder of the Trainer a checkpoint to rely on."""

    def __init__(self, run: RunFolder, steps: int, start: int = 0, keep: int = 2) -> None:
        self.run = run
        self.keep = keep
        self.progress = Progress(run.stage, steps, start)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A saved step is logged too: no average then reaches over a checkpoint, and resuming repeats every row."""
        control.should_log |= control.should_save

    def logged(self, state: TrainerState, values: dict[str, Any]) -> None:
        """One row per logged step; the Trainer's closing summary is left out."""
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

    A context manager: the signals are its own inside the block. It stops only after a multiple of ``every`` steps,
    where a checkpoint is exact.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self.stopped = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> StopCallback:
        # Only the main thread may.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old.clear()

    def _stop(self, number: int, frame: Any) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        logger.warning("stopping after this step; the same command resumes from there")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and stop at a step's end."""
        if state.global_step % self.every == 0 and self._any_stopped(args):
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True

    def _any_stopped(self, args: TrainingArguments) -> bool:
        """One process's signal stops all at the same step: the others would wait for it without end."""
        if args.world_size == 1:
            return self.stopped
        flag = torch.tensor(int(self.stopped), device=args.device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag)


class FiniteGuard(_LogCallback):
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
        """Drop the gradients of a bad step, so that the optimiser leaves every weight as it is."""
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

    def logged(self, state: TrainerState, values: dict[str, Any]) -> None:
        """Add the count to the metrics once there is one."""
        if self.skipped:
            values["skipped_steps"] = self.skipped

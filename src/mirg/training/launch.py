"""What SFT and GRPO share: checks before the start, the trainer's common arguments, resuming, and the end of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mirg.console import logger
from mirg.errors import ConfigError
from mirg.models.load import LoadedModel, load_model
from mirg.training.callbacks import FiniteGuard, RunCallback, StopCallback, last_good_checkpoint
from mirg.training.recipe import RunConfig, dump_recipe
from mirg.training.run import RunFolder


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the model folder, or None where it was stopped on the way and can be resumed."""

    model: Path | None
    step: int


def check_processes(recipe: RunConfig) -> None:
    """Stop where the number of processes is not the one asked for: some launchers silently start fewer."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if recipe.processes is not None and world != recipe.processes:
        raise ConfigError(
            f"the recipe asks for {recipe.processes} processes, this run has {world}",
            hint="start it with `torchrun --nproc_per_node N -m mirg …` (accelerate launch --cpu starts one process)",
        )


def prepare_model(recipe: RunConfig) -> LoadedModel:
    """Load the starting model for training, and set torch's threads and seed."""
    from transformers import set_seed

    check_processes(recipe)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    set_seed(recipe.seed)
    loaded = load_model(recipe.model, family_name=recipe.prompt.family, dtype="float32")
    loaded.model.train()
    return loaded


def common_arguments(recipe: RunConfig, run: RunFolder, steps: int) -> dict[str, Any]:
    """The part of TrainingArguments that both stages share."""
    cpu = not torch.cuda.is_available()
    optim = recipe.optim
    return {
        "output_dir": str(run.checkpoints),
        "max_steps": steps,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "learning_rate": optim.learning_rate,
        "lr_scheduler_type": optim.schedule if optim.schedule != "constant" else "constant_with_warmup",
        "warmup_steps": optim.warmup_steps,
        "weight_decay": optim.weight_decay,
        "max_grad_norm": optim.max_grad_norm,
        "adam_beta2": optim.beta2,
        "bf16": recipe.dtype == "bfloat16",
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "logging_steps": recipe.log_every,
        "save_steps": recipe.save_every,
        "save_total_limit": recipe.keep_checkpoints,
        "dataloader_num_workers": recipe.workers,
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": cpu,
    }


def lora(recipe: RunConfig) -> Any:
    """A PEFT configuration, or None to train all weights."""
    if not recipe.lora.rank:
        return None
    from peft import LoraConfig

    chosen = recipe.lora
    return LoraConfig(
        r=chosen.rank, lora_alpha=chosen.alpha, lora_dropout=chosen.dropout, target_modules=chosen.target, task_type="CAUSAL_LM"
    )


def run_trainer(recipe: RunConfig, run: RunFolder, loaded: LoadedModel, steps: int, make: Callable[[list[Any]], Any]) -> Outcome:
    """Train from the last good checkpoint on, and save the model at the end; ``make`` builds the trainer."""
    checkpoint = last_good_checkpoint(run.checkpoints)
    start = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    run.rewind(start)
    if checkpoint:
        logger.info("resuming from %s", checkpoint)
    stop, finite = StopCallback(), FiniteGuard()
    trainer = make([RunCallback(run, steps, start), stop, finite])
    _quiet(trainer)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    run.close()
    step = trainer.state.global_step
    if stop.stopped and step < steps:
        return Outcome(None, step)
    facts = {
        "seed": recipe.seed,
        "steps": step,
        "family": loaded.family.name,
        "instructions": recipe.prompt.instructions,
        "start": recipe.model,
        "skipped_steps": finite.skipped,
    }
    return Outcome(run.save_model(lambda folder: _save(trainer, loaded, folder), facts), step)


def _quiet(trainer: Any) -> None:
    from transformers import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)


def _save(trainer: Any, loaded: LoadedModel, folder: Path) -> None:
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(folder)
    loaded.processor.save_pretrained(folder)


def dry_run(recipe: RunConfig) -> str:
    """What ``--dry-run`` prints: the resolved recipe."""
    return dump_recipe(recipe)


class ExactResume:
    """Mixed into a trainer: weights of a checkpoint are loaded by name and completely, or not at all.

    The Trainer's own way reads a full-weight Qwen2.5-VL checkpoint, which is saved in an older key layout, with ``strict=False``
    and goes on from the INITIAL weights with a warning (transformers issue 43701).
    """

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        trainer: Any = self
        target = model if model is not None else trainer.model
        special = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled or hasattr(target, "peft_config")
        if special or not (Path(resume_from_checkpoint) / "config.json").is_file():
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        saved = type(target).from_pretrained(resume_from_checkpoint, dtype=next(target.parameters()).dtype)
        target.load_state_dict(saved.state_dict(), strict=True)

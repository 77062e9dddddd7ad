"""What SFT and GRPO share: checks before the start, the trainer's common arguments, resuming, and the end of a run."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from mirg.console import logger
from mirg.data.checks.leakage import shared_images
from mirg.errors import ConfigError, DataError
from mirg.frames import PixelLimits
from mirg.models.device import fast_dtype
from mirg.models.load import LoadedModel, load_model, model_facts, wrap
from mirg.samples import DatasetFolder
from mirg.storage import sole_writer
from mirg.training.arguments import world_size
from mirg.training.data import Prepared
from mirg.training.recipe import PromptConfig, RunConfig
from mirg.training.run import (
    SKIPPED,
    RunFolder,
    drop_newer,
    is_main_process,
    last_good_checkpoint,
    step_of,
    writing_run,
)
from mirg.training.trainer import FiniteGuard, RunCallback, StopCallback

R = TypeVar("R", bound=RunConfig)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the model folder, or None if it was stopped and can be resumed."""

    model: Path | None
    step: int


def resolve_dtype(recipe: R) -> R:
    """The recipe with its number type decided, as the run folder keeps it: ``auto`` means another on each machine.

    A run that is continued elsewhere with another dtype is thereby refused by the rule of its folder.
    """
    return recipe.model_copy(update={"dtype": fast_dtype()}) if recipe.dtype == "auto" else recipe


def refuse_leakage(recipe: RunConfig, output: str | Path) -> None:
    """DataError where the training data hold an image, by content, of a dataset that the recipe holds out.

    It comes before the run folder is made, so that the same command with ``allow_leakage`` may use it. With
    ``allow_leakage`` the shared images are logged; a run that is finished is not looked at again.
    """
    if not recipe.held_out or RunFolder(Path(output), "").finished:
        return
    train = DatasetFolder.open(recipe.data)
    for folder in recipe.held_out:
        shared = shared_images(train, DatasetFolder.open(folder))
        if not shared:
            continue
        words = f"{recipe.data} and the held-out {folder} share {len(shared)} images; the first: {shared[0]}"
        if not recipe.allow_leakage:
            raise DataError(
                words,
                hint="`mirg data check DATA --against HELD_OUT` lists them; leave them out, or set allow_leakage: true",
            )
        logger.warning("%s", words)


def in_run_folder(train: Callable[[R, RunFolder], Outcome]) -> Callable[[R, str | Path], Outcome]:
    """``train(recipe, run)`` as a function of a recipe and an output folder, which is created or resumed.

    A finished run returns at once. What is wrong with the folder is said before a model is loaded.

    Raises:
        DataError: The training data hold images that the recipe holds out.
        CheckpointError: The folder holds a run of another recipe, or its finished model is damaged.
        StorageError: Another process trains in the folder.
    """

    @functools.wraps(train)
    def run_in(recipe: R, output: str | Path) -> Outcome:
        recipe = resolve_dtype(recipe)
        refuse_leakage(recipe, output)
        run = RunFolder.open(output, recipe)
        if run.finished:
            run.refuse_damaged_model()
            logger.info("%s is finished: %s", run.stage, run.model)
            return Outcome(run.model, int(model_facts(str(run.model)).get("steps", 0)))
        with sole_writer(run.path) if is_main_process() else nullcontext():
            outcome = train(recipe, run)
        # A trainer and its callbacks know each other. Until they are collected they hold the model, the optimiser's
        # state and the kept features: gigabytes, which the next stage in this process needs.
        gc.collect()
        return outcome

    return run_in


def check_processes(recipe: RunConfig) -> None:
    """Stop where the number of processes is not the one asked for: some launchers silently start fewer."""
    world = world_size()
    if recipe.processes is not None and world != recipe.processes:
        raise ConfigError(
            f"the recipe asks for {recipe.processes} processes, this run has {world}",
            hint=f"start it with `torchrun --standalone --nproc_per_node {recipe.processes} -m mirg.cli.main …`"
            " (accelerate launch --cpu starts one process)",
        )


def device_of(local_rank: str | None, gpus: int) -> str | None:
    """The device that the process ``local_rank`` of a launcher trains on; None if there is only one.

    Without one all processes would put their model on the first GPU. More processes than visible GPUs share them in
    turn, as accelerate has it: a launcher may show each process a single one.
    """
    if local_rank is None or gpus == 0:
        return None
    return f"cuda:{int(local_rank) % gpus}"


def prepare_model(recipe: RunConfig) -> LoadedModel:
    """Load the starting model for training, and set torch's threads and seed."""
    from transformers import set_seed

    check_processes(recipe)
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    set_seed(recipe.seed)
    # Adapters stay float32, so only their frozen base may be held in half precision.
    dtype = recipe.dtype if recipe.lora.rank else "float32"
    device = device_of(os.environ.get("LOCAL_RANK"), torch.cuda.device_count())
    loaded = load_model(recipe.model, family_name=recipe.prompt.family, device=device, dtype=dtype)
    loaded = with_limits(loaded, recipe.prompt)
    loaded.model.train()
    if recipe.freeze_vision:
        loaded.model.base_model.visual.requires_grad_(False)
    return loaded


def with_limits(loaded: LoadedModel, prompt: PromptConfig) -> LoadedModel:
    """The model with the recipe's limits; only a loaded processor tells those that it leaves open."""
    limits = pixel_limits(prompt, loaded.limits)
    return wrap(loaded.model, loaded.processor, path=loaded.path, family_name=prompt.family, limits=limits)


def pixel_limits(prompt: PromptConfig, own: PixelLimits) -> PixelLimits:
    """The recipe's limits in pixels, or the processor's ``own``; ConfigError if the minimum is larger."""
    limits = PixelLimits(prompt.min_pixels or own.min_pixels, prompt.max_pixels or own.max_pixels)
    if limits.min_pixels > limits.max_pixels:
        raise ConfigError(
            f"min_pixels ({limits.min_pixels}) is larger than max_pixels ({limits.max_pixels})",
            hint=f"the processor's own limits are {own.min_pixels} and {own.max_pixels};"
            " set prompt.min_pixels and prompt.max_pixels",
        )
    return limits


def resume_point(run: RunFolder, prepared: Prepared) -> Path | None:
    """The last good checkpoint of the run, or None; what was logged or saved after it is removed.

    The list of samples that are not used is written.
    """
    checkpoint = last_good_checkpoint(run.checkpoints)
    start = step_of(checkpoint) if checkpoint else 0
    if checkpoint:
        logger.info("resuming from %s", checkpoint)
    if is_main_process():
        drop_newer(run.checkpoints, start)
        run.rewind(start)
        run.reject(prepared.rejections)
    return checkpoint


def fit(
    trainer: Any,
    recipe: RunConfig,
    run: RunFolder,
    loaded: LoadedModel,
    prepared: Prepared,
    checkpoint: Path | None,
    steps: int,
    every: int = 1,
) -> Outcome:
    """Train from ``checkpoint`` (see :func:`resume_point`) to step ``steps``, and save the model at the end.

    A signal stops the run only after a multiple of ``every`` steps.
    """
    finite, stop = FiniteGuard(run, len(run.rows(SKIPPED))), StopCallback(every)
    start = step_of(checkpoint) if checkpoint else 0
    for callback in (finite, stop, RunCallback(run, steps, start, recipe.keep_checkpoints)):
        trainer.add_callback(callback)
    _check_world(trainer)
    trainer.guard = finite
    _quiet(trainer)
    try:
        with stop, writing_run(run.path):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        run.close()
    step = trainer.state.global_step
    if step < steps:
        return Outcome(None, step)
    facts = {
        "seed": recipe.seed,
        "steps": step,
        "family": loaded.family.name,
        "instructions": recipe.prompt.instructions,
        "start": recipe.model,
        "samples": len(prepared),
        "rejected_samples": len(prepared.rejections),
        "skipped_steps": finite.skipped,
    }
    # Where weights are shared between the processes, all of them take part in putting them together. Elsewhere the
    # model writes its own: accelerate would hand over copies, and a tied weight would be written twice.
    shared = _zero(trainer).get("stage") == 3
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if shared else None
    if trainer.accelerator.is_main_process:
        run.save_model(lambda folder: _save(trainer, loaded, weights, folder), facts)
    trainer.accelerator.wait_for_everyone()
    return Outcome(run.model, step)


def _check_world(trainer: Any) -> None:
    """ConfigError if the processes cannot run the recipe together.

    Without a device for each, a launcher's processes may turn out to be runs that know nothing of each other.
    """
    if trainer.accelerator.num_processes != world_size():
        raise ConfigError(
            f"the launcher started {world_size()} processes, the trainer knows of {trainer.accelerator.num_processes}",
            hint="start one process for each GPU, or a single one",
        )
    zero = _zero(trainer)
    if zero.get("stage") == 3 and not zero.get("stage3_gather_16bit_weights_on_model_save"):
        raise ConfigError(
            "ZeRO-3 is configured not to gather the weights, so no model could be saved at the end",
            hint="accelerate launch --zero3_save_16bit_model true, or stage3_gather_16bit_weights_on_model_save: true",
        )


def _zero(trainer: Any) -> dict[str, Any]:
    """DeepSpeed's settings of what processes share; empty without DeepSpeed. Accelerate keeps them on its plugin."""
    plugin = trainer.accelerator.state.deepspeed_plugin if trainer.is_deepspeed_enabled else None
    return plugin.deepspeed_config.get("zero_optimization", {}) if plugin is not None else {}


def _quiet(trainer: Any) -> None:
    from transformers import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)


def _save(trainer: Any, loaded: LoadedModel, weights: dict[str, Any] | None, folder: Path) -> None:
    """A whole model, or the adapters of a LoRA run, which name the place of their base.

    ``weights`` None are those that the model holds.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "peft_config"):
        base = Path(loaded.path)
        for settings in model.peft_config.values():
            settings.base_model_name_or_path = str(base.resolve()) if base.is_dir() else loaded.path
        # The vocabulary never changes here; asking for it would look for a configuration beside the base.
        model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
    else:
        model.save_pretrained(folder, state_dict=weights)
    loaded.processor.save_pretrained(folder)

"""From a recipe to a trainer and back: what SFT and GRPO share.

Checks before the start, the arguments of TRL's trainers and what a recipe must not combine, resuming, the end of a run.
"""

from __future__ import annotations

import functools
import gc
import math
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from mirg.console import logger
from mirg.data.checks.leakage import shared_images
from mirg.errors import ConfigError, DataError
from mirg.families import PixelLimits
from mirg.models.load import LoadedModel, fast_dtype, forbidden_tokens, load_model, model_facts, wrap
from mirg.models.prompts import require_thinking_switch
from mirg.models.quantize import quantize, refuse_quantize, widen_adapters
from mirg.models.vision import VISION, can_keep_features, vision_of
from mirg.samples import DatasetFolder
from mirg.storage import sole_writer
from mirg.training.data import Prepared
from mirg.training.health import ACTIVITY, OTHERS, Watch
from mirg.training.recipe import GrpoRecipe, PromptConfig, RunConfig, SftRecipe
from mirg.training.run import (
    SKIPPED,
    RunFolder,
    drop_newer,
    is_main_process,
    last_good_checkpoint,
    step_of,
    writing_run,
)
from mirg.training.sharding import refuse_other_sharding, refuse_sharding, sharding_arguments, sharding_of
from mirg.training.trackers import require_trackers, tracked
from mirg.training.trainer import FiniteGuard, RunCallback, StopCallback
from mirg.training.validation import Validation
from mirg.training.vllm import generation_arguments

R = TypeVar("R", bound=RunConfig)
_VISION_CACHE = 4096  # MiB: the images of a step of the 7B recipes fit several times


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the model folder, or None if it was stopped and can be resumed."""

    model: Path | None
    step: int


def world_size() -> int:
    """Processes of this run, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def resolve_dtype(recipe: R) -> R:
    """The recipe with its number type decided, as the run folder keeps it: ``auto`` means another on each machine.

    A run that is continued elsewhere with another dtype is thereby refused by the rule of its folder.
    """
    return recipe.model_copy(update={"dtype": fast_dtype()}) if recipe.dtype == "auto" else recipe


def refuse_leakage(recipe: RunConfig, output: str | Path) -> None:
    """DataError where the training data hold an image, by content, of a dataset that is held out or validated on.

    It comes before the run folder is made, so that the same command with ``allow_leakage`` may use it. With
    ``allow_leakage`` the shared images are logged; a run that is finished is not looked at again.
    """
    held_out = (*recipe.held_out, *([recipe.eval_data] if recipe.eval_data else []))
    if not held_out or RunFolder(Path(output), "").finished:
        return
    train = DatasetFolder.open(recipe.data)
    for folder in held_out:
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
        require_trackers(recipe.report_to)
        refuse_leakage(recipe, output)
        run = RunFolder.open(output, recipe)
        if world_size() > 1 and not is_main_process():
            run.wait_until_made()
        if run.finished:
            run.refuse_damaged_model()
            logger.info("%s is finished: %s", run.stage, run.model)
            return Outcome(run.model, int(model_facts(str(run.model)).get("steps", 0)))
        lock = sole_writer(run.path) if is_main_process() else nullcontext()
        with lock, Watch(run.path, recipe.health, run.stage):
            outcome = train(recipe, run)
        # A trainer and its callbacks know each other. Until they are collected they hold the model, the optimiser's
        # state and the kept features: gigabytes, which the next stage in this process needs.
        gc.collect()
        return outcome

    return run_in


def prepare_model(recipe: RunConfig) -> LoadedModel:
    """Load the starting model for training, and set torch's threads and seed."""
    from transformers import set_seed

    world = world_size()
    if recipe.processes is not None and world != recipe.processes:  # some launchers silently start fewer
        raise ConfigError(
            f"the recipe asks for {recipe.processes} processes, this run has {world}",
            hint=f"start it with `torchrun --standalone --nproc_per_node {recipe.processes} -m mirg.cli.main …`"
            " (accelerate launch --cpu starts one process)",
        )
    refuse_sharding(recipe, world)
    if recipe.lora.quantize:
        refuse_quantize()
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    set_seed(recipe.seed)
    # Adapters stay float32, so only their frozen base may be held in half precision.
    dtype = recipe.dtype if recipe.lora.rank else "float32"
    # Each process of a launcher gets its own device, or all would put their model on the first GPU. If there are more
    # processes than visible GPUs, they share them as accelerate does: a launcher may show each process a single one.
    rank, gpus = os.environ.get("LOCAL_RANK"), torch.cuda.device_count()
    device = None if rank is None or gpus == 0 else f"cuda:{int(rank) % gpus}"
    held = "cpu" if recipe.lora.quantize else device
    with ACTIVITY.doing("loading the weights"):
        loaded = load_model(recipe.model, family_name=recipe.prompt.family, device=held, dtype=dtype)
        if recipe.lora.quantize:
            quantize(loaded.model, device or ("cuda" if gpus else "cpu"))
    loaded = with_limits(loaded, recipe.prompt)
    require_thinking_switch(loaded.processor, recipe.prompt.thinking)
    loaded = replace(loaded, thinking=recipe.prompt.thinking)
    loaded.model.train()
    if recipe.freeze_vision:
        for part in vision_of(loaded.model):
            part.requires_grad_(False)
    return loaded


def with_limits(loaded: LoadedModel, prompt: PromptConfig) -> LoadedModel:
    """The model with the recipe's pixel limits, or those of its processor; ConfigError if the minimum is larger."""
    own = loaded.limits
    limits = PixelLimits(prompt.min_pixels or own.min_pixels, prompt.max_pixels or own.max_pixels)
    if limits.min_pixels > limits.max_pixels:
        raise ConfigError(
            f"min_pixels ({limits.min_pixels}) is larger than max_pixels ({limits.max_pixels})",
            hint=f"the processor's own limits are {own.min_pixels} and {own.max_pixels};"
            " set prompt.min_pixels and prompt.max_pixels",
        )
    return wrap(loaded.model, loaded.processor, path=loaded.path, family_name=prompt.family, limits=limits)


# The arguments of TRL's trainers.


def steps_by_epochs(epochs: float, samples: int, per_step: int, passes: int = 1) -> int:
    """Optimiser steps in which ``samples`` are taken ``epochs`` times, ``per_step`` of them in all processes together.

    What a step takes is trained on ``passes`` times, a step each.
    """
    return math.ceil(epochs * samples / per_step) * passes


def steps_of(recipe: SftRecipe | GrpoRecipe, samples: int, processes: int) -> int:
    """Optimiser steps of a run over ``samples`` rows in ``processes``."""
    if recipe.steps is not None:
        return recipe.steps
    if isinstance(recipe, SftRecipe):
        return steps_by_epochs(recipe.epochs, samples, recipe.batch_size * recipe.accumulation * processes)
    rolled_out = recipe.prompts_per_step * recipe.admission.candidates
    return steps_by_epochs(recipe.epochs, samples, rolled_out, recipe.iterations)


def common_arguments(recipe: RunConfig, run: RunFolder, steps: int) -> dict[str, Any]:
    """The part of TrainingArguments that both stages share."""
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
        # A loss that is not finite is logged as such, not as an average of its neighbours.
        "logging_nan_inf_filter": False,
        "dataloader_num_workers": recipe.workers,
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        **sharding_arguments(recipe),
    }


def lora(recipe: RunConfig) -> Any:
    """A PEFT configuration, or None to train all weights."""
    chosen = recipe.lora
    if not chosen.rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=chosen.rank,
        lora_alpha=chosen.alpha,
        lora_dropout=chosen.dropout,
        target_modules=chosen.target,
        # Adapters of a frozen vision tower would change what it sees as much as its weights.
        exclude_modules=rf"(.*\.)?({'|'.join(VISION)})\..*" if recipe.freeze_vision else None,
        task_type="CAUSAL_LM",
    )


def grpo_arguments(recipe: GrpoRecipe, run: RunFolder, loaded: LoadedModel, steps: int, weights: list[float]) -> Any:
    """TRL's GRPOConfig. ConfigError if settings of the recipe do not go together."""
    from trl.trainer.grpo_config import GRPOConfig

    every_process = recipe.prompts_per_step * recipe.group_size
    completions, rest = divmod(every_process, world_size())
    micro = recipe.micro_batch or completions
    if rest or not completions or completions % micro:
        raise ConfigError(
            f"micro_batch = {micro} in {world_size()} processes does not divide {every_process} completions per step",
            hint=f"prompts_per_step x group_size = {recipe.prompts_per_step} x {recipe.group_size}",
        )
    admission = recipe.admission
    needs = {
        "admission.policy = resample": admission.policy == "resample",
        "admission.difficulty_weight": admission.difficulty_weight,
        "look.max_looks": recipe.look.max_looks,
    }
    for name, asked in needs.items():
        if asked and not recipe.packed:
            raise ConfigError(f"{name} needs packed groups", hint="set packed: true")
    if recipe.save_every % recipe.iterations:
        raise ConfigError(
            f"save_every = {recipe.save_every} is no multiple of iterations = {recipe.iterations}",
            hint="a checkpoint between two passes over the same completions could not be resumed exactly",
        )
    return GRPOConfig(
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=completions // micro,
        num_generations=recipe.group_size,
        num_iterations=recipe.iterations,
        max_completion_length=recipe.max_new_tokens,
        temperature=recipe.temperature,
        # With any filter besides the temperature, the sampled distribution is not the trained one (TRL issue 6789).
        top_p=1.0,
        top_k=0,
        beta=recipe.beta,
        epsilon=recipe.epsilon,
        epsilon_high=recipe.epsilon_high,
        loss_type=recipe.loss,
        importance_sampling_level="sequence" if recipe.loss == "luspo" else "token",
        scale_rewards=recipe.scale_rewards,
        multi_objective_aggregation=recipe.aggregation,
        reward_weights=weights,
        chat_template_kwargs={} if recipe.prompt.thinking is None else {"enable_thinking": recipe.prompt.thinking},
        **generation_arguments(recipe, forbidden_tokens(loaded.tokenizer, loaded.family)),
        **common_arguments(recipe, run, steps),
    )


def vision_cache(recipe: GrpoRecipe, loaded: LoadedModel | None = None) -> int:
    """Bytes for features of a frozen vision tower. ConfigError if the recipe sets them and they could not be used.

    ``loaded`` None leaves out what depends on the model.
    """
    able = loaded is None or can_keep_features(loaded.model)
    if recipe.vision_cache is None:
        return _VISION_CACHE * 2**20 if recipe.freeze_vision and recipe.packed and able else 0
    if recipe.vision_cache and loaded is not None and not able:
        raise ConfigError(
            f"vision_cache = {recipe.vision_cache}: features of {loaded.family.name} models cannot be kept",
            hint="leave vision_cache out; the tower is then computed in every pass",
        )
    if recipe.vision_cache and not recipe.freeze_vision:
        raise ConfigError(
            f"vision_cache = {recipe.vision_cache} keeps features of a vision tower that is trained",
            hint="set freeze_vision: true, or vision_cache: 0",
        )
    if recipe.vision_cache and not recipe.packed:
        raise ConfigError("vision_cache needs packed groups", hint="set packed: true, or vision_cache: 0")
    return recipe.vision_cache * 2**20


# Resuming, and the end of a run.


def fit(
    make_trainer: Callable[[], Any],
    recipe: RunConfig,
    run: RunFolder,
    loaded: LoadedModel,
    prepared: Prepared,
    steps: int,
    every: int = 1,
) -> Outcome:
    """Train from the last good checkpoint of the run, if there is one, to step ``steps``, and save the model.

    What was logged or saved after the checkpoint is removed before the trainer is made, and the list of samples that
    are not used is written. A signal stops the run only after a multiple of ``every`` steps.
    """
    from transformers import PrinterCallback, ProgressCallback

    checkpoint = last_good_checkpoint(run.checkpoints)
    start = step_of(checkpoint) if checkpoint else 0
    if checkpoint:
        logger.info("resuming from %s", checkpoint)
    if is_main_process():
        drop_newer(run.checkpoints, start)
        run.rewind(start or -1)  # also a row before the first step
        run.reject(prepared.rejections)
    trainer = make_trainer()
    finite, stop = FiniteGuard(run, len(run.rows(SKIPPED)), recipe.health, trainer), StopCallback(every)
    validation = Validation(recipe, run, loaded, trainer) if recipe.eval_data else None
    validating = [validation] if validation else []
    # The guard comes after the callback that asks for a checkpoint, and before those that use the weights.
    for callback in (stop, finite, *validating, RunCallback(run, steps, start, recipe.keep_checkpoints)):
        trainer.add_callback(callback)
    for kind in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(kind)
    if (
        trainer.args.device.type == "cpu"
    ):  # several processes have cpu:0, to which torch.load cannot restore an optimiser
        vars(trainer.args)["_setup_devices"] = torch.device("cpu")
    _check_world(trainer)
    refuse_other_sharding(recipe, trainer)
    if recipe.lora.quantize:
        widen_adapters(trainer.model)
    trainer.guard = finite
    try:
        with stop.handling_signals(), writing_run(run.path), tracked(recipe, run, trainer):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        run.close()
    step = trainer.state.global_step
    if step < steps and not (validation and validation.exhausted(trainer.state)):
        return Outcome(None, step)
    facts = {
        "seed": recipe.seed,
        "steps": step,
        "family": loaded.family.name,
        "instructions": recipe.prompt.instructions,
        **({} if recipe.prompt.thinking is None else {"thinking": recipe.prompt.thinking}),
        "start": recipe.model,
        "samples": len(prepared),
        "rejected_samples": len(prepared.rejections),
        "skipped_steps": finite.skipped,
        **(validation.finish() if validation else {}),
    }
    # Where weights are shared between the processes, all of them take part in putting them together. Elsewhere the
    # model writes its own: accelerate would hand over copies, and a tied weight would be written twice.
    shared = sharding_of(trainer) in ("zero3", "fsdp2")
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if shared else None
    ACTIVITY.begin("saving the model")
    if trainer.accelerator.is_main_process:
        run.save_model(lambda folder: _save(trainer, loaded, weights, folder), facts)
    with ACTIVITY.doing(OTHERS):
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

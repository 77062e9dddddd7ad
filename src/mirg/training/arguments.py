"""The arguments of TRL's trainers that follow from a recipe, and what the recipe must not combine."""

from __future__ import annotations

import math
import os
from typing import Any

import torch

from mirg.errors import ConfigError
from mirg.models.load import LoadedModel, forbidden_tokens
from mirg.models.sampling import Sampling
from mirg.training.recipe import GrpoRecipe, RunConfig
from mirg.training.run import RunFolder
from mirg.training.vllm import generation_arguments

_VISION_CACHE = 4096  # MiB: the images of a step of the 7B recipes fit several times


def world_size() -> int:
    """Processes of this run, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def steps_by_epochs(epochs: float, samples: int, per_step: int, passes: int = 1) -> int:
    """Optimiser steps in which ``samples`` are taken ``epochs`` times, ``per_step`` of them in all processes together.

    What a step takes is trained on ``passes`` times, a step each.
    """
    return math.ceil(epochs * samples / per_step) * passes


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
        # A loss that is not finite is logged as such, not as an average of its neighbours.
        "logging_nan_inf_filter": False,
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
        r=chosen.rank,
        lora_alpha=chosen.alpha,
        lora_dropout=chosen.dropout,
        target_modules=chosen.target,
        # Adapters of a frozen vision tower would change what it sees as much as its weights.
        exclude_modules=r"(.*\.)?visual\..*" if recipe.freeze_vision else None,
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
    if recipe.admission.policy == "resample" and not recipe.packed:
        raise ConfigError("admission.policy = resample needs packed groups", hint="set packed: true")
    if recipe.admission.difficulty_weight and not recipe.packed:
        raise ConfigError("admission.difficulty_weight needs packed groups", hint="set packed: true")
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
        **generation_arguments(recipe, forbidden_tokens(loaded.tokenizer, loaded.family)),
        **common_arguments(recipe, run, steps),
    )


def vision_cache(recipe: GrpoRecipe) -> int:
    """Bytes for features of a frozen vision tower. ConfigError if the recipe sets them and they could not be used."""
    if recipe.vision_cache is None:
        return _VISION_CACHE * 2**20 if recipe.freeze_vision and recipe.packed else 0
    if recipe.vision_cache and not recipe.freeze_vision:
        raise ConfigError(
            f"vision_cache = {recipe.vision_cache} keeps features of a vision tower that is trained",
            hint="set freeze_vision: true, or vision_cache: 0",
        )
    if recipe.vision_cache and not recipe.packed:
        raise ConfigError("vision_cache needs packed groups", hint="set packed: true, or vision_cache: 0")
    return recipe.vision_cache * 2**20


def sampling(recipe: GrpoRecipe, loaded: LoadedModel) -> Sampling:
    """How rollouts are sampled: with the temperature only, and never a vision token."""
    return Sampling(
        recipe.max_new_tokens,
        stops=[loaded.tokenizer.eos_token_id],
        forbidden=forbidden_tokens(loaded.tokenizer, loaded.family),
        temperature=recipe.temperature,
    )

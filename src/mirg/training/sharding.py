"""What several processes share instead of each holding it: DeepSpeed's ZeRO and torch's FSDP2.

``sharding`` of a recipe chooses one of the files in ``configs/``, which the trainers are given; they can also be passed
to a launcher of one's own (``accelerate launch --use_deepspeed --deepspeed_config_file zero3.json``). If the launcher
configures DeepSpeed or FSDP, its configuration is used, and must be of the kind that the recipe asks for.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import torch

from mirg.errors import ConfigError
from mirg.storage import read_json
from mirg.training.recipe import RunConfig

CONFIGS = Path(__file__).parent / "configs"


def sharding_config(name: str) -> dict[str, Any]:
    """The settings of ``zero2``, ``zero3`` (DeepSpeed's) or ``fsdp2`` (those of transformers' ``fsdp_config``)."""
    settings: Any = read_json(CONFIGS / f"{name}.json")
    return settings


def refuse_sharding(recipe: RunConfig, processes: int) -> None:
    """ConfigError if what the recipe shares cannot be shared by ``processes`` here."""
    if recipe.sharding is None:
        return
    if processes == 1:
        raise ConfigError(
            f"sharding = {recipe.sharding} needs several processes, this run has one",
            hint="--dry-run prints the command that starts them; on one GPU: -s sharding=null -s processes=1",
        )
    if recipe.sharding.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        raise ConfigError(f"sharding = {recipe.sharding} needs DeepSpeed", hint="pip install deepspeed")


def sharding_arguments(recipe: RunConfig) -> dict[str, Any]:
    """The part of TrainingArguments that says what is shared; empty if nothing is, or if the launcher decides."""
    launcher = any(os.environ.get(f"ACCELERATE_USE_{kind}", "").lower() == "true" for kind in ("DEEPSPEED", "FSDP"))
    if recipe.sharding is None or launcher:
        return {}
    if recipe.sharding == "fsdp2":
        return {"fsdp": True, "fsdp_config": sharding_config("fsdp2")}
    if not torch.cuda.is_available():  # with use_cpu, transformers does not tell accelerate of DeepSpeed
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    return {"deepspeed": sharding_config(recipe.sharding)}


def sharding_of(trainer: Any) -> str | None:
    """What the processes of a trainer share: ``zero2``, ``zero3``, ``fsdp2`` …, or None."""
    if stage := zero_settings(trainer).get("stage"):
        return f"zero{stage}"
    return f"fsdp{2 if trainer.accelerator.is_fsdp2 else 1}" if trainer.is_fsdp_enabled else None


def zero_settings(trainer: Any) -> dict[str, Any]:
    """DeepSpeed's settings of what processes share; empty without DeepSpeed. Accelerate keeps them on its plugin."""
    plugin = trainer.accelerator.state.deepspeed_plugin if trainer.is_deepspeed_enabled else None
    return plugin.deepspeed_config.get("zero_optimization", {}) if plugin is not None else {}


def refuse_other_sharding(recipe: RunConfig, trainer: Any) -> None:
    """ConfigError if the processes share something else than the recipe asks for, or could not save a model."""
    found = sharding_of(trainer)
    if recipe.sharding not in (None, found):
        raise ConfigError(
            f"the recipe asks for sharding = {recipe.sharding}, the processes share {found or 'nothing'}",
            hint="FSDP needs GPUs; a launcher's own configuration must be of the same kind, or set sharding: null",
        )
    if found == "zero3" and not zero_settings(trainer).get("stage3_gather_16bit_weights_on_model_save"):
        raise ConfigError(
            "ZeRO-3 is configured not to gather the weights, so no model could be saved at the end",
            hint="accelerate launch --zero3_save_16bit_model true, or stage3_gather_16bit_weights_on_model_save: true",
        )

"""What processes share: the real classes read the configurations, and a run that shares something else is refused."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from transformers import TrainingArguments
from transformers.integrations import HfDeepSpeedConfig

from mirg.config import load_recipe
from mirg.errors import ConfigError
from mirg.models.quantize import refuse_quantize
from mirg.training.data import Length
from mirg.training.memory import estimate_of
from mirg.training.recipe import SftRecipe
from mirg.training.sharding import (
    refuse_other_sharding,
    refuse_sharding,
    sharding_arguments,
    sharding_config,
)

Make = Callable[..., Any]
HAS_DEEPSPEED = importlib.util.find_spec("deepspeed") is not None


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("DEEPSPEED", "FSDP"):
        monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "false")


@pytest.mark.skipif(not HAS_DEEPSPEED, reason="not installed: DS_ACCELERATOR=cpu DS_BUILD_OPS=0 pip install deepspeed")
@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_reads_its_configuration(stage: int) -> None:
    """accelerate's plugin, and DeepSpeed's own class after the trainer has put numbers for "auto"."""
    from deepspeed.runtime.config import DeepSpeedConfig

    settings = sharding_config(f"zero{stage}")
    plugin = DeepSpeedPlugin(hf_ds_config=HfDeepSpeedConfig(settings))
    assert plugin.zero_stage == stage and (stage == 2 or plugin.zero3_save_16bit_model)
    given = {key: 8 if value == "auto" else value for key, value in settings.items()}
    given |= {"bf16": {"enabled": True}, "gradient_accumulation_steps": 1, "train_micro_batch_size_per_gpu": 8}
    given["zero_optimization"] = {k: 1000 if v == "auto" else v for k, v in settings["zero_optimization"].items()}
    read = DeepSpeedConfig(given)
    assert read.zero_optimization_stage == stage
    assert read.zero_config.gather_16bit_weights_on_model_save is (stage == 3)


def test_fsdp_reads_its_configuration(tmp_path: Any, sft_recipe: Make) -> None:
    """transformers makes accelerate's plugin of it. It has not run: on a CPU, accelerate ignores FSDP."""
    arguments = sharding_arguments(sft_recipe(sharding="fsdp2"))
    made = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", **arguments)
    plugin = FullyShardedDataParallelPlugin(**made.fsdp_plugin_args)
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert plugin.state_dict_type.name == "FULL_STATE_DICT", "a checkpoint holds whole weights"


def test_a_launcher_that_configures_deepspeed_keeps_its_settings(
    sft_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sharding_arguments(sft_recipe()) == {}
    assert sharding_arguments(sft_recipe(sharding="zero3"))["deepspeed"]["zero_optimization"]["stage"] == 3
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert sharding_arguments(sft_recipe(sharding="zero3")) == {}


def trainer(stage: int = 0, fsdp: bool = False, gather: bool = True) -> Any:
    """What a trainer says about what its processes share."""
    zero = {"zero_optimization": {"stage": stage, "stage3_gather_16bit_weights_on_model_save": gather}}
    plugin = SimpleNamespace(deepspeed_config=zero) if stage else None
    accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin), is_fsdp2=fsdp)
    return SimpleNamespace(accelerator=accelerator, is_deepspeed_enabled=bool(stage), is_fsdp_enabled=fsdp)


@pytest.mark.parametrize(
    ("asked", "found", "message"),
    [
        (None, trainer(), None),
        (None, trainer(stage=2), None),
        ("zero3", trainer(stage=3), None),
        ("fsdp2", trainer(fsdp=True), None),
        ("zero3", trainer(stage=2), "asks for sharding = zero3, the processes share zero2"),
        ("fsdp2", trainer(), "the processes share nothing"),
        ("zero3", trainer(stage=3, gather=False), "not to gather the weights"),
        (None, trainer(stage=3, gather=False), "not to gather the weights"),
    ],
)
def test_what_is_shared_is_what_was_asked_for(
    asked: str | None, found: Any, message: str | None, sft_recipe: Make
) -> None:
    recipe = sft_recipe(sharding=asked)
    if message is None:
        refuse_other_sharding(recipe, found)
        return
    with pytest.raises(ConfigError, match=message):
        refuse_other_sharding(recipe, found)


def test_what_cannot_be_shared_here(sft_recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs several processes") as caught:
        refuse_sharding(sft_recipe(sharding="fsdp2"), 1)
    assert "--dry-run prints the command" in caught.value.hint
    refuse_sharding(sft_recipe(sharding="fsdp2"), 2)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs DeepSpeed") as caught:
        refuse_sharding(sft_recipe(sharding="zero3"), 2)
    assert caught.value.hint == "pip install deepspeed"
    with pytest.raises(ConfigError, match="needs bitsandbytes") as caught:
        refuse_quantize()
    assert caught.value.hint == "pip install bitsandbytes"


@pytest.mark.parametrize(("sharding", "held"), [("zero2", 4 + 12 / 8), ("zero3", 16 / 8), ("fsdp2", 16 / 8)])
def test_the_memory_that_is_divided(sharding: str, held: float, sft_recipe: Make, folders: Any) -> None:
    """In float32, 4 bytes of weights, 4 of gradients and 8 of averages for each number, divided by eight processes."""
    from mirg.models.load import load_skeleton

    recipe = sft_recipe(sharding=sharding, processes=8)
    loaded = load_skeleton(str(folders["qwen3_vl"]))
    found = estimate_of(recipe, loaded, [Length("x", 60, (9, 9))] * 4, "cuda")
    numbers = found.weights.base
    parts = found.moments["optimizer"]
    assert parts["weights"] + parts["gradients"] + parts["optimizer"] == pytest.approx(held * numbers, rel=1e-3)
    assert found.moments["start"] == {"weights": 4 * numbers}, "each process loads the whole model first"
    whole = estimate_of(sft_recipe(processes=8), load_skeleton(str(folders["qwen3_vl"])), found.lengths, "cuda")
    assert parts["weights"] + parts["optimizer"] < whole.moments["optimizer"]["weights"] * 3


def test_the_recipes_of_several_gpus_ask_for_what_ships() -> None:
    for name in ("mirg-rl-7b/sft", "mirg-rl-7b-2x8/sft"):
        recipe = load_recipe(SftRecipe, name)
        assert recipe.sharding is not None and sharding_config(recipe.sharding)

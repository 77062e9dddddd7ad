"""Before and after the trainer: processes, precision, what a run that has ended says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from fakes.training import rows, weights
from mirg.config import dump_recipe
from mirg.errors import CheckpointError, ConfigError, EngineError
from mirg.families import PixelLimits
from mirg.models.load import LoadedModel, load_model
from mirg.training import launch
from mirg.training.recipe import GrpoRecipe, PromptConfig
from mirg.training.run import RunFolder

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("asked", "world", "fine"),
    [(None, "1", True), (None, "4", True), (1, None, True), (2, "2", True), (2, None, False), (1, "2", False)],
)
def test_the_number_of_processes(
    asked: int | None, world: str | None, fine: bool, sft_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``accelerate launch --cpu --num_processes 2`` starts one process and says nothing."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world:
        monkeypatch.setenv("WORLD_SIZE", world)
    recipe = sft_recipe(processes=asked)
    if fine:
        launch.prepare_model(recipe)
        return
    with pytest.raises(ConfigError, match=f"asks for {asked} processes, this run has {world or 1}") as caught:
        launch.prepare_model(recipe)
    assert f"torchrun --standalone --nproc_per_node {asked} " in caught.value.hint


@pytest.mark.parametrize(
    ("local_rank", "gpus", "device", "why"),
    [
        (None, 0, None, "one process on a CPU"),
        (None, 4, None, "no launcher: the default device"),
        ("1", 0, None, "processes on a CPU"),
        ("0", 4, "cuda:0", "the first process"),
        ("3", 4, "cuda:3", "each its own"),
        ("3", 1, "cuda:0", "the launcher shows each process one GPU"),
        ("5", 4, "cuda:1", "round-robin, as accelerate"),
    ],
)
def test_the_device_of_a_process(
    local_rank: str | None, gpus: int, device: str | None, why: str, sft_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the model would be put is enough to see; there may be no such GPU here."""

    def load(*_: object, device: str | None = None, **__: object) -> LoadedModel:
        raise EngineError(str(device))

    monkeypatch.setattr(launch, "load_model", load)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    with pytest.raises(EngineError) as caught:
        launch.prepare_model(sft_recipe())
    assert caught.value.message == str(device), why


def test_processes_that_know_nothing_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    alone = SimpleNamespace(accelerator=SimpleNamespace(num_processes=1))
    with pytest.raises(ConfigError, match="the launcher started 2 processes, the trainer knows of 1"):
        launch._check_world(alone)


def test_a_model_for_training(sft_recipe: Make) -> None:
    loaded = launch.prepare_model(sft_recipe(freeze_vision=True))
    frozen = {name for name, p in loaded.model.named_parameters() if not p.requires_grad}
    assert frozen and all(".visual." in name for name in frozen)
    assert loaded.model.training
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}


def test_only_the_frozen_base_of_adapters_is_held_in_half_precision(sft_recipe: Make) -> None:
    whole = launch.prepare_model(sft_recipe(dtype="bfloat16"))
    base = launch.prepare_model(sft_recipe(dtype="bfloat16", lora={"rank": 4}))
    assert {p.dtype for p in whole.model.parameters()} == {torch.float32}
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("asked", "hardware", "chosen"),
    [
        ("auto", True, "bfloat16"),
        ("auto", False, "float32"),
        ("bfloat16", False, "bfloat16"),
        ("float32", True, "float32"),
    ],
)
def test_auto_is_decided_by_the_hardware(
    asked: str, hardware: bool, chosen: str, sft_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: hardware)
    assert launch.resolve_dtype(sft_recipe(dtype=asked)).dtype == chosen


def test_a_run_keeps_the_type_that_was_decided(
    sft_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere ``auto`` may mean another one, and the run would continue with other numbers."""
    from mirg.training.sft import train_sft

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    train_sft(sft_recipe(steps=1, dtype="auto"), tmp_path / "run")
    assert "dtype: float32" in (tmp_path / "run" / "config.yaml").read_text()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    with pytest.raises(CheckpointError, match="dtype: 'float32' there, 'bfloat16' now"):
        train_sft(sft_recipe(steps=1, dtype="auto"), tmp_path / "run")


OWN = PixelLimits(100, 1000)


@pytest.mark.parametrize(
    ("prompt", "limits", "why"),
    [
        ({}, OWN, "the processor's"),
        ({"max_pixels": 500}, PixelLimits(100, 500), "the lower limit stays the processor's"),
        ({"min_pixels": 200}, PixelLimits(200, 1000), "the upper limit stays the processor's"),
        ({"min_pixels": 20, "max_pixels": 40}, PixelLimits(20, 40), "both below the processor's"),
        ({"min_pixels": 40, "max_pixels": 40}, PixelLimits(40, 40), "one size for all"),
        ({"max_pixels": 50}, None, "below the processor's lower limit"),
        ({"min_pixels": 40, "max_pixels": 20}, None, "crossed"),
    ],
)
def test_pixel_limits(
    prompt: dict[str, int], limits: PixelLimits | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "wrap", lambda *_, limits, **__: limits)
    loaded: Any = SimpleNamespace(model=None, processor=None, path="", limits=OWN)
    if limits is not None:
        assert launch.with_limits(loaded, PromptConfig(**prompt)) == limits, why
        return
    with pytest.raises(ConfigError, match="is larger than"):
        launch.with_limits(loaded, PromptConfig(**prompt))


@pytest.mark.parametrize("rank", [0, 4], ids=["whole model", "adapters"])
def test_a_model_is_evaluated_with_the_pixels_it_was_trained_with(rank: int, sft_recipe: Make, tmp_path: Path) -> None:
    from mirg.training.sft import train_sft

    settings = {"instructions": "none", "min_pixels": 32 * 32, "max_pixels": 64 * 64}
    train_sft(sft_recipe(steps=1, prompt=settings, lora={"rank": rank}), tmp_path / "run")
    loaded = load_model(str(tmp_path / "run"))
    assert loaded.limits == PixelLimits(32 * 32, 64 * 64)
    shown = loaded.processor.image_processor(images=[Image.new("RGB", (96, 96))], return_tensors="pt")  # type: ignore[attr-defined]
    assert shown["image_grid_thw"].tolist() == [[1, 4, 4]], "64 pixels a side, patches of 16"
    assert launch.prepare_model(sft_recipe(model=str(tmp_path / "run"))).limits == loaded.limits, "the next stage too"


def test_a_processor_that_was_published_with_its_own_limits(
    sft_recipe: Make, folders: dict[str, Path], tmp_path: Path
) -> None:
    """Published folders say ``max_pixels`` instead of a size; what the run saves must not say both."""
    import json
    import shutil

    folder = tmp_path / "published"
    shutil.copytree(folders["qwen2_5_vl"], folder)
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["image_processor"].pop("size")
    settings["image_processor"] |= {"min_pixels": 3136, "max_pixels": 12845056}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    assert load_model(str(folder)).limits == PixelLimits(3136, 12845056)
    loaded = launch.prepare_model(sft_recipe(model=str(folder), prompt={"max_pixels": 784000}))
    loaded.processor.save_pretrained(folder)
    assert load_model(str(folder)).limits == loaded.limits == PixelLimits(3136, 784000)


def test_a_model_that_is_not_there(sft_recipe: Make, tmp_path: Path) -> None:
    from mirg.training.sft import train_sft

    with pytest.raises(EngineError, match="does not exist"):
        train_sft(sft_recipe(model=str(tmp_path / "nothing")), tmp_path / "run")


def test_arguments_follow_the_recipe(sft_recipe: Make, tmp_path: Path) -> None:
    recipe = sft_recipe(seed=7, log_every=3, optim={"schedule": "constant", "learning_rate": 0.5, "beta2": 0.9})
    made = launch.common_arguments(recipe, RunFolder(tmp_path, "sft"), 11)
    assert (made["max_steps"], made["seed"], made["data_seed"]) == (11, 7, 7)
    assert made["lr_scheduler_type"] == "constant_with_warmup"
    assert (made["learning_rate"], made["adam_beta2"], made["logging_steps"]) == (0.5, 0.9, 3)
    assert "save_total_limit" not in made, "the Trainer would drop a checkpoint before the next has its manifest"


@pytest.mark.parametrize(
    ("epochs", "samples", "per_step", "passes", "steps", "why"),
    [
        (1.0, 64, 16, 1, 4, "divides"),
        (1.0, 65, 16, 1, 5, "the last samples are a separate step"),
        (0.5, 64, 16, 1, 2, "half of them"),
        (2.0, 40, 16, 1, 5, "two times 40 in steps of 16"),
        (1.0, 64, 8 * 2 * 4, 1, 1, "eight processes take eight times as many a step"),
        (1.0, 64, 16, 3, 12, "each batch is trained on three times"),
        (1.0, 65, 16, 3, 15, "and none of them less often"),
        (1.0, 1, 64, 1, 1, "fewer samples than a step takes"),
    ],
)
def test_steps_by_epochs(epochs: float, samples: int, per_step: int, passes: int, steps: int, why: str) -> None:
    assert launch.steps_by_epochs(epochs, samples, per_step, passes) == steps


def test_the_processes_and_the_passes_count(sft_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """12 samples in two processes: SFT takes 2 x 2 of them a step, GRPO 2, each of them three times."""
    from mirg.training import grpo, sft

    one = sft_recipe(steps=None, batch_size=2)
    two = GrpoRecipe(model=one.model, data=one.data, prompts_per_step=2, group_size=4, iterations=3)
    asked: list[int] = []
    monkeypatch.setattr(launch, "world_size", lambda: 2)
    monkeypatch.setattr(launch, "fit", lambda *parts, **_: asked.append(parts[5]))
    sft.train_sft(one, tmp_path / "sft")
    grpo.train_grpo(two, tmp_path / "grpo")
    assert asked == [3, 18]


def test_adapters_leave_a_frozen_vision_tower_alone(sft_recipe: Make) -> None:
    from peft import get_peft_model

    trained = {}
    for frozen in (True, False):
        recipe = sft_recipe(freeze_vision=frozen, lora={"rank": 4})
        model: Any = get_peft_model(launch.prepare_model(recipe).model, launch.lora(recipe))
        trained[frozen] = {name for name, p in model.named_parameters() if p.requires_grad}
    seeing = {name for name in trained[False] if ".visual." in name}
    assert seeing and trained[True] == trained[False] - seeing != set()


def test_adapters_are_asked_for_by_rank(sft_recipe: Make) -> None:
    assert launch.lora(sft_recipe()) is None
    settings = launch.lora(sft_recipe(lora={"rank": 4, "alpha": 8}))
    assert (settings.r, settings.lora_alpha, settings.target_modules) == (4, 8, "all-linear")


# The command line, which also notes the samples of each batch in ids-RANK.txt of the working folder.
NOTING = """
import os
from mirg.cli.main import app
from mirg.training.trainer import FiniteGuard

saw = FiniteGuard.saw

def noting(self, ids):
    ids = list(ids)
    with open(f"ids-{os.environ['RANK']}.txt", "a") as stream:
        print(*ids, file=stream)
    saw(self, ids)

FiniteGuard.saw = noting
app()
"""


def sharing(folder: Path, stage: int) -> dict[str, str]:
    """What `accelerate launch --use_deepspeed --deepspeed_config_file` tells the processes that it starts."""
    file = folder / f"zero-{stage}.json"
    # Tensors as small as these would be left whole.
    shared = {
        "stage": stage,
        "stage3_param_persistence_threshold": 0,
        "stage3_gather_16bit_weights_on_model_save": True,
    }
    auto = dict.fromkeys(("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"), "auto")
    file.write_text(json.dumps({"zero_optimization": shared, **auto}))
    return {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(file),
        "DS_ACCELERATOR": "cpu",
    }


def launched(folder: Path, recipe: Any, processes: int, stage: int = 0) -> Path:
    """Train ``recipe`` by the command line in as many processes, none of which has its own device (gloo).

    They share what DeepSpeed's ZeRO ``stage`` shares, none by default.
    """
    out = folder / f"{recipe.stage}-{processes}-{stage}"
    file = folder / f"{out.name}.yaml"
    file.write_text(dump_recipe(recipe))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    script, work = folder / "noting.py", folder / f"{out.name}-work"
    script.write_text(NOTING)
    work.mkdir()
    command = [sys.executable, *launcher, str(script), recipe.stage, str(file), "-o", str(out)]
    env = os.environ | (sharing(folder, stage) if stage else {})
    done = subprocess.run(command, check=False, timeout=300, capture_output=True, text=True, cwd=work, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def samples_of_steps(run: Path, processes: int) -> list[list[str]]:
    """The ids of every step of a launched run, those of the first process first."""
    work = run.with_name(f"{run.name}-work")
    files = [(work / f"ids-{rank}.txt").read_text().splitlines() for rank in range(processes)]
    return [" ".join(batches).split() for batches in zip(*files, strict=True)]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path, sft_recipe: Make) -> None:
    """Promise 4: the same global order of samples, into a second epoch, losses within 1e-5."""
    losses, samples = [], []
    for processes, size in ((1, 4), (2, 2)):
        recipe = sft_recipe(processes=processes, batch_size=size, steps=4, save_every=2)
        run = launched(tmp_path, recipe, processes)
        samples.append(samples_of_steps(run, processes))
        found = rows(run / "metrics.jsonl")
        assert [row["step"] for row in found] == [1, 2, 3, 4], "each step is logged by one of the processes"
        losses.append([row["loss"] for row in found])
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert samples[1] == samples[0]
    assert [len(step) for step in samples[0]] == [4] * 4 and len({name for step in samples[0] for name in step}) == 12


@pytest.mark.slow
def test_two_processes_roll_out_together(tmp_path: Path, grpo_recipe: Make) -> None:
    """A step has the same total of completions for any number of processes; each keeps its own features."""
    out = launched(tmp_path, grpo_recipe(processes=2, micro_batch=2, freeze_vision=True, beta=0.1), 2)
    assert [row["step"] for row in rows(out / "metrics.jsonl")] == [1, 2]
    assert [row["step"] for row in rows(out / "rollouts.jsonl")] == [1] * 4 + [2] * 4, "those of the first process"


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_sharded_processes_train_as_whole_ones(
    kind: str, stage: int, tmp_path: Path, sft_recipe: Make, grpo_recipe: Make
) -> None:
    """DeepSpeed's ZeRO keeps a part of weights, gradients and optimiser in each process; the numbers stay."""
    pytest.importorskip("deepspeed", reason="not installed: DS_ACCELERATOR=cpu DS_BUILD_OPS=0 pip install deepspeed")
    recipe = sft_recipe(processes=2, batch_size=2) if kind == "sft" else grpo_recipe(processes=2)
    plain, sharded = launched(tmp_path, recipe, 2), launched(tmp_path, recipe, 2, stage)
    shards = {path.name for path in (sharded / "checkpoints").rglob("*optim_states.pt")}
    assert len(shards) == 2, "each process saves its part of the optimiser"
    for ours, theirs in zip(rows(sharded / "metrics.jsonl"), rows(plain / "metrics.jsonl"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
        assert ours.get("reward") == theirs.get("reward")
    expected = weights(plain)
    for name, tensor in weights(sharded).items():
        assert tensor.shape == expected[name].shape, name
        assert (tensor - expected[name]).norm() <= 1e-3 * expected[name].norm() + 1e-6, name

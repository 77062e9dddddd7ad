"""Two processes train as one, whole and with ZeRO-3, for a family that is packed and one that is not.

Kill and resume of both families, in one process and in two that share their weights.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from fakes import fixed_rollouts
from fakes.families import FAMILY_MODELS
from fakes.training import assert_same_run, rows, weights
from mirg.config import dump_recipe
from mirg.training.recipe import GrpoRecipe, SftRecipe

pytestmark = pytest.mark.slow
SHARED = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason="not installed: DS_ACCELERATOR=cpu DS_BUILD_OPS=0 pip install deepspeed",
)
KINDS = ("qwen3-vl", "qwen3.5")  # packed, not packed
SHARDINGS = [None, pytest.param("zero2", marks=SHARED), pytest.param("zero3", marks=SHARED)]
SCRIPT = Path(fixed_rollouts.__file__)
Make = Callable[..., Any]


@pytest.fixture
def recipe(shared: Callable[..., Path], data: Path) -> Make:
    """``recipe(stage, kind, processes, **keys)``: four steps that take the same rows in one process and in two."""

    def make(stage: str, kind: str, processes: int, **keys: Any) -> Any:
        model = shared(f"stand-in-{kind}", lambda folder: FAMILY_MODELS[kind](folder))
        common = {
            "model": str(model), "data": str(data), "steps": 4, "save_every": 2, "processes": processes,
            "prompt": {"instructions": "none"}, "optim": {"learning_rate": 1e-3, "warmup_steps": 1},
        }  # fmt: skip
        if stage == "sft":
            # One batch of four, or two batches of one in each process: answers differ in length.
            size = {"batch_size": 4} if processes == 1 else {"batch_size": 1, "accumulation": 2}
            return SftRecipe.model_validate(common | size | keys)
        reward = {"function": f"{SCRIPT}:score", "image_weight": 0, "object_weight": 0, "format_weight": 0}
        own = {"prompts_per_step": 2, "group_size": fixed_rollouts.GROUP, "max_new_tokens": 12, "reward": reward}
        return GrpoRecipe.model_validate(common | own | {"packed": kind == "qwen3-vl"} | keys)

    return make


def start(recipe: Any, out: Path) -> subprocess.Popen[str]:
    """The command line in as many processes as the recipe asks for; all of them on the CPU."""
    file = out.with_suffix(".yaml")
    file.write_text(dump_recipe(recipe))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(recipe.processes)]
    command = [sys.executable, *(launcher if recipe.processes > 1 else []), str(SCRIPT)]
    env = os.environ | {"DS_ACCELERATOR": "cpu"}
    with out.with_suffix(".log").open("a") as log:
        return subprocess.Popen(
            [*command, recipe.stage, str(file), "-o", str(out)], stderr=log, stdout=log, env=env, text=True
        )


def finish(recipe: Any, out: Path) -> Path:
    """The run folder of a recipe, trained to its end."""
    process = start(recipe, out)
    assert process.wait(timeout=500) == 0, out.with_suffix(".log").read_text()[-3000:]
    return out


@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_two_processes_train_as_one(stage: str, kind: str, sharding: str | None, recipe: Make, tmp_path: Path) -> None:
    """Promise 4: losses within 1e-5."""
    one = finish(recipe(stage, kind, 1), tmp_path / "one")
    two = finish(recipe(stage, kind, 2, sharding=sharding), tmp_path / "two")
    ours, theirs = rows(two / "metrics.jsonl"), rows(one / "metrics.jsonl")
    assert [row["step"] for row in ours] == [row["step"] for row in theirs] == [1, 2, 3, 4]
    apart = {"loss": max(abs(a["loss"] - b["loss"]) for a, b in zip(ours, theirs, strict=True))}
    apart["grad_norm"] = max(abs(a["grad_norm"] / b["grad_norm"] - 1) for a, b in zip(ours, theirs, strict=True))
    expected, found = weights(one), weights(two)
    assert found.keys() == expected.keys()
    apart["weights"] = max(
        float((found[name] - t).norm() / t.norm()) for name, t in expected.items() if float(t.norm()) > 1e-3
    )
    print(stage, kind, sharding, apart)
    assert min(row["grad_norm"] for row in theirs) > 1e-3, "there is something to learn"
    assert apart["loss"] <= 1e-5 and apart["grad_norm"] <= 1e-4 and apart["weights"] <= 1e-3, apart
    if stage == "grpo":
        assert [row["reward"] for row in ours] == pytest.approx([row["reward"] for row in theirs], abs=1e-6)


@pytest.mark.parametrize(("processes", "sharding"), [(1, None), (2, None), pytest.param(2, "zero3", marks=SHARED)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_killed_and_started_again(
    stage: str, kind: str, processes: int, sharding: str | None, recipe: Make, tmp_path: Path
) -> None:
    """SIGKILL to all processes when the third step is logged, after the checkpoint of the second."""
    settings = recipe(stage, kind, processes, sharding=sharding, steps=6)
    whole, out = finish(settings, tmp_path / "whole"), tmp_path / "killed"
    process, metrics = start(settings, out), out / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 3):
        time.sleep(0.01)
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:  # torchrun gives each its own group
        one.kill()
    process.wait(timeout=60)
    assert not (out / "model").exists()
    assert_same_run(whole, finish(settings, out))
    assert "resuming from" in out.with_suffix(".log").read_text()

"""What ``--dry-run`` says: each number against a second way to get it, and the commands against a real parser."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.run import get_args_parser

from fakes.commands import invoke
from mirg.config import dump_recipe, load_recipe
from mirg.models.load import load_model
from mirg.training import memory
from mirg.training.data import sft_rows
from mirg.training.plan import launch_commands, plan
from mirg.training.recipe import GrpoRecipe, SftRecipe

Make = Callable[..., Any]
GIB = 2**30


def line(lines: list[str], begin: str) -> str:
    (found,) = [text for text in lines if text.startswith(begin)]
    return found.removeprefix(begin)


def write_run(folder: Path, recipe: Any, times: list[tuple[int, float]]) -> Path:
    """A run folder that has logged steps at these seconds."""
    folder.mkdir()
    (folder / "config.yaml").write_text(dump_recipe(recipe))
    rows = [{"step": step, "time": time, "stage": recipe.stage} for step, time in times]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_size_of_a_run(sft_recipe: Make) -> None:
    recipe = sft_recipe(steps=None, epochs=2.0, accumulation=2, processes=2)
    lines = plan(recipe, "my.yaml", None)
    loaded = load_model(recipe.model)
    lengths = [one.tokens for one in sft_rows(recipe.data, loaded, recipe.prompt, recipe.max_tokens).lengths]
    weights = sum(p.numel() for p in loaded.model.parameters())
    assert line(lines, "parameters: ") == f"{weights:,}, {weights:,} of them trained"
    mean = sum(lengths) / 12
    assert line(lines, "samples: ") == f"12, {mean:,.0f} tokens on average"
    assert line(lines, "longest of the data: ").startswith(f"{max(lengths)} tokens")
    assert line(lines, "a step: ") == f"8 samples, {8 * mean:,.0f} tokens on average"
    assert line(lines, "steps: ") == "3", "2 epochs of 12 samples, 8 a step"


def test_a_step_of_grpo(folders: dict[str, Path], data: Path) -> None:
    keys = {"model": str(folders["qwen3_vl"]), "data": str(data), "max_new_tokens": 10, "prompts_per_step": 3}
    recipe = GrpoRecipe.model_validate(keys | {"group_size": 4, "iterations": 2, "admission": {"policy": "resample"}})
    lines = plan(recipe, "my.yaml", None)
    step = line(lines, "a step: ")
    assert step.startswith("6 prompts x 4 completions") and step.endswith("up to 240 of completions")
    assert line(lines, "steps: ") == "4", "12 prompts, 6 rolled out a step, each twice"


@pytest.mark.parametrize(
    ("gpu", "peak", "words"),
    [
        (24, 21 * GIB, "88% of it, it fits"),
        (24, 23 * GIB, "96% of it, it may not fit; lower batch_size"),
        (24, 25 * GIB, "104% of it, it does not fit; lower batch_size"),
    ],
)
def test_whether_it_fits(gpu: int, peak: int, words: str, sft_recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = sft_recipe(gpu_gb=gpu)
    found = memory.estimate(recipe)
    assert found.device == "cuda", "the estimate is for the GPU of the recipe, on any machine"
    moments = {"update": {"weights": peak}}
    sizes = memory.Estimate(moments, found.longest, found.weights, "cuda", found.lengths, found.looks)
    monkeypatch.setattr("mirg.training.plan.estimate", lambda _: sizes)
    assert words in line(plan(recipe, "r", None), f"GPU of {gpu} GB: ")


def test_hours_are_those_of_a_measured_speed(sft_recipe: Make, tmp_path: Path) -> None:
    """The first logged step is a warm-up; a run with fewer samples a step is scaled; the option comes first."""
    recipe = sft_recipe(steps=100, batch_size=4)
    own = write_run(tmp_path / "own", recipe, [(1, 60.0), (2, 70.0), (5, 100.0)])
    assert line(plan(recipe, "r", own), "hours: ") == f"0.278 at 10 s a step, measured in {own} over 4 steps"
    other = write_run(tmp_path / "other", sft_recipe(batch_size=1), [(1, 9.0), (3, 10.0)])
    told = line(plan(recipe, "r", own, (), other), "hours: ")
    assert (
        told
        == f"0.0556 at 2 s a step, measured in {other} over 2 steps, for 4 times as many samples of a process and step"
    )
    unknown = line(plan(recipe, "r", tmp_path / "new"), "hours: ")
    assert unknown.startswith("not known") and "--speed-from" in unknown


def test_a_run_that_says_nothing_of_its_speed(sft_recipe: Make, tmp_path: Path) -> None:
    recipe = sft_recipe()
    (tmp_path / "r.yaml").write_text(dump_recipe(recipe))
    short = write_run(tmp_path / "short", recipe, [(1, 9.0)])
    for run in (short, tmp_path / "nothing"):
        result = invoke("sft", tmp_path / "r.yaml", "--dry-run", "--speed-from", run)
        assert result.exit_code != 0 and "does not say how long a step takes" in result.stderr


@pytest.mark.parametrize(
    ("name", "kind", "nodes", "each"),
    [
        ("mirg-rl-7b-lora/sft", SftRecipe, 1, 1),
        ("mirg-rl-7b/grpo", GrpoRecipe, 1, 8),
        ("mirg-rl-7b-2x8/sft", SftRecipe, 2, 8),
    ],
)
def test_the_command_that_launches_it(name: str, kind: Any, nodes: int, each: int) -> None:
    """torchrun's own parser reads it, and what is left is the command line of mirg."""
    overrides = ["data=my data", "prompt.max_pixels=null"]
    recipe = load_recipe(kind, name, overrides)
    commands = [shlex.split(text) for text in launch_commands(recipe, name, Path("runs/x"), overrides)]
    assert len(commands) == nodes
    ours = [recipe.stage, name, "--output", "runs/x", "-s", "data=my data", "-s", "prompt.max_pixels=null"]
    if each == 1:
        assert commands == [["mirg", *ours]]
        return
    for rank, command in enumerate(commands):
        assert command[0] == "torchrun"
        told = get_args_parser().parse_args(command[1:])
        assert (told.module, told.training_script, told.training_script_args) == (True, "mirg.cli.main", ours)
        assert (int(told.nproc_per_node), told.standalone) == (each, nodes == 1)
        if nodes > 1:
            assert (told.nnodes, told.node_rank, told.master_addr) == (str(nodes), rank, "FIRST_NODE")

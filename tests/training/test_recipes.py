"""Every recipe that ships is parsed, printed and read back; the documentation names only those that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from mirg.cli.demo import DemoRecipe
from mirg.config import RECIPES, dump_recipe, load_recipe
from mirg.data.compose.recipe import ComposeRecipe
from mirg.data.scenes.world import WorldRecipe
from mirg.study.plan import StudyRecipe
from mirg.training.recipe import GrpoRecipe, SftRecipe
from mirg.trajectories.teacher.recipe import TeacherRecipe

KINDS: dict[str, type[BaseModel]] = {
    "sft": SftRecipe,
    "grpo": GrpoRecipe,
    # These are no stages: the first two name a recipe for each, those below are for teachers,
    # for `mirg data compose`, and for scenes.
    "demo": DemoRecipe,
    "study": StudyRecipe,
    "openai": TeacherRecipe,
    "local": TeacherRecipe,
    "objects": ComposeRecipe,
    "world": WorldRecipe,
}
NAMES = sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))
FOLDERS = "|".join(path.name for path in RECIPES.iterdir() if path.is_dir())
LARGE = [name for name in NAMES if name.startswith("mirg-rl-7b")]


def kind_of(name: str) -> type[BaseModel]:
    return KINDS[Path(name).name]


def load(name: str) -> Any:
    return load_recipe(kind_of(name), name)


def test_what_ships() -> None:
    expected = {f"{size}/{stage}" for size in ("tiny", "mirg-rl-7b", "mirg-rl-7b-lora") for stage in ("sft", "grpo")}
    assert expected | {"tiny/world", "tiny/demo", "study/study"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_recipe_is_parsed(name: str, tmp_path: Path) -> None:
    recipe = load(name)
    assert Path(name).name == getattr(recipe, "stage", Path(name).name), "a recipe is named like its stage"
    copy = tmp_path / "resolved.yaml"
    copy.write_text(dump_recipe(recipe))
    assert load_recipe(kind_of(name), copy) == recipe, "what --dry-run prints is a recipe again"


@pytest.mark.parametrize("name", [name for name in NAMES if kind_of(name) is GrpoRecipe])
def test_micro_batches_divide_the_batch(name: str) -> None:
    recipe = load(name)
    completions, rest = divmod(recipe.prompts_per_step * recipe.group_size, recipe.processes or 1)
    assert rest == 0 and completions % (recipe.micro_batch or completions) == 0


@pytest.mark.parametrize("name", LARGE)
def test_the_large_recipes(name: str) -> None:
    recipe = load(name)
    lora = "lora" in name
    assert recipe.dtype == "bfloat16" and recipe.gradient_checkpointing
    assert (recipe.lora.rank > 0) is lora and recipe.processes == (1 if lora else 8)
    assert recipe.prompt.max_pixels == 1000 * 28 * 28, "one limit for both stages: RL sees images as SFT did"
    full = {"sft": 1e-5, "grpo": 1e-6}[recipe.stage]
    assert recipe.optim.learning_rate == pytest.approx(full * (10 if lora else 1)), "adapters take ten times as much"
    if recipe.stage == "grpo":
        assert (recipe.group_size, recipe.reward.arm, recipe.beta) == (8, "dual", 0.0)
        assert recipe.prompts_per_step == (16 if lora else 32), "of all GPUs together, as docs/how-to/train-7b.md says"
        assert recipe.model == f"runs/{Path(name).parent}/sft", "RL starts from SFT's run"
    else:
        assert recipe.batch_size * recipe.accumulation * recipe.processes == 64
        assert recipe.model == "Qwen/Qwen2.5-VL-7B-Instruct"


@pytest.mark.parametrize("name", LARGE)
def test_the_documentation_says_what_a_step_takes(name: str, repository: Path) -> None:
    """``prompts_per_step`` counts the prompts of all processes, ``batch_size`` the samples of one."""
    recipe = load(name)
    if recipe.stage == "grpo":
        step = f"{recipe.prompts_per_step} prompts × {recipe.group_size} completions"
    else:
        step = f"{recipe.batch_size * recipe.accumulation * recipe.processes} samples"
    (row,) = [
        line for line in (repository / "docs/how-to/train-7b.md").read_text().splitlines() if f"| `{name}` |" in line
    ]
    assert row.endswith(f"| {step} |")


def test_the_documentation_names_recipes_that_exist(repository: Path) -> None:
    pages = [repository / "README.md", *(repository / "docs").rglob("*.md"), *RECIPES.rglob("*.yaml")]
    named = {
        (page.name, name)
        for page in pages
        for name in re.findall(r"\b(?:perception|sft|grpo) ((?:tiny|mirg-rl-7b|mirg-rl-7b-lora)/\w+)", page.read_text())
    }
    assert len(named) >= 8 and {name for _, name in named} <= set(NAMES)

"""Every recipe that ships is parsed, printed and read back; the documentation names only those that exist."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fakes.commands import invoke
from fakes.families import FAMILY_MODELS
from fakes.training import rows
from mirg.cli.demo import DemoRecipe
from mirg.config import RECIPES, dump_recipe, load_recipe
from mirg.data.compose.recipe import ComposeRecipe
from mirg.data.scenes.world import WorldRecipe
from mirg.storage import SEAL_FILE
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
STAGES = [name for name in NAMES if Path(name).name in ("sft", "grpo")]
LARGE = [name for name in STAGES if not name.startswith("tiny")]
# What the run of a recipe starts from, at its first stage, and a builder of tests/fakes/families.py of the same class.
MODELS = {
    "tiny": ("mirg-tiny", "qwen3-vl"),
    "tiny-photo": ("mirg-tiny-photo", "qwen3-vl"),
    "mirg-rl-4b-lora-24gb": ("Qwen/Qwen3-VL-4B-Instruct", "qwen3-vl"),
    "qwen3-vl-8b-lora": ("Qwen/Qwen3-VL-8B-Instruct", "qwen3-vl"),
    "qwen3.5-9b-lora": ("Qwen/Qwen3.5-9B", "qwen3.5"),
}
QWEN25 = ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2.5-vl")
# One process, few samples, short completions; everything else is that of the recipe.
SMALL = {
    "sft": ["batch_size=1", "accumulation=2", "workers=0"],
    "grpo": ["prompts_per_step=2", "group_size=2", "micro_batch=2", "max_new_tokens=8"],
}


def kind_of(name: str) -> type[BaseModel]:
    return KINDS[Path(name).name]


def load(name: str) -> Any:
    return load_recipe(kind_of(name), name)


def test_what_ships() -> None:
    expected = {"tiny", "mirg-rl-7b", "mirg-rl-7b-2x8", "mirg-rl-7b-lora", "mirg-rl-7b-lora-48gb"}
    expected |= {"mirg-rl-7b-qlora-24gb", *MODELS}
    assert {str(Path(name).parent) for name in STAGES} == expected
    assert {"tiny/world", "tiny/demo", "tiny-photo/demo", "study/study"} <= set(NAMES)


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
    recipe, folder = load(name), Path(name).parent.name
    lora = "lora" in folder
    assert recipe.dtype == "bfloat16" and recipe.gradient_checkpointing
    assert (recipe.lora.rank > 0) is lora and recipe.processes == (16 if "2x8" in name else 1 if lora else 8)
    assert (recipe.sharding == "zero3") is (recipe.processes > 1) and (recipe.nodes == 2) is ("2x8" in name)
    assert (recipe.lora.quantize == "4bit") is ("qlora" in name)
    assert recipe.gpu_gb == next((size for size in (24, 48) if f"{size}gb" in folder), 80)
    side = 28 if MODELS.get(folder, QWEN25)[1] == "qwen2.5-vl" else 32
    assert recipe.prompt.max_pixels == 1000 * side**2, "one limit for both stages: RL sees images as SFT did"
    if recipe.stage == "grpo":
        assert (recipe.group_size, recipe.reward.arm, recipe.beta) == (8, "dual", 0.0)
        assert recipe.optim.learning_rate == pytest.approx(1e-5 if lora else 1e-6), "adapters take ten times as much"
        assert recipe.model == f"runs/{folder}/sft", "RL starts from SFT's run"
        assert recipe.packed is ("qwen3.5" not in folder), "linear attention is not packed"
    else:
        assert recipe.batch_size * recipe.accumulation * recipe.processes == (128 if "2x8" in name else 64)
        assert recipe.model == MODELS.get(folder, QWEN25)[0]


@pytest.mark.parametrize("name", LARGE)
def test_the_documentation_says_what_a_step_takes(name: str, repository: Path) -> None:
    """``prompts_per_step`` counts the prompts of all processes, ``batch_size`` the samples of one."""
    recipe = load(name)
    if recipe.stage == "grpo":
        step = f"{recipe.prompts_per_step} × {recipe.group_size} completions"
    else:
        step = f"{recipe.batch_size * recipe.accumulation * recipe.processes} samples"
    digits, _, power = f"{recipe.optim.learning_rate:.1e}".partition("e")
    rate = f"{float(digits):g}e{int(power)}"
    page = (repository / "docs/how-to/train-7b.md").read_text().splitlines()
    (row,) = [line for line in page if f"| `{name}` |" in line]
    assert f"| {step} |" in row and f"| {rate} |" in row


@pytest.fixture(scope="session")
def stand_in(shared: Callable[..., Path]) -> Callable[[str], Path]:
    """``stand_in(name)``: a tiny model of the class that the recipe is for."""

    def write(name: str) -> Path:
        kind = MODELS.get(Path(name).parent.name, QWEN25)[1]
        return shared(f"stand-in-{kind}", lambda folder: FAMILY_MODELS[kind](folder))

    return write


def small(name: str, model: Path, data: Path) -> list[str]:
    """Overrides for two steps on a CPU."""
    fixed = ["steps=2", "save_every=1", "processes=null", "nodes=null", "sharding=null"]
    given = [*fixed, *SMALL[Path(name).name], f"model={model}", f"data={data}"]
    missing = "qlora" in name and importlib.util.find_spec("bitsandbytes") is None
    return [*given, "lora.quantize=null"] if missing else given


EVERY_DAY = {"mirg-rl-7b-2x8/sft"}
RUNS = [pytest.param(name, marks=() if name in EVERY_DAY else pytest.mark.slow) for name in STAGES]


@pytest.mark.parametrize("name", RUNS)
def test_every_recipe_dry_runs_and_takes_two_steps(
    name: str, stand_in: Callable[[str], Path], data: Path, tmp_path: Path
) -> None:
    model, stage = stand_in(name), Path(name).name
    settings = [f"-s{one}" for one in (f"model={model}", f"data={data}")]
    planned = invoke(stage, name, *settings, "--dry-run")
    assert planned.exit_code == 0 and "memory of one process" in planned.stdout, planned.output
    done = invoke(stage, name, *(f"-s{one}" for one in small(name, model, data)), "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert [row["step"] for row in rows(tmp_path / "run" / "metrics.jsonl")][-1] == 2
    assert (tmp_path / "run" / "model" / SEAL_FILE).is_file()


def test_the_documentation_names_recipes_that_exist(repository: Path) -> None:
    pages = [repository / "README.md", *(repository / "docs").rglob("*.md"), *RECIPES.rglob("*.yaml")]
    named = {
        (page.name, name)
        for page in pages
        for name in re.findall(r"\b(?:perception|sft|grpo) ([\w.-]+/(?:sft|grpo))\b", page.read_text())
    }
    assert len(named) >= 8 and {name for _, name in named} <= set(NAMES)

"""A study goes on where it was, and its page says what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mirg.errors import ConfigError, EvaluationError
from mirg.samples import DatasetFolder
from mirg.study.page import page
from mirg.study.plan import ARMS, StudyRecipe
from mirg.study.results import results, tokens
from mirg.study.run import cell_name, cells, make_data, run_study
from mirg.training.recipe import load_recipe

SMALL = {
    "train_samples": 12, "rl_samples": 12, "per_cell": 1, "more_sft_steps": 1, "max_new_tokens": 16, "batch_size": 24,
}  # fmt: skip


def plan(**keys: Any) -> StudyRecipe:
    return StudyRecipe(**{"tasks": ("refer", "difference"), "seeds": (0, 1), **SMALL, **keys})


class Trainer:
    """Trains nothing: notes what it was asked for, and writes the metrics that a run would have."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __call__(self, recipe: Any, out: Path) -> Path:
        self.asked.append(recipe)
        row = {"step": 2, "num_tokens": 100} if recipe.stage == "sft" else {"step": 2, "tokens/generated": 5.0}
        out.mkdir(parents=True)
        (out / "metrics.jsonl").write_text(json.dumps(row | {"tokens/trained": 7.0, "reward": 0.5}) + "\n")
        return Path("mirg-tiny")


def test_arms_start_from_arms() -> None:
    order = list(ARMS)
    assert all(not arm.start or order.index(arm.start) < order.index(arm.name) for arm in ARMS.values())
    assert [arm.name for arm in plan(arms=("dual",)).chosen] == ["base", "sft", "dual"]
    assert [arm.name for arm in plan().chosen] == order
    assert [cell_name(*cell) for cell in cells(plan(arms=("sft",)))] == ["base", "sft-0", "sft-1"]


@pytest.mark.parametrize(("keys", "said"), [({"arms": ("best",)}, "no arm best"), ({"seeds": (1, 1)}, "named twice")])
def test_unknown_arms_and_seeds(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan(**keys)


def test_every_arm_is_a_recipe(tmp_path: Path) -> None:
    trainer = Trainer()
    shipped = load_recipe(StudyRecipe, "study/study")
    from mirg.study.run import train_cell

    for arm in shipped.chosen:
        train_cell(shipped, arm, 3, tmp_path, trainer)
    by_run = {arm.name: recipe for arm, recipe in zip(shipped.chosen[1:], trainer.asked, strict=True)}
    assert {recipe.seed for recipe in trainer.asked} == {3}
    assert by_run["object_only"].reward.arm == "object_only" and by_run["dual_difficulty"].admission.difficulty_weight
    assert by_run["dual"].model == str(tmp_path / "runs" / "sft-3") and by_run["dual_without_sft"].model == "mirg-tiny"
    rl = {name: recipe for name, recipe in by_run.items() if recipe.stage == "grpo"}
    budget = {(r.steps, r.prompts_per_step, r.group_size, r.max_new_tokens) for r in rl.values()}
    assert len(budget) == 1, "the arms of GRPO have the same compute"


def test_data_of_the_arms(tmp_path: Path) -> None:
    make_data(plan(), tmp_path)
    light, objects, rl, fresh = (
        list(DatasetFolder.open(tmp_path / "data" / name)) for name in ("light", "object_level", "rl", "fresh")
    )
    assert [s.id for s in light] == [s.id for s in objects] and not {s.id for s in light} & {s.id for s in rl}
    assert all(s.trajectory and "Found" in s.trajectory.thinking for s in light)
    assert all(s.trajectory and "Found" not in s.trajectory.thinking for s in objects)
    assert len(fresh) == 16 and not {s.id for s in light} & {s.id for s in fresh}


def test_goes_on_where_it_was(tmp_path: Path) -> None:
    first, again = Trainer(), Trainer()
    with pytest.raises(EvaluationError):
        make_data(plan(arms=("sft",)), tmp_path)
        results(plan(arms=("sft",)), tmp_path)
    run_study(plan(arms=("sft",), seeds=(0,)), tmp_path, first)
    run_study(plan(arms=("sft", "dual")), tmp_path, again)
    assert [(r.stage, r.seed) for r in first.asked] == [("sft", 0)]
    assert [(r.stage, r.seed) for r in again.asked] == [("grpo", 0), ("sft", 1), ("grpo", 1)]
    with pytest.raises(ConfigError, match="train_samples = 12, now it is 13"):
        run_study(plan(train_samples=13), tmp_path, again)

    assert tokens("base", 0, tmp_path) == (0, 0)
    assert tokens("dual", 0, tmp_path) == (10, 114), "those of SFT are part of the way"
    found = results(plan(arms=("sft", "dual")), tmp_path)
    assert {(row["a"], row["b"]) for row in found["contrasts"]} == {("base", "sft"), ("sft", "dual")}
    assert all(row["delta"] == 0.0 for row in found["contrasts"]), "one model stood in for all"
    assert {row["arm"] for row in found["arms"]} == {"base", "sft", "dual"}
    assert json.loads(json.dumps(found)) == found
    html = page(found, tmp_path).read_text()
    assert "not shown" in html and "not measured" in html and "http" not in html.replace("http-equiv", "")
    for family in found["benchmark"]["families"]:
        assert family in html

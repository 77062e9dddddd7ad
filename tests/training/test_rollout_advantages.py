"""The advantages on a page are those that the trainer learned from."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from fakes.training import rows
from mirg.evaluation.page_rollouts import group_advantages
from mirg.text_files import parse_yaml
from mirg.training.grpo import GroupBatch, PackedGRPOTrainer, train_grpo
from mirg.training.recipe import GrpoRecipe

RECIPES: dict[str, dict[str, Any]] = {
    "group": {},
    "batch": {"scale_rewards": "batch"},
    "none, gate": {"scale_rewards": "none", "admission": {"gate": 0.3, "gate_decay": 0.5}},
    "weighted": {"admission": {"difficulty_weight": True}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_they_are_those_of_the_update(
    name: str, tmp_path: Path, grpo_recipe: Callable[..., GrpoRecipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[float] = []
    admit = PackedGRPOTrainer._admit

    def kept(self: PackedGRPOTrainer, batch: GroupBatch) -> GroupBatch:
        admitted = admit(self, batch)
        learned.extend(admitted.columns["advantages"].tolist())
        return admitted

    monkeypatch.setattr(PackedGRPOTrainer, "_admit", kept)
    train_grpo(grpo_recipe(log_rollouts_every=1, **RECIPES[name]), tmp_path / "run")
    recipe = parse_yaml((tmp_path / "run" / "config.yaml").read_text())
    found: list[float | None] = []
    for _, of_step in groupby(rows(tmp_path / "run" / "rollouts.jsonl"), key=lambda row: row["step"]):
        step = list(of_step)
        totals = [row["total"] for row in step]
        for k in range(0, len(step), recipe["group_size"]):
            found += group_advantages(step[k : k + recipe["group_size"]], totals, recipe)
    assert any(learned) and found == pytest.approx(learned, abs=1e-4)

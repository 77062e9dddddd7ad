"""A whole run of packed GRPO against TRL's own from the same rollouts: the weights at the end are the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.training import rows, weights
from mirg.models.sampling import complete
from mirg.training.grpo import train_grpo

Make = Callable[..., Any]
# Where each family takes log-probabilities from: only the policy, the policy and an old copy of it, a reference too.
RUNS: list[tuple[str, int, dict[str, Any]]] = [
    ("qwen3_vl", 8, {"iterations": 2, "beta": 0.05}),
    ("qwen3_vl", 20, {"iterations": 2, "beta": 0.05}),
    ("qwen2_5_vl", 20, {"micro_batch": 4}),
    ("qwen2_vl", 20, {"lora": {"rank": 4}, "iterations": 2}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "steps", "keys"), RUNS)
def test_runs_end_in_the_same_weights(
    kind: str, steps: int, keys: dict[str, Any], tmp_path: Path, grpo_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To 1e-4 of their norm; the second run is given the completions of the first."""
    said: list[list[list[int]]] = []

    def recorded(*args: Any) -> Any:
        groups = complete(*args)
        said.append([ids for group in groups for ids in group])
        return groups

    def replayed(*_: Any, **__: Any) -> Any:
        return said.pop(0), None

    recipe = grpo_recipe(kind, steps=steps, save_every=steps, **keys)
    monkeypatch.setattr("mirg.training.grpo.complete", recorded)
    train_grpo(recipe, tmp_path / "packed")
    assert len(said) == steps // recipe.iterations
    monkeypatch.setattr("trl.trainer.grpo_trainer.GRPOTrainer._generate_single_turn", replayed)
    train_grpo(recipe.model_copy(update={"packed": False}), tmp_path / "trl")
    assert not said
    ours, theirs = (rows(tmp_path / name / "rollouts.jsonl") for name in ("packed", "trl"))
    assert ours == theirs and len(ours) == 8 * steps // recipe.iterations
    assert len({row["total"] for row in ours}) > 2, "hardly a reward differs: the run would prove little"
    start, end, expected = (weights(Path(run)) for run in (recipe.model, tmp_path / "packed", tmp_path / "trl"))
    for name, tensor in expected.items():
        assert (end[name] - tensor).norm() <= 1e-4 * tensor.norm() + 1e-7, name
    if not recipe.lora.rank:
        assert max((expected[name] - start[name]).norm() / start[name].norm() for name in start) > 1e-2

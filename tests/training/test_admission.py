"""Which groups are trained on, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.training import rows
from mirg.errors import ConfigError
from mirg.training.admission import AdmissionConfig, choose
from mirg.training.grpo import train_grpo

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("spreads", "admitted", "wanted", "expected", "why"),
    [
        ([0.5, 0.0, 0.3, 0.1], [True, False, True, True], 2, [0, 2], "the first that are admitted"),
        ([0.0, 0.0, 0.3, 0.1], [False, False, True, True], 2, [2, 3], "those without signal are replaced"),
        ([0.0, 0.2, 0.3, 0.1], [False, False, True, False], 3, [1, 2, 3], "filled up with what varies most"),
        ([0.0, 0.0], [False, False], 1, [0], "nothing has signal"),
    ],
)
def test_choose(spreads: list[float], admitted: list[bool], wanted: int, expected: list[int], why: str) -> None:
    assert choose(spreads, admitted, wanted) == expected, why


def test_the_gate_relaxes() -> None:
    config = AdmissionConfig(gate=0.2, gate_decay=0.5)
    assert config.admitted([0.0, 0.15, 0.2, 0.3], 0) == [False, False, False, True]
    assert config.admitted([0.0, 0.15, 0.2, 0.3], 1) == [False, True, True, True]
    assert AdmissionConfig().admitted([0.0, 1e-9], 0) == [False, True]


# Policy, and what the metrics of a run with it must say of each step of 2 prompts.
RUNS: dict[str, tuple[dict[str, Any], int]] = {
    "off": ({"policy": "off"}, 2),
    "skip": ({"policy": "skip"}, 2),
    "skip under a high gate": ({"policy": "skip", "gate": 5.0}, 2),
    "resample": ({"policy": "resample", "pool": 3}, 6),
}


@pytest.mark.parametrize("name", RUNS)
def test_runs(name: str, tmp_path: Path, grpo_recipe: Make) -> None:
    keys, candidates = RUNS[name]
    train_grpo(grpo_recipe(admission=keys), tmp_path / "run")
    metrics = rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in metrics] == [1, 2]
    rollouts = rows(tmp_path / "run" / "rollouts.jsonl")
    assert len(rollouts) == 2 * candidates * 4
    for row in metrics:
        assert row["admission/candidates"] == candidates
        assert 0 <= row["admission/admitted"] <= candidates
        assert 0 <= row["admission/computed"] <= 1
    if name == "off":
        assert all(row["admission/computed"] == 1 for row in metrics)
    if "gate" in name:
        assert all(row["admission/admitted"] == 0 and row["grad_norm"] == 0 for row in metrics)


def test_other_policies_need_packed_groups(tmp_path: Path, grpo_recipe: Make) -> None:
    with pytest.raises(ConfigError, match="admission.policy = resample needs packed groups"):
        train_grpo(grpo_recipe(packed=False, admission={"policy": "resample"}), tmp_path / "run")

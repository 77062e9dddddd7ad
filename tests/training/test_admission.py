"""Which groups are trained on, and what becomes of the others."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl.trainer.grpo_trainer import GRPOTrainer

from fakes.training import first_batch, make_trainer, rows
from mirg.errors import ConfigError
from mirg.models.load import load_model
from mirg.models.prompts import Prompt
from mirg.training.data import grpo_rows
from mirg.training.grpo import GroupBatch, PackedGRPOTrainer, choose, train_grpo
from mirg.training.recipe import AdmissionConfig

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


@pytest.mark.parametrize("name", [pytest.param("off", marks=pytest.mark.slow), "skip", *list(RUNS)[2:]])
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


def test_difficulty_weight() -> None:
    assert [AdmissionConfig().weight(found) for found in (0.0, 1.0)] == [1.0, 1.0]
    hard = AdmissionConfig(difficulty_weight=True)
    assert hard.weight(1.0) == 1.0 and hard.weight(0.0) == pytest.approx(2.718281828)
    assert hard.weight(0.2) > hard.weight(0.7)


def test_groups_that_find_less_count_more(tmp_path: Path, grpo_recipe: Make) -> None:
    """Advantages are those of TRL times the weight of the group."""
    trainer = make_trainer(grpo_recipe(admission={"difficulty_weight": True}), tmp_path)
    batch = first_batch(trainer)
    weighted = trainer._admit(replace(batch, columns=dict(batch.columns))).columns["advantages"]
    weights = torch.tensor([trainer.admission.weight(found) for found in batch.found])
    trainer.admission = AdmissionConfig()
    plain = trainer._admit(replace(batch, columns=dict(batch.columns))).columns["advantages"]
    assert plain.abs().max() > 0 and weights.max() > 1, "no signal: the comparison would prove nothing"
    torch.testing.assert_close(weighted, plain * weights)


REWARDS = torch.arange(36, dtype=torch.float32).view(12, 3) ** 2 / 1000


class OfTwoProcesses(PackedGRPOTrainer):
    """The second of two processes: it holds the rows 6 to 11 of three groups of four, the first of them cut."""

    def __init__(self, admission: AdmissionConfig, groups: Sequence[int] = (0, 0, 1, 1, 1, 1)) -> None:
        self.admission, self.features, self.rollouts = admission, None, None
        self.batch = GroupBatch([{}] * 6, list(groups), [Prompt([1] * 5), Prompt([1] * 7)])
        self._metrics: Any = {"train": defaultdict(list)}
        self.beta, self.num_generations, self.num_iterations, self._entropy_bonus_enabled = 0.0, 4, 3, False
        self.reward_func_names, self.reward_weights = ["format", "image", "object"], torch.tensor([0.0, 0.5, 1.0])
        self.state = SimpleNamespace(global_step=2)
        self.accelerator = SimpleNamespace(
            process_index=1, is_main_process=False, gather=lambda own: torch.stack([own, torch.tensor(100)])
        )


def test_a_group_in_two_processes_is_weighed_by_all_its_completions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GRPOTrainer, "_calculate_rewards", lambda *_: REWARDS)  # of all processes
    trainer = OfTwoProcesses(AdmissionConfig(policy="resample", gate=1.2, gate_decay=0.5, difficulty_weight=True))
    trainer._calculate_rewards([], [], [], [])
    total = 0.5 * REWARDS[:, 1] + REWARDS[:, 2]
    spreads = [float(total[4:8].std()), float(total[8:12].std())]
    assert trainer.batch.spreads == pytest.approx([spreads[0]] * 2 + [spreads[1]] * 4)
    found = REWARDS[4:8, 2].mean().item(), REWARDS[8:12, 2].mean().item()
    assert trainer.batch.found == pytest.approx([found[0]] * 2 + [found[1]] * 4)

    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]])
    columns = {"completion_mask": mask, "advantages": torch.ones(6)}
    trainer.batch.columns = columns | {"num_items_in_batch": torch.tensor(112)}
    made = trainer._admit(trainer.batch)
    # The gate has come down to 1.2 * 0.5 ** 2: the second group passes.
    assert spreads[0] < 0.3 < spreads[1]
    assert made.groups == [1] * 4 and made.columns["num_items_in_batch"] == 9 + 100
    assert made.columns["advantages"].tolist() == pytest.approx([math.e ** (1 - found[1])] * 4)
    shown = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    assert (shown["admission/admitted"], shown["admission/candidates"], shown["admission/computed"]) == (1, 2, 1)
    assert (shown["tokens/generated"], shown["tokens/trained"]) == (12 + 100, (7 + 9) * 3 + 100)

    trainer = OfTwoProcesses(AdmissionConfig(policy="off"), [0, 0, 0, 0, 1, 1])
    trainer.accelerator.process_index = 0
    trainer._calculate_rewards([], [], [], [])
    first = float(total[:4].std())
    assert trainer.batch.spreads == pytest.approx([first] * 4 + [spreads[0]] * 2)
    advantages = torch.tensor([1.0, 0, 0, 0, 0, 0])
    trainer.batch.columns = columns | {"advantages": advantages}
    trainer._admit(trainer.batch)
    shown = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    assert shown["admission/computed"] == 1, "without admission all is computed"
    assert shown["tokens/trained"] == (5 + 7 + 12) * 3 + 100


def test_a_reward_of_ones_own(tmp_path: Path, grpo_recipe: Make) -> None:
    """Groups are shared regardless of the rewards; only the difficulty weight asks for the object's."""
    trainer = make_trainer(grpo_recipe(), tmp_path)

    def length(completions: list[Any], **_: Any) -> list[float]:
        return [float(number % 3) for number in range(len(completions))]

    trainer.reward_funcs, trainer.reward_processing_classes = [length], [None]
    trainer.reward_func_names, trainer.reward_weights = ["length"], torch.ones(1)
    columns = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    assert columns["advantages"].abs().max() > 0
    trainer.args.reward_weights = None
    with pytest.raises(ConfigError, match="difficulty_weight needs the reward 'object'"):
        PackedGRPOTrainer(
            sampling=trainer.sampling,
            admission=AdmissionConfig(difficulty_weight=True),
            model=trainer.model,
            args=trainer.args,
            reward_funcs=[length],
            train_dataset=trainer.train_dataset,
            processing_class=trainer.processing_class,
        )


def test_difficulty_weight_needs_groups(tmp_path: Path, grpo_recipe: Make) -> None:
    with pytest.raises(ConfigError, match="difficulty_weight needs packed groups"):
        train_grpo(grpo_recipe(admission={"difficulty_weight": True}, packed=False), tmp_path / "run")


def test_orders_of_images_are_rows(tmp_path: Path, grpo_recipe: Make) -> None:
    recipe = grpo_recipe(image_orders=2)
    loaded = load_model(recipe.model)
    rows_ = grpo_rows(recipe.data, loaded, recipe.prompt, orders=2)
    ids = [length.id for length in rows_.lengths]
    others = [name for name in ids if name.endswith("~1")]
    assert others and {name.removesuffix("~1") for name in others} <= set(ids)
    train_grpo(recipe, tmp_path / "run")
    for row in rows(tmp_path / "run" / "metrics.jsonl"):
        assert row["tokens/generated"] > 0 and row["tokens/trained"] >= 0

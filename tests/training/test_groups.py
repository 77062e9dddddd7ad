"""The packed update against TRL's own on the same rollouts; how rows are dealt to micro-batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fakes.training import as_trl, first_batch, loss_and_gradients, make_trainer
from mirg.models.packing import base_of
from mirg.training.group_batch import GroupBatch, group_numbers, micro_batches, with_signal
from mirg.training.grpo import PlainGRPOTrainer

Make = Callable[..., Any]


# Every setting that takes log-probabilities from another place or weighs them another way.
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reference": {"beta": 0.3},
    "low rank": {"lora": {"rank": 4}, "beta": 0.3},
    "each completion by itself": {"loss": "grpo"},
    "cooler": {"temperature": 0.4},
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("qwen3_vl", name) for name in SETTINGS),
        pytest.param("qwen2_5_vl", "reference", marks=pytest.mark.slow),
        pytest.param("qwen2_vl", "plain", marks=pytest.mark.slow),
    ],
)
def test_the_packed_update_is_trls(kind: str, name: str, tmp_path: Path, grpo_recipe: Make) -> None:
    """Loss to 1e-5 and gradients to 1e-5 relative, in float32, over the trainer's own rollouts."""
    trainer = make_trainer(grpo_recipe(kind, **SETTINGS[name]), tmp_path)
    batch = first_batch(trainer)
    assert batch.columns["advantages"].abs().max() > 0, "no signal: the comparison would prove nothing"
    loss, ours = loss_and_gradients(trainer, batch)
    entropy = trainer._metrics["train"]["entropy"][-1]
    theirs_batch = as_trl(trainer, batch)
    trainer.__class__ = PlainGRPOTrainer
    expected, theirs = loss_and_gradients(trainer, theirs_batch)
    assert loss == pytest.approx(expected, abs=1e-5)
    for key, grad in theirs.items():
        assert (ours[key] - grad).norm() <= 1e-5 * grad.norm() + 1e-7, key
    if SETTINGS[name].get("beta"):  # without it, completions without signal are left out of the mean
        assert entropy == pytest.approx(trainer._metrics["train"]["entropy"][-1], abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        pytest.param("qwen3_vl", {"beta": 0.3}, id="qwen3_vl, reference"),
        pytest.param("qwen2_5_vl", {"beta": 0.3, "lora": {"rank": 4}}, id="low rank", marks=pytest.mark.slow),
        pytest.param("qwen2_vl", {}, id="qwen2_vl", marks=pytest.mark.slow),
    ],
)
def test_kept_features_change_no_step(kind: str, keys: dict[str, Any], tmp_path: Path, grpo_recipe: Make) -> None:
    """Rollouts, reference pass and update: log-probabilities to 1e-6, loss and gradients to 1e-5 relative."""

    def step(trainer: Any) -> tuple[dict[str, Any], float, dict[str, torch.Tensor]]:
        batch = first_batch(trainer)
        return batch.columns, *loss_and_gradients(trainer, batch)

    common = {"freeze_vision": True, **keys}
    plain, expected, theirs = step(make_trainer(grpo_recipe(kind, vision_cache=0, **common), tmp_path / "plain"))
    keeping = make_trainer(grpo_recipe(kind, **common), tmp_path / "keeping")
    kept, loss, ours = step(keeping)
    assert keeping.features.take_share() > 0, "nothing was kept: the comparison would prove nothing"
    if keeping.ref_model is not None:
        assert base_of(keeping.ref_model).visual is base_of(keeping.model).visual
    assert plain["advantages"].abs().max() > 0
    assert torch.equal(kept["completion_ids"], plain["completion_ids"])
    if "beta" in keys:
        torch.testing.assert_close(kept["ref_per_token_logps"], plain["ref_per_token_logps"], atol=1e-6, rtol=0)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert ours.keys() == theirs.keys() and not any("visual" in name for name in ours)
    for name, grad in theirs.items():
        assert (ours[name] - grad).norm() <= 1e-5 * grad.norm() + 1e-7, name


def test_completions_without_signal_are_not_computed(tmp_path: Path, grpo_recipe: Make) -> None:
    trainer = make_trainer(grpo_recipe(), tmp_path)
    batch = first_batch(trainer)
    batch.columns["advantages"] = torch.tensor([1.0, -1.0, 0, 0, 0, 0, 0, 0])
    tokens: list[int] = []
    hook = trainer.model.base_model.language_model.register_forward_pre_hook(
        lambda _module, _args, kwargs: tokens.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    less = loss_and_gradients(trainer, batch)
    hook.remove()
    first = batch.prompts[0]
    entropy = trainer._metrics["train"]["entropy"]
    loss_and_gradients(trainer, batch.take([0, 1]))
    assert entropy[-2] == pytest.approx(entropy[-1], abs=1e-6) and entropy[-1] > 0, "the mean of what is computed"
    assert tokens == [len(first.ids) - 1 + int(batch.columns["completion_mask"][:2].sum())]
    trainer._entropy_bonus_enabled = True  # then every completion counts
    trainer.entropy_coef, trainer.use_adaptive_entropy = 0.0, False
    more = loss_and_gradients(trainer, batch)
    assert less[0] == pytest.approx(more[0], abs=1e-6)
    for key, grad in more[1].items():
        assert (less[1][key] - grad).norm() <= 1e-5 * grad.norm() + 1e-7, key


def test_a_batch_without_any_signal_moves_nothing(tmp_path: Path, grpo_recipe: Make) -> None:
    trainer = make_trainer(grpo_recipe(), tmp_path)
    batch = first_batch(trainer)
    batch.columns["advantages"] = torch.zeros(8)
    loss, grads = loss_and_gradients(trainer, batch)
    assert loss == 0
    assert grads and not any(grad.any() for grad in grads.values())


def test_micro_batches_hold_whole_groups(tmp_path: Path, grpo_recipe: Make) -> None:
    """Accumulated over micro-batches, the loss is that of the whole batch."""
    trainer = make_trainer(grpo_recipe(micro_batch=4), tmp_path)
    dealt = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    parts = trainer._buffered_inputs
    assert dealt is parts[0].columns and trainer.batch is parts[0]
    assert [sorted(set(part.groups)) for part in parts] in ([[0], [1]], [[1], [0]])
    trainer.current_gradient_accumulation_steps = 2
    losses, sums = [], {}
    for part in parts:
        loss, grads = loss_and_gradients(trainer, part)
        losses.append(loss)
        sums = {key: sums.get(key, 0) + grad for key, grad in grads.items()}
    columns = {
        key: torch.cat([part.columns[key] for part in parts])
        if isinstance(value, torch.Tensor) and value.dim()
        else value
        for key, value in parts[0].columns.items()
    }
    groups = [number for part in parts for number in part.groups]
    whole = GroupBatch([row for part in parts for row in part.rows], groups, parts[0].prompts, columns)
    trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation
    loss, grads = loss_and_gradients(trainer, whole)
    assert sum(losses) == pytest.approx(loss, abs=1e-6)
    for key, grad in grads.items():
        assert (sums[key] - grad).norm() <= 1e-5 * grad.norm() + 1e-7, key


def test_rewards_see_the_images(tmp_path: Path, grpo_recipe: Make) -> None:
    trainer = make_trainer(grpo_recipe(), tmp_path)
    seen: list[int] = []

    def looking(completions: list[Any], images: list[list[Any]], **_: Any) -> list[float]:
        seen.extend(len(shown) for shown in images)
        return [0.0] * len(completions)

    trainer.reward_funcs[0] = looking
    first_batch(trainer)
    assert len(seen) == 8 and set(seen) <= {2, 3}


@pytest.mark.parametrize(
    ("groups", "lengths", "parts", "expected", "why"),
    [
        ([0, 0, 1, 1], [1, 1, 9, 9], 1, [[2, 3, 0, 1]], "one part takes all"),
        ([0, 0, 1, 1, 2, 2, 3, 3], [9, 9, 8, 8, 1, 1, 2, 2], 2, [[0, 1, 4, 5], [2, 3, 6, 7]], "long beside short"),
        ([0, 0, 0, 0, 1, 1, 1, 1], [1] * 8, 4, [[0, 1], [2, 3], [4, 5], [6, 7]], "a group of four does not fit in two"),
        ([0, 0, 0, 1], [1] * 4, 2, [[0, 1], [2, 3]], "a process may hold a part of a group"),
    ],
)
def test_rows_are_dealt(groups: list[int], lengths: list[int], parts: int, expected: list[list[int]], why: str) -> None:
    assert micro_batches(groups, lengths, parts) == expected, why


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.data())
def test_every_row_is_dealt_once_and_parts_are_equal(per_part: int, size: int, parts: int, data: st.DataObject) -> None:
    groups = [n for n in range(per_part * parts) for _ in range(size)]
    lengths = data.draw(st.lists(st.integers(1, 50), min_size=len(groups), max_size=len(groups)))
    dealt = micro_batches(groups, lengths, parts)
    assert sorted(k for rows in dealt for k in rows) == list(range(len(groups)))
    assert {len(rows) for rows in dealt} == {per_part * size}
    for rows in dealt:
        assert {groups.count(groups[k]) for k in rows} == {[groups[j] for j in rows].count(groups[k]) for k in rows}


@pytest.mark.parametrize(
    ("advantages", "expected", "why"),
    [
        ([0.5, 0.0, -0.5], [True, False, True], "zero moves nothing"),
        ([0.0, 0.0], [True, False], "one row stays, for the gradient"),
        ([[0.0, 0.0], [0.0, 0.1]], [False, True], "advantages may be given by token"),
    ],
)
def test_rows_with_signal(advantages: Any, expected: list[bool], why: str) -> None:
    assert with_signal(torch.tensor(advantages)) == expected, why


def test_neighbours_of_one_id_are_a_group() -> None:
    assert group_numbers(["a", "a", "b", "a"]) == [0, 0, 1, 2]

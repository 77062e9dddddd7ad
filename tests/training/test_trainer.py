"""Batches that are checked and known by id, and steps that are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

from fakes.training import rows
from mirg.errors import CheckpointError, DataError
from mirg.models.load import load_model
from mirg.training.run import RunFolder, last_good_checkpoint
from mirg.training.sft import train_sft
from mirg.training.trainer import IDS, FiniteGuard, NamedBatches, ResumableTrainer, check_image_tokens

IMAGE = 9
PROCESSOR = SimpleNamespace(image_token_id=IMAGE, image_processor=SimpleNamespace(merge_size=2))


def batch(**changes: Any) -> dict[str, torch.Tensor]:
    """A prompt of one image of two tokens, padded on the left, and its type ids."""
    right = {
        "input_ids": torch.tensor([[0, 0, 5, IMAGE, IMAGE, 6]]),
        "mm_token_type_ids": torch.tensor([[0, 0, 0, 1, 1, 0]]),
        "image_grid_thw": torch.tensor([[1, 2, 4]]),
    }
    return right | changes


def test_a_batch_that_agrees_passes() -> None:
    check_image_tokens(batch(), PROCESSOR)
    split = batch(prompt_ids=torch.tensor([[5, IMAGE, IMAGE]]), completion_ids=torch.tensor([[6, 6]]))
    del split["input_ids"]
    check_image_tokens(split | {"mm_token_type_ids": torch.tensor([[0, 1, 1, 0, 0]])}, PROCESSOR)
    check_image_tokens({"input_ids": torch.tensor([[1, 2]])}, PROCESSOR)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mm_token_type_ids": torch.tensor([[0, 1, 1, 0, 0, 0]])}, "do not mark the image tokens"),  # padded right
        ({"image_grid_thw": torch.tensor([[1, 2, 4], [1, 2, 2]])}, "2 image tokens and 3 image features"),
        ({"input_ids": torch.tensor([[0, 5, IMAGE, IMAGE, IMAGE, 6]]), "mm_token_type_ids": None}, "3 image tokens"),
    ],
)
def test_a_batch_that_does_not_agree_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_image_tokens(batch(**changes), PROCESSOR)


def test_right_padding_is_found_by_the_run(
    tmp_path: Path, sft_recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl.trainer import sft_trainer

    flush = sft_trainer.flush_left

    def shifted(mask: Any, *rest: Any) -> Any:
        made = list(flush(mask, *rest))
        made[-1] = made[-1].roll(1, dims=1)
        return made

    monkeypatch.setattr(sft_trainer, "flush_left", shifted)
    with pytest.raises(DataError, match="do not mark the image tokens"):
        train_sft(sft_recipe(), tmp_path / "run")


def test_batches_carry_their_ids() -> None:
    made = NamedBatches(lambda rows: {"n": len(rows)})([{"id": "a"}, {"id": "b"}])
    assert made == {"n": 2, IDS: ["a", "b"]}


def poison(patch: pytest.MonkeyPatch, steps: set[int], value: float) -> None:
    """Make the gradient of the given steps (from 1) hold ``value``."""
    step = Trainer.training_step

    def poisoned(self: Any, model: Any, *rest: Any) -> torch.Tensor:
        loss = step(self, model, *rest)
        if self.state.global_step + 1 in steps:
            next(p for p in model.parameters() if p.grad is not None).grad.view(-1)[0] = value
        return loss

    patch.setattr(Trainer, "training_step", poisoned)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_that_is_not_finite_updates_nothing(
    value: float, tmp_path: Path, sft_recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 22: the step is skipped and counted, its samples are named, and the other steps train."""
    poison(monkeypatch, {2, 3}, value)
    train_sft(sft_recipe(steps=4, save_every=1, keep_checkpoints=9, accumulation=2, batch_size=1), tmp_path)
    saved = [load_file(tmp_path / "checkpoints" / f"checkpoint-{k}" / "model.safetensors") for k in (1, 2, 3, 4)]
    assert all(torch.equal(saved[0][name], saved[k][name]) for name in saved[0] for k in (1, 2))
    assert any(not torch.equal(saved[2][name], saved[3][name]) for name in saved[0])
    assert all(bool(tensor.isfinite().all()) for tensor in saved[3].values())
    skipped = rows(tmp_path / "skipped.jsonl")
    assert [row["step"] for row in skipped] == [2, 3]
    assert all(len(row["ids"]) == 2 and row["reason"] == "gradient not finite" for row in skipped)
    assert [row.get("skipped_steps") for row in rows(tmp_path / "metrics.jsonl")] == [None, 1, 2, 2]


def test_a_checkpoint_without_some_of_the_weights_is_refused(tmp_path: Path, folders: dict[str, Path]) -> None:
    """Loaded with ``strict=False``, the run would continue from random ones."""
    model: Any = load_model(str(folders["qwen3_vl"])).model
    model.save_pretrained(tmp_path)
    trainer: Any = ResumableTrainer()
    trainer.model, trainer.is_deepspeed_enabled, trainer.is_fsdp_enabled = model, False, False
    weight = next(model.parameters())
    kept = weight.detach().clone()
    torch.nn.init.zeros_(weight)
    trainer._load_from_checkpoint(str(tmp_path))
    assert torch.equal(weight, kept)
    model.register_parameter("more", torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(RuntimeError, match='Missing key.*"more"'):
        trainer._load_from_checkpoint(str(tmp_path))


def test_a_good_step_between_bad_ones_counts_anew(tmp_path: Path) -> None:
    """And only the first of several processes writes the list of skipped steps."""
    model = torch.nn.Linear(1, 1)
    for rank in (0, 1):
        guard = FiniteGuard(RunFolder(tmp_path, "sft"), skipped=1)
        state: Any = SimpleNamespace(global_step=4, is_world_process_zero=rank == 0)
        for value in (math.nan, math.nan, 1.0, math.nan, math.nan):
            for weight in model.parameters():
                weight.grad = torch.full_like(weight, value)
            guard.on_pre_optimizer_step(None, state, None, model)  # type: ignore[arg-type]
        assert guard.skipped == 1 + 4
    assert [row["step"] for row in rows(tmp_path / "skipped.jsonl")] == [5] * 4


def test_three_in_a_row_end_the_run_with_its_checkpoint_intact(
    tmp_path: Path, sft_recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = sft_recipe(steps=6, save_every=2)
    with monkeypatch.context() as patch:
        poison(patch, {3, 4, 5}, math.nan)
        with pytest.raises(CheckpointError, match="3 steps in a row"):
            train_sft(recipe, tmp_path)
    assert last_good_checkpoint(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "checkpoint-4"
    assert train_sft(recipe, tmp_path).step == 6
    assert [row["step"] for row in rows(tmp_path / "skipped.jsonl")] == [3, 4], "5 was done again, and well"

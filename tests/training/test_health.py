"""A loss that is not finite, weights that must not be saved, what a run waits for, and the stacks of one that hangs."""

from __future__ import annotations

import logging
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import Trainer

from fakes.training import rows
from mirg.errors import CheckpointError
from mirg.training.health import ACTIVITY, STACKS, Watch
from mirg.training.recipe import HealthConfig
from mirg.training.run import RunFolder, last_good_checkpoint
from mirg.training.sft import train_sft
from mirg.training.trainer import FiniteGuard


def spoil_loss(patch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """The loss of the given steps (from 1) is infinite, and its gradient is not."""
    step = Trainer.training_step

    def spoiled(self: Any, model: Any, *rest: Any) -> torch.Tensor:
        loss = step(self, model, *rest)
        return loss * math.inf if self.state.global_step + 1 in steps else loss

    patch.setattr(Trainer, "training_step", spoiled)


def test_a_loss_that_is_not_finite_updates_nothing_and_is_forgotten(
    tmp_path: Path, sft_recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Trainer's own sum of losses would stay NaN to the end of the run."""
    spoil_loss(monkeypatch, {2})
    train_sft(sft_recipe(steps=4, save_every=4), tmp_path)
    assert [row["loss"] is None for row in rows(tmp_path / "metrics.jsonl")] == [False, True, False, False]
    assert [(row["step"], row["reason"]) for row in rows(tmp_path / "skipped.jsonl")] == [(2, "loss not finite")]
    assert not list(tmp_path.glob("stacks-*")), "no step took long"


def test_several_steps_in_one_logged_row(
    tmp_path: Path, sft_recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sum over the row says nothing about the steps after the bad one, which are not skipped."""
    spoil_loss(monkeypatch, {2, 5})
    train_sft(sft_recipe(steps=6, save_every=6, log_every=3), tmp_path)
    assert [row["step"] for row in rows(tmp_path / "skipped.jsonl")] == [2, 5]


def test_the_policy_is_a_key_that_may_change_when_the_run_is_resumed(
    tmp_path: Path, sft_recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        spoil_loss(patch, {2})
        with pytest.raises(CheckpointError, match="the loss of step 2 is not finite"):
            train_sft(sft_recipe(steps=2, save_every=1, health={"not_finite": "stop"}), tmp_path)
        assert last_good_checkpoint(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "checkpoint-1"
    assert train_sft(sft_recipe(steps=2, save_every=1), tmp_path).step == 2


def test_so_many_in_a_row_end_the_run(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    guard = FiniteGuard(RunFolder(tmp_path, "sft"), config=HealthConfig(in_a_row=2))
    state: Any = SimpleNamespace(global_step=4, is_world_process_zero=True)
    guard.trainer = SimpleNamespace(_tr_loss=torch.tensor(1.0))
    guard.on_pre_optimizer_step(None, state, None, model)  # type: ignore[arg-type]
    guard.trainer._tr_loss += math.nan
    guard.on_pre_optimizer_step(None, state, None, model)  # type: ignore[arg-type]
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, math.nan)
    with pytest.raises(CheckpointError, match="2 steps in a row"):
        guard.on_pre_optimizer_step(None, state, None, model)  # type: ignore[arg-type]


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    guard, model = FiniteGuard(SimpleNamespace(path=tmp_path)), torch.nn.Linear(2, 1)  # type: ignore[arg-type]
    state: Any = SimpleNamespace(global_step=7)
    save, go_on = (SimpleNamespace(should_save=value) for value in (True, False))
    args: Any = SimpleNamespace(world_size=1)
    guard.on_step_end(args, state, save, model)  # type: ignore[arg-type]
    model.weight.data[0, 1] = math.nan
    guard.on_step_end(args, state, go_on, model)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="after step 7 weights are not finite, the first in weight"):
        guard.on_step_end(args, state, save, model)  # type: ignore[arg-type]
    model.weight.requires_grad_(False)  # frozen: the run did not make it so
    guard.on_step_end(args, state, save, model)  # type: ignore[arg-type]


@pytest.fixture
def clock() -> Iterator[float]:
    """Now; nothing has been waited for yet."""
    ACTIVITY.begin("the start")
    ACTIVITY.step_ended()
    yield time.monotonic()
    ACTIVITY.begin("the start")


def test_a_line_says_what_the_run_waits_for(tmp_path: Path, clock: float, caplog: pytest.LogCaptureFixture) -> None:
    """After the time of the recipe, then each time that it has doubled."""
    caplog.set_level(logging.INFO, "mirg")
    watch = Watch(tmp_path, HealthConfig(waiting=10, watchdog=0), "GRPO")
    with ACTIVITY.doing("the reward judge"):
        for seconds in (9, 11, 12, 21, 23, 40):
            watch.look(clock + seconds)
        with ACTIVITY.doing("rollouts"):
            watch.look(clock + 11)
    assert [record.message.partition(", for ")[::2] for record in caplog.records] == [
        ("GRPO: waiting for the reward judge", "11 s so far"),
        ("GRPO: waiting for the reward judge", "23 s so far"),
        ("GRPO: waiting for rollouts", "11 s so far"),
    ]
    caplog.clear()
    Watch(tmp_path, HealthConfig(waiting=0, watchdog=0), "GRPO").look(clock + 1e6)
    assert not caplog.records


def test_stacks_of_a_run_that_hangs(tmp_path: Path, clock: float, caplog: pytest.LogCaptureFixture) -> None:
    """Once for each step that does not end, with the processes that read data."""

    fork = multiprocessing.get_context("fork")
    ready = fork.Event()

    def reading_slowly() -> None:
        ready.set()
        time.sleep(60)

    with Watch(tmp_path, HealthConfig(watchdog=100), "SFT") as watch:
        child = fork.Process(target=reading_slowly, daemon=True)
        child.start()
        assert ready.wait(20)
        began = ACTIVITY.step_ended_at
        for seconds in (99, 101, 500):
            watch.look(began + seconds)
        text, until = "", time.monotonic() + 10
        while "reading_slowly" not in text and time.monotonic() < until:
            text = (tmp_path / STACKS.format(rank=0)).read_text()
        assert text.count("no step for") == 1 and "waiting for the start" in text
        assert "test_stacks_of_a_run_that_hangs" in text and "reading_slowly" in text, "of threads and of processes"
        assert child.is_alive() and "stacks-0.txt" in caplog.text
        time.sleep(0.01)
        ACTIVITY.step_ended()
        watch.look(ACTIVITY.step_ended_at + 101)
        child.kill()
    assert (tmp_path / STACKS.format(rank=0)).read_text().count("no step for") == 2
    with Watch(tmp_path / "missing", HealthConfig(), "SFT") as watch:
        watch.dump(1)  # the main process has not made the folder yet

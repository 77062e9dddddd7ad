"""Promises 1, 2 and 5: a run that is killed or stopped and started again equals an uninterrupted run, bit for bit."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.training import assert_same_run, die_in, hurt, rows
from mirg import storage
from mirg.config import dump_recipe
from mirg.errors import CheckpointError
from mirg.storage import SEAL_FILE, seal_folder
from mirg.training import launch
from mirg.training.grpo import train_grpo
from mirg.training.run import RunFolder, last_good_checkpoint
from mirg.training.sft import train_sft

Make = Callable[..., Any]
TRAIN: dict[str, Callable[[Any, Path], launch.Outcome]] = {"sft": train_sft, "grpo": train_grpo}


@pytest.fixture
def recipe(sft_recipe: Make, grpo_recipe: Make) -> Make:
    """``recipe(stage, kind, **keys)``: five steps with a checkpoint at 2 and at 4."""

    def make(stage: str, kind: str = "qwen3_vl", **keys: Any) -> Any:
        return {"sft": sft_recipe, "grpo": grpo_recipe}[stage](kind, **({"steps": 5} | keys))

    return make


def at_step(step: int, action: Callable[[], object]) -> None:
    """Do ``action`` right after the metrics of ``step`` are written."""
    log = RunFolder.log

    def acting(self: RunFolder, at: int, values: dict[str, Any]) -> None:
        log(self, at, values)
        if at == step:
            action()

    RunFolder.log = acting  # type: ignore[method-assign]


def before_manifest(step: int, action: Callable[[], object]) -> None:
    """Do ``action`` when the files of a checkpoint are written and its manifest is not."""
    write = storage.write_json_atomic

    def acting(path: Path, value: object) -> object:
        if path.parent.name == f"checkpoint-{step}":
            action()
        return write(path, value)

    storage.write_json_atomic = acting  # type: ignore[assignment]


def before_model(action: Callable[[], object]) -> None:
    """Do ``action`` when all steps are done and the files of the model are written, but not moved into place."""
    save = RunFolder.save_model

    def acting(self: RunFolder, write: Callable[[Path], None], facts: dict[str, Any]) -> Path:
        def written(folder: Path) -> None:
            write(folder)
            action()

        return save(self, written, facts)

    RunFolder.save_model = acting  # type: ignore[method-assign]


TWO_EPOCHS = {"prompts_per_step": 4, "group_size": 2}  # of GRPO on 12 samples, in five steps
# (stage, model type, point of the kill, recipe keys, why this row)
DEATHS: list[tuple[str, str, Callable[[Callable[[], None]], None], dict[str, Any], str]] = [
    ("sft", "qwen3_vl", lambda die: at_step(5, die), {"batch_size": 4}, "in the second epoch"),
    (
        "sft",
        "qwen2_5_vl",
        lambda die: at_step(4, die),
        {"log_every": 3},
        "the Trainer would reload the initial weights",
    ),
    (
        "sft",
        "qwen3_vl",
        lambda die: before_manifest(4, die),
        {"lora": {"rank": 4, "dropout": 0.3}},
        "adapters, in a save",
    ),
    ("sft", "qwen3_vl", lambda die: at_step(1, die), {}, "before the first checkpoint"),
    ("grpo", "qwen3_vl", lambda die: at_step(5, die), TWO_EPOCHS, "in the second epoch"),
    ("grpo", "qwen2_5_vl", lambda die: before_manifest(4, die), {"micro_batch": 4}, "in a save, split batches"),
    ("grpo", "qwen3_vl", lambda die: at_step(3, die), {"iterations": 2, "beta": 0.1}, "second pass over completions"),
    ("grpo", "qwen3_vl", lambda die: at_step(3, die), {"freeze_vision": True}, "with features kept"),
    ("sft", "qwen3_vl", before_model, {}, "after the last step, which ends no epoch"),
    ("sft", "qwen2_5_vl", before_model, {"steps": 6, "lora": {"rank": 4}}, "after the last step, which ends an epoch"),
    ("grpo", "qwen3_vl", before_model, {"steps": 3}, "after the last step"),
    ("grpo", "looking", lambda die: at_step(3, die), {"freeze_vision": True}, "with looks, and features kept"),
    (
        "grpo",
        "looking",
        lambda die: before_manifest(4, die),
        {"iterations": 2, "micro_batch": 4},
        "with looks, in a save",
    ),
]


EVERY_DAY = {"with features kept", "adapters, in a save", "after the last step, which ends no epoch"}


@pytest.mark.parametrize(
    ("stage", "kind", "death", "keys"),
    [pytest.param(*d[:4], id=f"{d[0]}: {d[4]}", marks=() if d[4] in EVERY_DAY else pytest.mark.slow) for d in DEATHS],
)
def test_killed_and_started_again(
    stage: str, kind: str, death: Callable[..., None], keys: dict[str, Any], tmp_path: Path, recipe: Make, whole: Make
) -> None:
    settings = recipe(stage, kind, **keys)
    undisturbed = whole(settings)
    die_in(lambda: TRAIN[stage](settings, tmp_path / "killed"), death)
    assert not (tmp_path / "killed" / "model").exists()
    TRAIN[stage](settings, tmp_path / "killed")
    assert_same_run(undisturbed, tmp_path / "killed")


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        pytest.param("sft", signal.SIGINT, marks=pytest.mark.slow),
        ("sft", signal.SIGTERM),
        pytest.param("grpo", signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_stopped_by_a_signal_and_started_again(
    stage: str, number: signal.Signals, tmp_path: Path, recipe: Make, whole: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = TWO_EPOCHS if stage == "grpo" else {}  # that run is also compared with the one that is killed
    undisturbed, settings = whole(recipe(stage, **keys)), recipe(stage, **keys, save_every=100)
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "log", RunFolder.log)  # at_step replaces it
        at_step(3, lambda: signal.raise_signal(number))
        outcome = TRAIN[stage](settings, tmp_path / "stopped")
    assert outcome.model is None, "no model of a run that was stopped"
    assert outcome.step in (3, 4), "the step that was running is finished"
    assert signal.getsignal(number) is before, "the signals are given back"
    assert (tmp_path / "stopped" / "checkpoints" / f"checkpoint-{outcome.step}" / SEAL_FILE).is_file()
    TRAIN[stage](settings, tmp_path / "stopped")
    assert_same_run(undisturbed, tmp_path / "stopped")


def test_a_second_signal_ends_at_once(tmp_path: Path, recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunFolder, "log", RunFolder.log)
    at_step(2, lambda: (signal.raise_signal(signal.SIGINT), signal.raise_signal(signal.SIGINT)))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train_sft(recipe("sft"), tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json", SEAL_FILE])
def test_a_damaged_checkpoint_is_passed_over_and_named(
    name: str, damage: str, tmp_path: Path, recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Every combination is detected; the runs of one of them show that the older one is used."""
    kept = tmp_path / "checkpoints"
    for step in (2, 4):
        folder = kept / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        for file in ("model.safetensors", "optimizer.pt", "trainer_state.json"):
            (folder / file).write_bytes(os.urandom(2000))
        seal_folder(folder)
    assert last_good_checkpoint(kept) == kept / "checkpoint-4"
    hurt(kept / "checkpoint-4" / name, damage)
    assert last_good_checkpoint(kept) == kept / "checkpoint-2"
    assert "checkpoint-4 is not used: " in caplog.text
    if damage == "missing" and name != SEAL_FILE:
        assert f"{name} is missing" in caplog.text


def test_a_run_goes_on_from_the_older_checkpoint(
    tmp_path: Path, recipe: Make, whole: Make, caplog: pytest.LogCaptureFixture
) -> None:
    settings = recipe("sft", keep_checkpoints=1)
    die_in(lambda: train_sft(recipe("sft", keep_checkpoints=2), tmp_path / "hurt"), lambda die: at_step(5, die))
    (tmp_path / "hurt" / "config.yaml").write_text(dump_recipe(settings))
    hurt(tmp_path / "hurt" / "checkpoints" / "checkpoint-4" / "optimizer.pt", "flip")
    train_sft(settings, tmp_path / "hurt")
    assert "optimizer.pt is damaged" in caplog.text
    assert_same_run(whole(recipe("sft")), tmp_path / "hurt")


def test_old_checkpoints_go_only_after_a_new_one_is_complete(tmp_path: Path, recipe: Make) -> None:
    train_sft(recipe("sft", steps=5, save_every=1, keep_checkpoints=2), tmp_path / "run")
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.is_dir())
    assert kept == ["checkpoint-4", "checkpoint-5"]
    die_in(
        lambda: train_sft(recipe("sft", save_every=1, keep_checkpoints=1), tmp_path / "killed"),
        lambda die: before_manifest(3, die),
    )
    assert last_good_checkpoint(tmp_path / "killed" / "checkpoints").name == "checkpoint-2"  # type: ignore[union-attr]


@pytest.mark.parametrize("share", [0.5, 1.5], ids=["weights", "optimizer"])
def test_a_disk_that_takes_no_more_leaves_the_last_checkpoint(
    share: float, tmp_path: Path, recipe: Make, whole: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system refuses while safetensors or torch writes checkpoint-4: a sentence, and the same command continues."""
    settings = recipe("sft")
    undisturbed = whole(settings)
    largest = int(share * (undisturbed / "model" / "model.safetensors").stat().st_size)
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, "log", RunFolder.log)  # at_step changes it
            at_step(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, old_limit[1])))
            with pytest.raises(CheckpointError, match="cannot continue .*full: .*nothing is lost: the same command"):
                train_sft(settings, tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    train_sft(settings, tmp_path / "full")
    assert_same_run(undisturbed, tmp_path / "full")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_the_command_killed_from_outside(stage: str, tmp_path: Path, recipe: Make) -> None:
    """The real command line in a separate process, killed at three moments that the clock chooses."""
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe(stage, steps=12, save_every=2)))

    def start(out: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "mirg.cli.main", stage, "recipe.yaml", "-o", out]
        return subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    assert start("whole").wait(timeout=300) == 0
    for seen in (2, 5, 9):
        process = start("killed")
        while process.poll() is None:
            file = tmp_path / "killed" / "metrics.jsonl"
            if file.exists() and file.read_bytes().count(b"\n") >= seen:
                process.kill()
        process.wait(timeout=60)
        assert process.returncode == -signal.SIGKILL
    assert start("killed").wait(timeout=300) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_another_seed_gives_another_run(tmp_path: Path, recipe: Make, whole: Make) -> None:
    """Promise 3, and the control of this file's comparisons."""
    train_sft(recipe("sft", steps=1, seed=1), tmp_path / "other")
    one, other = (rows(run / "metrics.jsonl")[0]["loss"] for run in (whole(recipe("sft")), tmp_path / "other"))
    assert one != other

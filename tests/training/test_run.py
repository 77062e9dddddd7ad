"""The run folder: what it refuses, what it forgets, how a model appears in it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import BaseModel
from transformers import TrainerControl

from fakes.training import hurt
from mirg.errors import CheckpointError
from mirg.storage import SEAL_FILE, seal_folder, sole_writer
from mirg.training.recipe import SftRecipe
from mirg.training.run import (
    METRICS,
    ROLLOUTS,
    SKIPPED,
    Progress,
    RunFolder,
    clock,
    drop_newer,
    drop_old,
    environment,
    is_main_process,
    last_good_checkpoint,
    writing_run,
)
from mirg.training.trainer import RunCallback, StopCallback

RECIPE = SftRecipe(model="m", data="d", steps=3)


def test_a_new_folder_explains_itself(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "a" / "run", RECIPE)
    assert "learning_rate: 1.0e-05" in (run.path / "config.yaml").read_text()
    known = json.loads((run.path / "environment.json").read_text())
    assert known["versions"]["torch"] and known["python"]
    assert not run.finished


def test_a_canary_of_the_environment_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 28: a key in an environment variable is not written into the run folder."""
    monkeypatch.setenv("SOME_API_KEY", "canary-8c1f")
    run = RunFolder.open(tmp_path / "run", RECIPE)
    run.log(1, {"loss": 1.0})
    run.close()
    assert not any("canary-8c1f" in file.read_text() for file in run.path.iterdir())
    assert "canary-8c1f" not in json.dumps(environment())


def test_only_the_first_of_several_processes_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    RunFolder.open(tmp_path / "run", RECIPE)
    assert not (tmp_path / "run").exists()
    (tmp_path / "environment.json").write_text("{}")  # the first one is just making it
    RunFolder.open(tmp_path, RECIPE)


def test_the_others_wait_for_the_first_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A faster process would fill the folder before the first one has made it a run folder."""
    made = tmp_path / "run"
    later = threading.Timer(0.2, lambda: RunFolder.open(made, RECIPE))
    later.start()
    RunFolder(made, "sft").wait_until_made()
    assert (made / "config.yaml").is_file()
    later.join()
    monkeypatch.setattr("mirg.training.run._WAIT_SECONDS", 0)
    with pytest.raises(CheckpointError, match="the first process did not make"):
        RunFolder(tmp_path / "elsewhere", "sft").wait_until_made()


@pytest.mark.parametrize(("rank", "local", "main"), [(None, None, True), ("0", "1", True), ("1", "0", False)])
def test_the_first_process_is_that_of_all_machines(
    rank: str | None, local: str | None, main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("RANK", rank), ("LOCAL_RANK", local)):
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    assert is_main_process() is main


@pytest.mark.parametrize("first", [True, False])
def test_only_the_first_process_logs_and_seals(first: bool, tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "sft")
    saved = tmp_path / "checkpoints" / "checkpoint-4"
    saved.mkdir(parents=True)
    state: Any = SimpleNamespace(global_step=4, is_world_process_zero=first, best_global_step=None)
    callback = RunCallback(run, 4)
    callback.on_log(None, state, None, {"loss": 1.0})
    callback.on_save(SimpleNamespace(output_dir=str(saved.parent)), state, None)  # type: ignore[arg-type]
    run.close()
    assert [row["step"] for row in run.rows()] == [4] * first and (saved / SEAL_FILE).is_file() is first


@pytest.mark.parametrize(("step", "stops"), [(4, True), (5, False)])
def test_the_signal_of_another_process_stops_this_one(step: int, stops: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a multiple of ``every`` steps, and with a checkpoint."""

    def reduced(flag: torch.Tensor, operation: object) -> None:
        among = {torch.distributed.ReduceOp.MAX: max, torch.distributed.ReduceOp.MIN: min}
        flag.fill_(among[operation](int(flag), 1))  # type: ignore[index]

    monkeypatch.setattr(torch.distributed, "all_reduce", reduced)
    control = TrainerControl()
    arguments: Any = SimpleNamespace(world_size=2, device="cpu")
    StopCallback(every=2).on_step_end(arguments, SimpleNamespace(global_step=step), control)  # type: ignore[arg-type]
    assert control.should_training_stop is control.should_save is stops


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path: Path) -> None:
    """By number, not by name."""
    folders = [tmp_path / f"checkpoint-{step}" for step in (9, 10, 100)]
    for folder in folders:
        folder.mkdir()
        (folder / "weights").write_text("w")
        seal_folder(folder)
    (tmp_path / "checkpoint-11").mkdir()  # without a manifest: it does not count
    assert last_good_checkpoint(tmp_path) == folders[2]
    drop_old(tmp_path, 1, best=9)
    left = {"checkpoint-9", "checkpoint-10", "checkpoint-11", "checkpoint-100"}
    assert {path.name for path in tmp_path.iterdir()} == left - {"checkpoint-10", "checkpoint-11"}
    folders[1].mkdir()
    (folders[1] / "weights").write_text("w")
    seal_folder(folders[1])
    (tmp_path / "checkpoint-11").mkdir()
    drop_old(tmp_path, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-10", "checkpoint-11", "checkpoint-100"}
    drop_newer(tmp_path, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]
    assert last_good_checkpoint(tmp_path) == folders[1]


def test_another_recipe_is_refused_by_the_keys_that_differ(tmp_path: Path) -> None:
    RunFolder.open(tmp_path / "run", RECIPE)
    other = RECIPE.model_copy(update={"seed": 5, "batch_size": 2})
    with pytest.raises(CheckpointError, match=r"batch_size, seed differ \(batch_size: 8 there, 2 now\)"):
        RunFolder.open(tmp_path / "run", other)
    assert "seed: 0" in (tmp_path / "run" / "config.yaml").read_text(), "nothing was overwritten"


def test_errors_that_are_not_of_writing_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="of the model"), writing_run(tmp_path):
        raise RuntimeError("of the model")
    with pytest.raises(CheckpointError, match="cannot continue"), writing_run(tmp_path):
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"- a\n- b\n", "a list"),
        (b"just text\n", "a text"),
        (b"seed: [\n", "broken YAML"),
        (b"seed: \x00\n", "a character that YAML forbids"),
        (b"seed: \xff\n", "not UTF-8"),
    ],
)
def test_a_folder_whose_recipe_cannot_be_read_is_refused(text: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"cannot read .*config\.yaml") as caught:
        RunFolder.open(tmp_path, RECIPE)
    assert "another output folder" in caught.value.hint
    assert (tmp_path / "config.yaml").read_bytes() == text, "nothing was overwritten"


def test_a_run_that_was_killed_in_its_first_file_is_continued(tmp_path: Path) -> None:
    """A real kill while config.yaml is flushed; the unfinished file goes once the folder has a writer."""
    script = f"""
import os, signal
from mirg.training.recipe import SftRecipe
from mirg.training.run import RunFolder
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
RunFolder.open({str(tmp_path)!r}, SftRecipe.model_validate({RECIPE.model_dump(mode="json")!r}))
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    RunFolder.open(tmp_path, RECIPE)
    with sole_writer(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "environment.json"}


@pytest.mark.parametrize(
    ("file", "words"), [("run/holiday.jpg", "is not empty and is no run folder"), ("run", "cannot write run folder")]
)
def test_what_is_something_else_is_refused(file: str, words: str, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=words):
        RunFolder.open(tmp_path / "run", RECIPE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(CheckpointError, match="cannot write run folder"):
        RunFolder.open(tmp_path / "locked" / "run", RECIPE)


def test_rewinding_forgets_every_journal_after_a_step(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, RECIPE)
    for step in range(1, 6):
        run.log(step, {"loss": step})
    run.close()
    for name in (ROLLOUTS, SKIPPED):
        (tmp_path / name).write_text('{"step": 2}\n{"step": 3}\n{"step": 4}\n{"ste')
    run.rewind(3)
    assert [row["step"] for row in run.rows()] == [1, 2, 3]
    assert [row["step"] for row in run.rows(ROLLOUTS)] == [2, 3]
    assert [row["step"] for row in run.rows(SKIPPED)] == [2, 3]
    run.log(4, {"loss": 0})
    run.close()
    assert [row["step"] for row in run.rows()] == [1, 2, 3, 4]
    run.rewind(0)
    assert run.rows() == []


def test_the_clock_goes_on_where_the_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of steps that are done again do not count: step 3 took 40 s the first time."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    run = RunFolder.open(tmp_path, RECIPE)
    for step, seconds in ((1, 10.0), (2, 10.0), (3, 40.0)):
        now[0] += seconds
        run.log(step, {})
    run.close()
    now[0] = 5.0  # another process
    again = RunFolder.open(tmp_path, RECIPE)
    now[0] += 2.0
    again.rewind(2)
    now[0] += 3.0
    again.log(3, {})
    again.close()
    assert [row["time"] for row in again.rows()] == [10.0, 20.0, 25.0]


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, RECIPE)
    run.log(1, {"loss": math.nan, "norm": math.inf, "reward": 0.5, "name": "x"})
    run.close()
    row = json.loads((tmp_path / METRICS).read_text())
    assert (row["loss"], row["norm"], row["reward"], row["name"]) == (None, None, 0.5, "x")
    assert (row["step"], row["stage"]) == (1, "sft")


def test_a_model_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, RECIPE)

    def fail(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    with pytest.raises(
        CheckpointError, match="cannot continue .*No space.*nothing is lost: the same command continues"
    ):
        run.save_model(fail, {})
    assert not run.finished and not run.model.exists()
    run.save_model(lambda folder: (folder / "config.json").write_text("{}") and None, {"steps": 3})
    assert run.finished
    facts = json.loads((run.model / "mirg.json").read_text())
    assert (facts["stage"], facts["steps"]) == ("sft", 3)
    assert [path.name for path in tmp_path.glob("model*")] == ["model"], "no work folder is left"


@pytest.mark.parametrize("name", ["config.json", "mirg.json", SEAL_FILE])
@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_a_damaged_model_is_no_finished_one(tmp_path: Path, name: str, damage: str) -> None:
    run = RunFolder.open(tmp_path, RECIPE)
    run.save_model(lambda folder: (folder / "config.json").write_text("{}") and None, {"steps": 3})
    run.refuse_damaged_model()
    hurt(run.model / name, damage)
    if (name, damage) == (SEAL_FILE, "missing"):
        return run.refuse_damaged_model()  # such a model was copied without its manifest, or made elsewhere
    with pytest.raises(CheckpointError, match=f"model is damaged: .*{name}"):
        run.refuse_damaged_model()


def test_damaged_lines_are_named_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A torn last line is what a kill leaves; any other line that cannot be read is damage."""
    run = RunFolder.open(tmp_path, RECIPE)
    for step in range(1, 6):
        run.log(step, {"loss": 1.0})
    run.close()
    lines = (tmp_path / METRICS).read_bytes().splitlines(keepends=True)
    lines[1], lines[3] = lines[1].replace(b'"step"', b'"step'), b'{"step": "4"}\n'
    whole = b"".join([*lines, b'{"step": 6, "lo'])
    (tmp_path / METRICS).write_bytes(whole)
    run.rewind(5)
    assert [row["step"] for row in run.rows()] == [1, 3, 5]
    assert f"{tmp_path / METRICS}: damaged lines that are left out: 2, the first is line 2" in caplog.text
    assert (tmp_path / f"{METRICS}.damaged-1").read_bytes() == whole
    caplog.clear()
    run.rewind(3)
    assert [row["step"] for row in run.rows()] == [1, 3] and caplog.text == ""
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_rejections_are_kept(tmp_path: Path) -> None:
    class Row(BaseModel):
        id: str

    run = RunFolder.open(tmp_path, RECIPE)
    run.reject([Row(id="a"), Row(id="b")])
    assert [row["id"] for row in run.rows("rejected.jsonl")] == ["a", "b"]
    run.reject([])
    assert run.rows("rejected.jsonl") == [], "of this start, not of an earlier one"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_progress_speaks_at_the_end_and_not_at_every_step(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mirg")
    progress = Progress("sft", total=20, start=10)
    for step in range(11, 21):
        progress.step(step, {"loss": 1 / step, "name": "x"})
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("sft 20/20 · loss 0.05 · ")
    assert caplog.messages[0].endswith("ETA 0:00")

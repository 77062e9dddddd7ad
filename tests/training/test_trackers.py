"""Trackers: what reaches them, what must not, and that none of them can disturb a run."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.training import rows, weights, without_clocks
from mirg.config import dump_recipe
from mirg.errors import ConfigError
from mirg.rewards import RewardConfig
from mirg.rewards.trl import reward_functions
from mirg.training import trackers
from mirg.training.grpo import train_grpo
from mirg.training.recipe import SftRecipe
from mirg.training.run import RolloutLog, RunFolder
from mirg.training.sft import train_sft

Make = Callable[..., Any]
CANARY = "canary7f3a91"


class Integration:
    """A callback of transformers that keeps what it is given, and fails in the chosen call."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.calls, self.shown = fails, [], []  # type: ignore[var-annotated]

    def note(self, event: str, args: Any, state: Any, more: dict[str, Any]) -> None:
        self.calls.append((event, state.global_step, dict(more.get("logs") or {})))
        if event == self.fails:
            raise OSError("no route to host")

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.config = json.loads(args.to_json_string()), more["model"].config.to_dict()
        self.name, self.environment = args.run_name, dict(os.environ)
        self.note("begin", args, state, more)

    def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.note("log", args, state, more)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.note("end", args, state, more)

    def logged(self) -> list[tuple[int, dict[str, Any]]]:
        return [(step, logs) for event, step, logs in self.calls if event == "log"]


@pytest.fixture
def integration(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Integration]:
    """``integration(fails="log")`` is called in place of TensorBoard."""

    def install(**keys: Any) -> Integration:
        made = Integration(**keys)
        find = "transformers.integrations.integration_utils.get_reporting_integration_callbacks"
        monkeypatch.setattr(find, lambda names: [lambda: made])
        monkeypatch.setattr("mirg.training.launch.require_trackers", lambda names: None)
        show = {"tensorboard": lambda callback, step, shown: made.shown.append((step, shown))}
        monkeypatch.setattr(trackers, "SHOW", show)
        return made

    return install


def opened(run: Path, **keys: Any) -> tuple[RunFolder, trackers.Trackers]:
    recipe = SftRecipe.model_validate({"model": "m", "data": "d", "report_to": ["tensorboard"]} | keys)
    model = SimpleNamespace(config=SimpleNamespace(to_dict=lambda: {"_name_or_path": keys.get("model", "m")}))
    model.num_parameters = lambda: 3
    folder = RunFolder.open(run, recipe)
    return folder, trackers.Trackers(recipe, folder, model)


@pytest.mark.slow
def test_every_row_and_some_rollouts_arrive_and_the_run_is_the_same(
    integration: Callable[..., Integration], grpo_recipe: Make, whole: Make, tmp_path: Path
) -> None:
    plain, made = whole(grpo_recipe()), integration()
    train_grpo(grpo_recipe(report_to=["tensorboard"]), tmp_path / "run")
    assert without_clocks(tmp_path / "run" / "metrics.jsonl") == without_clocks(plain / "metrics.jsonl")
    assert (tmp_path / "run" / "rollouts.jsonl").read_text() == (plain / "rollouts.jsonl").read_text()
    ours, other = weights(tmp_path / "run"), weights(plain)
    assert all((ours[name] == other[name]).all() for name in ours)
    written = rows(tmp_path / "run" / "metrics.jsonl")
    head = ("step", "time", "stage")
    assert made.logged() == [(row["step"], {k: v for k, v in row.items() if k not in head}) for row in written]
    assert {"rewards/image/mean", "entropy", "admission/admitted"} <= made.logged()[0][1].keys()
    assert [made.calls[0][0], made.calls[-1][0]] == ["begin", "end"]
    assert [step for step, _ in made.shown] == [1, 2]
    lines = rows(tmp_path / "run" / "rollouts.jsonl")
    for step, shown in made.shown:
        of_step = [line for line in lines if line["step"] == step]
        assert len(shown) == trackers.ROLLOUTS
        for (image, text), line in zip(shown, of_step[:: len(of_step) // trackers.ROLLOUTS], strict=True):
            assert line["completion"] in text and f"image {line['image']:.2f}" in text and line["id"] in text
            assert image.width > 1.5 * image.height, "the images of a prompt in a row"
            assert (31, 184, 119) in {colour for _, colour in image.getcolors(2**24)}, "with the true box"


@pytest.mark.parametrize("fails", ["log", *(pytest.param(name, marks=pytest.mark.slow) for name in ("begin", "end"))])
def test_a_tracker_that_fails_does_not_end_a_run(
    fails: str,
    integration: Callable[..., Integration],
    sft_recipe: Make,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = integration(fails=fails)
    with caplog.at_level(logging.WARNING):
        outcome = train_sft(sft_recipe(steps=5, report_to=["tensorboard"]), tmp_path / "run")
    assert outcome.step == 5 and [row["step"] for row in rows(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3, 4, 5]
    said = [record.getMessage() for record in caplog.records if "no route to host" in record.getMessage()]
    assert len(said) == (trackers.FAILURES if fails == "log" else 1) and "the run continues" in said[0]
    assert len(made.logged()) == {"begin": 0, "log": trackers.FAILURES, "end": 5}[fails]


def test_a_failure_now_and_then_is_forgotten(integration: Callable[..., Integration], tmp_path: Path) -> None:
    made = integration()
    _, open_one = opened(tmp_path / "run")
    for step in range(12):
        made.fails = "" if step % trackers.FAILURES == 0 else "log"
        open_one.log(step, {"loss": 0.5})
    assert len(made.logged()) == 12


def test_validations_are_named_as_transformers_names_them(
    integration: Callable[..., Integration], tmp_path: Path
) -> None:
    made = integration()
    _, open_one = opened(tmp_path / "run")
    open_one.log(4, {"eval/joint_accuracy": 0.5, "loss": None, "note": "text"})
    assert made.logged() == [(4, {"eval_joint_accuracy": 0.5})]


@pytest.mark.parametrize("folder", [False, True], ids=["absent", "a folder of its logs"])
def test_a_tracker_that_is_not_installed_is_refused_before_the_model(
    folder: bool, sft_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SimpleNamespace(origin=None) if folder else None  # what find_spec says of ./wandb/
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    with pytest.raises(ConfigError, match="report_to names swanlab, which is not installed") as caught:
        train_sft(sft_recipe(model="no-such-folder/model", report_to=["swanlab"]), tmp_path / "run")
    assert "pip install swanlab" in caught.value.hint and not (tmp_path / "run").exists()


def test_a_resumed_run_is_the_same_run_there(integration: Callable[..., Integration], tmp_path: Path) -> None:
    made = integration()
    opened(tmp_path / "run")
    names = [made.name]
    opened(tmp_path / "run")
    names.append(made.name)
    (tmp_path / "run" / trackers.IDS).write_text("{")
    opened(tmp_path / "run")
    names.append(made.name)
    assert names[0] == names[1] != names[2], "a damaged file begins another one"
    assert made.environment["WANDB_RUN_ID"][:6] == names[2].rpartition("-")[2]
    assert "WANDB_RUN_ID" not in os.environ, "only during the calls"


# Secrets.


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"model": "/data/ann/models/qwen", "n": 3, "on": None}, {"model": "qwen", "n": 3, "on": None}),
        ({"held_out": ("../../ann/bench", "runs/sft")}, {"held_out": ["bench", "runs/sft"]}),
        ("~/data", "data"),
        (r"D:\ann\data", "data"),
        ("Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3-VL-8B-Instruct"),
        ("http://ann:pass@gpu7:8000", "http://gpu7:8000"),
        ("https://h/v1?key=abc", "https://h/v1"),
        ({"api_key": "x", "hub_token": "x", "beta": 1}, {"beta": 1}),
        (r".*\.(q|k)_proj", r".*\.(q|k)_proj"),
        ("/data/ann/reward.py:score", "reward.py:score"),
        (f"said {CANARY}!", "said (removed)!"),
    ],
)
def test_what_is_uploaded_of_a_value(value: Any, shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", CANARY)
    assert trackers.public(value) == shown


def test_no_secret_is_in_anything_that_an_integration_is_given(
    integration: Callable[..., Integration], loaded: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary is in the home folder, in a key, in the address of a server, and in what the model said."""
    from fakes.tiny import read_data

    home = tmp_path / CANARY
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", f"hf_{CANARY}")
    made = integration()
    run, open_one = opened(home / "run", model=str(home / "model"), held_out=[f"http://ann:{CANARY}@h/x"])
    rewards = reward_functions(RewardConfig(), loaded.family, loaded.limits)
    log = RolloutLog(run, rewards, 1)
    log.listener = open_one.show
    sample, images = read_data(data)[0]
    log.write(0, [{"id": "a", "sample": sample, "images": images}], [f"hf_{CANARY} in {home}"], [[0.0, 0.0, 0.0]])
    ((step, ((_, text),)),) = made.shown
    assert step == 1 and "(removed) in ~" in text
    given = json.dumps([made.config, made.name, made.calls, text])
    assert CANARY not in given and made.config[0]["model"] == "model"
    assert made.config[0]["optim"]["learning_rate"] == 1e-5, "the recipe is the configuration"


# The real ones.

READERS: dict[str, Callable[[Path], tuple[int, set[int], int]]] = {}


def reader(read: Callable[[Path], tuple[int, set[int], int]]) -> Callable[[Path], tuple[int, set[int], int]]:
    """A function of the folder of a test: runs, steps with a loss, and images that a tracker recorded."""
    READERS[read.__name__] = read
    return read


@reader
def tensorboard(top: Path) -> tuple[int, set[int], int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(top / "run/trackers/tensorboard"), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    images = [image for tag in found.Tags()["images"] for image in found.Images(tag)]
    return 1, {event.step for event in found.Scalars("train/loss")}, len(images)


@reader
def mlflow(top: Path) -> tuple[int, set[int], int]:
    from mlflow import MlflowClient

    client = MlflowClient((top / "mlruns").as_uri())
    experiment = client.get_experiment_by_name(trackers.PROJECT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    run = runs[0].info.run_id
    images = [file for file in client.list_artifacts(run, "rollouts") if file.path.endswith(".png")]
    return len(runs), {metric.step for metric in client.get_metric_history(run, "loss")}, len(images)


@reader
def trackio(top: Path) -> tuple[int, set[int], int]:
    script = (
        "import json; from trackio.sqlite_storage import SQLiteStorage as S; runs = S.get_runs('mirg');"
        "print(json.dumps([len(runs), S.get_logs('mirg', runs[0])], default=str))"
    )
    env = os.environ | {"TRACKIO_DIR": str(top / "trackio")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    runs, logs = json.loads(done.stdout.splitlines()[-1])
    images = [name for row in logs for name in row if name.startswith("rollouts/")]
    return runs, {row["train/global_step"] for row in logs if "train/loss" in row}, len(images)


@reader
def wandb(top: Path) -> tuple[int, set[int], int]:
    """Its own file format has no public reader: rows are found in it as text."""
    import re

    files = sorted((top / "run/trackers/wandb").glob("offline-run-*/*.wandb"))
    data = b"".join(file.read_bytes() for file in files)
    steps = re.findall(rb"train/global_step\x12.(\d+)|train/global_step.{1,6}?(\d+)", data, re.DOTALL)
    images = list((top / "run/trackers/wandb").glob("offline-run-*/files/media/images/*.png"))
    return len({file.name for file in files}), {int(a or b) for a, b in steps} - {0}, len(images)


@reader
def swanlab(top: Path) -> tuple[int, set[int], int]:
    files = sorted((top / "run/trackers/swanlab").glob("run-*/*.swanlab"))
    images = list((top / "run/trackers/swanlab").glob("run-*/media/image/*.png"))
    assert all(b"train/loss" in file.read_bytes() for file in files)
    return len({file.name for file in files}), {1, 2, 3, 4}, len(images)


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables of a process whose home, keys and git remote hold the canary."""
    home = tmp_path / f"home-{CANARY}"
    home.mkdir()
    subprocess.run(["git", "init", "-q", "."], cwd=home, check=True)
    remote = f"https://ann:{CANARY}@github.com/x/y.git"
    subprocess.run(["git", "remote", "add", "origin", remote], cwd=home, check=True)
    keys = ("WANDB_API_KEY", "HF_TOKEN", "SWANLAB_API_KEY", "OPENAI_API_KEY", "MLFLOW_TRACKING_PASSWORD")
    yield {name: CANARY * 4 for name in keys} | {
        "HOME": str(home),
        "WANDB_MODE": "offline",
        "SWANLAB_MODE": "offline",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_real_tracker_records_a_run_that_is_resumed_and_no_secret(
    name: str, grpo_recipe: Make, hostile: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(name)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    home, out = Path(hostile["HOME"]), tmp_path / "run"
    recipe = grpo_recipe(steps=4, report_to=[name], rollouts={"server": f"http://ann:{CANARY}@h:1"})
    model = shutil.copytree(recipe.model, home / "model")
    file = home / "recipe.yaml"
    file.write_text(dump_recipe(recipe.model_copy(update={"model": str(model)})))
    command = [sys.executable, "-m", "mirg.cli.main", "grpo", str(file), "-o", str(out)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, cwd=home, env=os.environ | hostile, check=False)
        assert done.returncode == 0 and "the run continues" not in done.stderr, done.stderr[-3000:]
        shutil.rmtree(out / "model")  # as if killed after step 3
        shutil.rmtree(out / "checkpoints" / "checkpoint-4")
    runs, steps, images = READERS[name](tmp_path)
    assert runs == 1 and steps >= {1, 2, 3, 4} and images >= 4
    found = [path for path in tmp_path.rglob("*") if path.is_file() and home not in path.parents]
    recorded = [path for path in found if not {"debug", "logs"} & set(path.parts) and path.suffix != ".log"]
    ours = {"config.yaml", "environment.json"}  # of the run folder, which stays here
    leaks = [path for path in recorded if CANARY.encode() in path.read_bytes() and path.name not in ours]
    assert leaks == [] and len(recorded) > 10

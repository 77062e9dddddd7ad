"""``mirg demo`` end to end in small numbers, on scenes and on photographs."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakes.engines import ScriptedEngine

Run = Callable[..., Any]
SMALL = [
    arg
    for key in (
        "train_samples=12", "rl_samples=10", "rl_answers=0", "test_samples=6", "max_new_tokens=24",
        "sft.steps=3", "sft.batch_size=4",
        "grpo.steps=2", "grpo.prompts_per_step=2", "grpo.group_size=4", "grpo.max_new_tokens=24",
    )
    for arg in ("-s", key)
]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth random pictures: a photograph has structure everywhere, and no two places are alike."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for k in range(12):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize((320, 240), Image.Resampling.BICUBIC).save(folder / f"{k}.png")
    return folder


def test_the_whole_pipeline(mirg: Run, tmp_path: Path) -> None:
    """Data to report in one command; again it shows the same at once; with other settings it is refused."""
    out = tmp_path / "demo"
    first = mirg("demo", "--out", out, *SMALL)
    assert first.exit_code == 0, first.output
    for shown in ("base", "sft", "rl", "chance", "joint Acc@0.5", "paired difference", f"report: {out}/report.html"):
        assert shown in first.stdout, shown
    assert (out / "report.html").is_file()
    rewards = [json.loads(line) for line in (out / "grpo" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rewards] == [1, 2] and all("rewards/image/mean" in row for row in rewards)
    for name in ("base", "sft", "rl"):
        settings = json.loads((out / "eval" / name / "summary.json").read_text())["settings"]
        assert settings["instructions"] == "none", "asked as the model was trained"
    notes = json.loads((out / "demo.json").read_text())
    assert list(notes["seconds"]) == ["data", "sft", "grpo", "evaluate base", "evaluate sft", "evaluate rl"]
    written = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    again = mirg("demo", "--out", out, *SMALL)
    assert again.exit_code == 0 and again.stdout == first.stdout
    assert written == {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    for changed, said in (
        (("-s", "seed=1"), "seed = 0, now it is 1"),
        (("-s", "test_samples=7"), "test_samples = 6, now it is 7"),
        (("--photos", tmp_path), "photos = None, now it is"),
    ):
        refused = mirg("demo", "--out", out, *SMALL, *changed)
        assert refused.exit_code == 2 and said in refused.stderr, refused.output


@pytest.mark.slow
def test_grpo_trains_on_what_the_sft_model_gets_right_sometimes(
    mirg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second answer says ``none``: never right where there is a target, and sometimes where there is none."""
    said = cycle(["<think>\nNone.\n</think>\n<answer>none</answer>", "", "", "<answer>none</answer>"])
    monkeypatch.setattr("mirg.engines.load.load_engine", lambda model: ScriptedEngine(lambda *_: next(said)))
    out = tmp_path / "demo"
    more = ("-s", "rl_answers=2", "-s", "tasks=[none, refer]", "-s", "rl_samples=16")
    result = mirg("demo", "--out", out, *SMALL, *more)
    assert result.exit_code == 0, result.output
    rated = [json.loads(line) for line in (out / "data/rated/samples.jsonl").read_text().splitlines()]
    assert {(row["task"], row["meta"]["pass_rate"]) for row in rated} == {("none", 0.5), ("refer", 0)}
    assert list(json.loads((out / "demo.json").read_text())["seconds"])[1:4] == ["sft", "pass rates", "grpo"]
    refused = [json.loads(line) for line in (out / "grpo/rejected.jsonl").read_text().splitlines()]
    assert len(refused) == 8 and all("its pass rate 0 is not above 0" in str(row) for row in refused)


@pytest.mark.slow
def test_the_whole_pipeline_on_photographs(mirg: Run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    result = mirg("demo", "--out", out, "--photos", photos, *SMALL)
    assert result.exit_code == 0, result.output
    assert f"report: {out}/report.html" in result.stdout
    tasks = {json.loads(line)["task"] for line in (out / "data/test/samples.jsonl").read_text().splitlines()}
    assert tasks == {"photo_region", "photo_difference", "photo_refer"} or {"region", "difference"} <= tasks


@pytest.mark.parametrize(
    ("args", "said", "why"),
    [
        (("-s", "rl_answers=1"), "one answer is never right only sometimes", "no rate"),
        (("-s", "test_sample=5"), "did you mean test_samples?", "a key of the demo"),
        (("-s", "sft.step=5"), "did you mean steps?", "a key of a stage"),
        (("-s", "world=tiny/sft"), "tiny/sft has no world block", "a recipe without a world"),
        (("-s", "base=nowhere/at/all"), "nowhere/at/all does not exist", "a model that is not there"),
        (("--photos", "nowhere"), "nowhere", "a folder that is not there"),
    ],
)
def test_what_cannot_be_is_said(
    args: tuple[str, ...], said: str, why: str, mirg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = mirg("demo", "--out", "demo", *SMALL, *args)
    assert result.exit_code == 2 and said in result.stderr, f"{why}: {result.output}"

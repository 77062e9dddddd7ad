"""``mirg demo`` end to end in small numbers, on scenes and on photographs."""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from fakes.recipes import record
from mirg.cli.demo import DemoRecipe, _enough_to_learn_from, _small_copies, _warn_of_few
from mirg.config import load_recipe
from mirg.data.compose.photos.pool import PhotoConfig, find_photos
from mirg.errors import ConfigError
from mirg.samples import DatasetFolder, DatasetWriter, Sample

Run = Callable[..., Any]
SMALL = [
    arg
    for key in (
        "train_samples=12", "rl_samples=10", "rl_answers=0", "test_samples=6", "shown_samples=0", "max_new_tokens=24",
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
    spent = notes["seconds"]
    written = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    (out / "eval" / "rl" / "summary.json").unlink()  # as if it was stopped there
    again = mirg("demo", "--out", out, *SMALL)
    assert again.exit_code == 0 and again.stdout == first.stdout
    assert written == {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    assert all(now >= spent[step] for step, now in json.loads((out / "demo.json").read_text())["seconds"].items())
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
    """Every second answer says ``none``: always wrong if there is a target, sometimes right if not."""
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
def test_the_whole_pipeline_on_photographs(
    mirg: Run, photos: Path, folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """12 photographs are few, so the run says what to expect; a file that cannot be read is named and left out."""
    (photos / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "demo"
    result = mirg("demo", "--out", out, "--photos", photos, *SMALL, "-s", f"base={folders['qwen3_vl']}")
    assert result.exit_code == 0, result.output
    assert f"report: {out}/report.html" in result.stdout
    assert "12 photographs, " in result.stderr and "use 60 photographs or more" in result.stderr
    page = (out / "report.html").read_text()
    assert all(said in page for said in ("Answers about photographs", "Chosen answers", "Random answers"))
    tasks = {json.loads(line)["task"] for line in (out / "data/test/samples.jsonl").read_text().splitlines()}
    assert tasks and tasks <= set(load_recipe(DemoRecipe, "tiny-photo/demo").photo.tasks)
    assert "torn.jpg" in caplog.text


def generations(seen: dict[str, list[Any]]) -> list[Any]:
    return [call["plan"].generation for name in ("evaluate", "write_difficulty") for call in seen[name]]


# Key, value, what the functions that do the work are given, what is expected there.
KEYS: list[tuple[str, Any, Any, Any]] = [
    ("train_samples", 13, lambda seen: seen["write_scenes"][0]["n"], 13),
    ("rl_samples", 14, lambda seen: seen["write_scenes"][1]["n"], 14),
    ("test_samples", 15, lambda seen: seen["write_scenes"][2]["n"], 15),
    ("rl_answers", 3, lambda seen: seen["write_difficulty"][0]["k"], 3),
    ("rl_answers", 3, lambda seen: seen["train"][1]["recipe"].data.endswith("rated"), True),
    ("rl_answers", 3, lambda seen: seen["train"][1]["recipe"].pass_rate.above, 0),
    ("seed", 5, lambda seen: {call["seed"] for call in seen["write_scenes"]}, {5}),
    ("seed", 5, lambda seen: generations(seen)[-1].seed, 5),
    ("shown_samples", 7, lambda seen: seen["write_photo_samples"][0]["config"].n, 7),
    ("photo", {"side": 99}, lambda seen: None, None),  # below, with photographs
    ("base", "b", lambda seen: seen["train"][0]["recipe"].model, "b"),
    ("base", "b", lambda seen: [call["model"] for call in seen["load_engine"]],
     ["demo/sft", "b", "demo/sft", "demo/grpo", "mirg-tiny-photo"]),
    ("tasks", ["refer"], lambda seen: {call["tasks"] for call in seen["write_scenes"]}, {("refer",)}),
    ("world", {"side": 64}, lambda seen: {call["config"].side for call in seen["write_scenes"]}, {64}),
    ("sft", "sft.yaml", lambda seen: seen["train"][0]["recipe"].log_every, 77),
    ("grpo", "grpo.yaml", lambda seen: seen["train"][1]["recipe"].log_every, 78),
    ("max_new_tokens", 33, lambda seen: {one.max_new_tokens for one in generations(seen)}, {33}),
    ("batch_size", 34, lambda seen: [one.batch_size for one in generations(seen)], [34] * 5),
]  # fmt: skip


def test_every_key_arrives(mirg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the recipe, of the command line for a stage, and, with photographs, of their settings."""
    seen: dict[str, list[Any]] = defaultdict(list)
    report = SimpleNamespace(n_kept=1, n_rejected=0, rejected=[], kept=Counter(), found=None)
    record(monkeypatch, seen, "mirg.data.scenes.generate.write_scenes", None)
    record(monkeypatch, seen, "mirg.data.compose.photos.build.write_photo_samples", report)
    record(monkeypatch, seen, "mirg.trajectories.build.build_dataset", report)
    record(monkeypatch, seen, "mirg.cli.train.train", None)
    record(monkeypatch, seen, "mirg.engines.load.load_engine", "engine")
    record(monkeypatch, seen, "mirg.evaluation.pass_rates.write_difficulty", report)
    record(monkeypatch, seen, "mirg.evaluation.runner.evaluate", {"n": 1})
    monkeypatch.setattr("mirg.evaluation.compare.load_evaluations", lambda folders: [])
    monkeypatch.setattr("mirg.evaluation.compare.compare", lambda evaluations: {})
    monkeypatch.setattr("mirg.evaluation.pages.report_from_run", lambda run: None)
    monkeypatch.setattr("mirg.cli.demo.show_comparison", lambda result: None)
    monkeypatch.setattr("mirg.cli.demo._small_copies", lambda config, photos, copies: photos)
    monkeypatch.setattr("mirg.cli.demo._warn_of_few", lambda found: None)
    monkeypatch.setattr("mirg.cli.demo._enough_to_learn_from", lambda plan, rated, overrides: True)
    monkeypatch.setattr("mirg.models.load.resolve_model", lambda name: name)
    monkeypatch.setattr(DatasetFolder, "open", lambda path: [path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sft.yaml").write_text("model: m\ndata: d\nlog_every: 77\n")
    (tmp_path / "grpo.yaml").write_text("model: m\ndata: d\nlog_every: 78\n")
    (tmp_path / "demo.yaml").write_text(json.dumps({key: value for key, value, *_ in KEYS}))
    asked = ("--recipe", "demo.yaml", "-s", "sft.seed=3", "-s", "grpo.seed=4")
    done = mirg("demo", "--out", "demo", *asked)
    assert done.exit_code == 0, done.output
    for key, value, found, expected in KEYS:
        assert DemoRecipe.model_fields[key].default != value, key
        assert found(seen) == expected, key
    assert {key for key, *_ in KEYS} == DemoRecipe.model_fields.keys()
    assert [call["split"] for call in seen["write_scenes"]] == ["train", "rl", "test"]
    assert [call["recipe"].seed for call in seen["train"]] == [3, 4]
    seen["write_photo_samples"].clear()
    done = mirg("demo", "--out", "other", "--photos", "photos", *asked)
    assert done.exit_code == 0, done.output
    configs = [call["config"] for call in seen["write_photo_samples"]]
    assert [(c.n, c.seed, c.split) for c in configs] == [(13, 5, "train"), (14, 6, "train"), (15, 5, "test")]
    assert {(c.side, c.square) for c in configs} == {(99, False)}


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


def test_photographs_are_copied_small_once(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read is left out, and a folder that holds the output is refused."""
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for k in range(5):
        shutil.copy(photos / f"{k}.png", mixed)
    (mixed / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    copies = _small_copies(PhotoConfig(side=100, square=True), mixed, tmp_path / "copies")
    sizes = [Image.open(path).size for path in copies.iterdir()]
    assert sizes == [(200, 150)] * 5
    found = find_photos(copies, PhotoConfig())
    _warn_of_few(found)
    tested = 5 - len(found.photos)
    warned = capsys.readouterr().err
    assert f"5 photographs, {tested} of them for testing" in warned and f"±{98 / tested**0.5:.0f} points" in warned
    shutil.rmtree(mixed)
    assert _small_copies(PhotoConfig(), mixed, copies) == copies, "a demo that was stopped does not read them again"
    with pytest.raises(ConfigError, match="the output folder is inside"):
        _small_copies(PhotoConfig(), copies, copies / "runs" / "demo")


@pytest.mark.parametrize(
    ("rates", "enough", "why"),
    [
        ((0.5, 0.25, 0.0), True, "as many as a step takes"),
        ((0.5, 0.0, 1.0), False, "one that is always right and one that is never right teach nothing"),
    ],
)
def test_rl_takes_all_samples_if_too_few_are_right_sometimes(
    rates: tuple[float, ...], enough: bool, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with DatasetWriter(tmp_path / "rated", name="rated") as writer:
        image = writer.add_image(Image.new("RGB", (8, 6)), "a")
        for k, rate in enumerate(rates):
            writer.add(Sample(id=f"s{k}", task="refer", images=(image,), question="Where?", meta={"pass_rate": rate}))
    assert _enough_to_learn_from(DemoRecipe(), tmp_path / "rated", ["prompts_per_step=2"]) is enough, why
    assert ("1 of 3 RL samples are right sometimes, and a step takes 2" in capsys.readouterr().err) is not enough

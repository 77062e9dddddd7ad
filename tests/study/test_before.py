"""Before a study trains: equal compute, datasets that cannot be used, a single dataset, and what a dry run says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from fakes.study import write_run
from mirg.cli.main import app
from mirg.data.scenes.generate import write_scenes
from mirg.errors import ConfigError, DataError
from mirg.samples import DatasetFolder, DatasetWriter
from mirg.study.cost import Cost, costs, passes_per_token, stage_cost, steps_of
from mirg.study.data import check_datasets, split_dataset
from mirg.study.outlook import hours
from mirg.study.plan import ARMS, StudyRecipe
from mirg.study.run import _claim, _todo, cells, missing_cells, train_cell
from mirg.trajectories.build import build_dataset

ARM_NAMES = ("sft", "sft_continued", "object_only", "dual")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``annotated`` without trajectories, ``train`` with, ``rl`` and ``test`` of other scenes."""
    root = tmp_path_factory.mktemp("before")
    for name, split in (("annotated", "train"), ("rl", "rl"), ("test", "test")):
        write_scenes(root / name, 12, split=split, seed=0, tasks=("refer", "difference"))
    build_dataset(DatasetFolder.open(root / "annotated"), root / "train", writer="rules", family="mirg-tiny")
    return root


@pytest.fixture
def plan(folders: Path) -> Callable[..., StudyRecipe]:
    def make(**keys: Any) -> StudyRecipe:
        places = {role: str(folders / role) for role in ("train", "rl", "test")}
        common = {"model": "mirg-tiny", "arms": ARM_NAMES, "seeds": (0, 1), "rl_answers": 2, "sft_steps": 2}
        return StudyRecipe(**{**common, **places, **keys})

    return make


# Equal compute.


def metrics(out: Path, name: str, *rows: dict[str, Any]) -> None:
    folder = out / "runs" / name
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """SFT of 2 steps with 100 tokens and 10 s each; GRPO of 4 steps with 70 tokens trained on, 90 generated, 30 s."""
    metrics(tmp_path, "sft-0", {"step": 1, "num_tokens": 90, "time": 11.0}, {"step": 2, "num_tokens": 200, "time": 20})
    for name, tokens in (("dual-0", 70.0), ("object_only-0", 7.0)):
        row = {"tokens/trained": tokens, "tokens/generated": 90.0}
        metrics(tmp_path, name, {"step": 1, "time": 40.0, **row}, {"step": 4, "time": 120.0, **row})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rated-sft-0.json").write_text('{"tokens_generated": 40, "seconds": 20.0}')
    return tmp_path


def test_what_a_stage_cost(trained: Path, plan: Callable[..., StudyRecipe]) -> None:
    assert stage_cost(ARMS["sft"], 0, trained) == Cost(2, 0, 200, 20.0)
    assert stage_cost(ARMS["dual"], 0, trained) == Cost(4, 400, 280, 140.0), "the pass rates are part of it"
    assert stage_cost(ARMS["base"], 0, trained) == Cost(0, 0, 0, 0.0) == stage_cost(ARMS["dual"], 1, trained)
    rows = costs(plan(), trained, [("base", 0), ("sft", 0), ("dual", 0), ("dual", 1)])
    assert [(row["arm"], row["passes"]) for row in rows] == [("sft", 3 * 200), ("dual", 400 + 3 * 280)]


@pytest.mark.parametrize(
    ("equal", "steps"), [("flops", round((400 + 3 * 280) / 300)), ("tokens", round(280 / 100)), ("seconds", 140 // 10)]
)
def test_continued_sft_costs_what_grpo_cost(
    equal: str, steps: int, trained: Path, plan: Callable[..., StudyRecipe]
) -> None:
    """The adapters of the default recipes: one pass forward, one backward, one that checkpointing computes again."""
    wanted, asked = plan(equal=equal), []
    assert passes_per_token(wanted, "sft") == passes_per_token(wanted, "grpo") == 3
    assert steps_of(wanted, ARMS["sft_continued"], 0, trained) == steps
    train_cell(wanted, ARMS["sft_continued"], 0, trained, lambda recipe, out: asked.append(recipe) or out)  # type: ignore[func-returns-value]
    assert asked[0].steps == steps
    assert steps_of(plan(more_sft_steps=7), ARMS["sft_continued"], 0, trained) == 7
    assert steps_of(wanted, ARMS["dual"], 0, trained) == wanted.rl_steps
    with pytest.raises(ConfigError, match="dual and sft of seed 1"):
        steps_of(wanted, ARMS["sft_continued"], 1, trained)


def test_passes_of_a_token(tmp_path: Path, plan: Callable[..., StudyRecipe]) -> None:
    (tmp_path / "whole.yaml").write_text("model: m\ndata: d\n")
    assert passes_per_token(plan(sft=str(tmp_path / "whole.yaml")), "sft") == 3, "forward, activations, weights"
    (tmp_path / "lora.yaml").write_text("model: m\ndata: d\nlora: {rank: 4}\n")
    assert passes_per_token(plan(sft=str(tmp_path / "lora.yaml")), "sft") == 2


def test_continued_sft_waits_for_grpo(plan: Callable[..., StudyRecipe]) -> None:
    order = [arm.name for arm, seed in cells(plan()) if seed == 0]
    assert order == ["base", "sft", "object_only", "dual", "sft_continued"]
    jobs = _todo(plan(), Path("nowhere"), write_run, missing_cells(plan(), ()))
    assert jobs["sft_continued-1"].after == "dual-1" and jobs["dual-1"].after == "rated-sft-1"
    assert [arm.name for arm, seed in cells(plan(more_sft_steps=7)) if seed == 0][:3] == [
        "base",
        "sft",
        "sft_continued",
    ]
    without_dual = plan(arms=("sft_continued", "gated"))
    assert without_dual.reference() is ARMS["gated"]
    after_fresh = plan(arms=("sft_fresh_continued", "dual_from_fresh", "dual"), fresh="f", more_fresh="m", seeds=(4,))
    jobs = _todo(after_fresh, Path("nowhere"), write_run, missing_cells(after_fresh, ()))
    order = {
        "sft_fresh-4": "dual-4",
        "rated-sft_fresh-4": "sft_fresh-4",
        "dual_from_fresh-4": "rated-sft_fresh-4",
        "sft_fresh_continued-4": "dual_from_fresh-4",
    }
    assert order.items() <= {name: job.after for name, job in jobs.items()}.items()
    elsewhere = {("base", 0), *((name, seed) for name in ("sft", "gated") for seed in (0, 1)), ("sft_continued", 1)}
    needed = [(arm.name, seed) for arm, seed in missing_cells(without_dual, elsewhere)]
    assert needed == [("sft", 0), ("gated", 0), ("sft_continued", 0)], "its cost is not known from elsewhere"


# Datasets.


def test_what_is_refused_before_training(
    folders: Path, plan: Callable[..., StudyRecipe], caplog: pytest.LogCaptureFixture
) -> None:
    wanted = missing_cells(plan(), ())
    check_datasets(plan(), wanted)
    with pytest.raises(DataError, match=r"annotated \(train\) has no trajectories") as refused:
        check_datasets(plan(train=str(folders / "annotated")), wanted)
    assert f"mirg trajectories build {folders / 'annotated'}" in (refused.value.hint or "")
    with pytest.raises(DataError, match="the datasets rl and test share"):
        check_datasets(plan(test=str(folders / "rl")), wanted)
    check_datasets(plan(test=str(folders / "rl"), allow_leakage=True), wanted)
    assert "rl and test share" in caplog.text
    check_datasets(plan(test=str(folders / "rl")), [cell for cell in wanted if cell[0].stage == "sft"])


def test_one_dataset_is_split(folders: Path, tmp_path: Path) -> None:
    source = tmp_path / "mine"
    shutil.copytree(folders / "train", source)
    parts = split_dataset(source, tmp_path / "out")
    ids = {role: {sample.id for sample in DatasetFolder.open(path)} for role, path in parts.items()}
    assert ids.keys() == {"train", "rl", "test"} and all(ids.values())
    assert sum(map(len, ids.values())) == len(DatasetFolder.open(source)) == len(set.union(*ids.values()))
    again = split_dataset(source, tmp_path / "out")
    assert again == parts
    with pytest.raises(ConfigError, match="the parts of another dataset"):
        split_dataset(folders / "rl", tmp_path / "out")
    with pytest.raises(DataError, match="has no trajectories"):
        split_dataset(folders / "annotated", tmp_path / "other")


def test_a_dataset_of_few_images_cannot_be_split(folders: Path, tmp_path: Path) -> None:
    """All samples share their images: there is one group."""
    source = DatasetFolder.open(folders / "train")
    first = next(iter(source))
    with DatasetWriter(tmp_path / "one", name="one") as out:
        refs = tuple(out.add_image(source.open_image(ref), str(k)) for k, ref in enumerate(first.images))
        for k in range(12):
            out.add(first.model_copy(update={"id": f"s{k}", "images": refs}))
    with pytest.raises(DataError, match=r"the parts would have .*12.* samples, because samples that share an image"):
        split_dataset(tmp_path / "one", tmp_path / "out")
    assert not (tmp_path / "out" / "data" / "split").exists()


def test_a_start_that_solves_nothing_stops_the_study(tmp_path: Path, plan: Callable[..., StudyRecipe]) -> None:
    """Before a run folder is made, so that keys about GRPO may still change; later they may not."""
    (tmp_path / "data").mkdir()
    rated = tmp_path / "data" / "rated-sft-0.json"
    rated.write_text('{"tokens_generated": 9, "never": 11, "always": 1}')
    with pytest.raises(
        ConfigError, match=r"sft-0 solves too few .* \(11 never, 0 sometimes, 1 always\).* a step takes 16"
    ):
        train_cell(plan(), ARMS["dual"], 0, tmp_path, write_run)
    _claim(plan(), tmp_path)
    _claim(plan(rl_answers=0, rl_steps=7, equal="tokens"), tmp_path)
    with pytest.raises(ConfigError, match="sft_steps"):
        _claim(plan(sft_steps=9), tmp_path)
    (tmp_path / "runs" / "dual-1").mkdir(parents=True)
    with pytest.raises(ConfigError, match="rl_answers = 0, now it is 2"):
        _claim(plan(rl_steps=7, equal="tokens"), tmp_path)
    rated.write_text('{"sometimes": 16, "never": 11}')
    (tmp_path / "runs" / "sft-0").mkdir()
    assert train_cell(plan(), ARMS["dual"], 0, tmp_path, write_run) == "mirg-tiny"


# What is said.


def test_dry_run(
    folders: Path, plan: Callable[..., StudyRecipe], trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = SimpleNamespace(weights=SimpleNamespace(trained=2**20))
    monkeypatch.setattr("mirg.training.memory.estimate", lambda recipe: weights)
    words = [f"--{role}={folders / role}" for role in ("train", "rl", "test")]
    keys = [word for key in ("seeds=[0,1]", "sft=tiny/sft", "grpo=tiny/grpo", "sft_steps=30") for word in ("-s", key)]
    shown = CliRunner().invoke(app, ["study", "--model=mirg-tiny", f"--out={trained}", "--dry-run", *words, *keys])
    assert shown.exit_code == 0, shown.output
    text = " ".join(shown.output.split())
    assert "12 items; 9 evaluations and 8 training runs" in text and "sft_continued" in text
    assert "what dual of the same seed has cost, in FLOPs" in text
    assert "hours of sft: 0.167 for 60 steps at 10 s" in text and "2 runs of as much compute as GRPO" in text
    # A model of 4 MiB and two checkpoints of 12 MiB for each of the eight runs.
    assert "disk: about 0.22 GiB" in text and "GiB are free" in text and not (trained / "plan.json").exists()
    new = plan(seeds=(3,))
    told = hours(new, trained, "grpo", missing_cells(new, ()))
    assert "not known before a run is timed: -s 'seeds=[3]' -s 'arms=[dual]'" in told


def test_one_dataset_or_three(folders: Path, tmp_path: Path) -> None:
    words = ["study", f"--out={tmp_path}", f"--data={folders / 'train'}", f"--test={folders / 'test'}"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2 and "--data with --test" in refused.stderr

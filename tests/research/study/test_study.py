"""The study on scenes or photographs: its recipes are read, its datasets are made when an arm needs them, it runs."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fakes.engines import ScriptedEngine
from fakes.photographs import folder_of_photographs
from fakes.recipes import record
from fakes.study import write_run
from mirg.config import load_recipe
from mirg.data.checks.leakage import shared_images
from mirg.errors import ConfigError
from mirg.samples import DatasetFolder
from mirg.study.plan import ARMS, StudyRecipe
from mirg.study.results import load_cells
from research.mini import FAMILIES
from research.mini_small import SIDE, SMALL_TASKS
from research.study.__main__ import study
from research.study.data import located, make_data
from research.study.keep import main as keep
from research.study.recipe import RECIPE, MiniStudyRecipe

SMALL = ("train_samples=12", "rl_samples=12", "per_cell=1", "more_sft_steps=1", "tasks=[refer, difference]")


@pytest.fixture
def plan(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> MiniStudyRecipe:
    monkeypatch.chdir(repository)
    return located(load_recipe(MiniStudyRecipe, RECIPE, SMALL), tmp_path)


def test_the_recipe(plan: MiniStudyRecipe) -> None:
    with_looks = {name for name in ARMS if "look" in name} | {"dual_grounded"}
    assert plan.chosen == [arm for arm in ARMS.values() if arm.name not in with_looks] and plan.families == FAMILIES
    sft, grpo = plan.stage_recipe("sft"), plan.stage_recipe("grpo")
    assert (sft.stage, grpo.stage, sft.optim.learning_rate) == ("sft", "grpo", 1e-3)
    assert [(row.a, row.b) for row in plan.expect] == [
        ("base", "sft"), ("sft", "dual"), ("sft_continued", "dual"), ("object_only", "dual"),
        ("sft_object_level", "sft"),
    ]  # fmt: skip


def test_data_of_the_arms(plan: MiniStudyRecipe, tmp_path: Path) -> None:
    make_data(plan, tmp_path, ())
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mini"]
    make_data(plan, tmp_path, plan.chosen)
    light, objects, rl, fresh, more = (
        list(DatasetFolder.open(str(plan.dataset(role))))
        for role in ("train", "object_level", "rl", "fresh", "more_fresh")
    )
    assert [s.id for s in light] == [s.id for s in objects] and not {s.id for s in light} & {s.id for s in rl}
    assert all(s.trajectory and "Found" in s.trajectory.thinking for s in light)
    assert all(s.trajectory and "Found" not in s.trajectory.thinking for s in objects)
    assert len(fresh) == len(more) == 16 and len({s.id for s in (*light, *fresh, *more)}) == len(light) + 2 * 16
    assert len(DatasetFolder.open(plan.test)) == 2 * len(FAMILIES)


# key, value, what the functions that write datasets are given
KEYS: list[tuple[str, Any, Any, Any]] = [
    ("world", "w", lambda seen: seen["load_world"][0]["name"], "w"),
    ("tasks", ("refer",), lambda seen: {call["tasks"] for call in seen["write_scenes"]}, {("refer",)}),
    ("train_samples", 13, lambda seen: seen["write_scenes"][0]["n"], 13),
    ("rl_samples", 14, lambda seen: seen["write_scenes"][3]["n"], 14),
    ("per_cell", 2, lambda seen: seen["write_mini"][0]["per_cell"], 2),
    ("data_seed", 5, lambda seen: [call["seed"] for call in seen["write_scenes"]], [5, 6, 7, 5]),
]


def test_every_key_arrives(plan: MiniStudyRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[Any]] = defaultdict(list)
    record(monkeypatch, seen, "research.study.data.load_world", "world")
    record(monkeypatch, seen, "research.study.data.write_scenes", None)
    record(monkeypatch, seen, "research.study.data.write_mini", None)
    record(monkeypatch, seen, "research.study.data.build_dataset", SimpleNamespace(n_kept=1, n_rejected=0))
    monkeypatch.setattr(DatasetFolder, "open", lambda path: path)
    given = plan.model_copy(update={key: value for key, value, *_ in KEYS} | {"more_sft_steps": 22})
    make_data(given, tmp_path / "new", given.chosen)
    for key, _, found, expected in KEYS:
        assert found(seen) == expected, key
    assert {key for key, *_ in KEYS} | {
        "photos",
        "per_task",
    } == MiniStudyRecipe.model_fields.keys() - StudyRecipe.model_fields.keys()
    assert seen["write_scenes"][1]["n"] == seen["write_scenes"][2]["n"] == 22 * 16, "no fresh sample is seen twice"
    with pytest.raises(ConfigError, match="number of fresh samples"):
        make_data(given.model_copy(update={"more_sft_steps": None}), tmp_path / "other", given.chosen)


def test_data_of_photographs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    photos = folder_of_photographs(tmp_path / "photos", 12, size=(160, 120))
    given = (*SMALL[:2], "per_cell=2", "tasks=[region, refer]", f"photos={photos}")
    plan = located(load_recipe(MiniStudyRecipe, RECIPE.with_name("photo.yaml"), given), tmp_path)
    assert [arm.name for arm in plan.chosen] == ["base", "sft", "sft_continued", "object_only", "dual"]
    make_data(plan, tmp_path, plan.chosen)
    light, rl, test = (DatasetFolder.open(str(path)) for path in (plan.train, plan.rl, plan.test))
    assert (len(light), len(rl), light.card.tasks.keys()) == (12, 12, {"region", "refer"})
    assert all(sample.trajectory for sample in light) and not any(sample.trajectory for sample in rl)
    assert not [shared for a, b in ((light, test), (rl, test), (light, rl)) for shared in shared_images(a, b)]


@pytest.fixture(scope="module")
def looking(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[MiniStudyRecipe, Path]:
    """The recipe with looks, and the folder of its datasets."""
    out = tmp_path_factory.mktemp("look")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        plan = located(load_recipe(MiniStudyRecipe, RECIPE.with_name("look.yaml"), LITTLE), out)
        make_data(plan, out, plan.chosen)
    return plan, out


LITTLE = ("train_samples=6", "rl_samples=2", "per_cell=1", "per_task=1", "tasks=[refer, difference]")


def test_data_with_looks(looking: tuple[MiniStudyRecipe, Path]) -> None:
    plan, out = looking
    light, looks, rl, test = (
        list(DatasetFolder.open(str(path))) for path in (plan.train, plan.looks, plan.rl, plan.test)
    )
    assert [s.id for s in light] == [s.id for s in looks] and (len(light), len(rl)) == (6, 2)
    for plain, looked in zip(light, looks, strict=True):
        assert plain.trajectory and looked.trajectory and "<look" not in plain.trajectory.thinking
        assert ("<look" in looked.trajectory.thinking) == (looked.images[0].width == SIDE), "only at small targets"
    assert Counter(s.images[0].width for s in (*light, *rl)) == {96: 4, SIDE: 4}
    assert {s.task for s in test} == SMALL_TASKS.keys() and SMALL_TASKS.items() <= plan.families.items()
    assert (
        DatasetFolder.open(out / "data" / "mini").card.name.startswith("mirg-mini-") and plan.expect[0].b == "sft_look"
    )


NOT_AT_FULL_SIZE = {"dual_from_fresh", "sft_fresh_continued", "dual_grounded"}
NOT_AT_FULL_SIZE |= {arm.name for arm in ARMS.values() if arm.looks}


def test_the_published_outcomes_belong_to_the_recipe(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    whole = load_recipe(MiniStudyRecipe, RECIPE)
    cells = load_cells([repository / "docs/results/study-outcomes.jsonl"], whole)
    assert {cell.arm for cell in cells} == ARMS.keys() - NOT_AT_FULL_SIZE and {cell.seed for cell in cells} == set(
        whole.seeds
    )


def published(run: Path, docs: Path) -> None:
    """What ``keep`` writes: the command with what differs from the recipe, no path of this machine, and the table."""
    page = docs / "README.md"
    page.write_text("before\n<!-- study-x -->\nformer table\n<!-- end of study-x -->\nafter\n")
    keep(run, "study-x", docs)
    text = (docs / "study-x.json").read_text()
    found = json.loads(text)
    assert "-s 'train_samples=12'" in found["command"] and "rl_steps" not in found["command"]
    assert str(docs) not in text and found["plan"]["train"] == "light" and found["benchmark"]["image_sets"] == 30
    assert page.read_text().startswith("before\n<!-- study-x -->\n| percent") and "former" not in page.read_text()
    assert "`sft` − `base`" in page.read_text() and page.read_text().endswith("<!-- end of study-x -->\nafter\n")
    with pytest.raises(SystemExit, match="no place for the table"):
        keep(run, "study-y", docs)


def test_the_command(plan: MiniStudyRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(lambda *_: "<answer>none</answer>")
    monkeypatch.setattr("mirg.engines.load.load_engine", lambda _: engine)
    monkeypatch.setattr("mirg.cli.train.train", write_run)
    app = typer.Typer()
    app.command()(study)
    out = tmp_path / "study"
    words = [word for pair in (*SMALL, "arms=[sft]", "seeds=[0]", "batch_size=24") for word in ("-s", pair)]
    done = CliRunner().invoke(app, ["--out", str(out), *words])
    assert done.exit_code == 0 and "sft - base: joint" in done.output, done.output
    assert {path.name for path in (out / "data").iterdir()} == {"mini", "annotated", "light"}
    shown = CliRunner().invoke(
        app, ["--out", str(tmp_path / "other"), "--show", "--outcomes", str(out / "outcomes.jsonl"), *words]
    )
    assert shown.exit_code == 0 and not (tmp_path / "other" / "runs").exists()
    told = CliRunner().invoke(app, ["--out", str(out), "--dry-run", *words])
    assert told.exit_code == 0 and "nothing is left to train" in told.output, told.output
    published(out, tmp_path)
    refused = CliRunner().invoke(app, ["--out", str(out), "-s", "arms=[best]"])
    assert refused.exit_code == 2 and "no arm best" in refused.stderr


def test_the_command_with_looks(
    looking: tuple[MiniStudyRecipe, Path], tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every arm is evaluated on mirg-mini as well, those with looks with fewer looks, and nothing is done twice."""
    monkeypatch.chdir(repository)
    first, then = '<think><look>{"image": 1, "bbox_2d": [0, 0, 400, 400]}</look>', "</think><answer>none</answer>"
    engine = ScriptedEngine(lambda request, _: then if request.messages[1:] else first)
    monkeypatch.setattr("mirg.engines.load.load_engine", lambda _: engine)
    monkeypatch.setattr("mirg.cli.train.train", write_run)
    app = typer.Typer()
    app.command()(study)
    given = (*LITTLE, "arms=[sft, dual_look]", "seeds=[0]", "batch_size=24")
    words = ["--recipe", "research/study/look.yaml", *(word for pair in given for word in ("-s", pair))]
    asked = []
    for _ in range(2):
        done = CliRunner().invoke(app, ["--out", str(looking[1]), *words])
        assert done.exit_code == 0, done.output
        asked.append(len(engine.asked))
    found = json.loads((looking[1] / "study.json").read_text())
    assert asked[0] == asked[1], "the second command asks nothing"
    ran = {(row["on"], row["arm"]) for row in found["further"]}
    with_looks = {(name, arm) for name in ("no look", "one look") for arm in ("sft_look", "dual_look")}
    assert ran == with_looks | {("mirg-mini", arm) for arm in ("sft", "sft_look", "dual_look")}
    assert {row["on"] for row in found["looks"]} == {"", "mirg-mini", "one look"}
    assert {row["looks"] for row in found["looks"]} == {1.0} and (
        looking[1] / "further/mirg-mini/report.html"
    ).is_file()
    (tmp_path / "README.md").write_text("<!-- look -->\n<!-- end of look -->\n")
    keep(looking[1], "look", tmp_path)
    assert "--recipe research/study/look.yaml" in json.loads((tmp_path / "look.json").read_text())["command"]
    page = (tmp_path / "README.md").read_text()
    assert "| mirg-mini |" in page
    (refer,) = [line for line in page.splitlines() if line.startswith("| refer |")]
    assert re.fullmatch(r"\| refer \| \+0\.0 \[.*\] \| – \|", refer), "dual was not measured"

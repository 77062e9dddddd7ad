"""A study goes on where it was, and its page says what was found."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.engines import ScriptedEngine
from fakes.recipes import record
from fakes.study import write_run
from mirg.config import load_recipe
from mirg.errors import ConfigError, EvaluationError
from mirg.evaluation.records import RECORDS_FILE, load_records
from mirg.samples import DatasetFolder
from mirg.storage import write_jsonl_atomic
from mirg.study.outcomes import OUTCOMES_FILE, laid_over, load_cells, settings_digest
from mirg.study.page import page
from mirg.study.plan import ARMS, StudyRecipe
from mirg.study.results import outcomes, results, tokens
from mirg.study.run import PLAN_FILE, cell_name, cells, make_data, missing_cells, rating_tokens, run_study

SMALL = {
    "train_samples": 12, "rl_samples": 12, "per_cell": 1, "more_sft_steps": 1, "max_new_tokens": 16, "batch_size": 24,
    "rl_answers": 0,
}  # fmt: skip


def plan(**keys: Any) -> StudyRecipe:
    return StudyRecipe(**{"tasks": ("refer", "difference"), "seeds": (0, 1), **SMALL, **keys})


class Trainer:
    """Notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __call__(self, recipe: Any, out: Path) -> Path:
        self.asked.append(recipe)
        return write_run(recipe, out)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model answers the same at once."""
    engine = ScriptedEngine(lambda *_: "<answer>none</answer>")
    monkeypatch.setattr("mirg.engines.load.load_engine", lambda _: engine)


def test_arms_start_from_arms() -> None:
    order = list(ARMS)
    assert all(not arm.start or order.index(arm.start) < order.index(arm.name) for arm in ARMS.values())
    assert [arm.name for arm in plan(arms=("dual",)).chosen] == ["base", "sft", "dual"]
    assert [arm.name for arm in plan().chosen] == order
    assert [cell_name(*cell) for cell in cells(plan(arms=("sft",)))] == ["base", "sft-0", "sft-1"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"arms": ("best",)}, "no arm best"),
        ({"seeds": (1, 1)}, "named twice"),
        ({"rl_answers": 1}, "never right only sometimes"),
    ],
)
def test_what_no_study_can_be(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan(**keys)


def test_every_arm_is_a_recipe(tmp_path: Path) -> None:
    trainer = Trainer()
    shipped = load_recipe(StudyRecipe, "study/study")
    from mirg.study.run import train_cell

    for arm in shipped.chosen:
        train_cell(shipped, arm, 3, tmp_path, trainer)
    by_run = {arm.name: recipe for arm, recipe in zip(shipped.chosen[1:], trainer.asked, strict=True)}
    assert {recipe.seed for recipe in trainer.asked} == {3}
    assert by_run["object_only"].reward.arm == "object_only" and by_run["dual_difficulty"].admission.difficulty_weight
    assert by_run["dual"].model == str(tmp_path / "runs" / "sft-3") and by_run["dual_without_sft"].model == "mirg-tiny"
    rl = {name: recipe for name, recipe in by_run.items() if recipe.stage == "grpo"}
    budget = {(r.steps, r.prompts_per_step, r.group_size, r.max_new_tokens) for r in rl.values()}
    assert len(budget) == 1, "the arms of GRPO have the same compute"
    train_cell(shipped.model_copy(update={"dtype": "float32"}), ARMS["sft"], 4, tmp_path, trainer)
    assert (by_run["sft"].dtype, trainer.asked[-1].dtype) == ("auto", "float32")


def generations(seen: dict[str, list[Any]]) -> list[Any]:
    return [call["plan"].generation for name in ("evaluate", "write_difficulty") for call in seen[name]]


# key, value, what the functions that do the work are given (the names of test_every_key_arrives)
KEYS: list[tuple[str, Any, Any, Any]] = [
    ("base", "m", lambda seen: (seen["load_engine"][0]["model"], seen["train"][0].model), ("m", "m")),
    ("world", "w", lambda seen: seen["load_world"][0]["name"], "w"),
    ("tasks", ("refer",), lambda seen: {call["tasks"] for call in seen["write_scenes"]}, {("refer",)}),
    ("train_samples", 13, lambda seen: seen["write_scenes"][0]["n"], 13),
    ("rl_samples", 14, lambda seen: seen["write_scenes"][2]["n"], 14),
    ("rl_answers", 3, lambda seen: seen["write_difficulty"][0]["k"], 3),
    ("per_cell", 2, lambda seen: seen["write_mini"][0]["per_cell"], 2),
    ("data_seed", 5, lambda seen: [call["seed"] for call in seen["write_scenes"]], [5, 6, 5]),
    ("seeds", (8,), lambda seen: {recipe.seed for recipe in seen["train"]}, {8}),
    ("seeds", (8,), lambda seen: seen["write_difficulty"][0]["plan"].generation.seed, 8),
    ("arms", ("dual", "sft_fresh"), lambda seen: [recipe.stage for recipe in seen["train"]], ["sft", "sft", "grpo"]),
    ("sft", "sft.yaml", lambda seen: {recipe.log_every for recipe in seen["train"] if recipe.stage == "sft"}, {77}),
    ("grpo", "grpo.yaml", lambda seen: {recipe.log_every for recipe in seen["train"] if recipe.stage == "grpo"}, {78}),
    ("sft_steps", 21, lambda seen: seen["train"][0].steps, 21),
    ("more_sft_steps", 22, lambda seen: seen["train"][1].steps, 22),
    ("more_sft_steps", 22, lambda seen: seen["write_scenes"][1]["n"], 22 * 6),
    ("rl_steps", 23, lambda seen: seen["train"][2].steps, 23),
    ("rl_steps", 23, lambda seen: (seen["train"][2].pass_rate.above, seen["train"][2].pass_rate.below), (0, 1)),
    ("dtype", "bfloat16", lambda seen: {recipe.dtype for recipe in seen["train"]}, {"bfloat16"}),
    ("max_new_tokens", 33, lambda seen: {one.max_new_tokens for one in generations(seen)}, {33}),
    ("batch_size", 34, lambda seen: {one.batch_size for one in generations(seen)}, {34}),
]  # fmt: skip


def test_every_key_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[Any]] = defaultdict(list)

    report = SimpleNamespace(tokens=1, kept=Counter(), n_kept=1, n_rejected=0)
    summary = {"metrics": {"overall": {"joint_accuracy": {"mean": 0.0}}}}
    record(monkeypatch, seen, "mirg.data.scenes.world.load_world", "world")
    record(monkeypatch, seen, "mirg.data.scenes.generate.write_scenes", None)
    record(monkeypatch, seen, "mirg.data.scenes.mini.write_mini", None)
    record(monkeypatch, seen, "mirg.trajectories.build.build_dataset", report)
    record(monkeypatch, seen, "mirg.engines.load.load_engine", "engine")
    record(monkeypatch, seen, "mirg.evaluation.difficulty.write_difficulty", report)
    record(monkeypatch, seen, "mirg.evaluation.runner.evaluate", summary)
    monkeypatch.setattr(DatasetFolder, "open", lambda path: path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sft.yaml").write_text("model: m\ndata: d\nlog_every: 77\nbatch_size: 3\naccumulation: 2\n")
    (tmp_path / "grpo.yaml").write_text("model: m\ndata: d\nlog_every: 78\n")
    given = StudyRecipe(**{key: value for key, value, *_ in KEYS})
    (tmp_path / "data").mkdir()
    run_study(given, tmp_path, lambda recipe, out: seen["train"].append(recipe) or out)  # type: ignore[func-returns-value]
    for key, value, found, expected in KEYS:
        assert StudyRecipe.model_fields[key].default != value, key
        assert found(seen) == expected, key
    assert {key for key, *_ in KEYS} == StudyRecipe.model_fields.keys()
    assert seen["train"][2].data == str(tmp_path / "data" / "rated-sft-8")


def test_a_cell_that_is_missing_needs_the_one_that_it_starts_from() -> None:
    """Although that one was measured elsewhere: its model is not here."""
    elsewhere = {("base", 0), ("sft", 0), ("dual", 0), ("sft", 1)}
    found = missing_cells(plan(arms=("sft", "dual"), seeds=(0, 1)), elsewhere)
    assert [(arm.name, seed) for arm, seed in found] == [("sft", 1), ("dual", 1)]


def test_data_of_the_arms(tmp_path: Path) -> None:
    make_data(plan(), tmp_path)
    light, objects, rl, fresh = (
        list(DatasetFolder.open(tmp_path / "data" / name)) for name in ("light", "object_level", "rl", "fresh")
    )
    assert [s.id for s in light] == [s.id for s in objects] and not {s.id for s in light} & {s.id for s in rl}
    assert all(s.trajectory and "Found" in s.trajectory.thinking for s in light)
    assert all(s.trajectory and "Found" not in s.trajectory.thinking for s in objects)
    assert len(fresh) == 16 and not {s.id for s in light} & {s.id for s in fresh}


@pytest.mark.usefixtures("quick")
def test_goes_on_where_it_was(tmp_path: Path) -> None:
    first, again = Trainer(), Trainer()
    with pytest.raises(EvaluationError):
        make_data(plan(arms=("sft",)), tmp_path)
        results(plan(arms=("sft",)), tmp_path, outcomes(plan(arms=("sft",)), tmp_path))
    run_study(plan(arms=("sft",), seeds=(0,)), tmp_path, first)
    run_study(plan(arms=("sft", "dual")), tmp_path, again)
    assert [(r.stage, r.seed) for r in first.asked] == [("sft", 0)]
    assert [(r.stage, r.seed) for r in again.asked] == [("grpo", 0), ("sft", 1), ("grpo", 1)]
    with pytest.raises(ConfigError, match="train_samples = 12, now it is 13"):
        run_study(plan(train_samples=13), tmp_path, again)
    file = tmp_path / PLAN_FILE
    older = json.loads(file.read_text())
    del older["dtype"]
    file.write_text(json.dumps(older))
    with pytest.raises(ConfigError, match="dtype = None, now it is float32"):
        run_study(plan(dtype="float32"), tmp_path, again)
    run_study(plan(arms=("sft",)), tmp_path, again)
    assert len(again.asked) == 3, "a key that is newer than the folder had its default there"

    assert tokens("base", 0, tmp_path) == (0, 0)
    assert tokens("dual", 0, tmp_path) == (10, 114), "those of SFT are part of the way"
    wanted = plan(arms=("sft", "dual"))
    found = results(wanted, tmp_path, outcomes(wanted, tmp_path))
    assert {(row["a"], row["b"]) for row in found["contrasts"]} == {("base", "sft"), ("sft", "dual")}
    assert all(row["delta"] == 0.0 for row in found["contrasts"]), "one model stood in for all"
    assert {row["arm"] for row in found["arms"]} == {"base", "sft", "dual"}
    assert json.loads(json.dumps(found)) == found
    html = page(found, tmp_path).read_text()
    assert "not shown" in html and "not measured" in html and "http" not in html.replace("http-equiv", "")
    for family in found["benchmark"]["families"]:
        assert family in html


@pytest.mark.slow
def test_what_another_machine_measured(tmp_path: Path) -> None:
    """Two halves of a study, put together from their outcomes, are the study."""
    here, there = tmp_path / "here", tmp_path / "there"
    half, whole = plan(arms=("sft",)), plan(arms=("sft", "dual"), seeds=(0,))
    run_study(half, there, Trainer())
    file = there / OUTCOMES_FILE
    write_jsonl_atomic(file, [cell.model_dump() for cell in outcomes(half, there)])

    known = load_cells([file], whole)
    assert [(cell.arm, cell.seed) for cell in known] == [("base", 0), ("sft", 0), ("sft", 1)]
    asked = missing_cells(whole, {(cell.arm, cell.seed) for cell in known})
    assert [cell_name(*cell) for cell in asked] == ["sft-0", "dual-0"], "a missing arm starts from sft"
    trainer = Trainer()
    run_study(whole, here, trainer, {(cell.arm, cell.seed) for cell in known})
    assert [recipe.stage for recipe in trainer.asked] == ["sft", "grpo"] and not (here / "eval" / "base").exists()
    found = results(whole, here, [*known, *outcomes(plan(arms=("dual",), seeds=(0,)), here)])
    assert {(row["a"], row["b"], row["seeds"]) for row in found["contrasts"]} == {
        ("base", "sft", 2),
        ("sft", "dual", 1),
    }

    make_data(half, tmp_path / "nowhere", ())
    alone = results(half, tmp_path / "nowhere", known)
    assert alone["contrasts"] == results(half, there, outcomes(half, there))["contrasts"]

    answered = load_records(there / "eval" / "sft-1")
    kept = laid_over(known[2], answered)
    assert [(r.joint, r.image_correct) for r in kept] == [(r.joint, r.image_correct) for r in answered]
    assert [r.iou for r in kept] == pytest.approx([r.iou for r in answered], abs=1e-4)
    with pytest.raises(EvaluationError, match="sft, seed 1, are not about the 3 items"):
        laid_over(known[2], answered[:3])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": "0"}, "line 1: sft, seed 0, was made with other settings"),
        ({"iou": "high"}, "line 1: iou: "),
        (None, "line 1: "),
    ],
)
def test_outcomes_that_do_not_belong_here(change: dict[str, Any] | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / OUTCOMES_FILE
    row = {
        "arm": "sft", "seed": 0, "benchmark": "x", "settings": "1", "numerics": "", "tokens_generated": 0,
        "tokens_trained": 0, "image": "1", "joint": "1", "iou": [1],
    }  # fmt: skip
    file.write_text(json.dumps(row | change) + "\n" if change else "{\n")
    with pytest.raises(EvaluationError, match=said):
        load_cells([file], plan())


@pytest.mark.slow
def test_grpo_trains_on_what_its_start_gets_right_sometimes(tmp_path: Path) -> None:
    """Once for all arms of a seed, also after a stop; the base, which never is right, trains on everything."""
    first, again = Trainer(), Trainer()
    wanted = plan(arms=("dual", "dual_without_sft"), seeds=(0,), rl_answers=2, rl_samples=6)
    run_study(wanted, tmp_path, first)
    by_stage = {recipe.model: recipe for recipe in first.asked if recipe.stage == "grpo"}
    rated, whole = by_stage[str(tmp_path / "runs" / "sft-0")], by_stage["mirg-tiny"]
    assert Path(rated.data).name == "rated-sft-0" and Path(whole.data).name == "rl"
    assert (rated.pass_rate.above, rated.pass_rate.below) == (0, 1) and whole.pass_rate.above is None
    assert all(sample.meta["pass_rate"] in (0, 0.5, 1) for sample in DatasetFolder.open(Path(rated.data)))

    asked = rating_tokens(ARMS["dual"], 0, tmp_path)
    assert 6 * 2 <= asked <= 6 * 2 * 16 and rating_tokens(ARMS["dual_without_sft"], 0, tmp_path) == 0
    assert tokens("dual", 0, tmp_path)[0] == asked + 10, "those of the rating count"
    made = (tmp_path / "data" / "rated-sft-0" / "samples.jsonl").stat().st_mtime_ns
    run_study(plan(arms=("gated", "dual_without_sft"), seeds=(0,), rl_answers=2, rl_samples=6), tmp_path, again)
    assert [recipe.reward.arm for recipe in again.asked] == ["gated"]
    assert (tmp_path / "data" / "rated-sft-0" / "samples.jsonl").stat().st_mtime_ns == made


def test_another_world_is_another_study(tmp_path: Path) -> None:
    world = tmp_path / "world.yaml"
    digests = set()
    for share in (0.2, 0.9):
        world.write_text(f"world: {{same_place: {share}}}\n")
        digests.add(settings_digest(plan(world=str(world))))
    assert len(digests) == 2 and settings_digest(plan(seeds=(3,))) == settings_digest(plan())
    assert settings_digest(plan(dtype="float32")) == settings_digest(plan()), "a machine may compute in another type"


@pytest.mark.slow
def test_side_by_side_is_one_after_another(tmp_path: Path) -> None:
    """Two processes give the same outcomes, and no arm begins before the one that it starts from is there."""
    wanted = plan(arms=("sft", "object_only", "dual"), seeds=(0,), rl_answers=2)
    run_study(wanted, tmp_path / "one", write_run)
    run_study(wanted, tmp_path / "two", write_run, jobs=2)
    assert outcomes(wanted, tmp_path / "two") == outcomes(wanted, tmp_path / "one")


JOBS = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from mirg.study.run import _begin_job

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), _begin_job, (1,))
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 120)
    time.sleep(120)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc which processes there are")
def test_a_killed_study_leaves_nobody_training(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(JOBS)
    with subprocess.Popen([sys.executable, tmp_path / "jobs.py"], stdout=subprocess.PIPE, text=True) as study:
        assert study.stdout is not None
        worker = Path("/proc", study.stdout.readline().strip(), "stat")
        assert worker.exists()
        study.kill()
    until = time.monotonic() + 20
    while worker.exists() and worker.read_text().split()[2] != "Z" and time.monotonic() < until:
        time.sleep(0.05)
    assert not worker.exists() or worker.read_text().split()[2] == "Z"


@pytest.mark.usefixtures("quick")
def test_answers_belong_to_their_items_whatever_the_order(tmp_path: Path) -> None:
    """An evaluation goes by tasks, the benchmark does not."""
    wanted = plan(arms=("sft",), seeds=(0,))
    run_study(wanted, tmp_path, Trainer())
    folder = tmp_path / "eval" / "sft-0"
    records = [r.model_copy(update={"joint": r.task == "refer"}) for r in load_records(folder)]
    summary = json.loads((folder / "summary.json").read_text())
    del summary["records_digest"]  # the rows are not those any more
    (folder / "summary.json").write_text(json.dumps(summary))
    write_jsonl_atomic(folder / RECORDS_FILE, [record.model_dump(mode="json") for record in records[::-1]])
    found = results(wanted, tmp_path, outcomes(wanted, tmp_path))
    joint = {
        row["subset"]: row["value"]
        for row in found["arms"]
        if row["arm"] == "sft" and row["metric"] == "joint_accuracy" and row["subset"] in found["benchmark"]["families"]
    }
    assert joint == {family: float(family == "refer") for family in found["benchmark"]["families"]}

    write_jsonl_atomic(folder / RECORDS_FILE, [record.model_dump(mode="json") for record in records[1:]])
    with pytest.raises(EvaluationError, match="is not about"):
        outcomes(wanted, tmp_path)

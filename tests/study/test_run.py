"""An interrupted study resumes, and its page states what was found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.engines import ScriptedEngine
from fakes.recipes import record
from fakes.study import write_run
from mirg.data.scenes.generate import write_scenes
from mirg.errors import ConfigError, EvaluationError
from mirg.evaluation.records import RECORDS_FILE, load_records
from mirg.report.data import Interval
from mirg.samples import DatasetFolder
from mirg.storage import write_jsonl_atomic
from mirg.study.cost import stage_cost, tokens
from mirg.study.page import Claim, page
from mirg.study.plan import ARMS, LOOKS, StudyRecipe, cell_name
from mirg.study.results import OUTCOMES_FILE, Cell, laid_over, load_cells, outcomes, results, settings_digest
from mirg.study.run import (
    PLAN_FILE,
    _claim,
    _todo,
    cells,
    missing_cells,
    run_study,
    train_cell,
)  # fmt: skip
from mirg.trajectories.build import build_dataset
from mirg.trajectories.checks import VerifyConfig

SMALL = {
    "model": "mirg-tiny",
    "seeds": (0, 1),
    "more_sft_steps": 1,
    "max_new_tokens": 16,
    "batch_size": 24,
    "rl_answers": 0,
}
PLACES = {
    "train": "light", "object_level": "objects", "fresh": "fresh", "more_fresh": "more", "rl": "rl", "test": "test",
}  # fmt: skip
LOOKING = ("sft_look", "dual_look", "dual_look_rewards")  # arms that need a dataset with looks
Plan = Callable[..., StudyRecipe]


def plan(**keys: Any) -> StudyRecipe:
    """A small study; its datasets do not exist."""
    return StudyRecipe(**{**SMALL, **PLACES, **keys})


def write_datasets(root: Path) -> None:
    """The datasets of a small study: two tasks, and no sample in two of them but ``light`` and ``objects``."""
    tasks = ("refer", "difference")
    for name, split, seed in (("annotated", "train", 0), ("more", "train", 1), ("rl", "rl", 0), ("test", "test", 0)):
        write_scenes(root / name, 12, split=split, seed=seed, tasks=tasks)
    for name, source, writer in (("light", "annotated", "rules"), ("fresh", "more", "rules")):
        build_dataset(DatasetFolder.open(root / source), root / name, writer=writer, family="mirg-tiny")
    build_dataset(
        DatasetFolder.open(root / "annotated"), root / "objects", writer="object-level", family="mirg-tiny",
        config=VerifyConfig(image_level=False),
    )  # fmt: skip


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("datasets")
    write_datasets(root)
    return root


@pytest.fixture
def small(datasets: Path) -> Plan:
    """A small study of datasets that exist."""
    return lambda **keys: plan(**{role: str(datasets / place) for role, place in PLACES.items()} | keys)


class Trainer:
    """Records its requests."""

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
    assert [arm.name for arm in plan().chosen] == [name for name in order if name not in (*LOOKING, "dual_grounded")]
    assert [arm.name for arm in plan(looks="l", rl_answers=0).chosen] == order[:-1], "dual_grounded must be named"
    assert [arm.name for arm in plan(arms=("dual_grounded",)).chosen] == ["base", "sft", "dual_grounded"]
    assert not {"sft_fresh", "dual_from_fresh", "sft_fresh_continued"} & {arm.name for arm in plan(fresh=None).chosen}
    assert [arm.name for arm in plan(rl=None, fresh=None).chosen] == [
        "base",
        "sft",
        "sft_continued",
        "sft_object_level",
    ]
    assert [cell_name(*cell) for cell in cells(plan(arms=("sft",)))] == ["base", "sft-0", "sft-1"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"arms": ("best",)}, "no arm best"),
        ({"seeds": (1, 1)}, "named twice"),
        ({"rl_answers": 1}, "never right only sometimes"),
        ({"looks": "l", "rl_answers": 4}, "pass rates are measured without looks: the arm dual_look"),
        ({"arms": ("dual",), "rl": None}, "the arm dual needs a dataset: give the key rl"),
        ({"arms": ("sft_continued",), "more_sft_steps": None}, "the arm sft_continued needs the key more_sft_steps"),
    ],
)
def test_what_no_study_can_be(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plan(**keys)


def test_every_arm_is_a_recipe(tmp_path: Path) -> None:
    trainer = Trainer()
    wanted = plan(rl_answers=2)
    for arm in wanted.chosen:
        train_cell(wanted, arm, 3, tmp_path, trainer)
    by_run = {arm.name: recipe for arm, recipe in zip(wanted.chosen[1:], trainer.asked, strict=True)}
    assert {recipe.seed for recipe in trainer.asked} == {3}
    assert by_run["object_only"].reward.arm == "object_only" and by_run["dual_difficulty"].admission.difficulty_weight
    assert by_run["dual"].model == str(tmp_path / "runs" / "sft-3") and by_run["dual_without_sft"].model == "mirg-tiny"
    assert by_run["dual"].data == str(tmp_path / "data" / "rated-sft-3") and by_run["dual_without_sft"].data == "rl"
    assert by_run["sft"].optim.learning_rate == 2 * by_run["sft_continued"].optim.learning_rate
    assert {name: by_run[name].data for name in ("sft", "sft_continued", "sft_fresh", "sft_object_level")} == {
        "sft": "light", "sft_continued": "light", "sft_fresh": "fresh", "sft_object_level": "objects",
    }  # fmt: skip
    control, after = by_run["sft_fresh_continued"], by_run["dual_from_fresh"]
    assert control.model == after.model == str(tmp_path / "runs" / "sft_fresh-3")
    assert (control.data, after.data) == ("more", str(tmp_path / "data" / "rated-sft_fresh-3"))
    rl = {name: recipe for name, recipe in by_run.items() if recipe.stage == "grpo"}
    budget = {(r.steps, r.prompts_per_step, r.group_size, r.max_new_tokens) for r in rl.values()}
    assert len(budget) == 1, "the arms of GRPO have the same compute"
    train_cell(plan(dtype="float32"), ARMS["sft"], 4, tmp_path, trainer)
    assert (by_run["sft"].dtype, trainer.asked[-1].dtype) == ("bfloat16", "float32")


def test_arms_with_looks(tmp_path: Path) -> None:
    trainer = Trainer()
    wanted = plan(looks="looks", arms=(*LOOKING, "dual", "dual_grounded"), look_sft_steps=5, look_rl_steps=7)
    for arm in wanted.chosen:
        train_cell(wanted, arm, 3, tmp_path, trainer)
    names = [arm.name for arm in wanted.chosen[1:]]
    found = dict(zip(names, trainer.asked, strict=True))
    assert {name: found[name].look.max_looks for name in names} == {name: LOOKS * (name in LOOKING) for name in names}
    assert (found["sft_look"].data, found["sft_look"].steps, found["dual_look"].steps) == ("looks", 5, 7)
    assert found["dual_look"].model == found["dual_look_rewards"].model == str(tmp_path / "runs" / "sft_look-3")
    weights = {name: found[name].reward.looks.weights for name in names[1:] if found[name].stage == "grpo"}
    assert weights["dual"] == weights["dual_look"] == {} and weights["dual_grounded"].keys() == {"grounded"}
    assert weights["dual_look_rewards"].keys() == {"look_image", "look_cover"}


def generations(seen: dict[str, list[Any]]) -> list[Any]:
    return [call["plan"].generation for name in ("evaluate", "write_difficulty") for call in seen[name]]


# key, value, what the functions that do the work are given (the names of test_every_key_arrives)
KEYS: list[tuple[str, Any, Any, Any]] = [
    ("model", "m", lambda seen: (seen["load_engine"][0]["model"], seen["train"][0].model), ("m", "m")),
    ("train", "a", lambda seen: seen["train"][0].data, "a"),
    ("fresh", "b", lambda seen: seen["train"][1].data, "b"),
    ("more_fresh", "d", lambda seen: seen["train"][4].data, "d"),
    ("object_level", "c", lambda seen: seen["train"][2].data, "c"),
    ("rl", "r", lambda seen: seen["write_difficulty"][0]["dataset"], "r"),
    ("test", "t", lambda seen: {call["dataset"] for call in seen["evaluate"]}, {"t"}),
    ("rl_answers", 3, lambda seen: seen["write_difficulty"][0]["k"], 3),
    ("seeds", (8,), lambda seen: {recipe.seed for recipe in seen["train"]}, {8}),
    ("seeds", (8,), lambda seen: seen["write_difficulty"][0]["plan"].generation.seed, 8),
    ("arms", ("dual", "sft_fresh_continued", "sft_object_level"),
        lambda seen: [recipe.stage for recipe in seen["train"]], ["sft", "sft", "sft", "grpo", "sft"]),
    ("sft", "sft.yaml", lambda seen: {recipe.log_every for recipe in seen["train"] if recipe.stage == "sft"}, {77}),
    ("grpo", "grpo.yaml", lambda seen: {recipe.log_every for recipe in seen["train"] if recipe.stage == "grpo"}, {78}),
    ("sft_steps", 21, lambda seen: seen["train"][0].steps, 21),
    ("more_sft_steps", 22, lambda seen: seen["train"][1].steps, 22),
    ("rl_steps", 23, lambda seen: seen["train"][3].steps, 23),
    ("rl_steps", 23, lambda seen: (seen["train"][3].pass_rate.above, seen["train"][3].pass_rate.below), (0, 1)),
    ("dtype", "bfloat16", lambda seen: {recipe.dtype for recipe in seen["train"]}, {"bfloat16"}),
    ("max_new_tokens", 33, lambda seen: {one.max_new_tokens for one in generations(seen)}, {33}),
    ("batch_size", 34, lambda seen: {one.batch_size for one in generations(seen)}, {34}),
]  # fmt: skip
ON_THE_PAGE = {"families", "expect"}  # test_page
BEFORE_TRAINING = {"equal", "allow_leakage"}  # test_before.py
OF_LOOKS = {"looks", "look_sft_steps", "look_rl_steps"}  # test_arms_with_looks


def test_every_key_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[Any]] = defaultdict(list)

    report = SimpleNamespace(tokens=1, kept=Counter(sometimes=16), n_kept=1, n_rejected=0)
    summary = {"metrics": {"overall": {"joint_accuracy": {"mean": 0.0}}}}
    record(monkeypatch, seen, "mirg.engines.load.load_engine", "engine")
    record(monkeypatch, seen, "mirg.evaluation.pass_rates.write_difficulty", report)
    record(monkeypatch, seen, "mirg.evaluation.runner.evaluate", summary)
    monkeypatch.setattr(DatasetFolder, "open", lambda path: path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sft.yaml").write_text("log_every: 77\nbatch_size: 3\naccumulation: 2\n")
    (tmp_path / "grpo.yaml").write_text("log_every: 78\n")
    given = StudyRecipe(**{key: value for key, value, *_ in KEYS})
    (tmp_path / "data").mkdir()
    run_study(given, tmp_path, lambda recipe, out: seen["train"].append(recipe) or out)  # type: ignore[func-returns-value]
    for key, value, found, expected in KEYS:
        assert StudyRecipe.model_fields[key].default != value, key
        assert found(seen) == expected, key
    assert {key for key, *_ in KEYS} | ON_THE_PAGE | BEFORE_TRAINING | OF_LOOKS == StudyRecipe.model_fields.keys()
    assert seen["train"][3].data == str(tmp_path / "data" / "rated-sft-8")


def test_a_cell_that_is_missing_needs_the_one_that_it_starts_from() -> None:
    """Although that one was measured elsewhere: its model is not here."""
    elsewhere = {("base", 0), ("sft", 0), ("dual", 0), ("sft", 1)}
    found = missing_cells(plan(arms=("sft", "dual"), seeds=(0, 1)), elsewhere)
    assert [(arm.name, seed) for arm, seed in found] == [("sft", 1), ("dual", 1)]
    jobs = _todo(plan(rl_answers=2), Path("nowhere"), Trainer(), found)
    order = {"sft-1": "", "rated-sft-1": "sft-1", "dual-1": "rated-sft-1"}
    assert {name: job.after for name, job in jobs.items()} == order, "what must be done before each"


@pytest.mark.usefixtures("quick")
def test_goes_on_where_it_was(tmp_path: Path, small: Plan) -> None:
    plan, first, again = small, Trainer(), Trainer()
    with pytest.raises(EvaluationError, match="no finished evaluation"):
        results(plan(arms=("sft",)), tmp_path, outcomes(plan(arms=("sft",)), tmp_path))
    run_study(plan(arms=("sft",), seeds=(0,)), tmp_path, first)
    run_study(plan(arms=("sft", "dual")), tmp_path, again)
    assert [(r.stage, r.seed) for r in first.asked] == [("sft", 0)]
    assert [(r.stage, r.seed) for r in again.asked] == [("grpo", 0), ("sft", 1), ("grpo", 1)]
    with pytest.raises(ConfigError, match="sft_steps = 300, now it is 13"):
        run_study(plan(sft_steps=13), tmp_path, again)
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
    del older["model"]
    file.write_text(json.dumps(older | {"base": "mirg-tiny"}))
    with pytest.raises(ConfigError, match="a version of mirg before"):
        run_study(plan(), tmp_path, again)


@pytest.mark.usefixtures("quick")
def test_page(tmp_path: Path, small: Plan) -> None:
    expect = (
        {"a": "base", "b": "sft", "least": 0.2, "text": "SFT is better"},
        {"a": "sft", "b": "dual", "metric": "image_accuracy", "least": 0.1, "text": "RL is better"},
    )
    wanted = small(arms=("sft",), families={"refer": "Referring", "absent": "no such task"}, expect=expect)
    run_study(wanted, tmp_path, Trainer())
    found = results(wanted, tmp_path, outcomes(wanted, tmp_path))
    assert found["benchmark"]["families"] == {"refer": "Referring", "difference": ""}
    used = {cell.arm: {*cell.datasets} for cell in outcomes(wanted, tmp_path)}
    assert used == {"base": {"test"}, "sft": {"test", "train"}}
    assert found["datasets"]["train"] == len(DatasetFolder.open(wanted.train))
    html = page(found, tmp_path).read_text()
    assert "not shown" in html and "not measured" in html and "http" not in html.replace("http-equiv", "")
    verdicts = [Claim("", 0.2, Interval(mean, low, 0.6)).verdict for mean, low in ((0.2, 0.1), (0.19, 0.1), (0.3, 0.0))]
    assert verdicts == ["holds", "smaller", "not shown"]
    assert "Referring" in html and "SFT is better" in html and "no such task" not in html
    plain = wanted.model_copy(update={"expect": ()})
    assert "claims" not in page(results(plain, tmp_path, outcomes(plain, tmp_path)), tmp_path).read_text()


@pytest.mark.slow
def test_what_another_machine_measured(tmp_path: Path, small: Plan) -> None:
    """Two halves of a study, put together from their outcomes, are the study."""
    plan = small
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
def test_grpo_trains_on_what_its_start_gets_right_sometimes(
    tmp_path: Path, small: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for all arms of a seed, also after a stop; the base, which is never right, trains on everything."""
    monkeypatch.setattr("mirg.study.run._require_partially_solved", lambda *_: None)  # the shipped model never is
    plan = small
    first, again = Trainer(), Trainer()
    wanted = plan(arms=("dual", "dual_without_sft"), seeds=(0,), rl_answers=2)
    run_study(wanted, tmp_path, first)
    by_stage = {recipe.model: recipe for recipe in first.asked if recipe.stage == "grpo"}
    rated, whole = by_stage[str(tmp_path / "runs" / "sft-0")], by_stage["mirg-tiny"]
    assert Path(rated.data).name == "rated-sft-0" and Path(whole.data).name == "rl"
    assert (rated.pass_rate.above, rated.pass_rate.below) == (0, 1) and whole.pass_rate.above is None
    assert all(sample.meta["pass_rate"] in (0, 0.5, 1) for sample in DatasetFolder.open(Path(rated.data)))

    cost = stage_cost(ARMS["dual"], 0, tmp_path)
    assert 12 * 2 + 10 <= cost.generated <= 12 * 2 * 16 + 10 and cost.seconds > 0, "those of the rating count"
    assert stage_cost(ARMS["dual_without_sft"], 0, tmp_path).generated == 10
    assert tokens("dual", 0, tmp_path)[0] == cost.generated
    made = (tmp_path / "data" / "rated-sft-0" / "samples.jsonl").stat().st_mtime_ns
    run_study(plan(arms=("gated", "dual_without_sft"), seeds=(0,), rl_answers=2), tmp_path, again)
    assert [recipe.reward.arm for recipe in again.asked] == ["gated"]
    assert (tmp_path / "data" / "rated-sft-0" / "samples.jsonl").stat().st_mtime_ns == made


def test_what_two_parts_of_a_study_share(tmp_path: Path) -> None:
    """Everything but seeds, arms, number type, and where the datasets are."""
    first = settings_digest(plan())
    for same in ({"seeds": (3,)}, {"dtype": "float32"}, {"train": "elsewhere"}, {"families": {"refer": "Referring"}}):
        assert settings_digest(plan(**same)) == first, same
    mine = tmp_path / "sft.yaml"
    mine.write_text("batch_size: 3\n")
    others = [plan(rl_steps=7), plan(model="m"), plan(sft=str(mine))]
    assert len({first, *map(settings_digest, others)}) == 4


def test_other_datasets_are_another_study(tmp_path: Path, small: Plan, datasets: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(datasets / "light", moved)
    study = tmp_path / "study"
    _claim(small(), study)
    _claim(small(train=str(moved)), study)
    with pytest.raises(ConfigError, match="another dataset as train than"):
        _claim(small(train=str(datasets / "fresh")), study)
    row = Cell(
        arm="base", seed=0, benchmark=DatasetFolder.open(small().test).card.name, settings=settings_digest(small()),
        datasets=small().digests, numerics="",
        tokens_generated=0, tokens_trained=0, image="1", joint="1", iou=(1,),
    )  # fmt: skip
    file = tmp_path / OUTCOMES_FILE
    write_jsonl_atomic(file, [row.model_dump()])
    assert load_cells([file], small(train=str(moved))) == [row]
    assert load_cells([file], small(train="not on this machine")) == [row]
    with pytest.raises(EvaluationError, match="base, seed 0, was made with another dataset: test"):
        load_cells([file], small(test=str(datasets / "rl")))


@pytest.mark.slow
def test_side_by_side_is_one_after_another(tmp_path: Path, small: Plan) -> None:
    """Two processes give the same outcomes, and no arm begins before the arm that it starts from has ended."""
    wanted = small(arms=("sft", "object_only", "dual"), seeds=(0,))
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
def test_answers_belong_to_their_items_whatever_the_order(tmp_path: Path, small: Plan) -> None:
    """An evaluation is ordered by tasks, the test set is not."""
    wanted = small(arms=("sft",), seeds=(0,))
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

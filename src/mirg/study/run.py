"""Running a study: data, then seed by seed and arm by arm a training run and its evaluation.

Everything is kept in the output folder and not done again: ``data/``, ``runs/ARM-SEED``, ``eval/ARM-SEED``. A study
that was stopped goes on where it was; more seeds or arms are added to what is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from mirg.console import log_to_console, logger
from mirg.errors import ConfigError
from mirg.frames import MIRG_TINY
from mirg.storage import read_json, write_json_atomic
from mirg.study.plan import ARMS, Arm, StudyRecipe, batch_size_of

PLAN_FILE = "plan.json"
# A study may grow by these; everything else must stay what it was.
_MAY_CHANGE = frozenset({"seeds", "arms"})
Train = Callable[[Any, Path], Path]


def run_study(
    plan: StudyRecipe, out: Path, train: Train, elsewhere: Collection[tuple[str, int]] = (), jobs: int = 1
) -> None:
    """Make, train and evaluate whatever of ``plan`` is missing in ``out``. ConfigError where it holds another study.

    ``train`` runs one stage and returns its model folder. Of the (arm, seed) that were measured ``elsewhere``, only
    those are trained that a missing one starts from. ``jobs`` cells are worked on at a time, each in a process of its
    own with its share of the CPU's threads.
    """
    _claim(plan, out)
    wanted = missing_cells(plan, elsewhere)
    make_data(plan, out, [arm for arm, _ in wanted])
    todo = _todo(plan, out, train, wanted)
    if jobs > 1:
        _side_by_side(todo, jobs)
        return
    for job in todo.values():
        job.work()


@dataclass(frozen=True)
class _Job:
    """A piece of work, and the name of the one that has to be done before."""

    work: Callable[[], None]
    after: str = ""


def _todo(plan: StudyRecipe, out: Path, train: Train, wanted: Collection[tuple[Arm, int]]) -> dict[str, _Job]:
    """Whatever is not done yet, each after what it needs."""
    todo: dict[str, _Job] = {}
    for arm, seed in wanted:
        if is_measured(out, arm, seed):
            continue
        start = _start_of(arm, seed)
        if arm.rated and plan.rl_answers:
            rated = _rated(arm, seed)
            if not (out / "data" / f"{rated}.json").is_file():
                todo.setdefault(rated, _Job(partial(rate, plan, arm, seed, out), start))
            start = rated
        todo[cell_name(arm, seed)] = _Job(partial(measure_cell, plan, arm, seed, out, train), start)
    return todo


def measure_cell(plan: StudyRecipe, arm: Arm, seed: int, out: Path, train: Train) -> None:
    """Train one arm with one seed, and evaluate it."""
    logger.info("— %s, seed %d", arm.title, seed)
    evaluate_cell(plan, train_cell(plan, arm, seed, out, train), out, cell_name(arm, seed))


def is_measured(out: Path, arm: Arm, seed: int) -> bool:
    """Whether the evaluation of a cell is complete."""
    return (out / "eval" / cell_name(arm, seed) / "summary.json").is_file()


def _side_by_side(todo: dict[str, _Job], jobs: int) -> None:
    """Do ``todo``, each as soon as what it needs is there."""
    threads = max((os.cpu_count() or 1) // jobs, 1)
    # Spawned: torch's threads, and a GPU, do not survive a fork.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _begin_job, (threads,))
    waiting, running = dict(todo), {}
    try:
        while waiting or running:
            for name, job in list(waiting.items()):
                # Never more than there are processes: what becomes ready while they work may come before the rest.
                if len(running) < jobs and job.after not in {*waiting, *running.values()}:
                    running[pool.submit(job.work)] = name
                    del waiting[name]
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                del running[done]
                done.result()
    finally:
        # What is being worked on comes to its end, or to a checkpoint where it was interrupted too.
        pool.shutdown(cancel_futures=True)


def _start_of(arm: Arm, seed: int) -> str:
    """The cell whose model an arm goes on from; "" where that is not trained here."""
    return cell_name(ARMS[arm.start], seed) if arm.start and ARMS[arm.start].stage else ""


def _begin_job(threads: int) -> None:
    """What a process does first: torch, which reads the number of threads where it is loaded, comes later."""
    from mirg.training.quiet import quiet_libraries

    os.environ["OMP_NUM_THREADS"] = str(threads)
    log_to_console()
    quiet_libraries()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A study that was killed leaves nobody training; what is written is written whole, and the next one goes on."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def cells(plan: StudyRecipe) -> Iterator[tuple[Arm, int]]:
    """Every arm of every seed, in the order of training: a stopped study has whole seeds. The base has one."""
    for number, seed in enumerate(plan.seeds):
        for arm in plan.chosen:
            if arm.stage or number == 0:
                yield arm, seed


def missing_cells(plan: StudyRecipe, elsewhere: Collection[tuple[str, int]]) -> list[tuple[Arm, int]]:
    """The cells that were not measured ``elsewhere``, and those whose models they start from."""
    known = {cell_name(ARMS[name], seed) for name, seed in elsewhere}
    needed: set[str] = set()
    for arm, seed in cells(plan):
        if cell_name(arm, seed) not in known:
            needed |= {cell_name(arm, seed), _start_of(arm, seed)}
    return [(arm, seed) for arm, seed in cells(plan) if cell_name(arm, seed) in needed]


def cell_name(arm: Arm, seed: int) -> str:
    """The folder of one training run, and of its evaluation."""
    return f"{arm.name}-{seed}" if arm.stage else arm.name


def train_cell(plan: StudyRecipe, arm: Arm, seed: int, out: Path, train: Train) -> str:
    """The model of one arm and seed, trained where it is not there yet."""
    from mirg.config import load_recipe
    from mirg.training.recipe import PARTIALLY_SOLVED, GrpoRecipe, SftRecipe

    if not arm.stage:
        return plan.base
    data, told = arm.data, [] if plan.dtype is None else [f"dtype={plan.dtype}"]
    if arm.rated and plan.rl_answers:
        data = _rated(arm, seed)
        told += PARTIALLY_SOLVED
    overrides = [
        f"model={_model(plan, arm, seed, out)}", f"data={out / 'data' / data}", f"seed={seed}",
        f"steps={getattr(plan, arm.steps)}", *told, *arm.overrides,
    ]  # fmt: skip
    recipe = (
        load_recipe(SftRecipe, plan.sft, overrides)
        if arm.stage == "sft"
        else load_recipe(GrpoRecipe, plan.grpo, overrides)
    )
    return str(train(recipe, out / "runs" / cell_name(arm, seed)))


def rate(plan: StudyRecipe, arm: Arm, seed: int, out: Path) -> None:
    """How often the model that ``arm`` starts from is right about each RL sample: ``data/rated-START-SEED``.

    Beside it ``.json`` says how many tokens that took, and that it is complete.
    """
    from mirg.engines.base import Generation
    from mirg.engines.load import load_engine
    from mirg.evaluation.difficulty import write_difficulty
    from mirg.evaluation.measure import MeasurePlan
    from mirg.samples import DatasetFolder

    name = _rated(arm, seed)
    logger.info("— pass rates of %s", _start_of(arm, seed))
    generation = Generation(plan.max_new_tokens, temperature=1.0, seed=seed, batch_size=plan.batch_size)
    report = write_difficulty(
        load_engine(_model(plan, arm, seed, out)), DatasetFolder.open(out / "data" / "rl"), out / "data" / name,
        plan.rl_answers, MeasurePlan(generation, overwrite=True),
    )  # fmt: skip
    write_json_atomic(out / "data" / f"{name}.json", {"tokens_generated": report.tokens, **report.kept})
    logger.info("%s: %s", name, ", ".join(f"{count} {word}" for word, count in report.kept.most_common()))


def rating_tokens(arm: Arm, seed: int, out: Path) -> int:
    """Tokens that :func:`rate` generated for an arm; 0 where it trains on every sample."""
    file = out / "data" / f"{_rated(arm, seed)}.json"
    held: Any = read_json(file) if arm.rated and file.is_file() else {}
    return int(held.get("tokens_generated", 0))


def _rated(arm: Arm, seed: int) -> str:
    return f"rated-{cell_name(ARMS[arm.start], seed)}"


def _model(plan: StudyRecipe, arm: Arm, seed: int, out: Path) -> str:
    """The model that an arm starts from."""
    start = _start_of(arm, seed)
    return str(out / "runs" / start) if start else plan.base


def evaluate_cell(plan: StudyRecipe, model: str, out: Path, name: str) -> None:
    """Ask the model every item of the benchmark."""
    from mirg.engines.base import Generation
    from mirg.engines.load import load_engine
    from mirg.evaluation.runner import Plan, evaluate
    from mirg.samples import DatasetFolder

    generation = Generation(max_new_tokens=plan.max_new_tokens, batch_size=plan.batch_size)
    test = DatasetFolder.open(out / "data" / "mini")
    summary = evaluate(load_engine(model), test, out / "eval" / name, Plan(generation=generation))
    logger.info("%s: joint Acc@0.5 %.3f", name, summary["metrics"]["overall"]["joint_accuracy"]["mean"])


def make_data(plan: StudyRecipe, out: Path, arms: Collection[Arm] | None = None) -> None:
    """The benchmark, and the training sets that ``arms`` need, None: those of the plan.

    ``light`` and ``object_level`` are the same samples with two kinds of trajectories, ``fresh`` is as many samples as
    the longest SFT takes, so that none is seen twice, ``rl`` are others again, without trajectories.
    """
    from mirg.config import load_recipe
    from mirg.data.scenes.generate import write_scenes
    from mirg.data.scenes.mini import write_mini
    from mirg.data.scenes.world import load_world
    from mirg.samples import DatasetFolder
    from mirg.training.recipe import SftRecipe
    from mirg.trajectories.build import build_dataset
    from mirg.trajectories.checks import VerifyConfig

    data = out / "data"
    world = load_world(plan.world)

    def missing(name: str) -> bool:
        return not (data / name / "card.json").is_file()

    def scenes(name: str, count: int, split: str, seed: int) -> Path:
        if missing(name):
            write_scenes(data / name, count, split=split, seed=seed, tasks=plan.tasks, config=world, overwrite=True)
        return data / name

    def trajectories(name: str, source: Path, writer: str = "rules", *, image_level: bool = True) -> None:
        if missing(name):
            report = build_dataset(
                DatasetFolder.open(source), data / name, writer=writer, overwrite=True, family=MIRG_TINY.name,
                config=VerifyConfig(image_level=image_level),
            )  # fmt: skip
            logger.info("%s: %d trajectories verified, %d rejected", name, report.n_kept, report.n_rejected)

    if missing("mini"):
        write_mini(data / "mini", plan.per_cell, overwrite=True)
    needed = {arm.data for arm in (plan.chosen if arms is None else arms) if arm.stage}
    if needed & {"light", "object_level"}:
        annotated = scenes("annotated", plan.train_samples, "train", plan.data_seed)
        if "light" in needed:
            trajectories("light", annotated)
        if "object_level" in needed:
            trajectories("object_level", annotated, "object-level", image_level=False)
    if "fresh" in needed:
        count = plan.more_sft_steps * batch_size_of(load_recipe(SftRecipe, plan.sft))
        trajectories("fresh", scenes("more", count, "train", plan.data_seed + 1))
    if "rl" in needed:
        scenes("rl", plan.rl_samples, "rl", plan.data_seed)


def _claim(plan: StudyRecipe, out: Path) -> None:
    wanted = plan.model_dump(mode="json")
    file = out / PLAN_FILE
    old = read_json(file) if file.is_file() else wanted
    # A key that is newer than the folder had its default there.
    held = StudyRecipe().model_dump(mode="json") | (old if isinstance(old, dict) else {})
    changed = [key for key in wanted if key not in _MAY_CHANGE and held[key] != wanted[key]]
    if changed:
        key = changed[0]
        raise ConfigError(
            f"{out} holds a study with {key} = {held.get(key)}, now it is {wanted[key]}", hint="choose another --out"
        )
    write_json_atomic(file, wanted)

"""Running a study: a training run and its evaluation for each seed and arm.

The output folder keeps everything that is done: ``runs/ARM-SEED``, ``eval/ARM-SEED`` and the pass rates in
``data/rated-ARM-SEED``. A stopped study continues from there, and seeds or arms can be added later.
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
from time import monotonic
from typing import Any

import mirg
from mirg.answers.looks import LookBudget
from mirg.console import log_to_console, logger
from mirg.errors import ConfigError
from mirg.samples import DatasetFolder
from mirg.storage import read_json, write_json_atomic
from mirg.study.cost import steps_of
from mirg.study.plan import ARMS, PATHS, Arm, StudyRecipe, cell_name, rated_name

PLAN_FILE, DIGESTS = "plan.json", "datasets"
# Seeds and arms may be added to a study, and its datasets may be moved. All other keys must stay the same.
_MAY_CHANGE = PATHS | {"seeds", "arms", "families", "expect", "allow_leakage"}
# These may change until the first arm of GRPO begins, which they are about.
_OF_GRPO = {"rl_answers", "rl_steps", "look_rl_steps", "grpo", "more_sft_steps", "equal"}
Train = Callable[[Any, Path], Path]


def run_study(
    plan: StudyRecipe, out: Path, train: Train, elsewhere: Collection[tuple[str, int]] = (), jobs: int = 1
) -> None:
    """Train and evaluate every cell of ``plan`` that is missing in ``out``.

    ``train`` runs one stage and returns its model folder. An (arm, seed) that was measured ``elsewhere`` is trained
    only if a missing one starts from its model. ``jobs`` cells are trained at a time, each in a separate process with
    its share of the CPU's threads. ConfigError if ``out`` holds another study, DataError if a dataset cannot be opened.
    """
    wanted = missing_cells(plan, elsewhere)
    for path in dict.fromkeys([plan.test, *(plan.dataset(arm.data) for arm, _ in wanted if arm.stage)]):
        DatasetFolder.open(str(path))
    _claim(plan, out)
    run_jobs(_todo(plan, out, train, wanted), jobs)


@dataclass(frozen=True)
class Job:
    """A piece of work, and the name of the job that must be done before it."""

    work: Callable[[], None]
    after: str = ""


def _todo(plan: StudyRecipe, out: Path, train: Train, wanted: Collection[tuple[Arm, int]]) -> dict[str, Job]:
    """The jobs that are not done yet, by name."""
    todo: dict[str, Job] = {}
    for arm, seed in wanted:
        if is_measured(arm, seed, out):
            continue
        first = plan.waits_for(arm)
        start = cell_name(first, seed) if first else _start_of(arm, seed)
        if arm.rated and plan.rl_answers:
            rated = rated_name(arm, seed)
            if not (out / "data" / f"{rated}.json").is_file():
                todo.setdefault(rated, Job(partial(rate, plan, arm, seed, out), start))
            start = rated
        todo[cell_name(arm, seed)] = Job(partial(measure_cell, plan, arm, seed, out, train), start)
    return todo


def is_measured(arm: Arm, seed: int, out: Path) -> bool:
    """Whether an arm has been evaluated in ``out``."""
    return (out / "eval" / cell_name(arm, seed) / "summary.json").is_file()


def measure_cell(plan: StudyRecipe, arm: Arm, seed: int, out: Path, train: Train) -> None:
    """Train one arm with one seed, and evaluate it on the test set."""
    logger.info("— %s, seed %d", arm.title, seed)
    evaluate_cell(plan, arm, seed, out, train_cell(plan, arm, seed, out, train))


def evaluate_cell(
    plan: StudyRecipe, arm: Arm, seed: int, out: Path, model: str, look: LookBudget | None = None
) -> None:
    """Evaluate the ``model`` of one arm and seed on the test set. ``look`` None: with the looks of its training."""
    from mirg.engines.base import Generation
    from mirg.engines.load import load_engine
    from mirg.evaluation.runner import Plan, evaluate

    name = cell_name(arm, seed)
    if look is None:
        look = plan.stage_recipe(arm.stage, arm.overrides).look if arm.stage else LookBudget()
    generation = Generation(max_new_tokens=plan.max_new_tokens, batch_size=plan.batch_size)
    test = DatasetFolder.open(plan.test)
    summary = evaluate(load_engine(model), test, out / "eval" / name, Plan(generation=generation, look=look))
    logger.info("%s: joint Acc@0.5 %.3f", name, summary["metrics"]["overall"]["joint_accuracy"]["mean"])


def run_jobs(todo: dict[str, Job], jobs: int) -> None:
    """Run ``todo``, by name, in order, or in ``jobs`` processes: each job as soon as the one before it is done."""
    if jobs == 1:
        for job in todo.values():
            job.work()
        return
    threads = max((os.cpu_count() or 1) // jobs, 1)
    # Spawned: torch's threads, and a GPU, do not survive a fork.
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _begin_job, (threads,))
    waiting, running = dict(todo), {}
    try:
        while waiting or running:
            for name, job in list(waiting.items()):
                # At most one job per process is submitted, so that a job that becomes ready later can come first.
                if len(running) < jobs and job.after not in {*waiting, *running.values()}:
                    running[pool.submit(job.work)] = name
                    del waiting[name]
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                del running[done]
                done.result()
    finally:
        # Running jobs finish, or stop at a checkpoint if they were interrupted as well.
        pool.shutdown(cancel_futures=True)


def _start_of(arm: Arm, seed: int) -> str:
    """The cell whose model an arm continues from, or "" if it starts from the untrained base."""
    return cell_name(ARMS[arm.start], seed) if arm.start and ARMS[arm.start].stage else ""


def _begin_job(threads: int) -> None:
    """Prepare a process. It has not loaded torch yet, which reads the number of threads when it is loaded."""
    from mirg.training import quiet_libraries

    os.environ["OMP_NUM_THREADS"] = str(threads)
    log_to_console()
    quiet_libraries()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit when the parent process ends, so that a killed study leaves no process behind. Files are whole anyway."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def cells(plan: StudyRecipe) -> Iterator[tuple[Arm, int]]:
    """Every (arm, seed) in the order of training, seed by seed. The base is not trained and has one seed.

    Arms whose steps follow from the cost of another arm are the last of a seed.
    """
    order = sorted(plan.chosen, key=lambda arm: plan.waits_for(arm) is not None)
    for number, seed in enumerate(plan.seeds):
        for arm in order:
            if arm.stage or number == 0:
                yield arm, seed


def missing_cells(plan: StudyRecipe, elsewhere: Collection[tuple[str, int]]) -> list[tuple[Arm, int]]:
    """The cells that were not measured ``elsewhere``, and the cells whose models they start from."""
    known = {cell_name(ARMS[name], seed) for name, seed in elsewhere}
    needed: set[str] = set()
    for arm, seed in cells(plan):
        if cell_name(arm, seed) not in known:
            needed |= {cell_name(arm, seed), _start_of(arm, seed)}
            if first := plan.waits_for(arm):
                needed.add(cell_name(first, seed))
    return [(arm, seed) for arm, seed in cells(plan) if cell_name(arm, seed) in needed]


def train_cell(plan: StudyRecipe, arm: Arm, seed: int, out: Path, train: Train) -> str:
    """The model of one arm and seed, which is trained if it has not been trained yet."""
    from mirg.training.recipe import PARTIALLY_SOLVED

    if not arm.stage:
        return plan.model
    data, more = str(plan.dataset(arm.data)), [] if plan.dtype is None else [f"dtype={plan.dtype}"]
    if arm.rated and plan.rl_answers:
        data = str(out / "data" / rated_name(arm, seed))
        more += PARTIALLY_SOLVED
        _require_partially_solved(plan, arm, seed, out)
    if arm.rate != 1.0:
        more.append(f"optim.learning_rate={arm.rate * plan.stage_recipe(arm.stage).optim.learning_rate}")
    steps, first = steps_of(plan, arm, seed, out), plan.waits_for(arm)
    if first:
        logger.info("%d steps cost what %s of this seed has cost (equal: %s)", steps, first.name, plan.equal)
    overrides = (
        f"model={_model(plan, arm, seed, out)}", f"data={data}", f"seed={seed}",
        f"steps={steps}", *more, *arm.overrides,
    )  # fmt: skip
    return str(train(plan.stage_recipe(arm.stage, overrides), out / "runs" / cell_name(arm, seed)))


def rate(plan: StudyRecipe, arm: Arm, seed: int, out: Path) -> None:
    """Measure how often the model that ``arm`` starts from is right about each RL sample: ``data/rated-START-SEED``.

    The file ``data/rated-START-SEED.json`` is written when the rating is complete, with its tokens and seconds.
    """
    from mirg.engines.base import Generation
    from mirg.engines.load import load_engine
    from mirg.evaluation.measure import MeasurePlan
    from mirg.evaluation.pass_rates import write_difficulty

    name, began = rated_name(arm, seed), monotonic()
    logger.info("— pass rates of %s", _start_of(arm, seed))
    generation = Generation(plan.max_new_tokens, temperature=1.0, seed=seed, batch_size=plan.batch_size)
    report = write_difficulty(
        load_engine(_model(plan, arm, seed, out)), DatasetFolder.open(str(plan.rl)), out / "data" / name,
        plan.rl_answers, MeasurePlan(generation, overwrite=True),
    )  # fmt: skip
    told = {"tokens_generated": report.tokens, "seconds": round(monotonic() - began, 3), **report.kept}
    write_json_atomic(out / "data" / f"{name}.json", told)
    logger.info("%s: %s", name, ", ".join(f"{count} {word}" for word, count in report.kept.most_common()))


def _require_partially_solved(plan: StudyRecipe, arm: Arm, seed: int, out: Path) -> None:
    """ConfigError if the model that ``arm`` starts from solves too few samples only sometimes: GRPO needs those."""
    recipe: Any = plan.stage_recipe("grpo")
    needed = recipe.prompts_per_step * recipe.admission.candidates
    file = out / "data" / f"{rated_name(arm, seed)}.json"
    counts: Any = read_json(file) if file.is_file() else {"sometimes": needed}
    if counts.get("sometimes", 0) < needed:
        told = ", ".join(f"{counts.get(word, 0)} {word}" for word in ("never", "sometimes", "always"))
        raise ConfigError(
            f"{_start_of(arm, seed)} solves too few RL samples only sometimes ({told}): {arm.name} learns from those,"
            f" and a step takes {needed}",
            hint="-s rl_answers=0 trains on all samples, a larger rl_answers finds rarer successes; otherwise longer"
            " SFT (sft_steps, with another --out), or RL samples that are easier, or harder if most are always solved",
        )


def _model(plan: StudyRecipe, arm: Arm, seed: int, out: Path) -> str:
    """The model that an arm starts from."""
    start = _start_of(arm, seed)
    return str(out / "runs" / start) if start else plan.model


def is_claimed(plan: StudyRecipe, out: Path) -> bool:
    """Whether ``out`` holds a study of the same datasets, which have been checked then."""
    held: Any = read_json(out / PLAN_FILE) if (out / PLAN_FILE).is_file() else {}
    return isinstance(held, dict) and plan.digests.items() <= held.get(DIGESTS, {}).items()


def _claim(plan: StudyRecipe, out: Path) -> None:
    """Write the plan into ``out``. ConfigError if ``out`` holds a study with another plan or other datasets."""
    wanted = plan.model_dump(mode="json")
    file = out / PLAN_FILE
    old: Any = read_json(file) if file.is_file() else wanted
    if not isinstance(old, dict) or "model" not in old:
        raise ConfigError(
            f"{out} holds a study of a version of mirg before {mirg.__version__}", hint="choose another --out"
        )
    # A key that is newer than the folder had its default value when the folder was made.
    defaults = {
        key: field.get_default(call_default_factory=True)
        for key, field in type(plan).model_fields.items()
        if not field.is_required()
    }
    held = plan.model_copy(update=defaults).model_dump(mode="json") | old
    begun = any(
        (out / "runs" / cell_name(arm, seed)).exists()
        for arm in ARMS.values()
        for seed in {*plan.seeds, *held["seeds"]}
        if arm.stage == "grpo" or arm.steps == "more_sft_steps"
    )
    free = _MAY_CHANGE if begun else _MAY_CHANGE | _OF_GRPO
    changed = [key for key in wanted if key not in free and held[key] != wanted[key]]
    if changed:
        key = changed[0]
        raise ConfigError(
            f"{out} holds a study with {key} = {held[key]}, now it is {wanted[key]}", hint="choose another --out"
        )
    known: dict[str, str] = old.get(DIGESTS, {})
    digests = plan.digests
    for role, digest in digests.items():
        if known.get(role, digest) != digest:
            raise ConfigError(
                f"{out} holds a study with another dataset as {role} than {getattr(plan, role)}",
                hint="choose another --out",
            )
    write_json_atomic(file, wanted | {DIGESTS: known | digests})

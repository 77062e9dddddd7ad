"""What ``mirg study --dry-run`` says: the arms, their steps, hours and disk space, before anything is trained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mirg.errors import MirgError
from mirg.samples import DatasetFolder
from mirg.study.cost import stage_cost
from mirg.study.plan import ARMS, Arm, StudyRecipe
from mirg.training.recipe import GrpoRecipe, SftRecipe

_GIB = 2**30
HEAD = ("arm", "stage", "starts from", "data", "steps", "samples a step", "passes over the data", "hours a seed")


def arm_rows(plan: StudyRecipe, out: Path) -> list[list[str]]:
    """A row for each arm, with the columns of :data:`HEAD`; hours are those of its last stage, without its start."""
    rows = []
    speeds = {stage: _seconds_per_step(plan, out, stage) for stage in ("sft", "grpo")}
    for arm in plan.chosen:
        if not arm.stage:
            rows.append([arm.name, "none", *[""] * (len(HEAD) - 2)])
            continue
        steps, speed = getattr(plan, arm.steps), speeds[arm.stage]
        size, samples = per_step(plan.stage_recipe(arm.stage)), _samples(plan, arm)
        passes = f"{steps * size / samples:.1f}" if steps and samples else "?"
        first = plan.waits_for(arm)
        told = f"as many as cost what {first.name} costs" if first else str(steps)
        needed = f"{steps * speed / 3600:.2g}" if steps and speed else f"as {first.name}" if first else "?"
        data = f"{arm.data}, {samples or '?'} samples"
        rows.append([arm.name, arm.stage, arm.start, data, told, str(size), passes, needed])
    return rows


def lines(plan: StudyRecipe, out: Path, todo: Sequence[tuple[Arm, int]]) -> list[str]:
    """Sentences about compute, the number of runs, hours and disk space. ``todo`` has yet to be trained."""
    runs = [(arm, seed) for arm, seed in todo if arm.stage]
    items = _count(plan.test)
    said = [f"test: {items} items; {len(todo)} evaluations and {len(runs)} training runs, with seeds {plan.seeds}"]
    waited = {first.name: None for arm, _ in runs if (first := plan.waits_for(arm))}
    if waited:
        by = {"flops": "FLOPs", "tokens": "tokens trained on", "seconds": "seconds"}[plan.equal]
        said.append(
            f"equal compute: GRPO arms have equal steps; an SFT arm that is continued gets as many steps as cost what"
            f" {' or '.join(waited)} of the same seed has cost, in {by}"
        )
    return [*said, *(hours(plan, out, stage, runs) for stage in ("sft", "grpo")), _disk(plan, out, runs)]


def per_step(recipe: SftRecipe | GrpoRecipe) -> int:
    """Samples of one step in one process; in GRPO each is answered ``group_size`` times."""
    return recipe.prompts_per_step if isinstance(recipe, GrpoRecipe) else recipe.batch_size * recipe.accumulation


def _samples(plan: StudyRecipe, arm: Arm) -> int:
    return _count(str(plan.dataset(arm.data)))


def _count(path: str) -> int:
    try:
        return len(DatasetFolder.open(path))
    except MirgError:
        return 0


def hours(plan: StudyRecipe, out: Path, stage: str, runs: Sequence[tuple[Arm, int]]) -> str:
    """Hours of a stage at the speed of the runs that are in ``out``."""
    wanted = [(arm, seed) for arm, seed in runs if arm.stage == stage]
    if not wanted:
        return f"hours of {stage}: nothing is left to train"
    speed = _seconds_per_step(plan, out, stage)
    if not speed:
        first = "sft" if stage == "sft" else (plan.reference() or wanted[0][0]).name
        return f"hours of {stage}: not known before a run is timed: -s 'seeds=[{plan.seeds[0]}]' -s 'arms=[{first}]'"
    fixed = [getattr(plan, arm.steps) for arm, _ in wanted]
    open_ended = fixed.count(None)
    more = f", and {open_ended} runs of as much compute as GRPO" if open_ended else ""
    left = sum(step for step in fixed if step)
    return f"hours of {stage}: {left * speed / 3600:.3g} for {left} steps at {speed:.3g} s (runs in {out}){more}"


def _seconds_per_step(plan: StudyRecipe, out: Path, stage: str) -> float:
    """Of the runs of ``stage`` in ``out``, with the measurement of pass rates; 0 if nothing was trained."""
    seen = [stage_cost(arm, seed, out) for arm in ARMS.values() if arm.stage == stage for seed in plan.seeds]
    steps = sum(cost.steps for cost in seen)
    return sum(cost.seconds for cost in seen) / steps if steps else 0.0


def _disk(plan: StudyRecipe, out: Path, runs: Sequence[tuple[Arm, int]]) -> str:
    """An estimate: a model in float32 for each run, and checkpoints with the optimiser's two moments."""
    try:
        from mirg.training.memory import estimate

        bytes_of = {}
        for stage in {arm.stage for arm, _ in runs}:
            recipe = plan.stage_recipe(stage)
            bytes_of[stage] = 4 * estimate(recipe).weights.trained * (1 + 3 * recipe.keep_checkpoints)
        needed = sum(bytes_of[arm.stage] for arm, _ in runs)
    except (MirgError, ImportError) as error:
        return f"disk: not known: {error}"
    place = next(folder for folder in (out, *out.resolve().parents) if folder.is_dir())
    return f"disk: about {needed / _GIB:.2g} GiB, {shutil.disk_usage(place).free / _GIB:.0f} GiB are free"

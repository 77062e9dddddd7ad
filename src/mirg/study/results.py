"""What a study found: the outcome of every arm, seed and item, paired differences between arms, and ``study.json``.

``outcomes.jsonl`` has a :class:`Cell` for each arm and seed. All differences can be computed from it, and machines can
share a study: an arm in the file of another machine need not be trained again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from mirg.errors import EvaluationError
from mirg.evaluation.chance import chance
from mirg.evaluation.compare import load_evaluation
from mirg.evaluation.intervals import seeds_interval
from mirg.evaluation.metrics import METRICS
from mirg.evaluation.records import Record, make_record, read_rows
from mirg.families import MIRG_TINY
from mirg.samples import DatasetFolder
from mirg.storage import BadLine, digest_bytes, read_json
from mirg.study.cost import costs, tokens
from mirg.study.plan import ARMS, PATHS, StudyRecipe, cell_name
from mirg.study.run import cells
from mirg.training.run import environment

MEASURES: dict[str, Callable[[Record], float]] = {
    **{name: METRICS[name] for name in ("joint_accuracy", "image_accuracy", "mean_iou")},
    # mean_iou ignores which image an answer names, as the object reward does; joint_iou does not.
    "joint_iou": lambda record: record.iou if record.image_correct else 0.0,
}
# (a, b): from the first arm to the second. The claims are what the method promises, the ablations explain it.
CLAIMS: tuple[tuple[str, str], ...] = (
    ("base", "sft"),
    ("sft", "dual"),
    ("sft_continued", "dual"),
    ("object_only", "dual"),
    ("sft_object_level", "sft"),
)
ABLATIONS: tuple[tuple[str, str], ...] = (
    ("sft", "object_only"),
    ("gated", "dual"),
    ("dual", "dual_normalised"),
    ("dual", "dual_difficulty"),
    ("dual", "dual_orders"),
    ("dual_without_sft", "dual"),
    ("sft", "sft_continued"),
    ("dual", "sft_fresh"),
    ("sft_fresh", "dual_from_fresh"),
    ("sft_fresh_continued", "dual_from_fresh"),
    ("sft_fresh", "sft_fresh_continued"),
    ("sft", "sft_look"),
    ("dual", "dual_look"),
    ("sft_look", "dual_look"),
    ("dual_look", "dual_look_rewards"),
    ("dual", "dual_grounded"),
)
OUTCOMES_FILE = "outcomes.jsonl"
DEFAULTS = 1  # raise it when a default of a stage's recipe gets another value
IOU_STEPS = 10_000  # an IoU is kept with four decimals


class Cell(BaseModel):
    """What one arm and seed answered to every item of the test set, small enough to publish.

    ``image`` and ``joint`` have the character 1 for each item that is right, else 0; ``iou`` is in 1/10,000. Items are
    in the order of the test set. ``settings`` is the digest of the steps and stage recipes (:func:`settings_digest`),
    ``datasets`` has those of the test set and of the training sets by their keys in the recipe, and ``numerics`` is the
    number type and device of the evaluation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arm: str
    seed: int
    benchmark: str
    settings: str
    datasets: dict[str, str] = {}
    numerics: str
    tokens_generated: int
    tokens_trained: int
    image: str
    joint: str
    iou: tuple[int, ...]


def settings_digest(plan: StudyRecipe) -> str:
    """The digest of everything but the datasets that two parts of one study must share.

    Seeds, arms, compute dtype and what the page says may differ. Values that are defaults are left out, so that a new
    key of the recipes does not separate two parts; :data:`DEFAULTS` covers the values of the defaults.
    """
    # The folder of photographs is research/study's; the digests of the datasets say what was in it.
    free = {"photos", "seeds", "arms", "dtype", "sft", "grpo", "families", "expect", "allow_leakage", *PATHS}
    if plan.more_sft_steps is not None:
        free.add("equal")
    if plan.looks is None:
        free |= {"look_sft_steps", "look_rl_steps", "per_task"}  # the last is research/study's, too
    parts: list[object] = [DEFAULTS, plan.model_dump(mode="json", exclude=free)]
    apart = {"dtype", "threads", "model", "data"}
    stages = ("sft", "grpo") if plan.rl else ("sft",)
    parts += [
        plan.stage_recipe(stage).model_dump(mode="json", exclude=apart, exclude_defaults=True) for stage in stages
    ]
    return digest_bytes(json.dumps(parts, sort_keys=True).encode())[:16]


def load_cells(files: Iterable[Path], plan: StudyRecipe) -> list[Cell]:
    """The cells of several files of outcomes.

    EvaluationError if a row is broken or was made with other settings or other datasets. A training set that is not on
    this machine cannot be compared.
    """
    wanted, here, present = settings_digest(plan), plan.present, plan.digests
    cells: list[Cell] = []
    for file in files:
        for number, cell in read_rows(file, Cell):
            if isinstance(cell, BadLine):
                raise EvaluationError(f"{file}, line {number}: {cell.reason}")
            place = f"{file}, line {number}: {cell.arm}, seed {cell.seed}"
            if cell.settings != wanted:
                raise EvaluationError(
                    f"{place}, was made with other settings",
                    hint="the sizes and the stage recipes of both studies must be the same",
                )
            other = [role for role, digest in cell.datasets.items() if present.get(role, digest) != digest]
            if "test" in here and cell.benchmark != here["test"].card.name:
                other.append("test")
            if other:
                raise EvaluationError(
                    f"{place}, was made with another dataset: {', '.join(other)}",
                    hint="both studies must use the same datasets",
                )
            cells.append(cell)
    return cells


def answers(records: Sequence[Record], items: Sequence[str]) -> dict[str, object]:
    """The fields of a :class:`Cell` that an evaluation decides, in the order of ``items``, the ids of the test set.

    The records may have another order. EvaluationError if they are about other items.
    """
    by_id = {record.id: record for record in records}
    if len(records) != len(items) or set(by_id) != set(items):
        raise EvaluationError(f"an evaluation of {len(records)} items is not about the {len(items)} of this study")
    ordered = [by_id[item] for item in items]
    return {
        "image": "".join(str(int(record.image_correct)) for record in ordered),
        "joint": "".join(str(int(record.joint)) for record in ordered),
        "iou": tuple(round(record.iou * IOU_STEPS) for record in ordered),
    }


def laid_over(cell: Cell, blank: Sequence[Record]) -> list[Record]:
    """The records of ``cell`` with the fields that the metrics read. EvaluationError if it is about other items."""
    if not len(cell.image) == len(cell.joint) == len(cell.iou) == len(blank):
        raise EvaluationError(
            f"the outcomes of {cell.arm}, seed {cell.seed}, are not about the {len(blank)} items of this study"
        )
    return [
        record.model_copy(update={"image_correct": image == "1", "joint": joint == "1", "iou": iou / IOU_STEPS})
        for record, image, joint, iou in zip(blank, cell.image, cell.joint, cell.iou, strict=True)
    ]


def outcomes(plan: StudyRecipe, out: Path) -> list[Cell]:
    """The cells that have been evaluated in ``out``, arm by arm. Tokens are counted from the base to the arm."""
    settings, digests = settings_digest(plan), plan.digests
    test = DatasetFolder.open(plan.test)
    items: list[str] = []
    found = []
    for arm, seed in cells(plan):
        summary = out / "eval" / cell_name(arm, seed) / "summary.json"
        if summary.is_file():
            written: Any = read_json(summary)
            generated, trained = tokens(arm.name, seed, out)
            trained_on = [step.data for step in arm.path if step.stage]
            row = {
                "arm": arm.name,
                "seed": seed,
                "benchmark": test.card.name,
                "settings": settings,
                "datasets": {role: digests[role] for role in ("test", *trained_on) if role in digests},
                "numerics": str(written["settings"].get("numerics", "")),
                "tokens_generated": generated,
                "tokens_trained": trained,
            }
            items = items or [sample.id for sample in test]
            found.append(Cell.model_validate(row | answers(load_evaluation(summary.parent).records, items)))
    return found


def results(plan: StudyRecipe, out: Path, measured: Sequence[Cell]) -> dict[str, Any]:
    """Arms, contrasts and chance levels of the cells that were ``measured``, as plain data.

    ``arms`` has one row for each arm, seed, metric and subset; ``contrasts`` are those of :func:`contrasts`.
    EvaluationError if nothing has been measured yet.
    """
    if not measured:
        raise EvaluationError(f"{out} holds no finished evaluation", hint="mirg study runs them")
    benchmark = DatasetFolder.open(plan.test)
    levels = {sample.id: str(sample.meta.get("level", "")) for sample in benchmark}
    # Records of empty answers, whose metrics a cell replaces. An empty answer has no boxes, so that the family which
    # would convert them makes no difference.
    records = [make_record(sample, "", family=MIRG_TINY) for sample in benchmark]
    tasks = {record.task for record in records}
    # Those that the recipe has a title for come first, in its order.
    ordered = [*(task for task in plan.families if task in tasks), *sorted(tasks - plan.families.keys())]
    found: dict[str, dict[int, list[Record]]] = {}
    for cell in sorted(measured, key=lambda cell: (list(ARMS).index(cell.arm), cell.seed)):
        found.setdefault(cell.arm, {})[cell.seed] = laid_over(cell, records)
    by_cell = {(cell.arm, cell.seed): cell for cell in measured}
    subsets = subsets_of(records, levels)
    levels_by_chance = chance(records)
    return {
        "benchmark": {
            "name": benchmark.card.name,
            "items": len(records),
            "image_sets": len({record.image_set for record in records}),
            "families": {task: plan.families.get(task, "") for task in ordered},
            "levels": [level for level in dict.fromkeys(levels.values()) if level],
            "image_hidden": len(subsets.get("image_hidden", ())) / len(records),
            "chance": {key: levels_by_chance[key] for key in ("overall", "tasks")},
        },
        "plan": plan.model_dump(mode="json"),
        "datasets": {role: len(folder) for role, folder in plan.present.items()},
        **{key: environment()[key] for key in ("versions", "python", "cpus")},
        "arms": [
            {
                "arm": name,
                "seed": seed,
                "metric": metric,
                "subset": subset,
                "value": sum(float(value(answered[k])) for k in places) / len(places),
                "n_items": len(places),
                "tokens_generated": by_cell[name, seed].tokens_generated,
                "tokens_trained": by_cell[name, seed].tokens_trained,
            }
            for name, by_seed in found.items()
            for seed, answered in by_seed.items()
            for subset, places in subsets.items()
            for metric, value in MEASURES.items()
        ],
        "costs": costs(plan, out, [(cell.arm, cell.seed) for cell in measured]),
        "contrasts": [row._asdict() for row in contrasts(found, levels)],
    }


ByArm = Mapping[str, Mapping[int, Sequence[Record]]]  # arm, seed, records in one order


class Contrast(NamedTuple):
    """The difference ``b`` minus ``a`` in ``metric`` on a subset of the items: a fraction with its 95 % interval."""

    a: str
    b: str
    metric: str
    subset: str
    delta: float
    low: float
    high: float
    n_items: int
    seeds: int


def contrasts(found: ByArm, levels: Mapping[str, str]) -> list[Contrast]:
    """The claims and ablations whose two arms were measured, for each metric and subset.

    ``levels`` is the difficulty of each item by its id, "" or missing if it has none.
    """
    return [
        contrast(a, b, found, metric, subset, keep)
        for a, b in (*CLAIMS, *ABLATIONS)
        if a in found and b in found and (len(found[a]) == 1 or found[a].keys() & found[b].keys())
        for subset, keep in subsets_of(next(iter(found[b].values())), levels).items()
        for metric in MEASURES
    ]


def subsets_of(records: Sequence[Record], levels: Mapping[str, str]) -> dict[str, list[int]]:
    """Positions of the items of each subset: all, by whether the question hides the image, by level, by task."""
    found: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        shown = "image_hidden" if record.image_hidden else "image_given"
        for name in ("all", shown, levels.get(record.id, ""), record.task):
            if name:
                found.setdefault(name, []).append(place)
    first = ("all", "image_hidden", "image_given")
    return {name: found[name] for name in (*first, *sorted(found.keys() - set(first))) if name in found}


def contrast(a: str, b: str, found: ByArm, metric: str, subset: str, keep: Sequence[int]) -> Contrast:
    """The difference of two arms on the items at positions ``keep``, over the seeds that both have.

    The base is not trained and has one seed; it is compared with every seed of the other arm. EvaluationError if the
    arms share no seed or answered different items.
    """
    ours, theirs = found[b], found[a]
    fixed = next(iter(theirs.values())) if a == "base" else None
    shared = sorted(ours) if fixed is not None else sorted(ours.keys() & theirs.keys())
    if not shared:
        raise EvaluationError(f"{a} and {b} have no seed in common")
    value = MEASURES[metric]
    table = []
    for seed in shared:
        before, after = fixed if fixed is not None else theirs[seed], ours[seed]
        if [record.id for record in before] != [record.id for record in after]:
            raise EvaluationError(f"{a} and {b} were not asked the same items", hint="evaluate both on one dataset")
        table.append([float(value(after[k])) - float(value(before[k])) for k in keep])
    differences_SN = np.array(table)
    sets = [ours[shared[0]][k].image_set for k in keep]
    low, high = seeds_interval(differences_SN, sets)
    return Contrast(a, b, metric, subset, float(differences_SN.mean()), low, high, len(keep), len(shared))

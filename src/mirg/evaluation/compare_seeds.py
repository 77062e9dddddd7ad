"""Two sides of several evaluations each, one for every seed: paired differences over items and seeds.

``mirg compare A-0 A-1 A-2 --with B-0 B-1 B-2``. The first evaluation of one side is paired with the first of the other,
or those whose folders end with the same number. Intervals are those of the study (``docs/design/0008-study.md``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mirg.errors import EvaluationError
from mirg.evaluation.compare import Evaluation, common, differing_settings
from mirg.evaluation.intervals import Floats, seeds_interval
from mirg.evaluation.metrics import METRICS, subsets, values
from mirg.evaluation.records import Record, by_task

_SEED = re.compile(r"(\d+)$")


def expand(folders: Iterable[str | Path]) -> list[Path]:
    """Folders, and patterns such as ``eval/dual-*``, as folders. EvaluationError if a pattern matches none."""
    found: list[Path] = []
    for text in map(str, folders):
        root = Path(text).anchor
        matching = sorted(map(str, Path(root).glob(text.removeprefix(root))), key=_natural)
        names = matching if any(mark in text for mark in "*?[") else [text]
        if not names:
            raise EvaluationError(
                f"no folder matches {text}", hint="a pattern in quotes is one of folders: 'eval/dual-*'"
            )
        found += map(Path, names)
    return found


def paired(first: Sequence[Evaluation], second: Sequence[Evaluation]) -> list[tuple[Evaluation, Evaluation]]:
    """Which evaluation is compared with which.

    A side with one evaluation, such as an untrained model, is compared with all of the other. Otherwise both have
    equally many: pairs have the same number at the end of their names if all have one, else the same place.
    EvaluationError if neither is possible.
    """
    if 1 in (len(first), len(second)):
        return [(a, b) for a in first for b in second]
    seeds = [[_SEED.search(one.name) for one in side] for side in (first, second)]
    numbers = [[int(found[1]) if found else None for found in side] for side in seeds]
    if all(None not in side and len(set(side)) == len(side) for side in numbers) and set(numbers[0]) & set(numbers[1]):
        if set(numbers[0]) != set(numbers[1]):
            odd = sorted(str(number) for number in set(numbers[0]) ^ set(numbers[1]))
            raise EvaluationError(
                f"only one side has the seeds {', '.join(odd)}", hint="leave them out, or evaluate the other side too"
            )
        by_seed = dict(zip(numbers[1], second, strict=True))
        return [(a, by_seed[number]) for number, a in zip(numbers[0], first, strict=True)]
    if len(first) != len(second):
        raise EvaluationError(
            f"{len(first)} evaluations cannot be paired with {len(second)}",
            hint="give one for each seed on both sides, or a single one on one side",
        )
    return list(zip(first, second, strict=True))


def compare_seeds(first: Sequence[Evaluation], second: Sequence[Evaluation]) -> dict[str, Any]:
    """The difference of two sides as JSON-ready data, over the samples that all evaluations hold.

    ``pairs``: names; ``n`` samples; ``sides``: per metric the mean over samples and seeds, and the least and largest
    seed; ``overall``, ``tasks`` and ``subsets``: per metric mean, low and high of second minus first, and n; ``notes``.
    """
    pairs = paired(first, second)
    shared = _shared([*first, *second])
    keep = {record.id for record in shared}
    if not keep:
        raise EvaluationError("the evaluations have no sample in common", hint="evaluate all on the same dataset")
    order = [record.id for record in shared]
    rows = {id(one): _in_order(one, order) for one in (*first, *second)}
    differences_SNM = np.stack([rows[id(b)] - rows[id(a)] for a, b in pairs])
    place = {name: k for k, name in enumerate(order)}

    def block(records: Sequence[Record]) -> dict[str, Any]:
        chosen = [place[record.id] for record in records]
        return {"n": len(chosen), **_cells(differences_SNM[:, chosen], [record.image_set for record in records])}

    notes = [f"{len(one.records) - len(keep)} samples of {one.name} are not in all evaluations and are left out."
             for one in (*first, *second) if len(one.records) > len(keep)]  # fmt: skip
    return {
        "pairs": [{"a": a.name, "b": b.name} for a, b in pairs],
        "n": len(order),
        "sides": [{"seeds": len(side), **_side([rows[id(one)] for one in side])} for side in (first, second)],
        "overall": block(shared),
        "tasks": {task: block(records) for task, records in by_task(shared).items()},
        "subsets": {name: block(records) for name, records in subsets(shared).items()},
        "notes": [*notes, *differing_settings([*first, *second])],
    }


def _shared(evaluations: Sequence[Evaluation]) -> list[Record]:
    """The records of the first evaluation whose samples all hold. EvaluationError if one is not the same everywhere."""
    base, kept = evaluations[0], {record.id for record in evaluations[0].records}
    for other in evaluations[1:]:
        kept &= {record.id for record in common(base, other)[0]}
    return [record for record in base.records if record.id in kept]


def _in_order(evaluation: Evaluation, order: Sequence[str]) -> Floats:
    by_id = {record.id: record for record in evaluation.records}
    return values([by_id[name] for name in order])


def _cells(differences_SNM: Floats, sets: Sequence[str]) -> dict[str, Any]:
    cells = {}
    for m, metric in enumerate(METRICS):
        low, high = seeds_interval(differences_SNM[:, :, m], sets)
        cells[metric] = {"mean": float(differences_SNM[:, :, m].mean()), "low": low, "high": high}
    return cells


def _side(values_SNM: Sequence[Floats]) -> dict[str, Any]:
    means_SM = np.stack([one.mean(axis=0) for one in values_SNM])
    columns = zip(METRICS, means_SM.mean(0), means_SM.min(0), means_SM.max(0), strict=True)
    return {
        metric: {"mean": float(mean), "min": float(least), "max": float(most)} for metric, mean, least, most in columns
    }


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which run-10 comes after run-9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]

"""Paired differences between arms, over seeds and items at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mirg.errors import EvaluationError
from mirg.evaluation.intervals import LEVEL, RESAMPLES, Floats, draw_counts, sums_by_set
from mirg.evaluation.metrics import METRICS
from mirg.evaluation.records import Record

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
)
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
    low, high = interval(differences_SN, sets)
    return Contrast(a, b, metric, subset, float(differences_SN.mean()), low, high, len(keep), len(shared))


def interval(
    differences_SN: Floats, sets: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The 95 % interval of the mean of paired differences of shape (seeds, items); ``sets`` are the items' image sets.

    Every seed of an arm answers the same items, so the mean varies with both: another seed gives another model, another
    item another question. The interval is that of the pigeonhole bootstrap (Owen 2007), which draws seeds and image
    sets independently and is conservative. A few seeds spread too little when they are drawn from themselves, so their
    effects are first widened by sqrt(S / (S - 1)).
    """
    n_seeds = len(differences_SN)
    means_S = differences_SN.mean(axis=1)
    if n_seeds > 1:
        widened = math.sqrt(n_seeds / (n_seeds - 1)) - 1.0
        differences_SN = differences_SN + widened * (means_S - means_S.mean())[:, None]
    sums_CS, counts_C = sums_by_set(differences_SN.T, sets)
    rng = np.random.default_rng(seed)
    weights_RC, weights_RS = draw_counts(rng, resamples, len(counts_C)), draw_counts(rng, resamples, n_seeds)
    draws = ((weights_RS @ sums_CS.T.copy()) * weights_RC).sum(axis=1) / (n_seeds * (weights_RC @ counts_C))
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)

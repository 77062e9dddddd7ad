"""Several sampled answers to every item: pass@k, the mean of the answers, and how far they agree.

The answers to one item are not independent, and neither are items about the same images: every value is computed per
item first, and the intervals resample whole image sets (:mod:`mirg.evaluation.intervals`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mirg.evaluation.intervals import Floats, mean_intervals
from mirg.evaluation.majority import spread
from mirg.evaluation.metrics import METRICS, values
from mirg.evaluation.records import Record, answer_of, representative, thinking_counts

PASSED = ("joint_accuracy", "acc_50")  # the metrics of pass@k
AGREEMENT = {"images": "two answers name the same images", "iou": "mean IoU of two answers"}


def pass_at_k(n: int, c: int, k: int) -> float:
    """The probability that at least one of ``k`` answers is right, estimated from ``n`` answers of which ``c`` are.

    The unbiased estimator of Chen et al. (arXiv 2107.03374, equation 1): 1 - C(n - c, k) / C(n, k), the share of the
    subsets of k answers that hold a right one. ``1 - (1 - c / n)**k`` would be too low.
    """
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def draws_summary(items: Sequence[Sequence[Record]]) -> dict[str, Any]:
    """The part of a summary about K > 1 answers to each item; ``items`` are the answers to each, in order of draws.

    ``draws`` holds ``k`` and for all items (``overall``) and each of the ``tasks``: ``pass_at_k`` by metric, a list of
    cells for k = 1 … K; ``mean``, every metric averaged over the answers; ``agreement`` over pairs of answers to an
    item (:func:`mirg.evaluation.majority.spread`). ``tokens``, ``cut_off`` and ``thinking`` count all answers.
    """
    answers = [record for item in items for record in item]
    values_NM = np.array([_values(item) for item in items])
    sets, tasks = [item[0].image_set for item in items], np.array([item[0].task for item in items])

    def block(rows: Sequence[int]) -> dict[str, Any]:
        return _block(values_NM[np.asarray(rows)], [sets[row] for row in rows], len(items[0]))

    return {
        "tokens": sum(record.completion_tokens for record in answers),
        "cut_off": sum(record.finish == "length" for record in answers),
        "thinking": thinking_counts(answers),
        "draws": {
            "k": len(items[0]),
            "overall": block(range(len(items))),
            "tasks": {task: block(np.flatnonzero(tasks == task).tolist()) for task in sorted(set(tasks.tolist()))},
        },
    }


def draw_rows(items: Sequence[Sequence[Record]]) -> list[dict[str, Any]]:
    """A row for each item: which draw is the majority answer, how many are right, and how far the answers agree."""
    rows = []
    for item in items:
        images, iou = spread([answer_of(record) for record in item])
        right = {metric: sum(METRICS[metric](record) for record in item) for metric in PASSED}
        rows.append({"id": item[0].id, "majority": representative(item).draw, **right, "images": images, "iou": iou})
    return rows


def _values(item: Sequence[Record]) -> list[float]:
    """The values of an item in the order in which :func:`_block` reads them."""
    right = [int(sum(METRICS[metric](record) for record in item)) for metric in PASSED]
    passed = [pass_at_k(len(item), c, k) for c in right for k in range(1, len(item) + 1)]
    return [*passed, *values(item).mean(axis=0).tolist(), *spread([answer_of(record) for record in item])]


def _block(values_NM: Floats, sets: Sequence[str], draws: int) -> dict[str, Any]:
    found = mean_intervals(values_NM, sets)
    cells = iter([interval.cell() for interval in found])
    return {
        "n": found[0].n,
        "n_sets": found[0].n_sets,
        "pass_at_k": {metric: [{"k": k, **next(cells)} for k in range(1, draws + 1)] for metric in PASSED},
        "mean": {metric: next(cells) for metric in METRICS},
        "agreement": {name: next(cells) for name in AGREEMENT},
    }

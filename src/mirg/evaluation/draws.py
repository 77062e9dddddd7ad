"""Several sampled answers to every item: pass@k, the mean of the answers, and how far they agree.

The answers to one item are not independent, and neither are items about the same images: every value is computed per
item first, and the intervals resample whole image sets (:mod:`mirg.evaluation.intervals`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mirg.evaluation.intervals import mean_intervals
from mirg.evaluation.majority import spread
from mirg.evaluation.metrics import METRICS, values
from mirg.evaluation.records import Record, answer_of, representative

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
    item (:func:`mirg.evaluation.majority.spread`). ``tokens`` and ``cut_off`` count all answers.
    """
    answers = [record for item in items for record in item]
    tasks = sorted({item[0].task for item in items})
    return {
        "tokens": sum(record.completion_tokens for record in answers),
        "cut_off": sum(record.finish == "length" for record in answers),
        "draws": {
            "k": len(items[0]),
            "overall": _block(items),
            "tasks": {task: _block([item for item in items if item[0].task == task]) for task in tasks},
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


def _block(items: Sequence[Sequence[Record]]) -> dict[str, Any]:
    k = len(items[0])
    passed_NC = [[sum(METRICS[metric](record) for record in item) for metric in PASSED] for item in items]
    columns = [[pass_at_k(k, int(right), draws) for right in row for draws in range(1, k + 1)] for row in passed_NC]
    means = [values(item).mean(axis=0) for item in items]
    agreement = [spread([answer_of(record) for record in item]) for item in items]
    sets = [item[0].image_set for item in items]
    found = mean_intervals(np.hstack([columns, means, agreement]), sets)
    cells = iter([interval.cell() for interval in found])
    return {
        "n": found[0].n,
        "n_sets": found[0].n_sets,
        "pass_at_k": {metric: [{"k": draws, **next(cells)} for draws in range(1, k + 1)] for metric in PASSED},
        "mean": {metric: next(cells) for metric in METRICS},
        "agreement": {name: next(cells) for name in AGREEMENT},
    }

"""The metrics of an evaluation, per task and overall, with 95 % intervals resampled by image set.

All values are fractions in [0, 1]. What each metric means: ``docs/concepts/metrics.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np

from mirg.evaluation.intervals import RESAMPLES, Floats, Interval, mean_intervals
from mirg.evaluation.records import Outcome, Record, by_task

METRICS: dict[str, Callable[[Record], float]] = {
    "image_accuracy": lambda record: record.image_correct,
    "acc_30": lambda record: record.correct_30,
    "acc_50": lambda record: record.correct_50,
    "acc_70": lambda record: record.correct_70,
    "mean_iou": lambda record: record.iou,
    "joint_accuracy": lambda record: record.joint,
    "parse_failures": lambda record: record.failure is not None,
    "reward": lambda record: record.total,
}
TITLES: dict[str, str] = {
    "image_accuracy": "image accuracy",
    "acc_30": "Acc@0.3",
    "acc_50": "Acc@0.5",
    "acc_70": "Acc@0.7",
    "mean_iou": "mean IoU",
    "joint_accuracy": "joint Acc@0.5",
    "parse_failures": "parse failures",
    "reward": "mean reward",
}
LOWER_IS_BETTER = frozenset({"parse_failures"})


def values(records: Sequence[Record]) -> Floats:
    """The metrics of every record, shape (N, M), columns in the order of ``METRICS``."""
    rows = [[float(metric(record)) for metric in METRICS.values()] for record in records]
    return np.array(rows, dtype=np.float64).reshape(-1, len(METRICS))


def measure(records: Sequence[Record], *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Every metric of ``records`` with its interval; EvaluationError if there are no records."""
    found = mean_intervals(values(records), [r.image_set for r in records], seed=seed, resamples=resamples)
    return dict(zip(METRICS, found, strict=True))


def subsets(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Items whose question hides the image, and items that name it in the text or the task; empty ones left out."""
    hidden = [record for record in records if record.image_hidden]
    said = [record for record in records if not record.image_hidden]
    return {name: rows for name, rows in (("image_hidden", hidden), ("image_given", said)) if rows}


def table(records: Sequence[Record], *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Metrics as plain data: ``overall``, ``tasks``, ``subsets`` and the count of each outcome."""

    def block(rows: Sequence[Record]) -> dict[str, Any]:
        return plain(measure(rows, seed=seed, resamples=resamples))

    outcomes = Counter(record.outcome for record in records)
    return {
        "overall": block(records),
        "tasks": {task: block(rows) for task, rows in by_task(records).items()},
        "subsets": {name: block(rows) for name, rows in subsets(records).items()},
        "outcomes": {outcome: outcomes.get(outcome, 0) for outcome in get_args(Outcome)},
    }


def plain(measured: dict[str, Interval]) -> dict[str, Any]:
    """Intervals as JSON-ready data: ``{"n", "n_sets", metric: {"mean", "low", "high"}}``."""
    first = next(iter(measured.values()))
    cells = {name: {"mean": i.mean, "low": i.low, "high": i.high} for name, i in measured.items()}
    return {"n": first.n, "n_sets": first.n_sets, **cells}

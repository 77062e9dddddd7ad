"""The metrics of an evaluation, per task and overall, with 95 % intervals resampled by image set.

All values are fractions in [0, 1]. What each metric means: ``docs/concepts/metrics.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np

from mirg.errors import ConfigError
from mirg.evaluation.intervals import Floats, mean_intervals
from mirg.evaluation.records import Outcome, Record, by_task
from mirg.plugins import number_plugin
from mirg.samples import Sample

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
PluginMetrics = dict[str, Callable[[Record, Sample], float]]  # by NAME of FILE.py:NAME
LOWER_IS_BETTER = frozenset({"parse_failures"})


def values(records: Sequence[Record]) -> Floats:
    """The metrics of every record, shape (N, M), columns in the order of ``METRICS``."""
    rows = [[float(metric(record)) for metric in METRICS.values()] for record in records]
    return np.array(rows, dtype=np.float64).reshape(-1, len(METRICS))


def measure(records: Sequence[Record]) -> dict[str, Any]:
    """Every metric of ``records`` with its interval: ``{"n", "n_sets", metric: {"mean", "low", "high"}}``.

    EvaluationError if there are no records.
    """
    found = mean_intervals(values(records), [record.image_set for record in records])
    cells = {metric: interval.cell() for metric, interval in zip(METRICS, found, strict=True)}
    return {"n": found[0].n, "n_sets": found[0].n_sets, **cells}


def subsets(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Items whose question hides the image, and items that name it in the text or the task; empty ones left out."""
    hidden = [record for record in records if record.image_hidden]
    said = [record for record in records if not record.image_hidden]
    return {name: rows for name, rows in (("image_hidden", hidden), ("image_given", said)) if rows}


def table(records: Sequence[Record]) -> dict[str, Any]:
    """Metrics as plain data: ``overall``, ``tasks``, ``subsets`` and the count of each outcome."""
    outcomes = Counter(record.outcome for record in records)
    return {
        "overall": measure(records),
        "tasks": {task: measure(rows) for task, rows in by_task(records).items()},
        "subsets": {name: measure(rows) for name, rows in subsets(records).items()},
        "outcomes": {outcome: outcomes[outcome] for outcome in get_args(Outcome)},
    }


def plugin_metrics(names: Sequence[str]) -> PluginMetrics:
    """The plug-in metrics ``FILE.py:NAME``, each a function ``metric(record, sample)`` that returns a finite number.

    ConfigError if two have the same NAME, or mirg uses it itself; other errors as
    :func:`mirg.plugins.number_plugin`.
    """
    found: PluginMetrics = {}
    for name in names:
        label = name.rpartition(":")[2]
        if label in (*METRICS, *found, "id", "n", "n_sets"):
            raise ConfigError(
                f"{label!r} cannot be the name of the metric {name}: it is in use",
                hint="give the function of the plug-in another name",
            )
        number = number_plugin(name, what="metric")
        found[label] = lambda record, sample, number=number: number(sample.id, record, sample)
    return found


def plugin_table(records: Sequence[Record], numbers: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The means of plug-in metrics: ``overall`` and ``tasks``, blocks as :func:`measure` gives them.

    ``numbers`` has the value of every metric by sample id. Values may have any unit. ``low`` and ``high`` are None if
    all items are about the same images.
    """

    def block(rows: Sequence[Record]) -> dict[str, Any]:
        values_NM = np.array([list(numbers[record.id].values()) for record in rows])
        scale_M = np.maximum(np.abs(values_NM).max(axis=0), np.finfo(float).tiny)  # the bootstrap tells ties near 1
        found = mean_intervals(values_NM / scale_M, [record.image_set for record in rows], shares=False)
        cells = {}
        for label, interval, scale in zip(numbers[rows[0].id], found, scale_M.tolist(), strict=True):
            cells[label] = {name: scale * value for name, value in interval.cell().items()}
            if interval.n_sets == 1:
                cells[label] |= {"low": None, "high": None}
        return {"n": len(rows), "n_sets": found[0].n_sets, **cells}

    return {"overall": block(records), "tasks": {task: block(rows) for task, rows in by_task(records).items()}}

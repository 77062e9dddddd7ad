"""Chance levels: what a policy reaches that never looks at the images, computed from a benchmark's own truth.

A blind policy knows the task and how many images there are, and gives one constant answer per task. Every true answer
is a candidate for it, besides the whole image, the mean box, ``none``, "the last image" and a uniform choice of image.
The best candidate is chosen with the truth at hand, so the level is the highest that blindness can reach: a model above
it has looked. Over several tasks the best policy of each task is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirg.evaluation.agreement import JOINT_THRESHOLD, Placed, agree
from mirg.evaluation.metrics import subsets
from mirg.evaluation.records import Record, by_task
from mirg.geometry import Boxes, as_boxes, iou_matrix

CHANCE_METRICS = ("image_accuracy", "acc_30", "acc_50", "acc_70", "mean_iou", "joint_accuracy")
_THRESHOLDS = {"acc_30": 0.3, "acc_50": 0.5, "acc_70": 0.7}
_MOST_BOXES = 5000  # candidate boxes; of more, evenly spaced ones are tried
_MOST_MATCHINGS = 40_000  # answers with several boxes times items with several targets
_CHUNK = 256

LAST = 0  # an image choice: the last image of the item


class Level(NamedTuple):
    """The value of the best blind policy, and what it does."""

    value: float
    policy: str


def chance(records: Sequence[Record]) -> dict[str, Any]:
    """Chance levels as plain data, shaped as :func:`mirg.evaluation.metrics.table`: overall, tasks, subsets.

    Per task: ``{metric: value, "policies": {metric: text}}``; overall and in subsets ``{metric: value}``. A model's
    completions play no part.
    """
    tasks = {task: task_chance(rows) for task, rows in by_task(records).items()}
    return {
        "overall": _weighted(records, tasks),
        "tasks": {
            task: {**{m: lv.value for m, lv in levels.items()}, "policies": {m: lv.policy for m, lv in levels.items()}}
            for task, levels in tasks.items()
        },
        "subsets": {
            name: _weighted(rows, {task: task_chance(part) for task, part in by_task(rows).items()})
            for name, rows in subsets(records).items()
        },
    }


def task_chance(records: Sequence[Record]) -> dict[str, Level]:
    """The level of each metric over the items of one task (at least one)."""
    single = [record for record in records if len(record.targets) == 1]
    several = [record for record in records if len(record.targets) > 1]
    n, n_none = len(records), sum(1 for record in records if not record.targets)
    none = Level(n_none / n, "none")
    best = {metric: none for metric in CHANCE_METRICS}
    best["image_accuracy"] = _image_level(records)
    if single or several:
        _raise_to(best, _box_levels(records, single))
    if several:
        _raise_to(best, _several_levels(several, n))
    return best


def _weighted(records: Sequence[Record], tasks: dict[str, dict[str, Level]]) -> dict[str, float]:
    counts = Counter(record.task for record in records)
    return {
        metric: sum(counts[task] * levels[metric].value for task, levels in tasks.items()) / len(records)
        for metric in CHANCE_METRICS
    }


def _raise_to(best: dict[str, Level], found: dict[str, Level]) -> None:
    for metric, level in found.items():
        if level.value > best[metric].value:
            best[metric] = level


def _image_level(records: Sequence[Record]) -> Level:
    n = len(records)
    sets = Counter(tuple(sorted(record.target_images)) for record in records)
    always, count = max(sets.items(), key=lambda entry: (entry[1], entry[0]))
    last = sum(1 for record in records if record.target_images == [record.n_images])
    uniform = sum(1 / record.n_images for record in records if len(record.target_images) == 1)
    options = [
        Level(count / n, f"always {_names(always)}"),
        Level(last / n, "always the last image"),
        Level(uniform / n, "any image, each as likely"),
    ]
    return max(options, key=lambda level: level.value)


def _names(images: Sequence[int]) -> str:
    return " and ".join(f"Image-{image}" for image in images) or "none"


def _box_levels(records: Sequence[Record], single: Sequence[Record]) -> dict[str, Level]:
    """One constant box, for the metrics that ignore the image, and with one constant image for the joint one."""
    n = len(records)
    boxes = _candidates([target.box for record in records for target in record.targets])
    counts = {metric: np.zeros(len(boxes)) for metric in (*_THRESHOLDS, "mean_iou")}
    choices = _image_choices(single)
    joint = {choice: np.zeros(len(boxes)) for choice in choices}
    truth, mean_truth, owner = _stacked(single), _stacked(records), _owners(records)
    for start in range(0, len(boxes), _CHUNK):
        part = slice(start, start + _CHUNK)
        counts["mean_iou"][part] = _iou_sums(boxes[part], mean_truth, owner, records)
        if not single:
            continue
        iou_BN = iou_matrix(boxes[part], truth)
        for metric, threshold in _THRESHOLDS.items():
            counts[metric][part] = (iou_BN >= threshold).sum(axis=1)
        for choice, chosen_N in choices.items():
            joint[choice][part] = (iou_BN[:, chosen_N] >= JOINT_THRESHOLD).sum(axis=1)
    found = {metric: _best_box(total, boxes, n) for metric, total in counts.items()}
    for choice, total in joint.items():
        level = _best_box(total, boxes, n)
        if level.value > found.get("joint_accuracy", Level(-1.0, "")).value:
            where = "the last image" if choice == LAST else f"Image-{choice}"
            found["joint_accuracy"] = Level(level.value, f"{level.policy} in {where}")
    return found


def _best_box(total_B: NDArray[np.float64], boxes: Boxes, n: int) -> Level:
    best = int(np.argmax(total_B))
    box = ", ".join(f"{v:.3f}" for v in boxes[best])
    return Level(float(total_B[best]) / n, f"the box ({box})")


def _candidates(true: Sequence[Sequence[float]]) -> Boxes:
    """The whole image, the mean true box, the medoid, and the true boxes (evenly thinned where too many)."""
    boxes = np.unique(as_boxes(true), axis=0)
    thinned = boxes[:: -(-len(boxes) // _MOST_BOXES)]
    mean = as_boxes(true).mean(axis=0)
    medoid = boxes[np.argmin(np.abs(boxes - mean).sum(axis=1))]
    return np.concatenate([[[0.0, 0.0, 1.0, 1.0]], [mean], [medoid], thinned])


def _image_choices(single: Sequence[Record]) -> dict[int, NDArray[np.bool_]]:
    images_N = np.array([record.targets[0].image for record in single], dtype=np.int64)
    counts_N = np.array([record.n_images for record in single], dtype=np.int64)
    choices = {int(image): images_N == image for image in np.unique(images_N)}
    return {**choices, LAST: images_N == counts_N}


def _stacked(records: Sequence[Record]) -> Boxes:
    return as_boxes([target.box for record in records for target in record.targets])


def _owners(records: Sequence[Record]) -> NDArray[np.int64]:
    """For every stacked target the position of its record."""
    return np.array([i for i, record in enumerate(records) for _ in record.targets], dtype=np.int64)


def _iou_sums(boxes: Boxes, truth: Boxes, owner: NDArray[np.int64], records: Sequence[Record]) -> NDArray[np.float64]:
    """Sum over the records of the IoU of one constant box: its best target / the number of targets, shape (B,)."""
    iou_BT = iou_matrix(boxes, truth)
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    best_BR = np.maximum.reduceat(iou_BT, starts, axis=1)
    n_targets = np.array([len(record.targets) for record in records if record.targets])
    return (best_BR / n_targets).sum(axis=1)


def _several_levels(several: Sequence[Record], n: int) -> dict[str, Level]:
    """Constant answers with several boxes: the true answer of each item, tried on all of them."""
    step = -(-len(several) * len(several) // _MOST_MATCHINGS)
    best: dict[str, Level] = {}
    for candidate in several[:: max(1, step)]:
        answer = _placed(candidate)
        found = [agree(answer, _placed(record)) for record in several]
        sums = {metric: sum(a.at(t) for a in found) for metric, t in _THRESHOLDS.items()}
        sums["joint_accuracy"] = sum(a.joint for a in found)
        for metric, total in {**sums, "mean_iou": sum(a.iou for a in found)}.items():
            level = Level(total / n, f"the answer of sample {candidate.id}")
            if metric not in best or level.value > best[metric].value:
                best[metric] = level
    return best


def _placed(record: Record) -> list[Placed]:
    return [(target.image, target.box) for target in record.targets]

"""Chance levels: what a policy reaches that never looks at the images, computed from a benchmark's own truth.

A blind policy sees the number of images and the *form* of the question, which is the question without its subject
(``Find the [...].``), not the name of the task: the same form occurs for answers with one box and for answers
without. Two questions of one wording (the form without its numbers) and with as many images look alike to it, and it
gives them one constant answer. Candidates are every true answer, the whole image, the mean box, a box that the
question gives, and ``none``; for the image each number, the last one, one that the question names, and any with equal
probability. The best one is chosen with the truth, so the level is the highest that a blind policy can reach, and a
model above it has used the images.

Every item has the level of its group of questions; the level of a task, of a subset or of everything is the mean over
its items. So tasks that share a wording share a level: "always none" reaches on the task ``none`` what it reaches on
every task with questions of that wording.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirg.answers.markup import cited, replaced
from mirg.evaluation.agreement import JOINT_THRESHOLD, agree_by_iou, iou_of_answer
from mirg.evaluation.metrics import subsets
from mirg.evaluation.records import Record, by_task
from mirg.geometry import Box, Boxes, as_boxes, box_problem, iou, iou_matrix

CHANCE_METRICS = ("image_accuracy", "acc_30", "acc_50", "acc_70", "mean_iou", "joint_accuracy")
LEAST = 30  # items; the best of many answers on fewer says more about luck than about the benchmark
_THRESHOLDS = {"acc_30": 0.3, "acc_50": 0.5, "acc_70": 0.7}
_MOST_BOXES = 5000  # candidate boxes; of more, evenly spaced ones are tried
_MOST_MATCHINGS = 40_000  # answers with several boxes times items with several targets
_MOST_NAMED = 4  # images or boxes of a question that are tried
_CHUNK = 256
_MOST_KEPT = 4  # datasets

_IMAGE = re.compile(r"Image-\d{1,9}")

Levels = dict[str, float]
Group = tuple[str, list[Record]]  # what its items have in common, in words; the items
_kept: dict[str, dict[str, Any]] = {}  # by the digest of the truth


class Level(NamedTuple):
    """The value of the best blind policy, and what it does."""

    value: float
    policy: str


def chance(records: Sequence[Record]) -> dict[str, Any]:
    """Chance levels as plain data, shaped as :func:`mirg.evaluation.metrics.table`: overall, tasks, subsets.

    ``groups`` has the data behind them: questions, tasks, n, used_by (items whose finest group it is), the value of
    every metric and ``policies``, what reaches it. A model's completions play no part, so several models on one dataset
    cost one computation: the last few are kept in memory.
    """
    state = hashlib.sha256()  # of the data of a level, in their order, which decides between policies of equal value
    for r in records:
        truth = [(target.image, *target.box) for target in r.targets]
        state.update(repr((r.id, r.task, r.n_images, r.target_images, r.image_hidden, r.form, truth)).encode())
    key = state.hexdigest()
    if key not in _kept:
        while len(_kept) >= _MOST_KEPT:
            del _kept[next(iter(_kept))]
        _kept[key] = _computed(records)
    return deepcopy(_kept[key])


def _computed(records: Sequence[Record]) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    levels: dict[str, Levels] = {}
    for (questions, members), users in groups(records):
        best = group_chance(members)
        values = {metric: level.value for metric, level in best.items()}
        levels |= {record.id: values for record in users}
        about = {"questions": questions, "tasks": sorted(by_task(members)), "n": len(members), "used_by": len(users)}
        found.append({**about, **values, "policies": {metric: level.policy for metric, level in best.items()}})

    def mean(rows: Sequence[Record]) -> Levels:
        return {metric: sum(levels[r.id][metric] for r in rows) / len(rows) for metric in CHANCE_METRICS}

    return {
        "overall": mean(records),
        "tasks": {task: mean(rows) for task, rows in by_task(records).items()},
        "subsets": {name: mean(rows) for name, rows in subsets(records).items()},
        "groups": found,
    }


def group_chance(records: Sequence[Record]) -> dict[str, Level]:
    """The level of each metric over items (at least one) that a blind policy cannot tell apart."""
    single = [record for record in records if len(record.targets) == 1]
    several = [record for record in records if len(record.targets) > 1]
    n, n_none = len(records), sum(1 for record in records if not record.targets)
    none = Level(n_none / n, "none")
    best = {metric: none for metric in CHANCE_METRICS}
    best["image_accuracy"] = _image_level(records)
    if single or several:
        _raise_to(best, _box_levels(records, single))
        _raise_to(best, _given_box_levels(records))
    if several:
        _raise_to(best, _several_levels(several, single, n))
    return best


def _raise_to(best: dict[str, Level], found: dict[str, Level]) -> None:
    for metric, level in found.items():
        if metric not in best or level.value > best[metric].value:
            best[metric] = level


def _image_level(records: Sequence[Record]) -> Level:
    n = len(records)
    sets = Counter(tuple(sorted(record.target_images)) for record in records)
    always, count = max(sets.items(), key=lambda entry: (entry[1], entry[0]))
    right_N = np.array([record.target_images[0] if len(record.target_images) == 1 else -1 for record in records])
    choices = {name: (images_N == right_N).mean() for name, images_N in _image_choices(records).items()}
    uniform = sum(1 / record.n_images for record in records if len(record.target_images) == 1)
    names = " and ".join(f"Image-{image}" for image in always) or "none"
    options = [
        Level(count / n, f"always {names}"),
        *(Level(float(share), f"always {name}") for name, share in choices.items()),
        Level(uniform / n, "any image, each as likely"),
    ]
    return max(options, key=lambda level: level.value)


def _image_choices(records: Sequence[Record]) -> dict[str, NDArray[np.int64]]:
    """Ways to choose one image, with the image each chooses for every record (0: none), shape (N,)."""
    counts_N = np.array([record.n_images for record in records], dtype=np.int64)
    named = [named_images(record) for record in records]
    true = sorted({image for record in records for image in record.target_images})
    choices = {f"Image-{image}": np.full(len(records), image, dtype=np.int64) for image in true}
    choices["the last image"] = counts_N
    for k in range(min(max(map(len, named), default=0), _MOST_NAMED)):
        chosen_N = np.array([images[k] if len(images) > k else 0 for images in named], dtype=np.int64)
        choices[f"image {k + 1} of those the question names"] = chosen_N
    return choices


def _box_levels(records: Sequence[Record], single: Sequence[Record]) -> dict[str, Level]:
    """One constant box, for the metrics that ignore the image, and with one choice of image for the joint one."""
    n = len(records)
    all_truth, truth = _stacked(records), _stacked(single)
    n_targets_R = np.array([len(record.targets) for record in records if record.targets])
    starts_R = np.cumsum(n_targets_R) - n_targets_R
    boxes = _candidates(all_truth)
    counts = {metric: np.zeros(len(boxes)) for metric in (*_THRESHOLDS, "mean_iou")}
    right_N = np.array([record.targets[0].image for record in single], dtype=np.int64)
    choices = {name: images_N == right_N for name, images_N in _image_choices(single).items()}
    joint = {choice: np.zeros(len(boxes)) for choice in choices}
    for start in range(0, len(boxes), _CHUNK):
        part = slice(start, start + _CHUNK)
        # Mean IoU's share of a record: the IoU of its best target / the number of its targets.
        best_BR = np.maximum.reduceat(iou_matrix(boxes[part], all_truth), starts_R, axis=1)
        counts["mean_iou"][part] = (best_BR / n_targets_R).sum(axis=1)
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
        _raise_to(found, {"joint_accuracy": Level(level.value, f"{level.policy} in {choice}")})
    return found


def _best_box(total_B: NDArray[np.float64], boxes: Boxes, n: int) -> Level:
    best = int(np.argmax(total_B))
    box = ", ".join(f"{v:.3f}" for v in boxes[best])
    return Level(float(total_B[best]) / n, f"the box ({box})")


def _candidates(true: Boxes) -> Boxes:
    """The whole image, the mean true box, the medoid, and the true boxes (evenly thinned if there are too many)."""
    boxes = np.unique(true, axis=0)
    thinned = boxes[:: -(-len(boxes) // _MOST_BOXES)]
    mean = true.mean(axis=0)
    medoid = boxes[np.argmin(np.abs(boxes - mean).sum(axis=1))]
    return np.concatenate([[[0.0, 0.0, 1.0, 1.0]], [mean], [medoid], thinned])


def _given_box_levels(records: Sequence[Record]) -> dict[str, Level]:
    """A box that the question gives, repeated as the answer."""
    given = [given_boxes(record) for record in records]
    choices = _image_choices(records)
    found: dict[str, Level] = {}
    for k in range(min(max(map(len, given)), _MOST_NAMED)):
        policy = f"box {k + 1} of those the question gives"
        answered = [boxes[k] if len(boxes) > k else None for boxes in given]
        # Mean IoU's share of a record: the IoU of its best target / the number of its targets.
        ious_N = np.array(
            [
                max(iou(box, t.box) for t in record.targets) / len(record.targets) if box and record.targets else 0.0
                for box, record in zip(answered, records, strict=True)
            ]
        )
        one_N = np.array([len(record.targets) == 1 for record in records])
        right_N = np.array([r.targets[0].image if len(r.targets) == 1 else -1 for r in records])
        shares = {metric: (one_N & (ious_N >= threshold)).mean() for metric, threshold in _THRESHOLDS.items()}
        _raise_to(found, {m: Level(float(share), policy) for m, share in {**shares, "mean_iou": ious_N.mean()}.items()})
        for choice, images_N in choices.items():
            joint = float(((images_N == right_N) & (ious_N >= JOINT_THRESHOLD)).mean())
            _raise_to(found, {"joint_accuracy": Level(joint, f"{policy} in {choice}")})
    return found


def _stacked(records: Sequence[Record]) -> Boxes:
    return as_boxes([target.box for record in records for target in record.targets])


def _several_levels(several: Sequence[Record], single: Sequence[Record], n: int) -> dict[str, Level]:
    """Constant answers with several boxes: the true answer of each item, tried on all of them.

    On items with one target they earn mean IoU only: their best box / the number of their boxes.
    """
    step = -(-len(several) * len(several) // _MOST_MATCHINGS)
    images = [[target.image for target in record.targets] for record in several]
    ends = np.cumsum([len(where) for where in images]).tolist()
    parts = [slice(end - len(where), end) for end, where in zip(ends, images, strict=True)]
    truth = _stacked([*several, *single])
    best: dict[str, Level] = {}
    for i in range(0, len(several), max(1, step)):
        boxes = [target.box for target in several[i].targets]
        iou_PT = iou_of_answer(boxes, truth)  # once for all items: they are many
        on_single = float(iou_PT[:, ends[-1] :].max(axis=0).sum()) / len(boxes)
        found = [agree_by_iou(images[i], where, iou_PT[:, part]) for where, part in zip(images, parts, strict=True)]
        sums = {metric: sum(a.at(t) for a in found) for metric, t in _THRESHOLDS.items()}
        sums["joint_accuracy"] = sum(a.joint for a in found)
        for metric, total in {**sums, "mean_iou": sum(a.iou for a in found) + on_single}.items():
            _raise_to(best, {metric: Level(total / n, f"the answer of sample {several[i].id}")})
    return best


def wording(form: str) -> str:
    """The form without the numbers of images and boxes.

    >>> wording("Where is the object at <box image=1>0.1,0.2,0.3,0.4</box> of Image-1 in Image-3?")
    'Where is the object at [box] of Image-N in Image-N?'
    """
    return _IMAGE.sub("Image-N", replaced(form, lambda image, box: "[box]"))


def named_images(record: Record) -> list[int]:
    """The images that the question names outside its boxes, in order."""
    return [int(text[len("Image-") :]) for text in _IMAGE.findall(replaced(record.form, lambda image, box: ""))]


def given_boxes(record: Record) -> list[Box]:
    """The boxes that the question gives, in order; invalid ones are left out."""
    return [box for _, box in cited(record.form) if box_problem(box) is None]


def groups(records: Sequence[Record]) -> list[tuple[Group, list[Record]]]:
    """For every group in use: the group, and the records that it is the finest large one of; each record is in one.

    From fine to coarse: same wording and number of images; same wording; tasks joined by shared wordings. All but the
    last need :data:`LEAST` items. Questions that are all different thus leave every task by itself.
    """
    joined = _joined_tasks(records)
    members: dict[str, list[Record]] = {}
    keys = {record.id: _keys(record, joined) for record in records}
    for record in records:
        for key in keys[record.id]:
            members.setdefault(key, []).append(record)
    users: dict[str, list[Record]] = {}
    for record in records:
        *fine, last = keys[record.id]
        users.setdefault(next((key for key in fine if len(members[key]) >= LEAST), last), []).append(record)
    return [((key, members[key]), users[key]) for key in sorted(users)]


def _keys(record: Record, joined: dict[str, str]) -> list[str]:
    text = wording(record.form)
    fine = [f"{text} ({record.n_images} images)", text] if text else []
    return [*fine, joined[record.task]]


def _joined_tasks(records: Sequence[Record]) -> dict[str, str]:
    """For every task the tasks that share wordings with it, directly or through others."""
    sharing: dict[str, set[str]] = {}
    for record in records:
        sharing.setdefault(wording(record.form) or f"task {record.task}", set()).add(record.task)
    parts: list[set[str]] = []
    for tasks in sharing.values():
        touched = [part for part in parts if part & tasks]
        parts = [part for part in parts if not part & tasks] + [tasks.union(*touched)]
    return {task: f"task {', '.join(sorted(part))}" for part in parts for task in part}

"""Scoring all responses under one or several protocols, and the summary of it.

Shares and mean IoUs of a summary are in PERCENT, as the published tables are. Every item of the annotation file counts:
one without a response is wrong. Intervals are 95 %, resampled by image set (:mod:`mirg.evaluation.intervals`); the
interval of the mean of tasks resamples what each item contributes to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from mirg.data.importers.migbench import PAPER_NAMES, Annotations, Item
from mirg.errors import ConfigError, EvaluationError
from mirg.evaluation.intervals import RESAMPLES, Floats, contributions, mean_intervals, paired_difference
from mirg.evaluation.migbench import official, strict
from mirg.evaluation.migbench.grouping import GROUPED
from mirg.evaluation.migbench.official import Version
from mirg.evaluation.migbench.published import PUBLISHED
from mirg.evaluation.migbench.responses import KINDS, Responses
from mirg.evaluation.migbench.strict import StrictScore
from mirg.families import Family, PixelLimits
from mirg.frames import Size, from_frame, swapped

Protocol = Literal["official", "strict", "strict-box"]
PROTOCOLS: tuple[Protocol, ...] = ("official", "strict", "strict-box")
CHOICES: dict[str, tuple[Protocol, ...]] = {
    "official": ("official",),
    "strict": ("strict",),
    "strict-box": ("strict-box",),
    "both": ("official", "strict"),
    "all": PROTOCOLS,
}
THRESHOLDS = (0.3, 0.5, 0.7)
COLUMNS = (*(f"acc@{t}" for t in THRESHOLDS), "mean_iou")
_LISTED = 50  # indices or rows listed per kind in a summary; the counts are complete

MISSING = StrictScore(iou=0.0, image_ok=False, failure="missing response")


@dataclass(frozen=True)
class Frame:
    """How the boxes of the responses are read, and how the official protocol treats them.

    ``sizes`` are (width, height) in pixels of the images of each item, by index, or of the items that are scored;
    families of the 0-1000 frame need none. ``stretch`` is Migician's
    (:func:`mirg.evaluation.migbench.official.stretched`).
    """

    family: Family
    limits: PixelLimits | None = None
    sizes: Sequence[Sequence[Size]] | Mapping[int, Sequence[Size]] = ()
    stretch: bool = False


@dataclass(frozen=True)
class Score:
    """The scores of one item by protocol. For ``official`` only the IoU is known."""

    item: Item
    answered: bool
    official: float | None
    strict: StrictScore | None
    strict_box: StrictScore | None = None

    def iou(self, protocol: Protocol) -> float:
        """The IoU under a protocol that was scored."""
        if protocol == "official":
            return self.official or 0.0
        found = self.by_image(protocol)
        return found.iou if found else 0.0

    def by_image(self, protocol: Protocol) -> StrictScore | None:
        """What a protocol that looks at the image says; None for ``official``."""
        return {"strict": self.strict, "strict-box": self.strict_box}.get(protocol)

    def row(self) -> dict[str, Any]:
        """The item's row of the scores file."""
        row: dict[str, Any] = {"index": self.item.index, "task": self.item.task}
        if self.official is not None:
            row["official"] = {"iou": self.official}
        for protocol in ("strict", "strict-box"):
            if found := self.by_image(protocol):
                row[protocol] = asdict(found)
        return row


def protocols(choice: str) -> tuple[Protocol, ...]:
    """The protocols that a choice names; :class:`ConfigError` for another word."""
    if choice not in CHOICES:
        raise ConfigError(f"unknown protocol {choice!r}", hint=f"known: {', '.join(CHOICES)}")
    return CHOICES[choice]


def score_all(
    annotations: Annotations, responses: Responses, chosen: Sequence[Protocol], frame: Frame | Family
) -> list[Score]:
    """One score per item, in file order. ConfigError if the boxes are pixels and ``frame`` holds no image sizes."""
    frame = Frame(frame) if isinstance(frame, Family) else frame
    if not frame.sizes and (set(chosen) - {"official"} or frame.family.box_frame == "resized_pixels"):
        strict.check_family(frame.family)
    version = version_of(annotations)
    return [score_item(item, responses.texts.get(item.index), chosen, frame, version) for item in annotations.items]


def version_of(annotations: Annotations) -> Version:
    """The version of the benchmark that the annotations are of."""
    return "revised" if annotations.revised else "original"


def summarise(
    annotations: Annotations, responses: Responses, scores: Sequence[Score], *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Per task and mean of tasks for each protocol scored, and everything that was odd about the input.

    ``mean_of_four`` is the mean of the tasks that can be asked with every image in one answer (:data:`GROUPED`), for
    which the field reports both ways of asking.
    """
    missing = [score.item.index for score in scores if not score.answered]
    kinds = Counter(problem.kind for problem in responses.problems)
    version = version_of(annotations)
    summary: dict[str, Any] = {
        "benchmark": f"MIG-Bench ({version})",
        "unit": "percent",
        "items": len(scores),
        "tasks": len({score.item.task for score in scores}),
        "responses": {
            "rows": responses.rows,
            "used": len(responses.texts),
            "missing": len(missing),
            "missing_indices": missing[:_LISTED],
            "problems": {kind: kinds.get(kind, 0) for kind in KINDS},
            "problem_rows": [asdict(problem) for problem in responses.problems[:_LISTED]],
        },
        "defects": [asdict(defect) for defect in annotations.defects],
    }
    for protocol in scored(scores):
        summary[protocol] = _table(scores, protocol, resamples)
        if protocol != "official":
            _add_strict_columns(summary[protocol], scores, protocol)
    if "official" in summary and "strict" in summary:
        summary["differences"] = _differences(scores)
    summary["published"] = [{**row._asdict(), "tasks": list(row.tasks)} for row in PUBLISHED[version]]
    return summary


def scored(scores: Sequence[Score]) -> list[Protocol]:
    """The protocols under which ``scores`` hold a value."""
    first = scores[0]
    return [p for p in PROTOCOLS if (first.official if p == "official" else first.by_image(p)) is not None]


def compare_scores(a: Sequence[Score], b: Sequence[Score], *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Paired differences ``b - a`` of Acc@0.5 in points, for each protocol that both have.

    They are under ``mean``, ``mean_of_four`` and ``tasks``. Every entry has ``mean``, ``low``, ``high`` and the
    two-sided ``p`` of :func:`paired_difference`, and the values of both, ``a`` and ``b``. EvaluationError if the two
    are not about the same items.
    """
    if [score.item for score in a] != [score.item for score in b]:
        raise EvaluationError("the scores are not about the same items", hint="score both with one annotation file")
    found: dict[str, Any] = {}
    for protocol in scored(a):
        if protocol not in scored(b):
            continue
        right = [np.array([score.iou(protocol) >= 0.5 for score in side], dtype=np.float64) for side in (a, b)]
        first, second = (_contributions(a, values) for values in right)
        found[protocol] = {"mean": _points(first, second, a, resamples), "tasks": {}}
        if four := _four(a):
            rows = [a[k] for k in four]
            first, second = (_contributions(rows, values[four]) for values in right)
            found[protocol]["mean_of_four"] = _points(first, second, rows, resamples)
        for task, where in _places(a).items():
            cell = _points(right[0][where], right[1][where], [a[k] for k in where], resamples)
            found[protocol]["tasks"][task] = cell
    return found


def _points(a: Floats, b: Floats, scores: Sequence[Score], resamples: int) -> dict[str, float]:
    found = paired_difference(a, b, [_image_set(score.item) for score in scores], resamples=resamples)
    # Expanded percentiles may lie outside of what a difference of shares can be.
    ends = {"low": 100 * max(found.low, -1.0), "high": 100 * min(found.high, 1.0)}
    ends = {"mean": 100 * found.mean, **ends, "p": found.p}
    return ends | {"a": 100 * float(a.mean()), "b": 100 * float(b.mean())}


def score_item(item: Item, response: str | None, chosen: Sequence[Protocol], frame: Frame, version: Version) -> Score:
    """The score of one response; None, a missing response, is wrong. It never raises for any text."""
    sizes = frame.sizes[item.index] if frame.sizes else None
    found: dict[str, Any] = {"official": None, "strict": None, "strict_box": None}
    for protocol in chosen:
        if protocol == "official":
            value = 0.0 if response is None else _official(response, item, frame, sizes, version)
        elif response is None:
            value = MISSING
        else:
            must_name = protocol == "strict"
            value = strict.score_response(response, item, frame.family, sizes, frame.limits, must_name=must_name)
        found[protocol.replace("-", "_")] = value
    return Score(item=item, answered=response is not None, **found)


def _official(response: str, item: Item, frame: Frame, sizes: Sequence[Size] | None, version: Version) -> float:
    y_first = frame.family.axes == "yx"
    if y_first or (frame.family.box_frame == "resized_pixels" and sizes):
        box = official.spelled_boxes(response)
        if not box:
            return 0.0
        numbers = [float(text) for text in box[0]]
        size = sizes[(item.targets or (1,))[-1] - 1] if sizes else (1, 1)
        # The official protocol reads x first; of a divided answer, y is first unless the key says so.
        found = swapped(numbers) if y_first and "xyxy" not in response else numbers
        return official.overlap(item.answer, from_frame(found, size, frame.family, frame.limits))
    return official.score_response(response, item.answer, version, stretch=frame.stretch)


def _image_set(item: Item) -> tuple[str, ...]:
    return tuple(sorted(item.images))


def _places(scores: Sequence[Score]) -> dict[str, list[int]]:
    """The positions of the items of each task, tasks in the order of the published tables."""
    grouped = {task: [k for k, score in enumerate(scores) if score.item.task == task] for task in PAPER_NAMES}
    return {task: where for task, where in grouped.items() if where}


def _four(scores: Sequence[Score]) -> list[int]:
    """The positions of the items of :data:`GROUPED`; none if one of these tasks has no item."""
    found = [k for k, score in enumerate(scores) if score.item.task in GROUPED]
    return found if len({scores[k].item.task for k in found}) == len(GROUPED) else []


def _contributions(scores: Sequence[Score], values_N: Floats) -> Floats:
    """Values (N, ...) whose plain mean is the unweighted mean of the tasks."""
    return contributions(values_N, [score.item.task for score in scores])


def _table(scores: Sequence[Score], protocol: Protocol, resamples: int) -> dict[str, Any]:
    ious = np.array([score.iou(protocol) for score in scores])
    values = np.column_stack([*((ious >= t) for t in THRESHOLDS), ious]).astype(np.float64)
    sets = [_image_set(score.item) for score in scores]
    tasks: dict[str, dict[str, Any]] = {}
    for task, where in _places(scores).items():
        tasks[task] = {
            "name": PAPER_NAMES[task],
            "items": len(where),
            "missing": sum(1 for k in where if not scores[k].answered),
            **_columns(values[where], [sets[k] for k in where], resamples),
        }
    mean = _columns(_contributions(scores, values), sets, resamples) | _mean(tasks, COLUMNS)
    table = {"tasks": tasks, "mean": mean}
    if four := _four(scores):
        found = _columns(_contributions([scores[k] for k in four], values[four]), [sets[k] for k in four], resamples)
        table["mean_of_four"] = found | _mean({task: tasks[task] for task in GROUPED}, COLUMNS)
    return table


def _columns(values_NM: Floats, sets: Sequence[tuple[str, ...]], resamples: int) -> dict[str, Any]:
    """The means of the columns in percent, and their intervals."""
    found = mean_intervals(values_NM, sets, resamples=resamples)
    means = {column: percent(values_NM[:, m]) for m, column in enumerate(COLUMNS)}
    ends = {column: [100.0 * i.low, 100.0 * i.high] for column, i in zip(COLUMNS, found, strict=True)}
    return {**means, "intervals": ends}


def percent(values_N: Floats) -> float:
    """The mean of shares or IoUs in percent. The values are added in their order, which decides the last digit."""
    return 100.0 * float(sum(values_N)) / len(values_N)


def _mean(tasks: dict[str, dict[str, Any]], columns: Sequence[str]) -> dict[str, float]:
    """The unweighted mean of the tasks, the headline of the published tables."""
    return {column: sum(row[column] for row in tasks.values()) / len(tasks) for column in columns}


def _add_strict_columns(table: dict[str, Any], scores: Sequence[Score], protocol: Protocol) -> None:
    for task, where in _places(scores).items():
        found = [score for k in where if (score := scores[k].by_image(protocol)) is not None]
        row = table["tasks"][task]
        row["image_accuracy"] = 100.0 * sum(1 for score in found if score.image_ok) / len(found)
        row["failures"] = sum(1 for score in found if score.failure is not None)
    table["mean"] |= _mean(table["tasks"], ["image_accuracy"])
    if "mean_of_four" in table:
        table["mean_of_four"] |= _mean({task: table["tasks"][task] for task in GROUPED}, ["image_accuracy"])
    # What stands behind a colon quotes the response; the reasons are counted without it.
    failures = [found.failure for score in scores if (found := score.by_image(protocol)) and found.failure]
    reasons = Counter(failure.partition(":")[0] for failure in failures)
    table["failures"] = sum(reasons.values())
    table["failure_reasons"] = dict(reasons.most_common())


def _differences(scores: Sequence[Score]) -> dict[str, Any]:
    """Items right (IoU >= 0.5) under one protocol only, by what ``strict`` says about them."""
    found: dict[str, list[int]] = {}
    for score in scores:
        if score.official is None or score.strict is None or (score.official >= 0.5) == (score.strict.iou >= 0.5):
            continue
        found.setdefault(_why(score.official, score.strict), []).append(score.item.index)
    order = sorted(found.items(), key=lambda entry: -len(entry[1]))
    return {why: {"count": len(indices), "indices": indices[:_LISTED]} for why, indices in order}


def _why(by_official: float, by_strict: StrictScore) -> str:
    if by_strict.iou >= by_official:
        return "strict only: another box or frame was read"
    if by_strict.failure is not None:
        return f"official only: {by_strict.failure.partition(':')[0]}"
    if not by_strict.image_ok:
        return "official only: wrong image"
    return "official only: another box is the answer, or several are"

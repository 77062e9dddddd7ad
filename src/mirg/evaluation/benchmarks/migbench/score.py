"""Scoring all responses under one or both protocols, and the summary of it.

Shares and mean IoUs of a summary are in PERCENT, as the published tables are. Every item of the annotation file counts:
one without a response is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mirg.data.importers.migbench import PAPER_NAMES, Annotations, Item
from mirg.errors import ConfigError
from mirg.evaluation.benchmarks.migbench import official, strict
from mirg.evaluation.benchmarks.migbench.responses import KINDS, Responses
from mirg.evaluation.benchmarks.migbench.strict import StrictScore
from mirg.frames import Family

Protocol = Literal["official", "strict"]
PROTOCOLS: tuple[Protocol, ...] = ("official", "strict")
THRESHOLDS = (0.3, 0.5, 0.7)
_LISTED = 50  # indices or rows listed per kind in a summary; the counts are complete

MISSING = StrictScore(iou=0.0, image_ok=False, failure="missing response")


@dataclass(frozen=True)
class Score:
    """The scores of one item; a protocol that was not asked for is None."""

    item: Item
    answered: bool
    official: float | None
    strict: StrictScore | None

    def row(self) -> dict[str, Any]:
        """The item's row of the scores file."""
        row: dict[str, Any] = {"index": self.item.index, "task": self.item.task}
        if self.official is not None:
            row["official"] = {"iou": self.official}
        if self.strict is not None:
            row["strict"] = asdict(self.strict)
        return row


def protocols(choice: str) -> tuple[Protocol, ...]:
    """The protocols that ``official``, ``strict`` or ``both`` names; :class:`ConfigError` for another word."""
    if choice == "both":
        return PROTOCOLS
    for protocol in PROTOCOLS:
        if choice == protocol:
            return (protocol,)
    raise ConfigError(f"unknown protocol {choice!r}", hint="known: official, strict, both")


def score_all(
    annotations: Annotations, responses: Responses, chosen: Sequence[Protocol], family: Family
) -> list[Score]:
    """One score per item, in file order. ``family`` gives the frame of the ``strict`` protocol (0-1000 only)."""
    if "strict" in chosen:
        strict.check_family(family)
    return [_score(item, responses.texts.get(item.index), chosen, family) for item in annotations.items]


def summarise(annotations: Annotations, responses: Responses, scores: Sequence[Score]) -> dict[str, Any]:
    """Per task and mean of tasks for each protocol scored, and everything that was odd about the input."""
    missing = [score.item.index for score in scores if not score.answered]
    kinds = Counter(problem.kind for problem in responses.problems)
    summary: dict[str, Any] = {
        "benchmark": "MIG-Bench (original)",
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
    if scores and scores[0].official is not None:
        summary["official"] = _table(scores, lambda score: score.official or 0.0)
    if scores and scores[0].strict is not None:
        summary["strict"] = _table(scores, lambda score: score.strict.iou if score.strict else 0.0)
        _add_strict_columns(summary["strict"], scores)
    if "official" in summary and "strict" in summary:
        summary["differences"] = _differences(scores)
    return summary


def _score(item: Item, response: str | None, chosen: Sequence[Protocol], family: Family) -> Score:
    by_official = by_strict = None
    if "official" in chosen:
        by_official = 0.0 if response is None else official.score_response(response, item.answer)
    if "strict" in chosen:
        by_strict = MISSING if response is None else strict.score_response(response, item, family)
    return Score(item=item, answered=response is not None, official=by_official, strict=by_strict)


def _by_task(scores: Sequence[Score]) -> dict[str, list[Score]]:
    grouped = {task: [score for score in scores if score.item.task == task] for task in PAPER_NAMES}
    return {task: rows for task, rows in grouped.items() if rows}


def _table(scores: Sequence[Score], iou: Callable[[Score], float]) -> dict[str, Any]:
    tasks: dict[str, dict[str, Any]] = {}
    for task, rows in _by_task(scores).items():
        ious = [iou(score) for score in rows]
        tasks[task] = {
            "name": PAPER_NAMES[task],
            "items": len(rows),
            "missing": sum(1 for score in rows if not score.answered),
            **{f"acc@{t}": 100.0 * sum(1 for value in ious if value >= t) / len(ious) for t in THRESHOLDS},
            "mean_iou": 100.0 * sum(ious) / len(ious),
        }
    return {"tasks": tasks, "mean": _mean(tasks, [*(f"acc@{t}" for t in THRESHOLDS), "mean_iou"])}


def _mean(tasks: dict[str, dict[str, Any]], columns: Sequence[str]) -> dict[str, float]:
    """The unweighted mean of the tasks, the headline of the published tables."""
    return {column: sum(row[column] for row in tasks.values()) / len(tasks) for column in columns}


def _add_strict_columns(table: dict[str, Any], scores: Sequence[Score]) -> None:
    for task, rows in _by_task(scores).items():
        found = [score.strict for score in rows if score.strict is not None]
        row = table["tasks"][task]
        row["image_accuracy"] = 100.0 * sum(1 for score in found if score.image_ok) / len(found)
        row["failures"] = sum(1 for score in found if score.failure is not None)
    table["mean"]["image_accuracy"] = _mean(table["tasks"], ["image_accuracy"])["image_accuracy"]
    # What stands behind a colon quotes the response; the reasons are counted without it.
    failures = [score.strict.failure for score in scores if score.strict and score.strict.failure]
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

"""Reading responses to MIG-Bench, scoring them under one or both protocols, and the summary of it.

A RESPONSES file holds JSON lines ``{"index": i, "response": "..."}``, i = position in the annotations. Nothing is
silent: a row that cannot be used becomes a :class:`RowProblem`, and an item without a usable row is missing and wrong.
Shares and mean IoUs of a summary are in PERCENT, as the published tables are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from mirg.data.importers.migbench import PAPER_NAMES, Annotations, Item
from mirg.errors import ConfigError
from mirg.evaluation.migbench import official, strict
from mirg.evaluation.migbench.strict import StrictScore
from mirg.frames import Family
from mirg.storage import BadLine, read_jsonl

ProblemKind = Literal["broken", "bad_index", "out_of_range", "bad_response", "duplicate"]
Protocol = Literal["official", "strict"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
THRESHOLDS = (0.3, 0.5, 0.7)
COLUMNS = (*(f"acc@{t}" for t in THRESHOLDS), "mean_iou")
_LISTED = 50  # indices or rows listed per kind in a summary; the counts are complete

MISSING = StrictScore(iou=0.0, image_ok=False, failure="missing response")


class RowProblem(NamedTuple):
    """A row (line number from 1) that is not used, and why."""

    row: int
    kind: ProblemKind
    detail: str


class Responses(NamedTuple):
    """Usable responses by item index, the rows read (usable ones and problems), and what was wrong with the others."""

    texts: dict[int, str]
    rows: int
    problems: list[RowProblem]


class Score(NamedTuple):
    """The scores of one item; a protocol that was not asked for is None."""

    item: Item
    answered: bool
    official: float | None
    strict: StrictScore | None

    def row(self) -> dict[str, Any]:
        """The item's row of the scores file."""
        by_official = {} if self.official is None else {"official": {"iou": self.official}}
        by_strict = {} if self.strict is None else {"strict": self.strict._asdict()}
        return {"index": self.item.index, "task": self.item.task, **by_official, **by_strict}


def load_responses(path: str | Path, n_items: int) -> Responses:
    """Read responses to a benchmark of ``n_items`` items; of several rows for one item the first counts.

    Raises ``StorageError`` where the file cannot be read.
    """
    texts: dict[int, str] = {}
    problems: list[RowProblem] = []
    for row, value in read_jsonl(path):
        problem = _row_problem(row, value, n_items, texts)
        if problem is not None:
            problems.append(problem)
        elif isinstance(value, Mapping):
            texts[value["index"]] = value["response"]
    return Responses(texts, len(texts) + len(problems), problems)


def _row_problem(row: int, value: object, n_items: int, seen: dict[int, str]) -> RowProblem | None:
    if isinstance(value, BadLine):
        return RowProblem(row, "broken", value.reason)
    if not isinstance(value, Mapping):
        return RowProblem(row, "broken", "not an object with index and response")
    index, response = value.get("index"), value.get("response")
    if not isinstance(index, int) or isinstance(index, bool):
        return RowProblem(row, "bad_index", f"index must be an integer, got {str(index)[:40]!r}")
    if not 0 <= index < n_items:
        return RowProblem(row, "out_of_range", f"index {index} is not in 0-{n_items - 1}")
    if not isinstance(response, str):
        return RowProblem(row, "bad_response", f"the response to item {index} is not a text")
    if index in seen:
        return RowProblem(row, "duplicate", f"item {index} has an earlier response, which counts")
    return None


def protocols(choice: str) -> tuple[Protocol, ...]:
    """The protocols that ``official``, ``strict`` or ``both`` names; :class:`ConfigError` for another word."""
    known: dict[str, tuple[Protocol, ...]] = {"official": ("official",), "strict": ("strict",), "both": PROTOCOLS}
    if choice not in known:
        raise ConfigError(f"unknown protocol {choice!r}", hint=f"known: {', '.join(known)}")
    return known[choice]


def score_all(
    annotations: Annotations, responses: Responses, chosen: Sequence[Protocol], family: Family
) -> list[Score]:
    """One score per item, in file order. ``family`` gives the frame of the ``strict`` protocol (0-1000 only)."""
    if "strict" in chosen:
        strict.check_family(family)
    scores = []
    for item in annotations.items:
        response = responses.texts.get(item.index)
        by_official = by_strict = None
        if "official" in chosen:
            by_official = 0.0 if response is None else official.score_response(response, item.answer)
        if "strict" in chosen:
            by_strict = MISSING if response is None else strict.score_response(response, item, family)
        scores.append(Score(item, response is not None, by_official, by_strict))
    return scores


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
            "problems": {kind: kinds[kind] for kind in get_args(ProblemKind)},
            "problem_rows": [problem._asdict() for problem in responses.problems[:_LISTED]],
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
            "missing": sum(not score.answered for score in rows),
            **{f"acc@{t}": 100.0 * sum(value >= t for value in ious) / len(ious) for t in THRESHOLDS},
            "mean_iou": 100.0 * sum(ious) / len(ious),
        }
    return {"tasks": tasks, "mean": {column: _mean(tasks, column) for column in COLUMNS}}


def _mean(tasks: dict[str, dict[str, Any]], column: str) -> float:
    """The unweighted mean of the tasks, the headline of the published tables."""
    return sum(row[column] for row in tasks.values()) / len(tasks)


def _add_strict_columns(table: dict[str, Any], scores: Sequence[Score]) -> None:
    for task, rows in _by_task(scores).items():
        found = [score.strict for score in rows if score.strict is not None]
        row = table["tasks"][task]
        row["image_accuracy"] = 100.0 * sum(score.image_ok for score in found) / len(found)
        row["failures"] = sum(score.failure is not None for score in found)
    table["mean"]["image_accuracy"] = _mean(table["tasks"], "image_accuracy")
    # What stands behind a colon quotes the response; the reasons are counted without it.
    failures = [score.strict.failure for score in scores if score.strict and score.strict.failure]
    reasons = Counter(failure.partition(":")[0] for failure in failures)
    table["failures"] = reasons.total()
    table["failure_reasons"] = dict(reasons.most_common())


def _differences(scores: Sequence[Score]) -> dict[str, Any]:
    """Items right (IoU >= 0.5) under one protocol only, by what ``strict`` says about them."""
    found: dict[str, list[int]] = {}
    for score in scores:
        if score.official is None or score.strict is None or (score.official >= 0.5) == (score.strict.iou >= 0.5):
            continue
        if score.strict.iou >= score.official:
            why = "strict only: another box or frame was read"
        elif score.strict.failure is not None:
            why = f"official only: {score.strict.failure.partition(':')[0]}"
        elif not score.strict.image_ok:
            why = "official only: wrong image"
        else:
            why = "official only: another box is the answer, or several are"
        found.setdefault(why, []).append(score.item.index)
    order = sorted(found.items(), key=lambda entry: -len(entry[1]))
    return {why: {"count": len(indices), "indices": indices[:_LISTED]} for why, indices in order}

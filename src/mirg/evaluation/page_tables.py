"""The numbers on a page: tables of models, paired differences, tasks and outcomes, and the charts of failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mirg.errors import EvaluationError, MirgError
from mirg.evaluation.agreement import JOINT_THRESHOLD
from mirg.evaluation.chance import chance
from mirg.evaluation.compare import Evaluation, difference
from mirg.evaluation.failures import NONE, UNREADABLE, failures, size_edges_of
from mirg.evaluation.metrics import LOWER_IS_BETTER, TITLES, table
from mirg.evaluation.records import RECORDS_FILE, Record
from mirg.evaluation.store import SUMMARY_FILE, changed_rows
from mirg.report.charts import short
from mirg.report.data import (
    Column,
    Failures,
    Group,
    GroupChart,
    Histogram,
    Interval,
    Matrix,
    Outcomes,
    ResultTable,
    TableRow,
    TaskRow,
    TaskTable,
)
from mirg.samples import REJECTED_FILE
from mirg.storage import BadLine, read_json, read_jsonl

SHOWN = ("joint_accuracy", "image_accuracy", "acc_30", "acc_50", "acc_70", "mean_iou", "parse_failures")
PER_TASK = ("joint_accuracy", "image_accuracy", "acc_50", "mean_iou")
SUBSET_TITLES = {"image_hidden": "all, image hidden", "image_given": "all, image given"}
HELP = {
    "joint_accuracy": "Share of items with the right images named and every box matched at IoU 0.5 in its own image.",
    "image_accuracy": "Share of items where the set of images named is the true set.",
    "acc_30": "Share of items with every box matched at IoU 0.3 in any image (the published meaning).",
    "acc_50": "Share of items with every box matched at IoU 0.5 in any image (the published meaning).",
    "acc_70": "Share of items with every box matched at IoU 0.7 in any image (the published meaning).",
    "mean_iou": "Mean over items of the matched IoU over the larger number of boxes, in any image.",
    "parse_failures": "Share of completions in which no answer could be read.",
}
TABLE_NOTE = (
    "Intervals resample image sets. Chance is the best constant answer to questions that are worded alike, chosen with "
    "the truth known: the score of a policy that does not look at the images."
)


@dataclass(frozen=True)
class Evaluated:
    """One evaluation folder: its readable records, and metrics and chance levels as plain data."""

    name: str
    folder: Path
    records: tuple[Record, ...]
    metrics: Mapping[str, Any]
    chance: Mapping[str, Any]
    settings: Mapping[str, Any]


def read_evaluation(name: str, folder: Path, notes: list[str]) -> Evaluated:
    """The evaluation in ``folder``. Broken rows are left out and noted; the summary is used if it fits the rows."""
    records, broken = _readable(name, folder, notes)
    summary = _summary(folder, notes)
    rejected = summary.get("rejected", 0)
    if rejected:
        notes.append(f"{name}: {rejected} samples could not be asked and are not counted (see {REJECTED_FILE})")
    settings = summary.get("settings", {})
    if records and (summary.get("n") != len(records) or broken or not {"metrics", "chance"} <= set(summary)):
        summary = {"metrics": table(records), "chance": chance(records)}
        notes.append(f"{name}: computed from {len(records)} rows; the evaluation has not ended, or its summary is old")
    return Evaluated(name, folder, records, summary.get("metrics", {}), summary.get("chance", {}), settings)


def result_table(evaluated: Sequence[Evaluated], notes: list[str]) -> ResultTable:
    """Models side by side, and each compared with the one before it on the items that both have."""
    columns = tuple(column(key) for key in SHOWN)
    rows = tuple(TableRow(e.name, len(e.records), _cells(e.metrics.get("overall", {}), SHOWN)) for e in evaluated)
    levels = evaluated[0].chance.get("overall", {})
    differences = tuple(row for row in (_difference(a, b, notes) for a, b in pairwise(evaluated)) if row)
    return ResultTable(columns, rows, {k: levels[k] for k in SHOWN if k in levels}, differences, TABLE_NOTE)


def task_tables(evaluated: Sequence[Evaluated]) -> tuple[TaskTable, ...]:
    """One table for each of the main metrics: tasks down, models across, the two subsets last."""
    models = tuple(e.name for e in evaluated)
    tables = []
    for key in PER_TASK:
        rows = [row for row in (_task_row(evaluated, "tasks", task, key) for task in _names(evaluated, "tasks")) if row]
        if rows:
            rows += [
                row for row in (_task_row(evaluated, "subsets", s, key) for s in _names(evaluated, "subsets")) if row
            ]
            tables.append(TaskTable(column(key), models, tuple(rows)))
    return tuple(tables)


def outcome_counts(evaluation: Evaluated) -> Outcomes:
    """The number of items with each outcome."""
    return Outcomes(evaluation.name, Counter(record.outcome for record in evaluation.records))


def column(key: str) -> Column:
    """The column of one metric of ``evaluation.metrics``."""
    return Column(key, TITLES[key], HELP.get(key, ""), "lower" if key in LOWER_IS_BETTER else "higher")


def _difference(before: Evaluated, after: Evaluated, notes: list[str]) -> TableRow | None:
    name = f"{after.name} − {before.name}"
    try:
        found = difference(Evaluation(before.name, before.records), Evaluation(after.name, after.records))
    except EvaluationError as error:
        notes.append(f"{name}: {error.message}, so no paired difference")
        return None
    if found["overall"] is None:
        notes.append(f"{name}: no item in common, so no paired difference")
        return None
    if found["only_a"] or found["only_b"]:
        notes.append(f"{name}: compared on the {found['n']} items that both have")
    return TableRow(name, found["n"], _cells(found["overall"], SHOWN))


def _names(evaluated: Sequence[Evaluated], kind: str) -> list[str]:
    return list(dict.fromkeys(name for e in evaluated for name in e.metrics.get(kind, {})))


def _task_row(evaluated: Sequence[Evaluated], kind: str, name: str, key: str) -> TaskRow | None:
    blocks = {e.name: e.metrics.get(kind, {}).get(name, {}) for e in evaluated}
    cells = {model: cell for model, block in blocks.items() for cell in _cells(block, (key,)).values()}
    levels = (e.chance.get(kind, {}).get(name, {}).get(key) for e in evaluated)
    level = next((value for value in levels if value is not None), None)
    counts = [block["n"] for block in blocks.values() if "n" in block]
    return TaskRow(SUBSET_TITLES.get(name, name), max(counts, default=0), level, cells) if cells else None


def _cells(block: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Interval]:
    found = ((key, block[key]) for key in keys if key in block)
    return {key: Interval(cell["mean"], cell["low"], cell["high"]) for key, cell in found}


def _readable(name: str, folder: Path, notes: list[str]) -> tuple[tuple[Record, ...], int]:
    path = folder / RECORDS_FILE
    records: dict[str, Record] = {}
    broken = 0
    try:
        for _, value in read_jsonl(path):
            if isinstance(value, BadLine):
                broken += not value.torn  # a torn last line is an evaluation that was stopped there
                continue
            try:
                record = Record.model_validate(value)
            except ValidationError:
                broken += 1
                continue
            records[record.id] = record
        if broken:
            notes.append(f"{name}: {broken} broken rows of {path} are not counted")
        elif not records:
            notes.append(f"{name}: {path} holds no whole row")
        elif changed := changed_rows(folder):
            notes.append(f"{name}: {changed}")
    except MirgError as error:
        notes.append(str(error))
    return tuple(records.values()), broken


def _summary(folder: Path, notes: list[str]) -> dict[str, Any]:
    path = folder / SUMMARY_FILE
    if not path.is_file():
        return {}
    try:
        value = read_json(path)
    except MirgError as error:
        notes.append(str(error))
        return {}
    return value if isinstance(value, dict) else {}


GROUPS = {
    "by_n_images": ("number of images", "All items."),
    "by_position": ("place of the true image", "Questions that do not say the image; targets in one image or none."),
    "by_size": ("size of the object", "Items with one target: the part of its image that the true box covers."),
}
ITEMS = {
    "image_hidden": "items whose question does not say which image holds the answer",
    "all": "items (no question hides the image)",
}
Block = Mapping[str, Any]


def failure_section(evaluated: Sequence[Evaluated]) -> Failures | None:
    """Where the models fail, compared on the same groups of items. None if nothing was evaluated."""
    if not evaluated:
        return None
    samples = {record.id: record for e in evaluated for record in e.records}
    edges = size_edges_of(list(samples.values()))
    found = {e.name: failures(e.records, size_edges=edges) for e in evaluated}
    choices = {name: block["image_choice"] for name, block in found.items()}
    return Failures(
        matrices=tuple(_matrix(name, choice) for name, choice in choices.items() if choice["n"]),
        matrix_note=_matrix_note(list(choices.values())),
        histograms=tuple(_histogram(name, block["iou"]) for name, block in found.items()),
        histogram_note="IoU of every true box with the answered one, where the images are right; 0: it has none.",
        charts=_charts(found),
    )


def _matrix(name: str, choice: Block) -> Matrix:
    counts = tuple(tuple(row) for row in choice["counts"])
    return Matrix(name, tuple(map(_place, choice["true"])), tuple(map(_place, choice["named"])), counts)


def _matrix_note(choices: Sequence[Block]) -> str:
    largest = max(choices, key=lambda choice: choice["n"])
    note = f"{largest['n']:,} {ITEMS[largest['items']]}, with targets in one image or none."
    left_out = largest["left_out"]
    return f"{note} {left_out:,} with targets in several images are not counted." if left_out else note


def _histogram(name: str, iou: Block) -> Histogram:
    return Histogram(name, tuple(iou["edges"]), tuple(iou["counts"]), JOINT_THRESHOLD, _interval(iou["at_50"]))


def _charts(found: Mapping[str, Block]) -> tuple[GroupChart, ...]:
    """Three kinds of groups: joint accuracy for each, then the metric that the group has most influence on."""
    charts = (
        _chart(found, "by_n_images", "joint_accuracy"),
        _chart(found, "by_position", "joint_accuracy"),
        _chart(found, "by_size", "joint_accuracy"),
        _chart(found, "by_n_images", "image_accuracy"),
        _named(found),
        _chart(found, "by_size", "mean_iou"),
    )
    return tuple(chart for chart in charts if chart.groups)


def _chart(found: Mapping[str, Block], key: str, metric: str) -> GroupChart:
    kind, help = GROUPS[key]
    return _grouped(found, key, metric, f"{TITLES[metric]} by {kind}", help, high=1.0)


def _named(found: Mapping[str, Block]) -> GroupChart:
    help = "The same items. A model that prefers a place names it more often than it is true."
    return _grouped(found, "named", "named", "how often each image is named", help, reference="truly there")


def _grouped(
    found: Mapping[str, Block],
    key: str,
    cell: str,
    title: str,
    help: str,
    *,
    reference: str = "",
    high: float | None = None,
) -> GroupChart:
    """The ``cell`` of the rows ``key`` of every model as one chart. A model without a group has no estimate there."""
    rows = {model: {_name(row): row for row in block[key]} for model, block in found.items()}
    groups: dict[str, Group] = {}
    for row in sorted((row for by_name in rows.values() for row in by_name.values()), key=_order):
        known = groups.get(_name(row))
        groups[_name(row)] = Group(_name(row), max(row["n"], known.n if known else 0), row.get("true"))
    series = {
        model: tuple(_interval(by_name[label][cell]) if label in by_name else None for label in groups)
        for model, by_name in rows.items()
    }
    return GroupChart(title, tuple(groups.values()), series, help, reference, high)


def _order(row: Block) -> float:
    """Ascending by area or number; ``none`` last."""
    if "area_from" in row:
        return row["area_from"]
    return float("inf") if row["name"] == NONE else float(_place(row["name"]))


def _name(row: Block) -> str:
    if "area_from" not in row:
        return _place(row["name"])
    low, high = row["area_from"], row["area_to"]
    if low == 0.0:
        return "all" if high == 1.0 else f"< {short(100 * high)} %"
    return f"≥ {short(100 * low)} %" if high == 1.0 else f"{short(100 * low)}–{short(100 * high)} %"


def _place(name: str) -> str:
    """``2`` for ``Image-2``. A long name gets a soft hyphen, because axes and columns have little room."""
    return "unread\N{SOFT HYPHEN}able" if name == UNREADABLE else name.removeprefix("Image-")


def _interval(cell: Mapping[str, float] | None) -> Interval | None:
    return None if cell is None else Interval(cell["mean"], cell["low"], cell["high"])

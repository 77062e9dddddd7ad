"""The numbers on a page: tables of models, paired differences, tasks and outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mirg.errors import EvaluationError, MirgError
from mirg.evaluation import looks, mc_bench
from mirg.evaluation.chance import chance
from mirg.evaluation.compare import Evaluation, difference
from mirg.evaluation.metrics import TITLES, table
from mirg.evaluation.records import RECORDS_FILE, Record, RowT, by_sample, read_rows, representative
from mirg.evaluation.robustness import METRICS, differences
from mirg.evaluation.store import SUMMARY_FILE, changed_rows
from mirg.report.data import (
    Column,
    Differences,
    Interval,
    ResultTable,
    TableRow,
    TaskTable,
)
from mirg.samples import REJECTED_FILE
from mirg.storage import BadLine, read_json

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
ROBUSTNESS_NOTE = (
    "The same samples asked in another form, minus the original, on the items that both have. permute: the images in "
    "another order; distractors: images of other samples added; rescale: images of another size. "
    "A model that does not depend on the form has differences around 0."
)
Block = Mapping[str, Any]


def read_evaluation(name: str, folder: Path, notes: list[str]) -> Evaluation:
    """The evaluation in ``folder``. Broken rows are left out and noted; the summary is used if it fits the rows."""
    summary: dict[str, Any]
    answers, summary = read_folder(name, folder, Record, notes)
    rows = tuple(map(representative, by_sample(answers)))
    if rows and not {"metrics", "chance"} <= set(summary):
        summary = summary | {"metrics": table(rows), "chance": chance(rows)}
        notes.append(f"{name}: computed from {len(rows)} rows; the evaluation has not ended, or its summary is old")
    parts: dict[str, Any] = {part: summary.get(part, {}) for part in ("settings", "metrics", "chance", "draws")}
    return Evaluation(name, rows, rejected=summary.get("rejected", 0), folder=folder, **parts)


def read_folder(name: str, folder: Path, kind: type[RowT], notes: list[str]) -> tuple[tuple[RowT, ...], dict[str, Any]]:
    """The rows of an evaluation, each a ``kind``, and its summary, without its tables if they are of other rows.

    What is wrong with the files, and how many samples could not be asked, is added to ``notes``.
    """
    path = folder / RECORDS_FILE
    records: dict[tuple[str, int | None], RowT] = {}
    summary: Any = {}
    broken = 0
    try:
        for _, row in read_rows(path, kind):
            if isinstance(row, BadLine):
                broken += not row.torn  # a torn last line is an evaluation that was stopped there
            else:
                records[row.place] = row
        if broken:
            notes.append(f"{name}: {broken} broken rows of {path} are not counted")
        elif not records:
            notes.append(f"{name}: {path} holds no whole row")
        elif changed := changed_rows(folder):
            notes.append(f"{name}: {changed}")
        if (folder / SUMMARY_FILE).is_file():
            summary = read_json(folder / SUMMARY_FILE)
    except MirgError as error:
        notes.append(str(error))
    summary = summary if isinstance(summary, dict) else {}
    if rejected := summary.get("rejected", 0):
        notes.append(f"{name}: {rejected} samples could not be asked and are not counted (see {REJECTED_FILE})")
    if cut := summary.get("cut_off"):
        notes.append(f"{name}: {cut} completions were cut off at the token limit: raise --max-new-tokens")
    if summary.get("n") != len({row.id for row in records.values()}) or broken:
        summary = {key: value for key, value in summary.items() if key not in ("metrics", "chance")}
    return tuple(records.values()), summary


def result_table(evaluated: Sequence[Evaluation], notes: list[str]) -> ResultTable:
    """Models side by side, and each compared with the one before it on the items that both have."""
    columns = tuple(column(key) for key in SHOWN)
    rows = tuple(TableRow(e.name, len(e.records), _cells(e.metrics.get("overall", {}), SHOWN)) for e in evaluated)
    levels = evaluated[0].chance.get("overall", {})
    differences = tuple(row for row in (_difference(a, b, notes) for a, b in pairwise(evaluated)) if row)
    return ResultTable(columns, rows, {k: levels[k] for k in SHOWN if k in levels}, differences, TABLE_NOTE)


def task_tables(evaluated: Sequence[Evaluation]) -> tuple[TaskTable, ...]:
    """One table for each of the main metrics: tasks down, models across, the two subsets last."""
    kinds = ("tasks", "subsets")
    names = dict.fromkeys((kind, name) for kind in kinds for e in evaluated for name in e.metrics.get(kind, {}))
    tables = []
    for key in PER_TASK:
        found = [(kind, _task_row(evaluated, kind, name, key)) for kind, name in names]
        if any(row for kind, row in found if kind == "tasks"):
            rows = tuple(row for _, row in found if row)
            tables.append(TaskTable(column(key), tuple(e.name for e in evaluated), rows))
    return (*tables, *_tables_of(evaluated, "mc_bench", mc_bench.TITLES), *_tables_of(evaluated, "looks", looks.TITLES))


def plugin_tables(evaluated: Sequence[Evaluation]) -> tuple[TaskTable, ...]:
    """One table for each plug-in metric: all items and the tasks down, models across."""
    return _tables_of(evaluated, "plugins", {})


def _tables_of(evaluated: Sequence[Evaluation], part: str, titles: Mapping[str, str]) -> tuple[TaskTable, ...]:
    blocks = {e.name: e.metrics.get(part, {}) for e in evaluated}
    given = [block for block in blocks.values() if block]
    labels = dict.fromkeys(key for block in given for key in block["overall"] if key not in ("n", "n_sets"))
    tasks = dict.fromkeys(task for block in given for task in block["tasks"])
    tables = []
    for label in labels:
        parts = [("all", {name: block.get("overall", {}) for name, block in blocks.items()})]
        parts += [(task, {n: block.get("tasks", {}).get(task, {}) for n, block in blocks.items()}) for task in tasks]
        rows = tuple(row for name, part in parts if (row := _row(name, part, label)))
        tables.append(TaskTable(Column(label, titles.get(label, label)), tuple(blocks), rows))
    return tuple(tables)


def robustness_table(evaluated: Sequence[Evaluation], notes: list[str]) -> Differences | None:
    """Variant minus original for the robustness runs of every model; None if no model has any."""
    rows = []
    for e in evaluated:
        found: list[str] = []
        for row in differences(e, found):
            name = f"{e.name}: {row['b']}" if len(evaluated) > 1 else row["b"]
            if row["overall"] is None:
                notes.append(f"{name}: no item in common with the original, so no difference")
                continue
            if row["only_a"]:
                notes.append(f"{name}: {row['only_a']} of {len(e.records)} items are not in it (its {REJECTED_FILE})")
            rows.append(TableRow(name, row["n"], _cells(row["overall"], METRICS)))
        notes += [f"{e.name}: {words}" for words in found]
    return Differences(tuple(column(key) for key in METRICS), tuple(rows), ROBUSTNESS_NOTE) if rows else None


def column(key: str) -> Column:
    """The column of one metric of ``evaluation.metrics``."""
    return Column(key, TITLES[key], HELP.get(key, ""))


def _difference(before: Evaluation, after: Evaluation, notes: list[str]) -> TableRow | None:
    name = f"{after.name} − {before.name}"
    try:
        found = difference(before, after)
    except EvaluationError as error:
        notes.append(f"{name}: {error.message}, so no paired difference")
        return None
    if found["overall"] is None:
        notes.append(f"{name}: no item in common, so no paired difference")
        return None
    if found["only_a"] or found["only_b"]:
        notes.append(f"{name}: compared on the {found['n']} items that both have")
    return TableRow(name, found["n"], _cells(found["overall"], SHOWN))


def _task_row(evaluated: Sequence[Evaluation], kind: str, name: str, key: str) -> TableRow | None:
    blocks = {e.name: e.metrics.get(kind, {}).get(name, {}) for e in evaluated}
    levels = (e.chance.get(kind, {}).get(name, {}).get(key) for e in evaluated)
    level = next((value for value in levels if value is not None), None)
    return _row(SUBSET_TITLES.get(name, name), blocks, key, level)


def _row(name: str, blocks: Mapping[str, Block], key: str, chance: float | None = None) -> TableRow | None:
    cells = {model: interval_of(block[key]) for model, block in blocks.items() if key in block}
    n = max((block["n"] for block in blocks.values() if "n" in block), default=0)
    return TableRow(name, n, cells, chance) if cells else None


def _cells(block: Block, keys: Sequence[str]) -> dict[str, Interval]:
    return {key: interval_of(block[key]) for key in keys if key in block}


def interval_of(cell: Mapping[str, float]) -> Interval:
    """The interval of a cell of :func:`mirg.evaluation.metrics.table`."""
    return Interval(cell["mean"], cell["low"], cell["high"])

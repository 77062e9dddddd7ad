"""Evaluations of multiple-choice benchmarks on a page: tables, outcomes, and answers with their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from mirg.errors import EvaluationError
from mirg.evaluation.choices.bench import bench_in
from mirg.evaluation.choices.items import IMAGE
from mirg.evaluation.choices.records import ChoiceRecord
from mirg.evaluation.choices.sets import SETS
from mirg.evaluation.choices.summary import difference, summarise
from mirg.evaluation.page_answers import Gallery
from mirg.evaluation.page_tables import interval_of, read_folder
from mirg.report.cards import PER_OUTCOME, select
from mirg.report.data import (
    CHOICE_OUTCOMES,
    Column,
    GalleryItem,
    Interval,
    ReportData,
    ResultTable,
    TableRow,
    TaskTable,
)

COLUMNS = (
    Column("overall", "accuracy", "Share of items answered right; unreadable answers count as wrong."),
    Column("mean_of_tasks", "mean of tasks", "Mean of the tasks' scores with equal weights."),
    Column("answerable", "answerable", "Accuracy on the items that have a right option."),
    Column("unanswerable", "unanswerable", "Accuracy on their counterparts, whose choices are all wrong."),
    Column("pairs", "both of a pair", "Share of pairs of which both questions are answered right."),
    Column("unreadable", "unreadable", "Share of answers that choose nothing, or several options."),
)
NOTE = (
    "Intervals resample image sets; the two questions of a pair are one set. Chance is a random option, or a random "
    "count of at most the number of images."
)


class ChoiceEvaluation(NamedTuple):
    """One evaluation: its rows, and the tables of :func:`mirg.evaluation.choices.summary.summarise`."""

    name: str
    bench: str
    folder: Path
    records: Sequence[ChoiceRecord]
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any]


def read_choices(folders: Mapping[str, Path], notes: list[str]) -> list[ChoiceEvaluation]:
    """The evaluations in ``folders`` that have rows; what is wrong with them is added to ``notes``."""
    found = []
    for name, folder in folders.items():
        bench = bench_in(folder)
        rows, summary = read_folder(name, folder, ChoiceRecord, notes)
        if not rows:
            continue
        if "metrics" not in summary:
            notes.append(f"{name}: computed from {len(rows)} rows; the evaluation has not ended")
        metrics = summary.get("metrics") or summarise(rows, SETS[bench])
        found.append(ChoiceEvaluation(name, bench, folder, rows, summary.get("settings", {}), metrics))
    return found


def choice_report(
    run: Path,
    evaluated: Sequence[ChoiceEvaluation],
    data: Path | None,
    notes: list[str],
    per_outcome: int = PER_OUTCOME,
) -> ReportData:
    """What the page about multiple-choice evaluations shows, without the settings of the run."""
    benches = dict.fromkeys(e.bench for e in evaluated)
    galleries = {b: Gallery.find(run, [e for e in evaluated if e.bench == b], data, notes) for b in benches}
    items = [(e, record) for e in evaluated for record in e.records]
    shown = select(items, per_outcome, lambda item: (item[0].name, item[1].outcome, item[1].task, item[1].id))
    return ReportData(
        title=f"Report: {run.resolve().name}",
        subtitle=f"evaluated: {', '.join(e.name for e in evaluated)} on {', '.join(SETS[b].title for b in benches)}",
        table=result_table(evaluated, notes),
        task_tables=choice_tables(evaluated),
        outcomes={e.name: Counter(record.outcome for record in e.records) for e in evaluated},
        outcome_columns=CHOICE_OUTCOMES,
        gallery=tuple(_item(galleries[e.bench], e.name, record) for e, record in shown),
        n_answers=len(items),
        notes=tuple(notes),
    )


def result_table(evaluated: Sequence[ChoiceEvaluation], notes: list[str]) -> ResultTable:
    """Models side by side, and each compared with the one before it on the same benchmark."""
    cells = {e.name: _cells(e.metrics) for e in evaluated}
    columns = tuple(column for column in COLUMNS if any(column.key in row for row in cells.values()))
    rows = tuple(TableRow(e.name, len(e.records), cells[e.name]) for e in evaluated)
    chance = _chance(evaluated[0].metrics) if len({e.bench for e in evaluated}) == 1 else {}
    pairs = [(a, b) for a, b in pairwise(evaluated) if a.bench == b.bench]
    differences = tuple(row for a, b in pairs if (row := _difference(a, b, notes)))
    return ResultTable(columns, rows, chance, differences, " ".join((NOTE, *_published(evaluated))))


def choice_tables(evaluated: Sequence[ChoiceEvaluation]) -> tuple[TaskTable, ...]:
    """For each benchmark the accuracy of every task, and the score if it is another number."""
    tables = []
    for bench in dict.fromkeys(e.bench for e in evaluated):
        mine = [e for e in evaluated if e.bench == bench]
        title = SETS[bench].title
        scored = any(task.get("score") != task["accuracy"] for e in mine for task in e.metrics["tasks"].values())
        accuracy = Column("accuracy", f"{title}: accuracy", COLUMNS[0].help)
        tables.append(_task_table(mine, accuracy, "chance"))
        if scored:
            help = (
                "As its authors score a task: accuracy, pairs of which both are right, or the normalised count score."
            )
            tables.append(_task_table(mine, Column("score", f"{title}: score", help), "score_chance"))
    return tuple(tables)


def _task_table(evaluated: Sequence[ChoiceEvaluation], column: Column, level: str) -> TaskTable:
    tasks = dict.fromkeys(task for e in evaluated for task in e.metrics["tasks"])
    rows = []
    for task in tasks:
        blocks = {e.name: e.metrics["tasks"].get(task, {}) for e in evaluated}
        cells = {name: interval_of(block[column.key]) for name, block in blocks.items() if column.key in block}
        first = next(block for block in blocks.values() if block)
        if cells:
            rows.append(TableRow(task, first["n"], cells, first.get(level)))
    return TaskTable(column, tuple(e.name for e in evaluated), tuple(rows))


def _cells(metrics: Mapping[str, Any]) -> dict[str, Interval]:
    found = {"overall": metrics["overall"]["accuracy"], "unreadable": metrics["overall"]["unreadable"]}
    if metrics["mean_of_tasks"]:
        found["mean_of_tasks"] = metrics["mean_of_tasks"]["score"]
    if metrics["pairs"]:
        found["pairs"] = metrics["pairs"]["both_right"]
    found |= {side: block["accuracy"] for side, block in metrics["sides"].items() if side.endswith("answerable")}
    return {key: interval_of(cell) for key, cell in found.items()}


def _chance(metrics: Mapping[str, Any]) -> dict[str, float]:
    parts = {**metrics["sides"], **{key: metrics[key] for key in ("overall", "mean_of_tasks", "pairs") if metrics[key]}}
    return {key: part["chance"] for key, part in parts.items()}


def _difference(before: ChoiceEvaluation, after: ChoiceEvaluation, notes: list[str]) -> TableRow | None:
    name = f"{after.name} − {before.name}"
    try:
        found = difference(before.records, after.records)
    except EvaluationError as error:
        notes.append(f"{name}: {error.message}, so no paired difference")
        return None
    cells = {key: interval_of(found[key]) for key in ("overall", "mean_of_tasks") if found[key]}
    return TableRow(name, found["n"], cells)


def _published(evaluated: Sequence[ChoiceEvaluation]) -> list[str]:
    """Published results of the benchmarks in one sentence each."""
    sentences = []
    for bench in dict.fromkeys(e.bench for e in evaluated):
        wanted = SETS[bench]
        headline = "mean of tasks" if wanted.headline == "mean_of_tasks" else "accuracy"
        rows = [f"{row.model} {row.score:.1f} ({row.source})" for row in wanted.published if row.score is not None]
        if rows:
            sentences.append(f"Published for {wanted.title} ({headline}): {', '.join(rows)}.")
    return sentences


def _item(gallery: Gallery, model: str, record: ChoiceRecord) -> GalleryItem:
    sample = gallery.samples.get(record.id)
    return GalleryItem(
        sample_id=record.id,
        task=record.task,
        model=model,
        outcome=record.outcome,
        question=_question(sample.question) if sample else "",
        pictures=gallery.pictures(sample) if sample else (),
        true=(),
        predicted=(),
        thinking=record.thinking,
        answer=record.completion,
        failure=record.failure,
        tokens=record.completion_tokens,
        note=_said(record),
    )


def _question(text: str) -> str:
    """The prompt with the number of each image at its place."""
    first, *rest = text.split(IMAGE)
    return first + "".join(f"[Image-{number}]{words}" for number, words in enumerate(rest, 1))


def _said(record: ChoiceRecord) -> str:
    def words(answer: str | None) -> str:
        text = record.truth.options.get(answer or "", "")
        return f"{answer} ({text})" if text else str(answer)

    read = "" if record.said is None else f"Read as {words(record.said)}. "
    return f"{read}Right: {words(record.truth.answer)}."

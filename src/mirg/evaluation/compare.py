"""Several evaluations side by side: metrics with intervals, chance levels, and paired differences, as plain data.

Paired differences use the samples that both evaluations hold, item by item, so what the two share (an easy or a hard
image set) cancels out. The same sample must have the same truth in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from mirg.errors import EvaluationError
from mirg.evaluation.chance import chance
from mirg.evaluation.failures import failures, size_edges_of
from mirg.evaluation.intervals import paired_difference
from mirg.evaluation.metrics import METRICS, subsets, table, values
from mirg.evaluation.records import Record, by_task, load_records
from mirg.evaluation.store import BENCH_FILE, SETTINGS_FILE, SUMMARY_FILE, changed_rows
from mirg.samples import REJECTED_FILE
from mirg.storage import read_json, read_jsonl


@dataclass(frozen=True)
class Evaluation:
    """The records of one model on one dataset; ``rejected`` samples could not be asked and are in no metric.

    ``metrics``, ``chance`` and ``draws`` are those of the summary, if they have been read. If a sample has several
    answers, ``records`` has the majority answer.
    """

    name: str
    records: tuple[Record, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    rejected: int = 0
    folder: Path = Path()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    chance: Mapping[str, Any] = field(default_factory=dict)
    draws: Mapping[str, Any] = field(default_factory=dict)


def load_evaluation(folder: str | Path, *, name: str | None = None) -> Evaluation:
    """A finished evaluation; :class:`EvaluationError` if it does not exist, is not finished, or its rows changed."""
    root = Path(folder)
    settings = finished_settings(root)
    if "scoring" in settings:
        hint = "mirg compare takes evaluations of one kind"
        raise EvaluationError(f"the answers of {root} are no boxes but {settings['scoring']}", hint=hint)
    records = tuple(load_records(root))
    refuse_changed(root)
    rejected = sum(isinstance(row, dict) for _, row in read_jsonl(root / REJECTED_FILE))
    return Evaluation(name or root.name, records, settings, rejected, root)


def finished_settings(root: Path) -> dict[str, Any]:
    """The settings of the evaluation in ``root``; :class:`EvaluationError` if it does not exist, or is not finished."""
    if not (root / SETTINGS_FILE).is_file():
        raise EvaluationError(
            f"{root} is not an evaluation: {SETTINGS_FILE} is missing", hint="see: mirg evaluate --help"
        )
    if not (root / SUMMARY_FILE).is_file():
        raise EvaluationError(
            f"the evaluation in {root} is not finished", hint="run the same command again: it resumes"
        )
    settings = read_json(root / SETTINGS_FILE)
    return settings if isinstance(settings, dict) else {}


def refuse_changed(root: Path) -> None:
    """:class:`EvaluationError` if the rows of an evaluation are not those of its summary."""
    if changed := changed_rows(root):
        raise EvaluationError(changed, hint="run the evaluation again with --overwrite")


def load_evaluations(folders: Sequence[str | Path]) -> list[Evaluation]:
    """Several finished evaluations, named by their folders: by as many last parts of the path as tell them apart."""
    paths = [Path(folder).resolve() for folder in folders]
    if len(set(paths)) != len(paths):
        raise EvaluationError("a folder is named twice", hint="an evaluation cannot be compared with itself")
    return [load_evaluation(path, name=name) for path, name in zip(paths, _short_names(paths), strict=True)]


def compare(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Everything about one or several evaluations as JSON-ready data.

    ``systems``: name, model, n, rejected, the tables of :func:`mirg.evaluation.metrics.table`, and ``failures`` by
    sizes that all share; ``chance``: levels over all samples seen; ``differences``: for each pair (later minus earlier)
    n, how many samples only one of them holds, and per metric mean, low, high and p, overall, per task and per subset;
    ``notes``: what weakens it.
    """
    if not evaluations:
        raise EvaluationError("nothing to compare", hint="give at least one evaluation")
    union = union_of(evaluations)
    edges = size_edges_of(union)
    systems = [
        {
            "name": evaluation.name,
            "model": evaluation.settings.get("model", ""),
            "n": len(evaluation.records),
            "rejected": evaluation.rejected,
            **table(evaluation.records),
            "failures": failures(evaluation.records, size_edges=edges),
        }
        for evaluation in evaluations
    ]
    return {
        "systems": systems,
        "chance": chance(union),
        "differences": [difference(a, b) for a, b in combinations(evaluations, 2)],
        "notes": _notes(evaluations),
    }


def difference(a: Evaluation, b: Evaluation) -> dict[str, Any]:
    """Paired differences ``b - a`` of every metric on the common samples. Without any, ``overall`` is None."""
    first, second = common(a, b)
    partner = {record.id: record for record in second}

    def block(rows: Sequence[Record]) -> dict[str, Any]:
        return paired_block(rows, [partner[record.id] for record in rows])

    return {
        "a": a.name,
        "b": b.name,
        "n": len(first),
        "only_a": len(a.records) - len(first),
        "only_b": len(b.records) - len(second),
        "overall": block(first) if first else None,
        "tasks": {task: block(rows) for task, rows in by_task(first).items()},
        "subsets": {name: block(rows) for name, rows in subsets(first).items()},
    }


def paired_block(before: Sequence[Record], after: Sequence[Record], metrics: Sequence[str] = ()) -> dict[str, Any]:
    """``n`` and the difference ``after - before`` of each of ``metrics`` (all by default); records are pairs in order.

    The image sets that are resampled are those of ``before``.
    """
    sets = [record.image_set for record in before]
    a_NM, b_NM = values(before), values(after)
    cells = {
        metric: paired_difference(a_NM[:, m], b_NM[:, m], sets).cell()
        for m, metric in enumerate(METRICS)
        if metric in (metrics or METRICS)
    }
    return {"n": len(before), **cells}


def common(a: Evaluation, b: Evaluation) -> tuple[list[Record], list[Record]]:
    """The records of the samples that both hold, in the order of ``a``.

    :class:`EvaluationError` where a sample is not the same in both.
    """
    others = {record.id: record for record in b.records}
    first = [record for record in a.records if record.id in others]
    second = [others[record.id] for record in first]
    for one, other in zip(first, second, strict=True):
        if (one.targets, one.image_set, one.task) != (other.targets, other.image_set, other.task):
            raise EvaluationError(
                f"sample {one.id} is not the same in {a.name} and {b.name}",
                hint="evaluate both models on the same dataset",
            )
    return first, second


def union_of(evaluations: Sequence[Evaluation]) -> list[Record]:
    """One record of every sample that any of the evaluations holds."""
    found: dict[str, Record] = {}
    for evaluation in evaluations:
        for record in evaluation.records:
            found.setdefault(record.id, record)
    return list(found.values())


def _notes(evaluations: Sequence[Evaluation]) -> list[str]:
    notes = []
    if len({frozenset(record.id for record in e.records) for e in evaluations}) > 1:
        notes.append("The evaluations do not hold the same samples: compare the paired differences only.")
    for e in evaluations:
        if draws := e.settings.get("draws"):
            notes.append(f"{e.name}: the majority of {draws} answers to each sample.")
        if (e.folder / BENCH_FILE).is_file():
            notes.append(f"{e.name}: read as mirg asks for answers; mirg evaluate --against compares by its benchmark.")
    return [*notes, *differing_settings(evaluations)]


def differing_settings(evaluations: Sequence[Evaluation]) -> list[str]:
    """A sentence for each setting in which evaluations differ, other than the model."""
    return [
        f"The evaluations differ in: {setting}."
        for setting in ("family", "numerics", "generation", "instructions", "prompt", "reader", "rewards")
        if len({str(e.settings[setting]) for e in evaluations if setting in e.settings}) > 1
    ]


def _short_names(paths: Sequence[Path]) -> list[str]:
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]

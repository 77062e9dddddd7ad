"""Robustness runs: an evaluation repeated on variants of its samples, and what the variant changes.

Every variant is a complete evaluation in ``OUT/robustness/NAME``, with records of the same ids. Differences pair each
sample with itself; samples that are left out of a variant are in neither side of its difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mirg.engines.base import Engine
from mirg.errors import MirgError
from mirg.evaluation import runner
from mirg.evaluation.batches import NAMES
from mirg.evaluation.compare import Evaluation, load_evaluation, paired_block
from mirg.evaluation.runner import Plan, Progress, select
from mirg.evaluation.store import SUMMARY_FILE
from mirg.evaluation.variants import Variant, VariantFolder
from mirg.samples import DatasetFolder
from mirg.storage import read_json, sole_writer, write_json_atomic

FOLDER = "robustness"
METRICS = ("image_accuracy", "acc_50", "mean_iou", "joint_accuracy", "parse_failures")
ORIGINAL = "original"
_OWN = (*NAMES, "variant", "limit")  # settings in which a variant and its original may differ


def evaluate_variants(
    engine: Engine,
    dataset: DatasetFolder,
    out: str | Path,
    plan: Plan,
    variants: Sequence[Variant],
    begin: Callable[[str], Progress | None] | None = None,
) -> dict[str, Any]:
    """Evaluate the variants of the samples of the finished evaluation ``out``, and add what they change to its summary.

    ``plan`` is that of ``out``; its generation seed also chooses orders and distractors. ``begin`` is called with the
    name of each variant and returns what shows its progress. The same call resumes. Returns ``differences``
    (:func:`differences`, also those of variants that were evaluated earlier) and ``notes``, sentences about what was
    left out. Errors as :func:`mirg.evaluation.runner.evaluate`.
    """
    out, notes = Path(out), list[str]()
    if not variants and not (out / FOLDER).is_dir():
        return {"differences": [], "notes": notes}
    if variants:
        rows = {sample.id: (row, sample) for row, sample in dataset.numbered(lambda rejection: None)}
        samples = [sample for _, sample in rows.values()]
        chosen = [rows[sample.id] for sample in select(samples, plan)]
        for variant in variants:
            folder = VariantFolder(dataset, chosen, variant, samples, plan.generation.seed)
            notes += [f"{variant.name}: {words}" for words in folder.left_out_words()]
            if folder.changed_rows:
                own = replace(plan, variant=folder.settings)
                runner.evaluate(
                    engine, folder, out / FOLDER / variant.name, own, begin(variant.name) if begin else None
                )
    found = {"differences": differences(load_evaluation(out, name=ORIGINAL), notes), "notes": notes}
    if found["differences"] or notes:
        with sole_writer(out):
            summary = read_json(out / SUMMARY_FILE)
            assert isinstance(summary, dict)
            write_json_atomic(out / SUMMARY_FILE, summary | {FOLDER: found})
    return found


def differences(original: Evaluation, notes: list[str]) -> list[dict[str, Any]]:
    """Variant minus original for every finished variant in the folder of ``original``, in alphabetical order.

    Rows as those of :func:`mirg.evaluation.compare.difference`, with the :data:`METRICS`: ``n`` common samples,
    ``only_a`` samples that the variant leaves out or could not ask. Variants that do not belong to ``original``, or are
    not finished, are left out with a sentence in ``notes``.
    """
    found = []
    for folder in sorted(path for path in (original.folder / FOLDER).glob("*") if path.is_dir()):
        try:
            variant = load_evaluation(folder, name=folder.name)
        except MirgError as error:
            notes.append(f"{folder.name}: {error.message}")
            continue
        if others := _other_settings(original, variant):
            notes.append(f"{folder.name} is of another evaluation: {', '.join(others)} differ")
            continue
        found.append(_difference(original, variant))
    return found


def _difference(original: Evaluation, variant: Evaluation) -> dict[str, Any]:
    partner = {record.id: record for record in variant.records}
    before = [record for record in original.records if record.id in partner]
    after = [partner[record.id] for record in before]
    return {
        "a": ORIGINAL,
        "b": variant.name,
        "n": len(before),
        "only_a": len(original.records) - len(before),
        "only_b": len(variant.records) - len(before),
        "overall": paired_block(before, after, METRICS) if before else None,
    }


def _other_settings(original: Evaluation, variant: Evaluation) -> list[str]:
    names = [name for name in original.settings if name in variant.settings and name not in _OWN]
    return [name for name in names if original.settings[name] != variant.settings[name]]

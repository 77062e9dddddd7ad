"""What a study found, as plain data: ``study.json``. It holds whatever is evaluated so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mirg.data.scenes.mini import FAMILIES, LEVELS, MINI_NAME
from mirg.errors import EvaluationError
from mirg.evaluation.chance import chance
from mirg.evaluation.compare import load_evaluation
from mirg.evaluation.records import Record
from mirg.samples import DatasetFolder
from mirg.storage import read_json, read_jsonl
from mirg.study.contrasts import MEASURES, contrasts, subsets_of
from mirg.study.outcomes import Cell, answers, blank_records, laid_over, settings_digest
from mirg.study.plan import ARMS, StudyRecipe
from mirg.study.run import cell_name, cells, rating_tokens
from mirg.training.run import METRICS as METRICS_FILE
from mirg.training.run import environment


def outcomes(plan: StudyRecipe, out: Path) -> list[Cell]:
    """What was measured in ``out`` so far, arm by arm. Tokens are those of the whole way from the base."""
    settings = settings_digest(plan)
    items: list[str] = []
    found = []
    for arm, seed in cells(plan):
        summary = out / "eval" / cell_name(arm, seed) / "summary.json"
        if summary.is_file():
            written: Any = read_json(summary)
            generated, trained = tokens(arm.name, seed, out)
            row = {
                "arm": arm.name,
                "seed": seed,
                "benchmark": MINI_NAME,
                "settings": settings,
                "numerics": str(written["settings"].get("numerics", "")),
                "tokens_generated": generated,
                "tokens_trained": trained,
            }
            items = items or [sample.id for sample in DatasetFolder.open(out / "data" / "mini")]
            found.append(Cell.model_validate(row | answers(load_evaluation(summary.parent).records, items)))
    return found


def results(plan: StudyRecipe, out: Path, measured: Sequence[Cell]) -> dict[str, Any]:
    """Arms, contrasts and chance levels of what was ``measured``, on the benchmark in ``out``.

    ``arms``: one row per arm, seed, metric and subset. ``contrasts``: see :mod:`mirg.study.contrasts`. EvaluationError
    where nothing is measured yet.
    """
    if not measured:
        raise EvaluationError(f"{out} holds no finished evaluation", hint="mirg study runs them")
    benchmark = DatasetFolder.open(out / "data" / "mini")
    levels = {sample.id: str(sample.meta.get("level", "")) for sample in benchmark}
    records = blank_records(benchmark)
    found: dict[str, dict[int, list[Record]]] = {}
    for cell in sorted(measured, key=lambda cell: (list(ARMS).index(cell.arm), cell.seed)):
        found.setdefault(cell.arm, {})[cell.seed] = laid_over(cell, records)
    by_cell = {(cell.arm, cell.seed): cell for cell in measured}
    subsets = subsets_of(records, levels)
    levels_by_chance = chance(records)
    return {
        "benchmark": {
            "name": MINI_NAME,
            "items": len(records),
            "families": dict(FAMILIES),
            "levels": list(LEVELS),
            "image_hidden": len(subsets.get("image_hidden", ())) / len(records),
            "chance": {key: levels_by_chance[key] for key in ("overall", "tasks")},
        },
        "plan": plan.model_dump(mode="json"),
        **{key: environment()[key] for key in ("versions", "python", "cpus")},
        "arms": [
            row
            for name, by_seed in found.items()
            for seed, answered in by_seed.items()
            for row in _arm(by_cell[name, seed], answered, subsets)
        ],
        "contrasts": [asdict(row) for row in contrasts(found, levels)],
    }


def _arm(cell: Cell, records: Sequence[Record], subsets: dict[str, list[int]]) -> Iterator[dict[str, Any]]:
    for subset, places in subsets.items():
        for metric, value in MEASURES.items():
            yield {
                "arm": cell.arm,
                "seed": cell.seed,
                "metric": metric,
                "subset": subset,
                "value": sum(float(value(records[k])) for k in places) / len(places),
                "n_items": len(places),
                "tokens_generated": cell.tokens_generated,
                "tokens_trained": cell.tokens_trained,
            }


def tokens(name: str, seed: int, out: Path) -> tuple[int, int]:
    """Tokens generated in rollouts and tokens trained on, from the base to the end of the arm.

    Trained on in GRPO are those of the packed sequences: a prompt counts once for its group.
    """
    generated = trained = 0
    arm = ARMS[name]
    while arm.stage:
        rows = [
            row for _, row in read_jsonl(out / "runs" / cell_name(arm, seed) / METRICS_FILE) if isinstance(row, dict)
        ]
        if arm.stage == "sft":
            trained += int(max((row.get("num_tokens") or 0 for row in rows), default=0))
        else:
            generated += _sum(rows, "tokens/generated") + rating_tokens(arm, seed, out)
            trained += _sum(rows, "tokens/trained")
        arm = ARMS[arm.start]
    return generated, trained


def _sum(rows: Sequence[dict[str, Any]], key: str) -> int:
    """The total of a count whose rows are means over the steps since the row before."""
    total, before = 0.0, 0
    for row in rows:
        if isinstance(row.get(key), int | float):
            total += row[key] * (row["step"] - before)
            before = row["step"]
    return round(total)

"""What a study found, as plain data: ``study.json``. It holds whatever is evaluated so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mirg.errors import EvaluationError
from mirg.evaluation.chance import chance
from mirg.evaluation.metrics import METRICS
from mirg.evaluation.records import Record, load_records
from mirg.samples import DatasetFolder
from mirg.scenes.mini import FAMILIES, LEVELS, MINI_NAME
from mirg.storage import read_jsonl
from mirg.study.contrasts import SHOWN, contrasts, subsets_of
from mirg.study.plan import ARMS, StudyRecipe
from mirg.study.run import cell_name, cells
from mirg.training.run import METRICS as METRICS_FILE
from mirg.training.run import environment


def results(plan: StudyRecipe, out: Path) -> dict[str, Any]:
    """Arms, contrasts, chance levels and tokens of the study in ``out``.

    ``arms``: one row per arm, seed, metric and subset. ``contrasts``: see :mod:`mirg.study.contrasts`. Tokens are those
    of the whole way from the base. EvaluationError where nothing is evaluated yet.
    """
    levels = {sample.id: str(sample.meta.get("level", "")) for sample in DatasetFolder.open(out / "data" / "mini")}
    found: dict[str, dict[int, list[Record]]] = {}
    for arm, seed in cells(plan):
        folder = out / "eval" / cell_name(arm, seed)
        if (folder / "summary.json").is_file():
            found.setdefault(arm.name, {})[seed] = load_records(folder)
    if not found:
        raise EvaluationError(f"{out} holds no finished evaluation", hint="mirg study runs them")
    records = next(iter(next(iter(found.values())).values()))
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
        "arms": [row for name, by_seed in found.items() for row in _arm(name, by_seed, subsets, out)],
        "contrasts": [asdict(row) for row in contrasts(found, levels)],
    }


def _arm(
    name: str, by_seed: dict[int, list[Record]], subsets: dict[str, list[int]], out: Path
) -> Iterator[dict[str, Any]]:
    for seed, records in by_seed.items():
        generated, trained = tokens(name, seed, out)
        for subset, places in subsets.items():
            for metric in SHOWN:
                total = sum(float(METRICS[metric](records[k])) for k in places)
                yield {
                    "arm": name,
                    "seed": seed,
                    "metric": metric,
                    "subset": subset,
                    "value": total / len(places),
                    "n_items": len(places),
                    "tokens_generated": generated,
                    "tokens_trained": trained,
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
            generated += _sum(rows, "tokens/generated")
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

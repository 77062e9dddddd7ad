"""What a study with looks measures beside its test set: fewer looks, and the ordinary mirg-mini."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from mirg.answers.looks import LookBudget
from mirg.storage import read_json, write_json_atomic
from mirg.study.page import page
from mirg.study.plan import cell_name
from mirg.study.results import outcomes, results
from mirg.study.run import Job, cells, evaluate_cell, is_measured, run_jobs
from research.study.data import FOLDERS, SMALL
from research.study.recipe import MiniStudyRecipe

# The test set and the most looks of an answer; None: as many as in training.
FURTHER: dict[str, tuple[str, int | None]] = {
    "mirg-mini": (FOLDERS["test"], None),
    "no look": (SMALL, 0),
    "one look": (SMALL, 1),
}
SUBSETS = ("all", "image_hidden")


def measure_further(plan: MiniStudyRecipe, out: Path, jobs: int = 1) -> None:
    """Evaluate every trained arm of the study in ``out`` on each of :data:`FURTHER`, and add it to ``study.json``.

    What has been evaluated before is not evaluated again; ``jobs`` evaluations run at a time. Each test set and budget
    has a page in ``out/further``.
    """
    todo: dict[str, Job] = {}
    for name, (folder, looks) in FURTHER.items():
        here, place = plan.model_copy(update={"test": str(out / "data" / folder)}), out / "further" / name
        budget = None if looks is None else LookBudget(max_looks=looks)
        for arm, seed in cells(plan):
            cell = cell_name(arm, seed)
            wanted = arm.stage and (budget is None or arm.looks) and is_measured(arm, seed, out)
            if wanted and not is_measured(arm, seed, place):
                work = partial(evaluate_cell, here, arm, seed, place, str(out / "runs" / cell), budget)
                todo[f"{name} {cell}"] = Job(work)
    run_jobs(todo, jobs)
    added: dict[str, list[dict[str, Any]]] = {"further": [], "further_contrasts": [], "looks": looks_of(plan, out, "")}
    for name, (folder, _) in FURTHER.items():
        here, place = plan.model_copy(update={"test": str(out / "data" / folder)}), out / "further" / name
        answered = outcomes(here, place)
        if not answered:
            continue
        found = results(here, place, answered)
        page(found, place)
        for key, rows in (("further", found["arms"]), ("further_contrasts", found["contrasts"])):
            kept = [row for row in rows if row["subset"] in SUBSETS]
            added[key] += [{"on": name} | {k: v for k, v in row.items() if "tokens" not in k} for row in kept]
        added["looks"] += looks_of(plan, place, name)
    known: dict[str, Any] = read_json(out / "study.json")  # type: ignore[assignment]
    write_json_atomic(out / "study.json", known | added)


def looks_of(plan: MiniStudyRecipe, place: Path, name: str) -> list[dict[str, Any]]:
    """The mean looks, visual tokens of crops and tokens written of each arm that may look, by its evaluations."""
    rows = []
    for arm, seed in cells(plan):
        summary: Any = (
            read_json(place / "eval" / cell_name(arm, seed) / "summary.json") if is_measured(arm, seed, place) else {}
        )
        if "looks" in summary:
            spent = {key: summary["looks"][key] for key in ("looks", "crop_tokens", "completion_tokens")}
            rows.append({"on": name, "arm": arm.name, "seed": seed, **spent})
    return rows

"""``mirg study``: train and evaluate every arm, and write what the differences between them are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mirg.console import log_to_console, say
from mirg.storage import write_json_atomic, write_jsonl_atomic


def study(
    out: Annotated[
        Path, typer.Option(help="Folder of the study; the same command again goes on where it stopped.")
    ] = Path("runs/study"),
    recipe: Annotated[str, typer.Option(help="Sizes, seeds, arms and stage recipes.")] = "study/study",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="Override a key: -s seeds=[0] -s arms=[sft,dual]")
    ] = None,
    elsewhere: Annotated[
        list[Path] | None,
        typer.Option("--outcomes", help="outcomes.jsonl of another machine: what it measured is not trained again."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Arms to train at a time, each in a process of its own.")] = 1,
    show: Annotated[
        bool, typer.Option("--show", help="Train nothing: write results and page of what is there.")
    ] = False,
) -> None:
    """Base, SFT, continued SFT and every arm of GRPO on one benchmark, with paired differences over seeds and items."""
    from mirg.cli.train import train
    from mirg.config import load_recipe
    from mirg.study.outcomes import OUTCOMES_FILE, load_cells
    from mirg.study.page import page
    from mirg.study.plan import StudyRecipe
    from mirg.study.results import outcomes, results
    from mirg.study.run import make_data, run_study
    from mirg.training.quiet import quiet_libraries

    log_to_console()
    quiet_libraries()
    plan = load_recipe(StudyRecipe, recipe, overrides or ())
    known = {(cell.arm, cell.seed): cell for cell in load_cells(elsewhere or (), plan)}
    if show:
        make_data(plan, out, ())  # the benchmark at least: other machines' outcomes are about its items
    else:
        run_study(plan, out, train, known, jobs)
    # What was measured here stands for itself; the file may grow by every machine that takes part.
    known |= {(cell.arm, cell.seed): cell for cell in outcomes(plan, out)}
    write_jsonl_atomic(out / OUTCOMES_FILE, [cell.model_dump() for cell in known.values()])
    found = results(plan, out, list(known.values()))
    write_json_atomic(out / "study.json", found)
    for row in found["contrasts"]:
        if row["subset"] == "all" and row["metric"] == "joint_accuracy":
            delta, low, high = (100 * row[key] for key in ("delta", "low", "high"))
            say(f"{row['b']} - {row['a']}: joint Acc@0.5 {delta:+.1f} [{low:+.1f}, {high:+.1f}] points")
    say(f"report: {page(found, out)}")

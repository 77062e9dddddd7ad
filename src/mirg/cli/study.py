"""``mirg study``: train and evaluate arms on any model and datasets, and report the differences between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mirg.console import log_to_console, say
from mirg.storage import write_json_atomic, write_jsonl_atomic

if TYPE_CHECKING:
    from mirg.study.plan import Arm, StudyRecipe

OutOption = Annotated[Path, typer.Option(help="Folder of the study; the same command continues a stopped study.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override a key: -s seeds=[0] -s arms=[sft,dual]")
]
OutcomesOption = Annotated[
    list[Path] | None,
    typer.Option("--outcomes", help="outcomes.jsonl of another machine; what it measured is not trained again."),
]
JobsOption = Annotated[int, typer.Option(min=1, help="Arms to train at a time, each in a separate process.")]
ShowOption = Annotated[bool, typer.Option("--show", help="Train nothing; write results and page of the finished arms.")]


def study(
    out: OutOption = Path("runs/study"),
    model: Annotated[str | None, typer.Option(help="Model that every arm starts from.")] = None,
    train: Annotated[Path | None, typer.Option(help="Dataset with trajectories, for SFT.")] = None,
    rl: Annotated[Path | None, typer.Option(help="Dataset for GRPO; it needs no trajectories.")] = None,
    test: Annotated[Path | None, typer.Option(help="Dataset that every arm is evaluated on.")] = None,
    recipe: Annotated[str, typer.Option(help="Model, datasets, seeds, arms and stage recipes.")] = "study/study",
    overrides: SetOption = None,
    elsewhere: OutcomesOption = None,
    jobs: JobsOption = 1,
    show: ShowOption = False,
) -> None:
    """Compare base, SFT, continued SFT and GRPO on your data, with paired differences over seeds and items."""
    from mirg.config import load_recipe
    from mirg.study.plan import StudyRecipe

    given = {"model": model, "train": train, "rl": rl, "test": test}
    options = [f"{key}={json.dumps(str(value))}" for key, value in given.items() if value is not None]
    run(load_recipe(StudyRecipe, recipe, [*options, *(overrides or ())]), out, elsewhere or (), jobs, show=show)


def run(
    plan: StudyRecipe,
    out: Path,
    elsewhere: Sequence[Path] = (),
    jobs: int = 1,
    *,
    show: bool = False,
    prepare: Callable[[Collection[Arm]], None] = lambda arms: None,
) -> None:
    """Run the study ``plan`` in ``out``, print the main differences, and write outcomes, results and page.

    ``elsewhere`` are files of outcomes from other machines. ``prepare`` is called with the arms that will be trained
    before the training datasets are opened, and with no arms before the test dataset is opened. See :func:`study` for
    ``jobs`` and ``show``.
    """
    from mirg.cli.train import train
    from mirg.study.page import page
    from mirg.study.results import OUTCOMES_FILE, load_cells, outcomes, results
    from mirg.study.run import missing_cells, run_study
    from mirg.training import quiet_libraries

    log_to_console()
    quiet_libraries()
    prepare(())
    known = {(cell.arm, cell.seed): cell for cell in load_cells(elsewhere, plan)}
    if not show:
        prepare([arm for arm, _ in missing_cells(plan, known)])
        run_study(plan, out, train, known, jobs)
    # A cell that was measured in this folder replaces one of another machine.
    known |= {(cell.arm, cell.seed): cell for cell in outcomes(plan, out)}
    write_jsonl_atomic(out / OUTCOMES_FILE, [cell.model_dump() for cell in known.values()])
    found = results(plan, out, list(known.values()))
    write_json_atomic(out / "study.json", found)
    for row in found["contrasts"]:
        if row["subset"] == "all" and row["metric"] == "joint_accuracy":
            delta, low, high = (100 * row[key] for key in ("delta", "low", "high"))
            say(f"{row['b']} - {row['a']}: joint Acc@0.5 {delta:+.1f} [{low:+.1f}, {high:+.1f}] points")
    say(f"report: {page(found, out)}")

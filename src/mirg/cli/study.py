"""``mirg study``: train and evaluate arms on any model and datasets, and report the differences between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mirg.console import log_to_console, say, table
from mirg.errors import ConfigError
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
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print arms, steps, hours and disk space, and stop; --data is split.")
]
ShowOption = Annotated[bool, typer.Option("--show", help="Train nothing; write results and page of the finished arms.")]


def study(
    out: OutOption = Path("runs/study"),
    model: Annotated[str | None, typer.Option(help="Model that every arm starts from.")] = None,
    train: Annotated[Path | None, typer.Option(help="Dataset with trajectories, for SFT.")] = None,
    rl: Annotated[Path | None, typer.Option(help="Dataset for GRPO; it needs no trajectories.")] = None,
    test: Annotated[Path | None, typer.Option(help="Dataset that every arm is evaluated on.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="One dataset with trajectories instead of the three; it is split.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Model, datasets, seeds, arms and stage recipes.")] = "study/study",
    overrides: SetOption = None,
    elsewhere: OutcomesOption = None,
    jobs: JobsOption = 1,
    show: ShowOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Compare base, SFT, continued SFT and GRPO on your data, with paired differences over seeds and items."""
    from mirg.config import load_recipe
    from mirg.study.plan import StudyRecipe

    given: dict[str, object] = {"model": model, "train": train, "rl": rl, "test": test}
    if data is not None:
        if named := [f"--{role}" for role in ("train", "rl", "test") if given[role] is not None]:
            raise ConfigError(f"--data with {', '.join(named)}", hint="--data is split into all three")
        from mirg.study.data import split_dataset

        given |= split_dataset(data, out)
    options = [f"{key}={json.dumps(str(value))}" for key, value in given.items() if value is not None]
    plan = load_recipe(StudyRecipe, recipe, [*options, *(overrides or ())])
    run(plan, out, elsewhere or (), jobs, show=show, dry_run=dry_run)


def run(
    plan: StudyRecipe,
    out: Path,
    elsewhere: Sequence[Path] = (),
    jobs: int = 1,
    *,
    show: bool = False,
    dry_run: bool = False,
    prepare: Callable[[Collection[Arm]], None] = lambda arms: None,
) -> None:
    """Run the study ``plan`` in ``out``, print the main differences, and write outcomes, results and page.

    ``elsewhere`` are files of outcomes from other machines. ``prepare`` is called with the arms that will be trained
    before the training datasets are opened, and with no arms before the test dataset is opened. See :func:`study` for
    ``jobs``, ``show`` and ``dry_run``.
    """
    from mirg.cli.train import train
    from mirg.study.data import check_datasets
    from mirg.study.page import page
    from mirg.study.results import OUTCOMES_FILE, load_cells, outcomes, results
    from mirg.study.run import is_claimed, is_measured, missing_cells, run_study
    from mirg.training import quiet_libraries

    log_to_console()
    quiet_libraries()
    prepare(())
    known = {(cell.arm, cell.seed): cell for cell in load_cells(elsewhere, plan)}
    wanted = missing_cells(plan, known)
    if dry_run:
        return _outlook(plan, out, [cell for cell in wanted if not is_measured(*cell, out)])
    if not show:
        prepare([arm for arm, _ in wanted])
        if not is_claimed(plan, out):
            check_datasets(plan, wanted)
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


def _outlook(plan: StudyRecipe, out: Path, todo: Sequence[tuple[Arm, int]]) -> None:
    from mirg.study.outlook import HEAD, arm_rows, lines

    table(f"{plan.model}, in {out}", HEAD, arm_rows(plan, out))
    for line in lines(plan, out, todo):
        say(line)

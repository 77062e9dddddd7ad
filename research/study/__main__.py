"""``python -m research.study --out RUN`` (or ``make study``): the study of docs/design/0008-study.md.

It makes the datasets and runs ``mirg study`` on them: scenes and mirg-mini, or with
``--recipe research/study/photo.yaml -s photos=FOLDER`` samples of photographs and photo-mini. With ``--recipe
research/study/look.yaml``, half of the scenes have targets that cannot be recognised without a look.
``python -m research.study.keep RUN`` writes the results to docs.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mirg.cli.study import DryRunOption, JobsOption, OutcomesOption, OutOption, SetOption, ShowOption, run
from mirg.config import load_recipe
from mirg.console import fail
from mirg.errors import MirgError
from research.study.data import located, make_data
from research.study.look import measure_further
from research.study.recipe import RECIPE, MiniStudyRecipe


def study(
    out: OutOption = Path("runs/study"),
    recipe: Annotated[Path, typer.Option(help="A YAML file with the keys of MiniStudyRecipe.")] = RECIPE,
    overrides: SetOption = None,
    elsewhere: OutcomesOption = None,
    jobs: JobsOption = 1,
    show: ShowOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train and evaluate every arm on scenes or photographs, with paired differences over seeds and items."""
    try:
        plan = located(load_recipe(MiniStudyRecipe, recipe, overrides or ()), out)
        prepare = partial(make_data, plan, out)
        run(plan, out, elsewhere or (), jobs, show=show, dry_run=dry_run, prepare=prepare)
        if plan.looks and not dry_run:
            measure_further(plan, out, jobs)
    except MirgError as error:
        raise typer.Exit(fail(error)) from error


if __name__ == "__main__":
    sys.argv[0] = "python -m research.study"
    typer.run(study)

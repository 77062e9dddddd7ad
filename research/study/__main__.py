"""``python -m research.study --out RUN`` (or ``make study``): the study of docs/design/0008-study.md on mirg-mini.

It makes the datasets and runs ``mirg study`` on them. ``python -m research.study.keep RUN`` writes the results to docs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mirg.cli.study import JobsOption, OutcomesOption, OutOption, SetOption, ShowOption, run
from mirg.config import load_recipe
from mirg.console import fail
from mirg.errors import MirgError
from research.study.data import located, make_data
from research.study.recipe import RECIPE, MiniStudyRecipe


def study(
    out: OutOption = Path("runs/study"),
    recipe: Annotated[Path, typer.Option(help="A YAML file with the keys of MiniStudyRecipe.")] = RECIPE,
    overrides: SetOption = None,
    elsewhere: OutcomesOption = None,
    jobs: JobsOption = 1,
    show: ShowOption = False,
) -> None:
    """Train and evaluate every arm on scenes and mirg-mini, with paired differences over seeds and items."""
    try:
        plan = located(load_recipe(MiniStudyRecipe, recipe, overrides or ()), out)
        run(plan, out, elsewhere or (), jobs, show=show, prepare=lambda arms: make_data(plan, out, arms))
    except MirgError as error:
        raise typer.Exit(fail(error)) from error


if __name__ == "__main__":
    sys.argv[0] = "python -m research.study"
    typer.run(study)

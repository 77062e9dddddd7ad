"""``python -m research.perception -o RUN``: train a tiny model that sees, as mirg-tiny was trained.

``python -m research.perception.ship RUN`` then makes the files that are installed with mirg, and
``python -m research.perception.probe [MODEL]`` measures how well a tiny model sees.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mirg.cli.train import DryRunOption, OutputOption, SetOption, output_of
from mirg.config import dump_recipe, load_recipe
from mirg.console import fail, say
from mirg.errors import MirgError
from mirg.training import quiet_libraries
from research.perception.recipe import RECIPE, PerceptionRecipe
from research.perception.train import train_perception


def perception(
    recipe: Annotated[Path, typer.Argument(help="A YAML file with the keys of PerceptionRecipe.")] = RECIPE,
    output: OutputOption = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Build a tiny model and train it to see and to look names up in its context."""
    try:
        resolved = load_recipe(PerceptionRecipe, recipe, overrides or ())
        if dry_run:
            typer.echo(dump_recipe(resolved), nl=False)
            return
        folder = output_of(output)
        quiet_libraries()
        say(f"model: {train_perception(resolved, folder)}")
    except MirgError as error:
        raise typer.Exit(fail(error)) from error


if __name__ == "__main__":
    sys.argv[0] = "python -m research.perception"
    typer.run(perception)

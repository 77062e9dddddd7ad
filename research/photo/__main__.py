"""``python -m research.photo -o RUN -s 'photos=[FOLDER, ...]' -s teacher=FOLDER``: train mirg-tiny-photo.

``python -m research.photo.teacher`` makes the teacher's features, and ``python -m research.perception.ship RUN
mirg-tiny-photo`` then makes the files that are installed with mirg.
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
from research.photo.recipe import RECIPE, PhotoRecipe
from research.photo.train import train_photo


def photo(
    recipe: Annotated[Path, typer.Argument(help="A YAML file with the keys of PhotoRecipe.")] = RECIPE,
    output: OutputOption = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Build a tiny model and train it to see photographs and to find places of one in another."""
    try:
        resolved = load_recipe(PhotoRecipe, recipe, overrides or ())
        if dry_run:
            typer.echo(dump_recipe(resolved), nl=False)
            return
        folder = output_of(output)
        quiet_libraries()
        say(f"model: {train_photo(resolved, folder)}")
    except MirgError as error:
        raise typer.Exit(fail(error)) from error


if __name__ == "__main__":
    sys.argv[0] = "python -m research.photo"
    typer.run(photo)

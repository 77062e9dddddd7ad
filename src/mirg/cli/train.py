"""``mirg sft`` and ``mirg grpo``: one stage of training from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mirg.console import clean, log_to_console, say
from mirg.errors import ConfigError, MirgError

RecipeArgument = Annotated[str, typer.Argument(help="A YAML file, or a shipped recipe by name, e.g. tiny/sft.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Run folder; the same command resumes it.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override a key of the recipe: -s optim.learning_rate=1e-5")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved recipe and the memory it needs, and stop.")
]
INTERRUPTED = 130


def sft(
    recipe: RecipeArgument, output: OutputOption = None, overrides: SetOption = None, dry_run: DryRunOption = False
) -> None:
    """Stage 1: supervised fine-tuning on verified trajectories."""
    from mirg.training.recipe import SftRecipe

    _run(SftRecipe, recipe, output, overrides, dry_run)


def grpo(
    recipe: RecipeArgument, output: OutputOption = None, overrides: SetOption = None, dry_run: DryRunOption = False
) -> None:
    """Stage 2: image-aware GRPO with the dual reward."""
    from mirg.training.recipe import GrpoRecipe

    _run(GrpoRecipe, recipe, output, overrides, dry_run)


def _run(kind: Any, name: str, output: Path | None, overrides: list[str] | None, dry_run: bool) -> None:
    from mirg.config import dump_recipe, load_recipe

    recipe = load_recipe(kind, name, overrides or ())
    if dry_run:
        typer.echo(dump_recipe(recipe), nl=False)
        # Printed as comments, so that the output can be used as a recipe.
        for line in _memory(recipe):
            say("# " + " ".join(clean(line).splitlines()))
        return
    say(f"model: {train(recipe, output_of(output))}")


def output_of(output: Path | None) -> Path:
    """The run folder of a training command, whose log goes to the console. ConfigError if the option is missing."""
    if output is None:
        raise ConfigError("no output folder", hint="give --output RUN; RUN holds metrics, checkpoints and the model")
    log_to_console()
    return output


def _memory(recipe: Any) -> list[str]:
    """Lines that state the memory that the recipe needs, or why it cannot be estimated.

    A failed estimate is not an error, because the model that the recipe names may not have been trained yet.
    """
    try:
        from mirg.training import quiet_libraries
        from mirg.training.memory import describe, estimate

        quiet_libraries()
        return describe(estimate(recipe))
    except (MirgError, ImportError) as error:
        return [f"memory is not known: {error}"]


def train(recipe: Any, output: Path) -> Path:
    """Run one stage and return its model folder. Exits with code 130 if a signal stopped the run."""
    from mirg.training import quiet_libraries

    quiet_libraries()
    if recipe.stage == "sft":
        from mirg.training.sft import train_sft as run
    else:
        from mirg.training.grpo import train_grpo as run
    outcome = run(recipe, output)
    if outcome.model is None:
        say(f"stopped after step {outcome.step}; a checkpoint is in {output}; the same command continues from it")
        raise typer.Exit(INTERRUPTED)
    return outcome.model

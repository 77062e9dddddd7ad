"""``mirg perception``, ``mirg sft`` and ``mirg grpo``: one stage of training from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mirg.console import clean, log_to_console, say
from mirg.errors import ConfigError, MirgError

RecipeArgument = Annotated[str, typer.Argument(help="A YAML file, or a shipped recipe by name, e.g. tiny/sft.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Run folder; the same command again resumes it.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override a key of the recipe: -s optim.learning_rate=1e-5")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved recipe and the memory it needs, and stop.")
]
INTERRUPTED = 130


def perception(
    recipe: RecipeArgument, output: OutputOption = None, overrides: SetOption = None, dry_run: DryRunOption = False
) -> None:
    """Build a tiny model and give it eyesight and in-context look-up."""
    from mirg.training.recipe import PerceptionRecipe

    _run(PerceptionRecipe, recipe, output, overrides, dry_run)


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
        # Comments: what is printed stays a recipe.
        for line in _memory(recipe) if recipe.stage != "perception" else ():
            say("# " + " ".join(clean(line).splitlines()))
        return
    if output is None:
        raise ConfigError("no output folder", hint="give --output RUN; RUN holds metrics, checkpoints and the model")
    log_to_console()
    say(f"model: {train(recipe, output)}")


def _memory(recipe: Any) -> list[str]:
    """What the recipe needs, or the reason why that is not known: no error, its model may still have to be trained."""
    try:
        from mirg.training.memory import describe, estimate
        from mirg.training.quiet import quiet_libraries

        quiet_libraries()
        return describe(estimate(recipe))
    except (MirgError, ImportError) as error:
        return [f"memory is not known: {error}"]


def train(recipe: Any, output: Path) -> Path:
    """Run one stage and return its model folder; leaves with exit code 130 where it was stopped by a signal."""
    from mirg.training.quiet import quiet_libraries

    quiet_libraries()
    if recipe.stage == "perception":
        from mirg.training.perception.train import train_perception

        return train_perception(recipe, output)
    if recipe.stage == "sft":
        from mirg.training.sft import train_sft as run
    else:
        from mirg.training.grpo import train_grpo as run
    outcome = run(recipe, output)
    if outcome.model is None:
        say(f"stopped after step {outcome.step}; a checkpoint is in {output}, the same command goes on from there")
        raise typer.Exit(INTERRUPTED)
    return outcome.model

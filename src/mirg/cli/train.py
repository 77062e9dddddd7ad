"""``mirg sft`` and ``mirg grpo``: one stage of training from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mirg.console import clean, log_to_console, say
from mirg.errors import ConfigError

RecipeArgument = Annotated[str, typer.Argument(help="A YAML file, or a shipped recipe by name, e.g. tiny/sft.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Run folder; the same command resumes it.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="Override a key of the recipe: -s optim.learning_rate=1e-5")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print recipe, parameters, tokens, memory, hours, launch command, and stop.")
]
SpeedOption = Annotated[
    Path | None, typer.Option("--speed-from", help="With --dry-run: a run whose seconds per step give the hours.")
]
INTERRUPTED = 130


def sft(
    recipe: RecipeArgument,
    output: OutputOption = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
    speed_from: SpeedOption = None,
) -> None:
    """Stage 1: supervised fine-tuning on verified trajectories."""
    from mirg.training.recipe import SftRecipe

    _run(SftRecipe, recipe, output, overrides, dry_run, speed_from)


def grpo(
    recipe: RecipeArgument,
    output: OutputOption = None,
    overrides: SetOption = None,
    dry_run: DryRunOption = False,
    speed_from: SpeedOption = None,
) -> None:
    """Stage 2: image-aware GRPO with the dual reward."""
    from mirg.training.recipe import GrpoRecipe

    _run(GrpoRecipe, recipe, output, overrides, dry_run, speed_from)


def _run(
    kind: Any, name: str, output: Path | None, overrides: list[str] | None, dry_run: bool, speed_from: Path | None
) -> None:
    from mirg.config import dump_recipe, load_recipe

    recipe = load_recipe(kind, name, overrides or ())
    if dry_run:
        lines = _plan(recipe, name, output, overrides or [], speed_from)
        typer.echo(dump_recipe(recipe), nl=False)
        # Printed as comments, so that the output can be used as a recipe.
        for line in lines:
            say("# " + " ".join(clean(line).splitlines()))
        return
    say(f"model: {train(recipe, output_of(output))}")


def output_of(output: Path | None) -> Path:
    """The run folder of a training command, whose log goes to the console. ConfigError if the option is missing."""
    if output is None:
        raise ConfigError("no output folder", hint="give --output RUN; RUN holds metrics, checkpoints and the model")
    log_to_console()
    return output


def _plan(recipe: Any, name: str, output: Path | None, overrides: list[str], speed_from: Path | None) -> list[str]:
    """What is known about the run, or why nothing is."""
    try:
        from mirg.training import quiet_libraries
        from mirg.training.plan import plan

        quiet_libraries()
        return plan(recipe, name, output, overrides, speed_from)
    except ImportError as error:
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

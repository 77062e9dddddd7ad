"""``mirg schema``: the JSON Schema of a recipe, with which an editor completes and checks its keys."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Annotated

import typer

from mirg.console import say
from mirg.errors import ConfigError, did_you_mean
from mirg.storage import write_atomic

# The module and the class of each kind of recipe.
KINDS = {
    "sft": ("mirg.training.recipe", "SftRecipe"),
    "grpo": ("mirg.training.recipe", "GrpoRecipe"),
    "study": ("mirg.study.plan", "StudyRecipe"),
    "demo": ("mirg.cli.demo", "DemoRecipe"),
    "teacher": ("mirg.trajectories.teacher.recipe", "TeacherRecipe"),
    "compose": ("mirg.data.compose.recipe", "ComposeRecipe"),
}


def schema(
    kind: Annotated[str, typer.Argument(help=f"Kind of recipe: {', '.join(KINDS)}.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; without it, it is printed.")] = None,
) -> None:
    """Print or write the JSON Schema of a kind of recipe.

    A first line `# yaml-language-server: $schema=FILE` in a recipe lets VS Code with the YAML extension complete its
    keys, show what they mean, and mark what is wrong.
    """
    from mirg.config import recipe_schema

    if kind not in KINDS:
        near = did_you_mean(kind, list(KINDS), cutoff=0.4)
        raise ConfigError(f"no kind of recipe {kind!r}", hint=f"{near}known: {', '.join(KINDS)}")
    module, name = KINDS[kind]
    text = json.dumps(recipe_schema(getattr(importlib.import_module(module), name)), indent=2) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    write_atomic(out, text)
    say(f"{out}: begin a recipe with the line  # yaml-language-server: $schema={out.name}")

"""``mirg data compose``: multi-image tasks out of images with object notes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mirg.cli.output import json_out, progress
from mirg.console import one_line, say

if TYPE_CHECKING:
    from mirg.data.compose.build import ComposeReport
    from mirg.executors import ExecutorName

_REASONS = 5  # listed on the screen; composed.json has all


def compose(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or compose/objects, which ships with mirg.")],
    out: Annotated[Path, typer.Argument(help="The dataset folder to write.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="Override a key: -s source=data/coco -s n=500 -s weights.none=0"),
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy unchanged images instead of referring to them.")] = False,
    executor_name: Annotated[str, typer.Option("--executor", help="local, processes or ray.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one per core by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make multi-image samples of thirteen tasks out of a dataset whose images have object notes."""
    from mirg.config import dump_recipe, load_recipe
    from mirg.data.compose.build import compose as build
    from mirg.data.compose.recipe import ComposeRecipe
    from mirg.executors import executor

    plan = load_recipe(ComposeRecipe, recipe, overrides or ())
    if dry_run:
        sys.stdout.write(dump_recipe(plan))
        return
    with executor(cast("ExecutorName", executor_name), workers) as chosen, progress(quiet=json) as tell:
        report = build(plan, out, copy=copy, overwrite=overwrite, executor=chosen, on_progress=tell)
    if json:
        json_out({"out": str(out), **report.as_dict()})
    else:
        _say(report, out)


def _say(report: ComposeReport, out: Path) -> None:
    made = ", ".join(f"{task} {count}" for task, count in sorted(report.tasks.items()))
    say(f"{report.n_samples} samples ({made}) from {len(report.uses)} of {len(report.pool)} images: {out}")
    found = report.as_dict()
    images = ", ".join(f"Image-{number} {count}" for number, count in found["positions"]["image"].items())
    rows = " / ".join(" ".join(str(count) for count in row) for row in found["positions"]["cell"])
    say(f"answers lie in {images}; by 3 x 3 cell, rows from the top: {rows}")
    reasons = sum(report.drops.values(), start=type(report.tasks)())
    for reason, count in reasons.most_common(_REASONS):
        say(f"  {count} drafts dropped: {one_line(reason, 200)}")
    for task, count in sorted(report.short.items()):
        say(f"  {task}: {count} samples fewer than asked for")
    for task, reason in report.left_out.items():
        say(f"  {task}: left out, {reason}")
    if report.pool.incomplete:
        say(f"  {_incomplete(report)}")
    if report.unreadable:
        say(f"  {len(report.unreadable)} images cannot be opened, for example: {one_line(min(report.unreadable), 200)}")
    if report.pool.rejected:
        say(f"  {len(report.pool.rejected)} broken rows of the source (mirg data check lists them)")


def _incomplete(report: ComposeReport) -> str:
    """How many images were removed from every choice in which a missing annotation would make the answer wrong."""
    reasons = {**report.pool.incomplete}
    reasons.pop("images")
    partly = reasons.pop("some_categories", 0)
    text = f"{report.pool.incomplete['images']} of {len(report.pool)} images are not completely annotated"
    if reasons:
        listed = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in sorted(reasons.items()))
        text += f"; never used where absence or number matters: {listed}"
    return text + (f"; annotated for some categories, and used for these only: {partly}" if partly else "")

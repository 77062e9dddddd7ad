"""``mirg trajectories``: write reasoning for a dataset, keep what is verified, verify it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mirg.cli.output import json_out, progress
from mirg.console import one_line, say

if TYPE_CHECKING:
    from mirg.trajectories.build import Report

app = typer.Typer(no_args_is_help=True, help="Write and verify reasoning trajectories.")

SHOWN = 20  # rejections listed without --json


@app.command()
def build(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.")],
    out: Annotated[Path, typer.Argument(help="The dataset folder to write.")],
    writer: Annotated[str, typer.Option(help="Who writes: rules (from the annotation, no model).")] = "rules",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT where it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Give every sample a trajectory and keep the verified ones; the others go to OUT/rejected.jsonl with a reason."""
    from mirg.samples import DatasetFolder
    from mirg.trajectories.build import build_dataset

    source = DatasetFolder.open(dataset)
    with progress(quiet=json) as tell:
        report = build_dataset(
            source,
            out,
            writer=writer,
            overwrite=overwrite,
            on_progress=lambda done: tell("trajectories", done, len(source)),
        )
    _print(report, json, f"verified trajectories: {out}")


@app.command()
def check(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder with trajectories.")],
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Verify the stored trajectories again, from their text alone. Exit 1 if one fails."""
    from mirg.samples import DatasetFolder
    from mirg.trajectories.build import check_dataset

    source = DatasetFolder.open(dataset)
    with progress(quiet=json) as tell:
        report = check_dataset(source, on_progress=lambda done: tell("checking", done, len(source)))
    _print(report, json, f"trajectories pass, {report.n_without} samples have none")
    raise typer.Exit(1 if report.refused else 0)


def _print(report: Report, as_json: bool, words: str) -> None:
    if as_json:
        json_out(report.as_dict())
        return
    for row in report.refused[:SHOWN]:
        say(one_line(str(row), limit=400))
    if len(report.refused) > SHOWN:
        say(f"… and {len(report.refused) - SHOWN} more")
    reasons = ", ".join(f"{check} {count}" for check, count in report.reasons.items())
    say(f"{report.n_rows} rows: {report.n_kept} {words}")
    say(f"{len(report.refused)} rejected" + (f" ({reasons})" if reasons else ""))

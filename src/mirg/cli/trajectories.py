"""``mirg trajectories``: write reasoning for a dataset, keep what is verified, verify it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mirg.cli import trajectories_filter, trajectories_teacher
from mirg.cli.output import json_out, progress
from mirg.console import one_line, say

if TYPE_CHECKING:
    from mirg.trajectories.build import Report

app = typer.Typer(no_args_is_help=True, help="Write and verify reasoning trajectories.")

app.command("filter")(trajectories_filter.filter)
app.command("status")(trajectories_teacher.status)
app.command("merge")(trajectories_teacher.merge)

SHOWN = 20  # rejections listed without --json


@app.command()
def build(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.")],
    out: Annotated[Path, typer.Argument(help="The dataset folder to write.")],
    writer: Annotated[
        str, typer.Option(help="Who writes: rules (from the annotation, no model), or teacher (a model, by --recipe).")
    ] = "rules",
    recipe: Annotated[
        str | None, typer.Option(help="teacher: a recipe file, or one that ships, such as teacher/openai.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="teacher: override a key: -s draws=4 -s budget.money=20")
    ] = None,
    ledger: Annotated[Path | None, typer.Option(help="teacher: the ledger file; OUT.ledger.db by default.")] = None,
    shard: Annotated[str | None, typer.Option(help="teacher: i/n, the part of this machine.")] = None,
    executor_name: Annotated[
        str, typer.Option("--executor", help="teacher: local, or processes or ray with --workers.")
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="teacher: processes that ask side by side.")] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="teacher: ask nothing, write what the ledger holds.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="teacher: print the recipe and what it would take, and stop.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT where it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Give every sample a trajectory and keep the verified ones; the others go to OUT/rejected.jsonl with a reason."""
    from mirg.samples import DatasetFolder

    source = DatasetFolder.open(dataset)
    if writer == "teacher":
        told = trajectories_teacher.TeacherOptions(
            recipe, overrides or [], ledger, shard, executor_name, workers, offline, dry_run, overwrite, json
        )
        report = trajectories_teacher.build_by_teacher(source, out, told)
        if report is None:
            return
    else:
        from mirg.trajectories.build import build_dataset

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
    raise typer.Exit(1 if report.n_rejected else 0)


def _print(report: Report, as_json: bool, words: str) -> None:
    if as_json:
        json_out(report.as_dict())
        return
    for row in report.rejections[:SHOWN]:
        say(one_line(str(row), limit=400))
    if report.n_rejected > SHOWN:
        say(f"… and {report.n_rejected - SHOWN} more")
    reasons = ", ".join(f"{check} {count}" for check, count in report.reasons.items())
    say(f"{report.n_rows} rows: {report.n_kept} {words}")
    say(f"{report.n_rejected} rejected" + (f" ({reasons})" if reasons else ""))

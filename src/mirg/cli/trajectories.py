"""``mirg trajectories``: write reasoning for a dataset, keep what is verified, verify it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mirg.cli import measured as shared
from mirg.cli import trajectories_teacher
from mirg.cli.output import json_out, progress
from mirg.console import one_line, say

if TYPE_CHECKING:
    from mirg.trajectories.build import Report

app = typer.Typer(no_args_is_help=True, help="Write and verify reasoning trajectories.")

SHOWN = 20  # rejections listed without --json


@app.command("filter")
def filter_chains(
    dataset: shared.Dataset,
    out: shared.Out,
    student: Annotated[str, typer.Option("--student", help="A run folder, a model folder, or a model name.")],
    gain_right: Annotated[float, typer.Option(help="Required gain in points of IoU if the answer was right.")] = 0.10,
    gain_wrong: Annotated[float, typer.Option(help="Required gain in points of IoU if it was and stays wrong.")] = 0.20,
    temperature: Annotated[float, typer.Option(help="0 is greedy decoding.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of sampling, if temperature is not 0.")] = 0,
    batch_size: shared.BatchSize = 16,
    max_new_tokens: shared.MaxNewTokens = 512,
    instructions: shared.AnswerInstructions = None,
    family: shared.Family = None,
    device: shared.Device = None,
    dtype: shared.Dtype = None,
    copy: shared.Copy = False,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Keep a sample if its chain, put before the student's answer, turns wrong into right or raises the IoU.

    The others go to OUT/rejected.jsonl with the reason. The same command continues after an interruption.
    """
    from mirg.engines.base import Generation
    from mirg.evaluation.blind import gains, write_helpful
    from mirg.evaluation.measure import MeasurePlan, refuse_output
    from mirg.samples import DatasetFolder

    wanted = gains(gain_right, gain_wrong)
    plan = MeasurePlan(
        Generation(max_new_tokens, temperature, seed, batch_size), instructions, copy=copy, overwrite=overwrite
    )
    # Report errors that do not need the model before it is loaded.
    source = DatasetFolder.open(dataset)
    refuse_output(out, source, plan)

    from mirg.engines.load import load_engine

    engine = load_engine(student, family=family, device=device, dtype=dtype)
    with progress(quiet=json) as tell:
        report = write_helpful(engine, source, out, wanted, plan, lambda done, total: tell("answers", done, total))
    shared.print_report(report, out, as_json=json)


app.command("status")(trajectories_teacher.status)
app.command("merge")(trajectories_teacher.merge)


@app.command()
def build(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.")],
    out: Annotated[Path, typer.Argument(help="The dataset folder to write.")],
    writer: Annotated[
        str, typer.Option(help="The writer: rules (from the annotation, no model), or teacher (a model, by --recipe).")
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
    workers: Annotated[int | None, typer.Option(min=1, help="teacher: the number of processes.")] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="teacher: send no request, write from the ledger.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="teacher: print the recipe and the estimated cost, and stop.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
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
    """Verify the stored trajectories again, from their text. Exit 1 if one fails."""
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

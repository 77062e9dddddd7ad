"""``mirg score``: responses to a published benchmark, scored with its annotation file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mirg.console import say, table, warn
from mirg.data.importers.migbench import load_annotations
from mirg.evaluation.migbench.score import COLUMNS, PROTOCOLS, load_responses, protocols, score_all, summarise
from mirg.frames import family as family_by_name
from mirg.storage import write_json_atomic, write_jsonl_atomic

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Score responses to a published benchmark.")


@app.callback()
def _score() -> None:
    """Score responses to a published benchmark."""


@app.command()
def migbench(
    annotations: Annotated[Path, typer.Argument(help="MIG-Bench's annotation file (original version), JSON.")],
    responses: Annotated[Path, typer.Argument(help='JSON lines {"index": i, "response": "..."}.')],
    protocol: Annotated[str, typer.Option(help="official, strict or both.")] = "both",
    out: Annotated[Path | None, typer.Option(help="Write one row of scores per item here (JSON lines).")] = None,
    summary: Annotated[Path | None, typer.Option(help="Write the tables here (JSON).")] = None,
    family: Annotated[str, typer.Option(help="Model family: the frame of the strict protocol.")] = "qwen3-vl",
) -> None:
    """Score responses to MIG-Bench; shares are in percent, an item without a response is wrong."""
    chosen = protocols(protocol)
    frame = family_by_name(family)
    truth = load_annotations(annotations)
    given = load_responses(responses, len(truth.items))
    scores = score_all(truth, given, chosen, frame)
    result = summarise(truth, given, scores)
    if out is not None:
        write_jsonl_atomic(out, (score.row() for score in scores))
    if summary is not None:
        write_json_atomic(summary, result)
    _show(result)


def _show(result: dict[str, Any]) -> None:
    used = [protocol for protocol in PROTOCOLS if protocol in result]
    titles = {column: column.removeprefix("acc").replace("mean_iou", "IoU") for column in COLUMNS}
    columns = ["task", "items", *(f"{p} {title}" for p in used for title in titles.values())]
    rows = []
    for task, first in result[used[0]]["tasks"].items():
        cells = [f"{result[p]['tasks'][task][key]:.2f}" for p in used for key in COLUMNS]
        rows.append([first["name"], str(first["items"]), *cells])
    means = [f"{result[p]['mean'][key]:.2f}" for p in used for key in COLUMNS]
    table(f"{result['benchmark']}, percent", columns, [*rows, ["mean of tasks", str(result["items"]), *means]])
    given = result["responses"]
    problems = {kind: count for kind, count in given["problems"].items() if count}
    say(f"{given['used']} of {result['items']} items have a response ({given['rows']} rows read).")
    if given["missing"]:
        warn(f"{given['missing']} items have no response and count as wrong (first: {given['missing_indices'][:5]})")
    if problems:
        counted = ", ".join(f"{count} {kind}" for kind, count in problems.items())
        first = given["problem_rows"][0]
        warn(f"rows not used: {counted}; first: row {first['row']}: {first['detail']}")
    if result["defects"]:
        say(f"{len(result['defects'])} defects of the annotations, scored all the same (see 'defects' in the summary).")
    if "strict" in result and result["strict"]["failures"]:
        reasons = result["strict"]["failure_reasons"]
        shown = ", ".join(f"{count} x {reason}" for reason, count in list(reasons.items())[:5])
        say(f"strict: {result['strict']['failures']} responses without a usable answer: {shown}")

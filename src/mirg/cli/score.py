"""``mirg score``: responses to a published benchmark, scored with its annotation file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mirg.console import say, table, warn
from mirg.data.importers.migbench import PAPER_NAMES, load_annotations
from mirg.evaluation.migbench.images import image_sizes
from mirg.evaluation.migbench.responses import load_responses
from mirg.evaluation.migbench.summary import (
    COLUMNS,
    PROTOCOLS,
    Frame,
    Score,
    compare_scores,
    protocols,
    score_all,
    summarise,
)
from mirg.families import family as family_by_name
from mirg.families import limits_of
from mirg.storage import write_json_atomic, write_jsonl_atomic

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Score responses to a published benchmark.")


class VersionChoice(StrEnum):
    """The version of MIG-Bench."""

    auto = "auto"
    original = "original"
    revised = "revised"


class Stretch(StrEnum):
    """A private change of boxes that published rows have."""

    none = "none"
    migician = "migician"


@app.callback()
def _score() -> None:
    """Score responses to a published benchmark."""


@app.command()
def migbench(
    annotations: Annotated[Path, typer.Argument(help="MIG-Bench's annotation file, JSON.")],
    responses: Annotated[
        Path, typer.Argument(help='JSON lines {"index": i, "response": "..."}, or an evaluation folder.')
    ],
    version: Annotated[
        VersionChoice, typer.Option(help="The version of the annotations; auto: the answers in the file say it.")
    ] = VersionChoice.auto,
    protocol: Annotated[str, typer.Option(help="official, strict, strict-box, both (the first two) or all.")] = "both",
    against: Annotated[
        list[Path] | None, typer.Option(help="Other responses, for paired differences; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write one row of scores per item here (JSON lines).")] = None,
    summary: Annotated[Path | None, typer.Option(help="Write the tables here (JSON).")] = None,
    family: Annotated[str, typer.Option(help="Model family: the frame of the boxes.")] = "qwen3-vl",
    root: Annotated[
        Path | None, typer.Option(help="Folder of the images, for families that write pixels of the resized image.")
    ] = None,
    min_pixels: Annotated[int | None, typer.Option(help="Fewest pixels of a resized image.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Most pixels of a resized image.")] = None,
    stretch: Annotated[
        Stretch, typer.Option(help="migician: the change of boxes behind Migician's own rows; official protocol only.")
    ] = Stretch.none,
) -> None:
    """Score responses to MIG-Bench; shares are in percent, an item without a response is wrong."""
    chosen = protocols(protocol)
    frame_family = family_by_name(family)
    revised = None if version is VersionChoice.auto else version is VersionChoice.revised
    truth = load_annotations(annotations, revised=revised)
    sizes = image_sizes(truth.items, root) if root is not None else ()
    limits = limits_of(frame_family, min_pixels, max_pixels)
    frame = Frame(frame_family, limits, sizes, stretch=stretch is Stretch.migician)

    def score(file: Path) -> tuple[Any, list[Score]]:
        given = load_responses(file, len(truth.items), revised=truth.revised)
        return given, score_all(truth, given, chosen, frame)

    given, scores = score(responses)
    result = summarise(truth, given, scores)
    if stretch is not Stretch.none:
        result["stretch"] = stretch.value
    if against:
        result["against"] = [{"responses": str(f), **compare_scores(score(f)[1], scores)} for f in against]
    if out is not None:
        write_jsonl_atomic(out, (row.row() for row in scores))
    if summary is not None:
        write_json_atomic(summary, result)
    _show(result)


def _show(result: dict[str, Any]) -> None:
    used = [protocol for protocol in PROTOCOLS if protocol in result]
    for protocol in used:
        rows = [[row["name"], str(row["items"]), *_cells(row)] for row in result[protocol]["tasks"].values()]
        rows.append(["mean of tasks", str(result["items"]), *_cells(result[protocol]["mean"])])
        columns = ["task", "items", "Acc@0.3", "Acc@0.5, 95 % interval", "Acc@0.7", "mean IoU"]
        columns += ["image accuracy"] if protocol != "official" else []
        table(f"{result['benchmark']}, {protocol}, percent", columns, rows)
    if "official" in used:
        _show_published(result)
    for other in result.get("against", []):
        for protocol in used:
            points = other[protocol]["mean"]
            ends = f"[{points['low']:+.2f}, {points['high']:+.2f}]"
            say(f"{protocol}: {points['mean']:+.2f} {ends} points against {other['responses']}, mean of tasks @0.5")
    _show_oddities(result)


def _cells(row: dict[str, Any]) -> list[str]:
    low, high = row["intervals"]["acc@0.5"]
    cells = [f"{row[column]:.2f}" for column in (*COLUMNS, "image_accuracy") if column in row]
    cells[1] += f" [{low:.1f}, {high:.1f}]"
    return cells


def _show_published(result: dict[str, Any]) -> None:
    """The published rows of the same version. Only the official protocol compares with them."""
    scored = result["official"]
    rows = []
    for row in result["published"]:
        tasks = [f"{value:.2f}" for value in row["tasks"]] or [""] * len(PAPER_NAMES)
        rows.append([row["model"], *tasks, f"{row['mean']:.2f}", row["source"]])
    own = [f"{scored['tasks'][task]['acc@0.5']:.2f}" if task in scored["tasks"] else "" for task in PAPER_NAMES]
    rows.append(["these responses", *own, f"{scored['mean']['acc@0.5']:.2f}", ""])
    table(f"published for {result['benchmark']}, Acc@0.5", ["model", *PAPER_NAMES.values(), "mean", "source"], rows)


def _show_oddities(result: dict[str, Any]) -> None:
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

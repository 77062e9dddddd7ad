"""``mirg score``: responses to a published benchmark, scored with its annotation file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mirg.data.importers.migbench import load_annotations
from mirg.evaluation.migbench.evaluations import Scored, difference, frame_of, score_file
from mirg.evaluation.migbench.images import image_sizes
from mirg.evaluation.migbench.summary import Frame, protocols, summarise
from mirg.evaluation.migbench.tables import show
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
    family: Annotated[
        str | None, typer.Option(help="Model family: the frame of the boxes. Default: the evaluation's, or qwen3-vl.")
    ] = None,
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
    revised = None if version is VersionChoice.auto else version is VersionChoice.revised
    truth = load_annotations(annotations, revised=revised)
    sizes = image_sizes(truth.items, root) if root is not None else ()

    def score(file: Path) -> Scored:
        frame = frame_of(file, truth)
        known = frame.family if family is None else family_by_name(family)
        limits = limits_of(known, min_pixels, max_pixels) if family or min_pixels or max_pixels else frame.limits
        frame = Frame(known, limits, sizes or frame.sizes, stretch=stretch is Stretch.migician)
        return score_file(truth, file, chosen, frame)

    scored = score(responses)
    result = summarise(*scored)
    if stretch is not Stretch.none:
        result["stretch"] = stretch.value
    result["against"] = [difference(file, score(file).scores, scored.scores) for file in against or ()]
    if out is not None:
        write_jsonl_atomic(out, (row.row() for row in scored.scores))
    if summary is not None:
        write_json_atomic(summary, result)
    show(result)

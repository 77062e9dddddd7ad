"""``mirg data export``: a dataset in the format of another trainer or tool."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mirg.cli.data.options import ImageLook, say_listed
from mirg.cli.output import json_out, progress
from mirg.console import say, warn

if TYPE_CHECKING:
    from mirg.data.exporters.build import ExportReport


class PromptInstructions(StrEnum):
    """How much the prompt says about the form of an answer."""

    full = "full"
    short = "short"
    none = "none"


class Spelling(StrEnum):
    """How an answer is spelled."""

    text = "text"
    json = "json"


def export(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    to: Annotated[str, typer.Option("--to", help="llamafactory, ms-swift, trl, verl, easyr1, coco or parquet.")],
    family: Annotated[
        str, typer.Option(help="The model family that prompts and boxes are written for.")
    ] = "qwen2.5-vl",
    max_pixels: Annotated[
        int | None, typer.Option(help="Most pixels of a resized image; the trainer's own if not given.")
    ] = None,
    min_pixels: Annotated[
        int | None, typer.Option(help="Fewest pixels of a resized image; the trainer's own if not given.")
    ] = None,
    instructions: Annotated[
        PromptInstructions, typer.Option(help="What the prompt says about the form of an answer.")
    ] = PromptInstructions.full,
    style: Annotated[Spelling | None, typer.Option(help="How answers are spelled, if not as the family does.")] = None,
    objects: Annotated[
        bool, typer.Option("--objects", help="ms-swift: boxes in its objects field, <bbox> in texts.")
    ] = False,
    relative: Annotated[bool, typer.Option("--relative", help="Image paths relative to OUT; else absolute.")] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the images to OUT/images.")] = False,
    look: Annotated[ImageLook, typer.Option(help="How image files are inspected.")] = ImageLook.header,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a dataset in the format of another trainer or tool, with boxes in the frame that its model will see.

    Samples without a trajectory become prompts where the format has them. The settings printed at the end belong
    to the boxes: with other pixel limits they are wrong for families that count in pixels.
    """
    from mirg.data.exporters.build import export_dataset, make_plan
    from mirg.samples import DatasetFolder

    source = DatasetFolder.open(dataset)
    plan = make_plan(
        source,
        out,
        family,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        instructions=instructions.value,
        style=style.value if style else None,
        objects=objects,
    )
    with progress(quiet=json) as tell:
        report = export_dataset(
            source,
            plan,
            to,
            copy=copy,
            relative=relative,
            look=look.value,
            overwrite=overwrite,
            on_progress=lambda done: tell("exporting", done, len(source)),
        )
    if json:
        json_out({"out": str(out)} | report.as_dict())
    else:
        _say(report, out)


def _say(report: ExportReport, out: Path) -> None:
    say_listed(report.rejections, file=out / "rejected.jsonl")
    for name, rows in report.files.items():
        say(f"{out / name}: {rows} rows")
    say(f"{report.n_kept} samples, {report.n_rejected} rejected, {report.n_without} without a trajectory")
    used = ", ".join(f"{count} {how}" for how, count in report.images.items() if count)
    say(f"images: {used}")
    if report.images.get("turned"):
        warn(f"{report.images['turned']} images were stored turned; upright copies are in {out / 'images'}")
    for line in report.settings:
        say(f"  {line}")

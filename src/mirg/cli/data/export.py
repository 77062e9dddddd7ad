"""``mirg data export``: a dataset in the format of another trainer or tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from mirg.cli import output as shared
from mirg.cli.measured import CROP_PIXELS, CropPixels, Looks, look_budget
from mirg.cli.output import counted, json_out, progress, say_listed
from mirg.console import say, warn
from mirg.samples import DatasetFolder


def export(
    dataset: shared.Dataset,
    out: Annotated[Path, Argument(help="The folder to write.")],
    to: Annotated[str, Option("--to", help="llamafactory, ms-swift, trl, verl, easyr1, coco or parquet.")],
    family: Annotated[str, Option(help="The model family that prompts and boxes are written for.")] = "qwen2.5-vl",
    max_pixels: Annotated[
        int | None, Option(help="Most pixels of a resized image; the trainer's own if not given.")
    ] = None,
    min_pixels: Annotated[
        int | None, Option(help="Fewest pixels of a resized image; the trainer's own if not given.")
    ] = None,
    instructions: Annotated[
        Literal["full", "short", "none"], Option(help="What the prompt says about the form of an answer.")
    ] = "full",
    style: Annotated[
        Literal["text", "json"] | None, Option(help="How answers are spelled, if not as the family does.")
    ] = None,
    objects: Annotated[
        bool, Option("--objects", help="ms-swift: boxes in its objects field, <bbox> in texts.")
    ] = False,
    looks: Looks = 0,
    crop_pixels: CropPixels = CROP_PIXELS,
    relative: Annotated[bool, Option("--relative", help="Image paths relative to OUT; else absolute.")] = False,
    copy: Annotated[bool, Option("--copy", help="Copy the images to OUT/images.")] = False,
    look: Annotated[shared.ImageLook, Option(help="How image files are inspected.")] = "header",
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Write a dataset in the format of another trainer or tool, with boxes in the frame that its model will see.

    Samples without a trajectory become prompts where the format has them. The settings printed at the end belong
    to the boxes: with other pixel limits they are wrong for families that count in pixels.
    """
    from mirg.data.exporters.build import export_dataset, make_plan

    source = DatasetFolder.open(dataset)
    limits = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    texts = {"instructions": instructions, "style": style, "objects": objects}
    plan = make_plan(source, out, family, **limits, **texts, look=look_budget(looks, crop_pixels))
    with progress(quiet=json) as tell:
        report = export_dataset(
            source, plan, to, copy=copy, relative=relative, look=look, overwrite=overwrite,
            on_progress=lambda done: tell("exporting", done, len(source)),
        )  # fmt: skip
    if json:
        return json_out({"out": str(out)} | report.as_dict())
    say_listed(report.rejections, "rejected ", f"in {out / 'rejected.jsonl'}")
    for name, rows in report.files.items():
        say(f"{out / name}: {rows} rows")
    say(f"{report.n_kept} samples, {report.n_rejected} rejected, {report.n_without} without a trajectory")
    say(f"images: {counted({how: count for how, count in report.images.items() if count}, '{1} {0}')}")
    if report.images.get("turned"):
        warn(f"{report.images['turned']} images were stored turned; upright copies are in {out / 'images'}")
    for line in report.settings:
        say(f"  {line}")

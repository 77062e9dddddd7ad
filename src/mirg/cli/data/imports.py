"""``mirg data import``: annotated images in any of the known formats become a dataset folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mirg.cli.data.options import SHOWN, Look, Where, listed
from mirg.cli.output import json_out, progress
from mirg.console import one_line, say, warn

PHOTOS = "photos"  # made by mirg.data.compose, which readers may not import


class Frame(StrEnum):
    """Coordinate frames of boxes."""

    auto = "auto"
    fraction = "fraction"
    relative_1000 = "relative_1000"
    pixels = "pixels"
    resized_pixels = "resized_pixels"


class Negatives(StrEnum):
    """What becomes of images without objects."""

    auto = "auto"
    keep = "keep"
    drop = "drop"


class Exif(StrEnum):
    """In which picture the boxes of a rotated photograph were drawn."""

    apply = "apply"
    ignore = "ignore"


def import_(
    kind: Annotated[
        str, typer.Argument(help="The format: see `mirg data kinds`; or FILE.py:NAME, an importer of yours.")
    ],
    path: Annotated[Path, typer.Argument(help="The annotation file, or the folder of the format.")],
    out: Annotated[Path, typer.Argument(help="The dataset folder to write.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder that image paths are relative to; that of PATH unless given.")
    ] = None,
    strip: Annotated[str, typer.Option(help="Beginning of image paths to leave out.")] = "",
    frame: Annotated[
        Frame | None, typer.Option(help="Frame of the boxes; that of the format, or found out, unless given.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="For resized_pixels: the model family that resized.")] = None,
    exif: Annotated[
        Exif | None,
        typer.Option(help="Boxes of photographs that EXIF rotates: of the upright picture, or of the stored pixels."),
    ] = None,
    min_pixels: Annotated[
        int | None, typer.Option(min=1, help="For resized_pixels: fewest pixels of a resized image.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="For resized_pixels: most pixels of a resized image.")
    ] = None,
    trainer: Annotated[
        str, typer.Option(help="For resized_pixels: the trainer that resized first, such as llamafactory.")
    ] = "",
    look: Annotated[
        Look, typer.Option(help="Image files: not at all, size, size and digest, every pixel.")
    ] = Look.hash,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the images instead of referring to them.")] = False,
    columns: Annotated[str, typer.Option(help="For hf, sharegpt and ms-swift: question=text,…")] = "",
    labels: Annotated[Path | None, typer.Option(help="A YAML file that renames, merges and drops labels.")] = None,
    meta: Annotated[
        str, typer.Option(help="Fields of the rows to keep in meta, with commas: scene,image_set=film")
    ] = "",
    negatives: Annotated[
        Negatives, typer.Option(help="Images without objects: if the file says they were annotated, all listed, none.")
    ] = Negatives.auto,
    split: Annotated[str, typer.Option(help="For hf: the split to read.")] = "train",
    stride: Annotated[int, typer.Option(min=1, help="For video-tracks: every how many frames one is taken.")] = 10,
    frames: Annotated[int, typer.Option(min=2, help="For video-tracks: frames of one sample.")] = 6,
    image_index_from: Annotated[
        int | None, typer.Option(min=0, max=1, help="Number of the first image in texts; found out unless given.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Read only the first rows.")] = None,
    executor: Annotated[Where, typer.Option(help="Where rows are worked on; the result is the same.")] = Where.local,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one per core unless given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Read annotated images of any known format, or with your own importer. OUT/rejected.jsonl lists refused rows."""
    if kind == PHOTOS:
        given = {"--root": root, "--frame": frame, "--family": family, "--exif": exif, "--labels": labels}
        given |= {"--columns": columns, "--limit": limit}
        _photos(path, out, [name for name, value in given.items() if value], overwrite=overwrite, json=json)
        return
    from mirg.data.importers.importer import import_dataset
    from mirg.data.importers.kinds import source_of
    from mirg.data.importers.label_map import load_label_map
    from mirg.data.importers.raw import ImportOptions
    from mirg.data.importers.relabel import parse_fields
    from mirg.executors import executor as open_executor

    source_of(kind)
    # A hub name is not a path: what its rows refer to lies below the current folder unless --root says another.
    folder = root or (path if path.is_dir() else path.parent if path.exists() else Path())
    options = ImportOptions(
        root=str(folder), strip=strip, frame=frame.value if frame else None, family=family, look=look.value,
        exif=exif.value if exif else None,
        min_pixels=min_pixels, max_pixels=max_pixels, trainer=trainer,
        columns=_pairs(columns), split=split, stride=stride, frames=frames,
        meta=parse_fields(meta), labels=load_label_map(labels) if labels else None, negatives=negatives.value,
        image_index_from=image_index_from,  # type: ignore[arg-type]
    )  # fmt: skip
    with progress(quiet=json) as tell, open_executor(executor.value, workers) as pool:
        report = import_dataset(
            kind, path, out, options, copy=copy, overwrite=overwrite, limit=limit, executor=pool, listed=SHOWN,
            on_progress=lambda done: tell("rows", done, 0),
        )  # fmt: skip
    if json:
        json_out(report.as_dict())
        return
    for rejection in report.first:
        say(one_line(str(rejection), limit=400))
    if report.refused > len(report.first):
        say(f"… and {report.refused - len(report.first):,} more in {out / 'rejected.jsonl'}")
    for warning in report.warnings[:SHOWN]:
        warn(one_line(warning, limit=400))
    if len(report.warnings) > SHOWN:
        warn(f"… and {len(report.warnings) - SHOWN:,} more (--json lists all)")
    if report.rotated:
        say(f"warning: {_rotated(report.rotated)}")
    made = ", ".join(f"{task} {count:,}" for task, count in sorted(report.tasks.items()))
    boxes = "each row says its frame" if report.frame == "auto" else report.frame
    say(f"{report.rows:,} rows: {report.rows_used:,} used, {report.rows_refused:,} refused; boxes: {boxes}")
    if report.image_index_from == 0 and image_index_from is None:
        say("images are counted from 0 in its texts, since one of them names image 0")
    say(f"{report.samples:,} samples ({made}): {out}")
    if report.negatives:
        say(f"{report.negatives:,} of them are annotated images without objects; their answer: none")
    if report.renamed:
        say(f"{report.renamed:,} samples got another id: theirs was used by an earlier row")


def _rotated(found: dict[str, int]) -> str:
    from mirg.images import ORIENTATION_WORDS

    first = next(iter(found))
    return (
        f"{len(found):,} photographs are rotated by EXIF (first: {one_line(first, 100)}, "
        f"{ORIENTATION_WORDS[found[first]]}), and nothing tells in which orientation their boxes were drawn. They were "
        "read as of the upright picture; --exif ignore reads them as of the stored pixels, --exif apply confirms"
    )


def kinds() -> None:
    """List the formats that `mirg data import` reads."""
    from mirg.data.importers.kinds import SOURCES

    for source in SOURCES.values():
        say(f"{source.kind:18} {source.about}")
    say(f"{PHOTOS:18} a folder of photographs without labels, as `mirg data photos` makes samples of it")


def _photos(folder: Path, out: Path, given: list[str], *, overwrite: bool, json: bool) -> None:
    """Photographs have no annotation to read: their samples are made, with the builder's own settings."""
    from mirg.cli.data.make import photos
    from mirg.errors import ConfigError

    if given:
        raise ConfigError(f"{given[0]} means nothing for photos", hint="mirg data photos has the settings for them")
    photos(folder, out, overwrite=overwrite, json=json)


def _pairs(text: str) -> dict[str, str]:
    from mirg.errors import ConfigError

    pairs = [part.partition("=") for part in listed(text)]
    for name, equals, column in pairs:
        if not (name and equals and column):
            raise ConfigError(f"--columns {text}: expected field=column, with commas")
    return {name: column for name, _, column in pairs}

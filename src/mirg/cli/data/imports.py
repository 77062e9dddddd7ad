"""``mirg data import``, ``kinds`` and ``unpack``: annotated images of any known format become a dataset folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Exit, Option

from mirg.cli import output as shared
from mirg.cli.output import counted, json_out, listed, progress, say_listed, settings
from mirg.console import one_line, say, warn
from mirg.errors import ConfigError

PHOTOS = "photos"  # made by mirg.data.compose, which readers may not import


def import_(
    kind: Annotated[str, Argument(help="The format: see `mirg data kinds`; or FILE.py:NAME, an importer of yours.")],
    path: Annotated[Path, Argument(help="The annotation file, or the folder of the format.")],
    out: shared.Out,
    root: Annotated[
        Path | None, Option(help="Folder that image paths are relative to; that of PATH unless given.")
    ] = None,
    strip: Annotated[str, Option(help="Beginning of image paths to leave out.")] = "",
    frame: Annotated[
        Literal["auto", "fraction", "relative_1000", "pixels", "resized_pixels"] | None,
        Option(help="Frame of the boxes; that of the format, or found out, unless given."),
    ] = None,
    family: Annotated[str | None, Option(help="For resized_pixels: the model family that resized.")] = None,
    exif: Annotated[
        Literal["apply", "ignore"] | None,
        Option(help="Boxes of photographs that EXIF rotates: of the upright picture, or of the stored pixels."),
    ] = None,
    min_pixels: Annotated[
        int | None, Option(min=1, help="For resized_pixels: fewest pixels of a resized image.")
    ] = None,
    max_pixels: Annotated[int | None, Option(min=1, help="For resized_pixels: most pixels of a resized image.")] = None,
    trainer: Annotated[
        str, Option(help="For resized_pixels: the trainer that resized first, such as llamafactory.")
    ] = "",
    look: Annotated[
        Literal["none", "header", "hash", "decode"],
        Option(help="Image files: not at all, size, size and digest, every pixel."),
    ] = "hash",
    copy: Annotated[bool, Option("--copy", help="Copy the images instead of referring to them.")] = False,
    columns: Annotated[str, Option(help="For hf, sharegpt and ms-swift: question=text,…")] = "",
    labels: Annotated[Path | None, Option(help="A YAML file that renames, merges and drops labels.")] = None,
    meta: Annotated[str, Option(help="Fields of the rows to keep in meta, with commas: scene,image_set=film")] = "",
    negatives: Annotated[
        Literal["auto", "keep", "drop"],
        Option(help="Images without objects: if the file says they were annotated, all listed, none."),
    ] = "auto",
    split: Annotated[str, Option(help="For hf and tables of refcoco: the split to read.")] = "train",
    stride: Annotated[int, Option(min=1, help="For video-tracks: every how many frames one is taken.")] = 10,
    frames: Annotated[int, Option(min=2, help="For video-tracks: frames of one sample.")] = 6,
    image_index_from: Annotated[
        int | None, Option(min=0, max=1, help="Number of the first image in texts; found out unless given.")
    ] = None,
    limit: Annotated[int | None, Option(min=1, help="Read only the first rows.")] = None,
    executor: shared.Executor = "local",
    workers: shared.Workers = None,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Read annotated images of any known format, or with your own importer. OUT/rejected.jsonl lists refused rows."""
    given = locals()
    if kind == PHOTOS:  # without annotations: samples are made, with the settings of the builder
        from mirg.cli.data.make import photos

        for name in ("root", "frame", "family", "exif", "labels", "columns", "limit"):
            if given[name]:
                hint = "mirg data photos has the settings for them"
                raise ConfigError(f"--{name} means nothing for photos", hint=hint)
        return photos(path, out, overwrite=overwrite, json=json)
    from mirg.data.importers.formats import source_of
    from mirg.data.importers.label_map import load_label_map
    from mirg.data.importers.raw import ImportOptions
    from mirg.data.importers.relabel import parse_fields
    from mirg.data.importers.run import import_dataset
    from mirg.executors import executor as open_executor
    from mirg.images import ORIENTATION_WORDS

    source_of(kind)
    # A hub name is not a path: what its rows refer to lies below the current folder unless --root says another.
    folder = root or (path if path.is_dir() else path.parent if path.exists() else Path())
    pairs = [part.partition("=") for part in listed(columns)]
    if not all(name and equals and column for name, equals, column in pairs):
        raise ConfigError(f"--columns {columns}: expected field=column, with commas")
    given |= {"root": str(folder), "columns": {name: column for name, _, column in pairs}, "meta": parse_fields(meta)}
    options = settings(ImportOptions, given | {"labels": load_label_map(labels) if labels else None})
    with progress(quiet=json) as tell, open_executor(executor, workers) as pool:
        report = import_dataset(
            kind, path, out, options, copy=copy, overwrite=overwrite, limit=limit, executor=pool, listed=shared.SHOWN,
            on_progress=lambda done: tell("rows", done, 0),
        )  # fmt: skip
    if json:
        return json_out(report.as_dict())
    say_listed(report.first, more=f"in {out / 'rejected.jsonl'}", total=report.refused)
    say_listed(report.warnings, more="(--json lists all)", to=warn)
    if report.rotated:
        first, orientation = next(iter(report.rotated.items()))
        say(
            f"warning: {len(report.rotated):,} photographs are rotated by EXIF (first: {one_line(first, 100)}, "
            f"{ORIENTATION_WORDS[orientation]}), and nothing tells in which orientation their boxes were drawn. They "
            "were read as of the upright picture; --exif ignore reads them as of the stored pixels, --exif apply "
            "confirms"
        )
    made = counted(dict(sorted(report.tasks.items())), "{} {:,}")
    boxes = "each row says its frame" if report.frame == "auto" else report.frame
    say(f"{report.rows:,} rows: {report.rows_used:,} used, {report.rows_refused:,} refused; boxes: {boxes}")
    if report.image_index_from == 0 and image_index_from is None:
        say("images are counted from 0 in its texts, since one of them names image 0")
    say(f"{report.samples:,} samples ({made}): {out}")
    if report.negatives:
        say(f"{report.negatives:,} of them are annotated images without objects; their answer: none")
    if report.renamed:
        say(f"{report.renamed:,} samples got another id: theirs was used by an earlier row")


def kinds() -> None:
    """List the formats that `mirg data import` reads."""
    from mirg.data.importers.formats import SOURCES

    for source in SOURCES.values():
        say(f"{source.kind:18} {source.about}")
    say(f"{PHOTOS:18} a folder of photographs without labels, as `mirg data photos` makes samples of it")


def unpack(
    archives: Annotated[list[Path], Argument(help="Zip, tar, tar.gz, tar.bz2 or tar.xz files.")],
    out: Annotated[Path, Argument(help="The folder to write; it appears whole, or not at all.")],
    keep_good: Annotated[
        bool, Option("--keep-good", help="Leave bad members out and list them in OUT/rejected.jsonl.")
    ] = False,
    strip_absolute: Annotated[bool, Option("--strip-absolute", help="Unpack absolute paths as relative ones.")] = False,
    max_members: Annotated[int, Option(min=1, help="Most members of one archive.")] = 1_000_000,
    max_gib: Annotated[float, Option(min=0.001, help="Most GiB that may come out in all.")] = 1024.0,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Unpack archives into OUT; nothing is written outside of it. Exit 1 if members were left out."""
    from mirg.data.importers.archive_members import ArchiveLimits
    from mirg.data.importers.archives import unpack

    limits = ArchiveLimits(members=max_members, total_bytes=int(max_gib * 2**30))
    with progress(quiet=json) as tell:
        report = unpack(
            archives, out, keep_good=keep_good, strip_absolute=strip_absolute, overwrite=overwrite, limits=limits,
            on_progress=lambda done: tell("files", done, 0),
        )  # fmt: skip
    if json:
        counts = {name: getattr(report, name) for name in ("members", "files", "folders", "bytes")}
        rows = [row.model_dump() for row in report.rejected]
        json_out({"out": str(out)} | counts | {"refused": len(rows), "rejections": rows})
    else:
        say_listed(report.rejected, more=f"in {out / 'rejected.jsonl'}")
        refused = f", {len(report.rejected):,} members left out" if report.rejected else ""
        say(f"{report.files:,} files, {report.bytes:,} bytes{refused}: {out}")
    raise Exit(1 if report.rejected else 0)

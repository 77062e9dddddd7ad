"""``mirg data unpack``: archives of datasets are unpacked after every member has been checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mirg.cli.data.options import SHOWN
from mirg.cli.output import json_out, progress
from mirg.console import one_line, say


def unpack(
    archives: Annotated[list[Path], typer.Argument(help="Zip, tar, tar.gz, tar.bz2 or tar.xz files.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; it appears whole, or not at all.")],
    keep_good: Annotated[
        bool, typer.Option("--keep-good", help="Leave bad members out and list them in OUT/rejected.jsonl.")
    ] = False,
    strip_absolute: Annotated[
        bool, typer.Option("--strip-absolute", help="Unpack absolute paths as relative ones.")
    ] = False,
    max_members: Annotated[int, typer.Option(min=1, help="Most members of one archive.")] = 1_000_000,
    max_gib: Annotated[float, typer.Option(min=0.001, help="Most GiB that may come out in all.")] = 1024.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Unpack archives into OUT; nothing is written outside of it. Exit 1 if members were left out."""
    from mirg.data.importers.archives import ArchiveLimits, unpack

    limits = ArchiveLimits(members=max_members, total_bytes=int(max_gib * 2**30))
    with progress(quiet=json) as tell:
        report = unpack(
            archives, out, keep_good=keep_good, strip_absolute=strip_absolute, overwrite=overwrite, limits=limits,
            on_progress=lambda done: tell("files", done, 0),
        )  # fmt: skip
    if json:
        json_out(
            {"out": str(out), "members": report.members, "files": report.files, "folders": report.folders}
            | {"bytes": report.bytes, "refused": len(report.rejected)}
            | {"rejections": [row.model_dump() for row in report.rejected]}
        )
    else:
        for rejection in report.rejected[:SHOWN]:
            say(one_line(str(rejection), limit=400))
        if len(report.rejected) > SHOWN:
            say(f"… and {len(report.rejected) - SHOWN:,} more in {out / 'rejected.jsonl'}")
        refused = f", {len(report.rejected):,} members left out" if report.rejected else ""
        say(f"{report.files:,} files, {report.bytes:,} bytes{refused}: {out}")
    raise typer.Exit(1 if report.rejected else 0)

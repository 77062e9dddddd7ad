"""``mirg data check``: every row accepted, or rejected with a reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from mirg.cli.data.options import SHOWN
from mirg.cli.output import json_out, progress
from mirg.console import one_line, say


def check(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.")],
    images: Annotated[bool, typer.Option("--images/--no-images", help="Decode every image.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Read every row and image; count what can be used and say what cannot, and why. Exit 1 if anything is rejected."""
    from mirg.samples import DatasetFolder, Rejection

    rejected: list[Rejection] = []
    tasks: Counter[str] = Counter()
    folder = DatasetFolder.open(dataset)
    with progress(quiet=json) as tell:
        for sample in folder.read(rejected.append, images="decode" if images else "none"):
            tasks[sample.task] += 1
            tell("checking", tasks.total() + len(rejected), len(folder))
    accepted = tasks.total()
    if json:
        json_out(
            {"dataset": str(dataset), "rows": accepted + len(rejected), "accepted": accepted, "rejected": len(rejected)}
            | {"tasks": dict(sorted(tasks.items())), "rejections": [r.model_dump() for r in rejected]}
        )
    else:
        for rejection in rejected[:SHOWN]:
            say(one_line(str(rejection), limit=400))
        if len(rejected) > SHOWN:
            say(f"… and {len(rejected) - SHOWN} more (--json lists all)")
        say(f"{accepted + len(rejected)} rows: {accepted} accepted, {len(rejected)} rejected")
    raise typer.Exit(1 if rejected else 0)

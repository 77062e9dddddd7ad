"""``mirg data show``: a contact sheet of a dataset, one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mirg.cli.output import progress
from mirg.console import say


def show(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.")],
    out: Annotated[Path | None, typer.Option(help="The page to write; DATASET/sheet.html by default.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Most samples to show, alternating between tasks.")] = 1000,
    task: Annotated[str | None, typer.Option(help="Only samples of this task.")] = None,
    seed: Annotated[int, typer.Option(help="Another number shows other samples.")] = 0,
    megabytes: Annotated[float, typer.Option(min=0.1, help="Size of the page; what does not fit is left out.")] = 25.0,
) -> None:
    """Write a page with every sample: images, boxes, question, truth and reasoning. It opens without a network."""
    from mirg.data.checks.sheet import ROTATED_NOTE
    from mirg.data.checks.sheet import show as write_page
    from mirg.samples import DatasetFolder

    folder = DatasetFolder.open(dataset)
    path = out or dataset / "sheet.html"
    with progress() as tell:
        sheet, chosen = write_page(
            folder,
            path,
            n=n,
            task=task,
            seed=seed,
            budget=int(megabytes * 1e6),
            tell=lambda rows: tell("reading", rows, len(folder)),
        )
    left = f", {sheet.left_out} left out to keep the file small" if sheet.left_out else ""
    bad = f"; {chosen.rejected} rows cannot be read" if chosen.rejected else ""
    for note in sheet.notes:
        if note.endswith(ROTATED_NOTE):
            say(f"warning: {note}")
    say(f"{sheet.shown} of {chosen.candidates} samples{left}{bad}: {path}")

"""``mirg report``: one HTML page about a demo run, a training run or an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mirg.console import log_to_console, say


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a demo run, a training run or an evaluation.")],
    out: Annotated[Path | None, typer.Option("--out", help="The page's path; RUN/report.html if left out.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="The dataset folder that was evaluated; looked for if left out.")
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Most answers per model and outcome; 24 if left out.")
    ] = None,
    megabytes: Annotated[
        float | None, typer.Option(min=0.1, help="Of images: 5.5 if left out, and 25 with --n above 24.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Write the page again as steps arrive, until the run is finished or Ctrl-C.")
    ] = False,
) -> None:
    """Write one HTML page about a run: tables, curves, and a gallery with boxes drawn. It opens offline."""
    if watch:
        from mirg.evaluation.watch import watch as follow

        log_to_console()
        say(str(follow(run, out=out, data=data, samples=n, megabytes=megabytes)))
        return
    from mirg.evaluation.pages import report_from_run

    say(str(report_from_run(run, out=out, data=data, samples=n, megabytes=megabytes)))

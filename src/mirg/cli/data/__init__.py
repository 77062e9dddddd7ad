"""``mirg data``: datasets made, imported, checked, looked at, arranged and exported; one file per step."""

from __future__ import annotations

import typer

from mirg.cli.data import check, make

app = typer.Typer(no_args_is_help=True, help="Make, import, check, show, arrange and export datasets.")

for command in (make.scenes, make.mini, make.photos, check.check):
    app.command()(command)

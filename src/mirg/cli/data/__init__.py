"""``mirg data``: datasets made, imported, checked, looked at, arranged and exported; one file per step."""

from __future__ import annotations

import typer

from mirg.cli.data import check, imports, make

app = typer.Typer(no_args_is_help=True, help="Make, import, check, show, arrange and export datasets.")

app.command("import")(imports.import_)
for command in (imports.kinds, make.scenes, make.mini, make.photos, check.check):
    app.command()(command)

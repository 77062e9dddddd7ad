"""``mirg data``: datasets made, imported, checked, looked at, arranged and exported; one file per step."""

from __future__ import annotations

import typer

from mirg.cli.data import arrange, check, export, imports, make

app = typer.Typer(no_args_is_help=True, help="Make, import, check, show, arrange and export datasets.")

app.command()(imports.unpack)
app.command("import")(imports.import_)
for command in (make.compose, arrange.difficulty, imports.kinds, make.scenes, make.photos, check.check, check.show):
    app.command()(command)
for command in (arrange.split, arrange.mix, arrange.filter, export.export):
    app.command()(command)

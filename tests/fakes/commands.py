"""The command line inside the test's process."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from mirg.cli.main import app


def invoke(*args: object) -> Any:
    """The result of ``mirg ARGS`` with exit_code, stdout and stderr. A traceback fails the test."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result

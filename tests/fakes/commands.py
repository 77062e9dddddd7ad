"""The command line inside the test's process."""

from __future__ import annotations

import logging
from typing import Any

from typer.testing import CliRunner

from mirg.cli.main import app
from mirg.console import logger


def invoke(*args: object) -> Any:
    """The result of ``mirg ARGS`` with exit_code, stdout and stderr. A traceback fails the test."""
    # An earlier command in this process may have logged to a standard error that is closed now.
    for handler in [one for one in logger.handlers if isinstance(one, logging.StreamHandler)]:
        logger.removeHandler(handler)
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result

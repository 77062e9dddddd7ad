"""Running the command line inside the test's process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from mirg.cli.main import app


@pytest.fixture
def mirg() -> Callable[..., Any]:
    """``mirg("data", "check", path)``: the result with exit_code, stdout, stderr. A traceback fails the test."""

    def run(*args: object) -> Any:
        result = CliRunner().invoke(app, [str(arg) for arg in args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.output
        return result

    return run

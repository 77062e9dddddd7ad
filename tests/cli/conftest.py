"""Running the command line inside the test's process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fakes.commands import invoke


@pytest.fixture
def mirg() -> Callable[..., Any]:
    """``mirg("data", "check", path)``: the result with exit_code, stdout, stderr. A traceback fails the test."""
    return invoke

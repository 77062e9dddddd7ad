"""A faulty endpoint and a small dataset for the teacher's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes import teacher
from fakes.faulty_api import FaultyApi, serving
from mirg.samples import DatasetFolder


@pytest.fixture
def api() -> Iterator[FaultyApi]:
    """A server that answers nothing useful until its settings are replaced."""
    with serving(FaultyApi()) as running:
        yield running


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """30 samples. Not to be written to."""
    return teacher.dataset(tmp_path_factory.mktemp("cases") / "data", 30)

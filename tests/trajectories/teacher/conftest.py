"""A small dataset for the teacher's tests."""

from __future__ import annotations

import pytest

from fakes import teacher
from mirg.samples import DatasetFolder


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """30 samples. Not to be written to."""
    return teacher.dataset(tmp_path_factory.mktemp("cases") / "data", 30)

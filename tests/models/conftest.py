"""Tiny models, built once for the tests of the models' room."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.tiny import MODEL_TYPES, write_data, write_tiny


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random model folder of each type."""
    root = tmp_path_factory.mktemp("models")
    return {kind: write_tiny(root / kind, kind) for kind in MODEL_TYPES}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder with 12 samples."""
    return write_data(tmp_path_factory.mktemp("data") / "train", 12)

"""Imports of annotation tools in tests: files on disk, the samples by id, and the words of a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import ImportReport, import_dataset
from mirg.errors import DataError
from mirg.samples import DatasetFolder, Sample


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Files below ``folder`` by their names, which may hold folders."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def run(kind: str, path: Path, root: Path, **settings: Any) -> tuple[ImportReport, dict[str, Sample]]:
    """Import ``path``; the output lies beside the root."""
    out = root.resolve().parent / "out"
    report = import_dataset(kind, path, out, ImportOptions(root=str(root), **settings), overwrite=True)
    return report, {sample.id: sample for sample in DatasetFolder.open(out).read()}


def refusal(kind: str, path: Path, root: Path) -> str:
    """What an import says of which nothing can be used."""
    with pytest.raises(DataError) as caught:
        run(kind, path, root)
    return str(caught.value)

"""The example set in COCO's format is imported without a refusal, and its boxes are where the objects are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import import_dataset
from mirg.samples import DatasetFolder


def test_make_coco(tmp_path: Path, load_script: Callable[[str], ModuleType]) -> None:
    file = load_script("examples/make_coco.py").make(tmp_path / "coco", 12)
    report = import_dataset("coco", file, tmp_path / "data", ImportOptions(root=str(file.parent)))
    assert (report.rows, report.samples, report.refused) == (12, 12, 0)
    dataset = DatasetFolder.open(tmp_path / "data")
    # Objects are of bright colours, backdrops are muted: how much more colour is inside the boxes than elsewhere?
    inside: list[float] = []
    outside: list[float] = []
    for sample in dataset.read(images="decode"):
        colour = np.ptp(np.asarray(dataset.open_image(sample.images[0]), dtype=float), axis=2)
        covered = np.zeros(colour.shape, dtype=bool)
        for note in sample.images[0].objects:
            x1, y1, x2, y2 = (round(v * side) for v, side in zip(note.box, sample.sizes[0] * 2, strict=True))
            covered[y1:y2, x1:x2] = True
        inside.append(colour[covered].mean())
        outside.append(colour[~covered].mean())
    assert min(np.array(inside) - np.array(outside)) > 25
    assert load_script("examples/make_coco.py").make(tmp_path / "again", 12).read_bytes() == file.read_bytes()

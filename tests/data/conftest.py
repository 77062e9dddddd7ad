"""Small datasets whose samples share images in ways that a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mirg.samples import DatasetFolder, DatasetWriter, Sample

Row = dict[str, Any]


def picture(number: int) -> Image.Image:
    """A picture with a unique colour, 20 x 10 pixels and a little more."""
    return Image.new("RGB", (20 + number % 3, 10), (number % 256, number // 256, 7))


def write(path: Path, rows: Sequence[Row], name: str = "", **card: Any) -> DatasetFolder:
    """A dataset of rows ``{"images": (numbers), **fields of Sample}``; ids are ``s0``, ``s1`` … unless told."""
    with DatasetWriter(path, name=name or path.name, **card) as writer:
        for number, row in enumerate(rows):
            refs = tuple(writer.add_image(picture(k), f"p{k}") for k in row["images"])
            rest = {key: value for key, value in row.items() if key != "images"}
            writer.add(Sample(**{"id": f"s{number}", "task": "t", "question": "?", "images": refs} | rest))
    return DatasetFolder.open(path)


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., DatasetFolder]:
    """``dataset(name, rows)``: a dataset folder in the test's folder."""
    return lambda name, rows, **card: write(tmp_path / name, rows, **card)

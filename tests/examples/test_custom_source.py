from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given

from fakes.importing import NO_FILES, refused, spoiled, survives
from mirg.data.importers.kinds import SOURCES
from mirg.samples import DatasetFolder

GOOD = {
    "key": "s1",
    "photos": ["a.png", "b.png"],
    "wanted": "blue mug",
    "found": [{"photo": "b.png", "xywh": [64, 96, 192, 192]}],
}


@pytest.fixture(scope="module")
def example(load_script: Callable[[str], ModuleType]) -> Iterator[Any]:
    yield load_script("examples/custom_source.py")
    del SOURCES["shelves"]


def test_it_runs(example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example.main()
    out = capsys.readouterr().out
    assert "3 rows: 2 used, 1 refused; 2 samples" in out and "b.png is none of the row's photos" in out


def test_what_it_writes(example: Any, tmp_path: Path) -> None:
    example.run(example.example_rows(tmp_path), tmp_path / "out", tmp_path)
    mug, plate = DatasetFolder.open(tmp_path / "out").read(images="decode")
    assert (mug.targets[0].image, mug.targets[0].box) == (2, (0.1, 0.2, 0.4, 0.6))
    assert plate.targets == () and plate.source == "shelves"


@pytest.mark.parametrize(
    ("change", "field", "why"),
    [
        ({"photos": []}, "photos", "nothing to look at"),
        ({"wanted": None}, "wanted", "nothing to look for"),
        ({"found": None}, "found", "not looked for"),
        ({"found": [{"photo": "c.png", "xywh": [1, 2, 3, 4]}]}, "found.0.photo", "another photograph"),
        ({"found": [{"photo": "a.png", "xywh": [1, 2]}]}, "found.0.xywh", "half a box"),
    ],
)
def test_refused(example: Any, change: dict[str, Any], field: str, why: str) -> None:
    assert refused("shelves", GOOD | change, NO_FILES).field == field, why


@given(value=spoiled([GOOD]))
def test_no_row_stops_an_import(example: Any, value: object) -> None:
    survives("shelves", value)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from typer.testing import CliRunner

from fakes.commands import invoke
from fakes.importing import NO_FILES, refused, spoiled, survives
from mirg.cli.main import app
from mirg.samples import DatasetFolder

GOOD = {
    "key": "s1",
    "photos": ["a.png", "b.png"],
    "wanted": "blue mug",
    "found": [{"photo": "b.png", "xywh": [64, 96, 192, 192]}],
}


FILE = Path(__file__).resolve().parents[2] / "examples" / "custom_source.py"
SHELVES = f"{FILE}:SHELVES"


@pytest.fixture(scope="module")
def example(load_script: Callable[[str], ModuleType]) -> Any:
    return load_script("examples/custom_source.py")


def test_it_runs(example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example.main()
    out = capsys.readouterr().out
    assert "3 rows: 2 used, 1 refused; 2 samples" in out and "b.png is not one of the row's photos" in out


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
    assert refused(SHELVES, GOOD | change, NO_FILES).field == field, why


@given(value=spoiled([GOOD]))
def test_no_row_stops_an_import(example: Any, value: object) -> None:
    survives(SHELVES, value)


def test_the_command_line_imports_with_it(example: Any, tmp_path: Path) -> None:
    rows = example.example_rows(tmp_path)
    written = []
    for executor in ("local", "processes"):
        out = tmp_path / executor / "shop"
        options = ("--root", tmp_path, "--executor", executor)
        assert invoke("data", "import", SHELVES, rows, out, *options).exit_code == 0
        written.append([(file.name, file.read_bytes()) for file in sorted(out.glob("*.jsonl"))])
        assert [sample.source for sample in DatasetFolder.open(out).read()] == ["shelves", "shelves"]
    assert written[0] == written[1]


BROKEN = """\
from mirg.data.importers.raw import Source
from mirg.data.importers.stream import json_rows
from mirg.errors import DataError


def rows(path, options):
    yield from json_rows(path, options)
    raise ValueError("after the last row")


def foreign(path, options):
    raise DataError(f"{path} is another file", hint="name the right one")
    yield


def convert(value, options):
    return [] if value["wanted"] else value["missing"]


CONVERTS = Source("broken", "an importer with a mistake", json_rows, convert, "pixels")
READS = Source("broken", "an importer with a mistake", rows, lambda value, options: [], "pixels")
REFUSES = Source("broken", "an importer of other files", foreign, convert, "pixels")
convertor = convert
"""


@pytest.mark.parametrize(
    ("name", "shown", "why"),
    [
        ("CONVERTS", ("line 17, in convert", "KeyError: 'missing'"), "a mistake in the function of one row"),
        ("READS", ("line 8, in rows", "ValueError: after the last row"), "a mistake while the file is read"),
        ("REFUSES", ("is another file", "name the right one"), "a refusal of the file is no mistake"),
        ("convertor", ("is not an importer, but function", "Source("), "a function is no importer"),
        ("READ", ("does not define 'READ'", "READS?"), "a name with a slip of the pen"),
    ],
)
def test_what_goes_wrong_in_an_importer_is_shown(name: str, shown: tuple[str, ...], why: str, tmp_path: Path) -> None:
    file, rows = tmp_path / "broken.py", tmp_path / "rows.jsonl"
    file.write_text(BROKEN)
    rows.write_text('{"wanted": ""}\n')
    arguments = ["data", "import", f"{file}:{name}", str(rows), str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, SystemExit) and result.exit_code and not (tmp_path / "out").exists()
    for text in shown:
        assert text in result.output, why
    assert ("Traceback" in result.output) == (name in ("CONVERTS", "READS"))

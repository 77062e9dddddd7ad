"""An importer for another format: two functions and one line. `mirg data import` does the rest.

    mirg data import examples/custom_source.py:SHELVES rows.jsonl data/shop --root photos
    python examples/custom_source.py               # writes three rows of the format and imports them

The format here is JSON lines about photographs of shelves. A row names photographs, the wanted object and its places.

    {"key": "s1", "photos": ["a.jpg", "b.jpg"], "wanted": "blue mug",
     "found": [{"photo": "b.jpg", "xywh": [64, 96, 192, 192]}]}

`json_rows` streams the rows of JSON lines or of a JSON list; for another kind of file, write a generator of `Row`.
`convert` is a pure function of one row and never raises: what cannot be used is a Refusal, with the field and the
reason. Boxes stay the numbers of the file (here: pixels). If the code raises another exception, the import ends with
its traceback.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from mirg.data.importers.raw import ImportOptions, Outcome, RawBox, RawImage, RawSample, Source
from mirg.data.importers.rows import Refused, box_of, mapping, paths_of, row_id, text_of
from mirg.data.importers.run import ImportReport, import_dataset
from mirg.data.importers.stream import json_rows


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """The sample of one row: where is the wanted thing, in whichever photographs it was found?"""
    try:
        return [sample(mapping(value))]
    except Refused as refused:
        return [refused.refusal]


def sample(row: dict[str, Any]) -> RawSample:
    """The sample; Refused names the field that is wrong."""
    photos = paths_of(row.get("photos"), "photos")
    wanted = text_of(row.get("wanted"), "wanted")
    found = row.get("found")
    if not isinstance(found, list):
        raise Refused("found", "is not a list", "an empty list says that it is in none of the photographs")
    return RawSample(
        id=row_id(row, "shelves", "key"),
        task="group_grounding",  # the rule writer explains this task; any other name will do, too
        images=tuple(RawImage(photo) for photo in photos),
        question=(f"Find the {wanted}.",),
        targets=tuple(target(item, photos, f"found.{k}") for k, item in enumerate(found)),
        image_hidden=True,
        meta={"subject": wanted},
    )


def target(item: Any, photos: tuple[str, ...], field: str) -> RawBox:
    """One place in pixels; images are numbered from 1."""
    item = mapping(item, field)
    photo = text_of(item.get("photo"), f"{field}.photo")
    if photo not in photos:
        raise Refused(f"{field}.photo", f"{photo} is not one of the row's photos")
    x, y, width, height = box_of(item.get("xywh"), f"{field}.xywh")
    return RawBox(1 + photos.index(photo), (x, y, x + width, y + height))


# The command line names this line as FILE.py:SHELVES. "shelves" is the name of the format in the dataset.
SHELVES = Source("shelves", "photographs of shelves", json_rows, convert, "pixels")


def example_rows(folder: Path) -> Path:
    """Three rows and their photographs: found in one, found in none, and one with a mistake."""
    from PIL import Image

    for k, name in enumerate(("a.png", "b.png")):
        Image.new("RGB", (640, 480), (90 * k, 120, 200)).save(folder / name)
    found = [{"photo": "b.png", "xywh": [64, 96, 192, 192]}]
    rows: list[dict[str, Any]] = [
        {"key": "s1", "photos": ["a.png", "b.png"], "wanted": "blue mug", "found": found},
        {"key": "s2", "photos": ["a.png", "b.png"], "wanted": "red plate", "found": []},
        {"key": "s3", "photos": ["a.png"], "wanted": "blue mug", "found": found},
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def run(path: Path, out: Path, root: Path) -> ImportReport:
    """Import the rows of ``path``, their photographs below ``root``, and say what became of them."""
    report = import_dataset(f"{__file__}:SHELVES", path, out, ImportOptions(root=str(root)), overwrite=True)
    for rejection in report.first:
        typer.echo(str(rejection))
    typer.echo(f"{report.rows} rows: {report.rows_used} used, {report.rows_refused} refused; {report.samples} samples")
    return report


def main(
    path: Annotated[Path | None, typer.Argument(help="JSON lines of the format; by default an example.")] = None,
    out: Annotated[Path, typer.Argument(help="The dataset folder to write.")] = Path("data/shelves"),
    root: Annotated[Path, typer.Option(help="Folder of the photographs.")] = Path(),
) -> None:
    """Read a file of the format, or an example of it, into a dataset folder."""
    if path is not None:
        run(path, out, root)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(example_rows(Path(folder)), Path(folder) / "out", Path(folder))


if __name__ == "__main__":
    typer.run(main)

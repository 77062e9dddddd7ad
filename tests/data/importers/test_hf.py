"""Hugging Face datasets: folders, files, pictures inside a table, and any names of columns."""

from __future__ import annotations

import builtins
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from PIL import Image

from fakes.importing import NO_FILES, imported, only, pictures, refused, spoiled, survives, write_rows
from mirg.data.importers import hf
from mirg.data.importers.detection import FormatEvidence
from mirg.data.importers.raw import ImportOptions, RawBox
from mirg.errors import ConfigError, DataError

AB = ["a.png", "b.png"]
ROW = {
    "id": "one",
    "task": "dogs",
    "question": "Find the dogs.",
    "images": AB,
    "boxes": [[0.1, 0.2, 0.3, 0.4], [0.5, 0.2, 0.9, 0.4]],
    "image_index": [0, 1],
    "labels": ["dog", "puppy"],
}
ASKED = {"id": "two", "question": "<image><image>Where is the dog?", "images": AB, "answer": "Image-2: (1,2),(3,4)"}
FLAT = {"question": "Find it.", "images": "a.png", "boxes_xywh": [10, 20, 30, 40]}
NONE = {"question": "Find it.", "images": AB, "boxes": []}
GOOD = [ROW, ASKED, FLAT, NONE]


@pytest.mark.parametrize(
    ("value", "expected", "why"),
    [
        (ROW, [RawBox(1, (0.1, 0.2, 0.3, 0.4), "dog"), RawBox(2, (0.5, 0.2, 0.9, 0.4), "puppy")], "counted from 0"),
        (
            {**ROW, "image_index": None, "image_number": 2, "labels": "dog"},
            [RawBox(2, (0.1, 0.2, 0.3, 0.4), "dog"), RawBox(2, (0.5, 0.2, 0.9, 0.4), "dog")],
            "one number, one label for all",
        ),
        (FLAT, [RawBox(1, (10, 20, 40, 60))], "one flat box of x, y, width, height; the only image"),
        (ASKED, [RawBox(2, (1, 2, 3, 4))], "an answer in words"),
        (NONE, [], "an empty list: none of the images holds it"),
    ],
)
def test_rows(value: dict[str, Any], expected: list[RawBox], why: str) -> None:
    assert list(only("hf", value).targets) == expected, why


@pytest.mark.parametrize(
    ("value", "field", "reason", "why"),
    [
        ({**ROW, "question": None}, "question", "missing", "nothing is asked"),
        ({**ROW, "boxes": None}, "boxes", "neither boxes nor an answer", "no truth"),
        ({**ROW, "boxes": "x"}, "boxes", "not a list", "no boxes"),
        ({**ROW, "boxes": [[1, 2, 3]], "image_index": 0, "labels": None}, "boxes.0", "four numbers", "too short"),
        ({**ROW, "image_index": [0, 2]}, "image_index", "image 2 does not exist, counted from 0", "no third image"),
        ({**ROW, "image_index": [0]}, "image_index", "1 of them for 2 boxes", "one too few"),
        ({**ROW, "image_index": [0, 0.5]}, "image_index", "whole number", "half an image"),
        ({**ROW, "image_index": None}, "image_number", "which of the 2 images", "told nowhere"),
        ({**ROW, "labels": ["dog"]}, "labels", "1 of them for 2", "one too few"),
        ({**ROW, "images": [None, "b.png"]}, "images.0", "missing", "a cell without a picture"),
        ({**ROW, "question": "<image>Find it."}, "question", "1 placeholders for 2", "an image too many"),
    ],
)
def test_refused(value: object, field: str, reason: str, why: str) -> None:
    found = refused("hf", value)
    assert found.field == field and reason in found.reason, f"{why}: {found}"


@given(spoiled(GOOD))
def test_no_row_stops_an_import(value: object) -> None:
    survives("hf", value)


def png(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (100, 80), (colour, 90, 200)).save(buffer, format="PNG")
    return buffer.getvalue()


def table() -> Any:
    """Two rows whose pictures are bytes, one of them in both."""
    import datasets

    cells = [[{"bytes": png(1), "path": None}, {"bytes": png(2), "path": None}], [{"bytes": png(2), "path": "x.png"}]]
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "pictures": datasets.List(datasets.Image()),
            "objects": {"bbox": datasets.List(datasets.List(datasets.Value("float64"))), "at": datasets.Value("int64")},
        }
    )
    objects = [{"bbox": [[10.0, 8.0, 50.0, 40.0]], "at": 2}, {"bbox": [[0.0, 0.0, 100.0, 80.0]], "at": 1}]
    return datasets.Dataset.from_dict({"text": ["A?", "B?"], "pictures": cells, "objects": objects}, features=features)


COLUMNS = {"question": "text", "images": "pictures", "boxes": "objects.bbox", "image_number": "objects.at"}


@pytest.mark.parametrize("form", ["folder", "splits", "parquet"])
def test_pictures_inside_a_table_are_copied(tmp_path: Path, form: str) -> None:
    import datasets

    path = tmp_path / ("rows.parquet" if form == "parquet" else "table")
    if form == "folder":
        table().save_to_disk(str(path))
    elif form == "splits":
        datasets.DatasetDict({"val": table()}).save_to_disk(str(path))
    else:
        table().to_parquet(str(path))
    report, (first, second) = imported(
        "hf", path, tmp_path / "out", tmp_path, columns=COLUMNS, split="val", frame="pixels"
    )
    assert report.rows_used == 2
    assert [image.path.startswith("images/") for image in (*first.images, *second.images)] == [True] * 3
    assert first.images[1].path == second.images[0].path, "equal pictures are stored once"
    assert (first.targets[0].image, first.targets[0].box) == (2, (0.1, 0.1, 0.5, 0.5))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], "nothing is left behind"


def test_ids_are_the_same_in_every_run(tmp_path: Path) -> None:
    """Rows without an id get one of what they say, whatever folder their pictures pass through."""
    table().save_to_disk(str(tmp_path / "table"))
    twice = [
        imported("hf", tmp_path / "table", tmp_path / out, tmp_path, columns=COLUMNS, frame="pixels")[1]
        for out in ("one", "two")
    ]
    assert twice[0] == twice[1]


def test_paths_are_referred_to(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", AB)
    file = write_rows(tmp_path / "rows.jsonl", [ROW], lines=True)
    report, (sample,) = imported("hf", file, tmp_path / "out", root)
    assert report.frame == "fraction" and sample.images[0].path == "@data/a.png" and sample.task == "dogs"


@pytest.mark.parametrize(
    ("columns", "says", "why"),
    [
        ({"text": "question"}, "nothing is called so", "turned around"),
        ({"question": "words"}, "no column 'words'", "not there"),
    ],
)
def test_wrong_columns(tmp_path: Path, columns: dict[str, str], says: str, why: str) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [ROW], lines=True)
    options = ImportOptions(root=str(tmp_path), columns=columns)
    with pytest.raises(ConfigError, match=says):
        list(hf.read(file, options))


@pytest.mark.parametrize(
    ("column", "numbers", "hint"),
    [
        ("image_number", [1, 0], "--columns image_index=at"),
        ("image_index", [1, 2], "--columns image_number=at"),
        ("image_number", [1, 2], None),
        ("image_index", [2, 0], None),
    ],
)
def test_what_image_numbers_count_from_holds_for_the_table(
    tmp_path: Path, column: str, numbers: list[int], hint: str | None
) -> None:
    rows = [{"question": "Find it.", "images": AB, "boxes": [[10, 20, 30, 40]], "at": [n]} for n in numbers]
    file = write_rows(tmp_path / "rows.jsonl", rows, lines=True)
    options = ImportOptions(root=str(tmp_path), columns={column: "at"})
    if hint is None:
        assert len(list(hf.read(file, options))) == 2
        return
    with pytest.raises(DataError, match="counts images from") as stopped:
        list(hf.read(file, options))
    assert stopped.value.hint == hint


def test_columns_that_are_kept(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", AB)
    file = write_rows(tmp_path / "rows.jsonl", [{**ROW, "scene": "yard"}], lines=True)
    _, (sample,) = imported("hf", file, tmp_path / "out", root, meta={"image_set": "scene"})
    assert sample.meta["image_set"] == "yard"


COLUMNS_OF_OBJECTS = {"boxes": "objects.bbox", "labels": "objects.category"}
TWO = [[10.0, 8.0, 50.0, 40.0], [20.0, 8.0, 60.0, 76.0]]  # corners of 100 x 80 pixels; as sizes they leave the image


def objects_table(shape: str, boxes: list[list[float]], classes: list[Any], feature: Any, **more: Any) -> Any:
    """A question about one picture, with its objects as a list, or as lists side by side."""
    import datasets

    bbox = datasets.List(datasets.Value("float32"))
    features = {"image": datasets.Image(), **{name: datasets.Value("string") for name in more}}
    cell: Any = {"bbox": boxes, "category": classes}
    if shape == "list":
        cell = [{"bbox": box, "category": kind} for box, kind in zip(boxes, classes, strict=True)]
        features["objects"] = datasets.List({"bbox": bbox, "category": feature})
    else:
        features["objects"] = {"bbox": datasets.List(bbox), "category": datasets.List(feature)}
    rows = [{"image": {"bytes": png(1), "path": None}, "objects": cell, **more}]
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))


@pytest.mark.parametrize("shape", ["list", "lists"])
@pytest.mark.parametrize("classes", ["names", "numbers"])
@pytest.mark.parametrize("form", ["folder", "parquet"])
def test_objects_of_both_shapes(tmp_path: Path, shape: str, classes: str, form: str) -> None:
    """With names as texts, or as a ClassLabel nested in the objects."""
    import datasets

    feature = datasets.Value("string") if classes == "names" else datasets.ClassLabel(names=["dog", "mug", "cup"])
    table = objects_table(shape, TWO, ["cup", "mug"] if classes == "names" else [2, 1], feature, question="Where?")
    path = tmp_path / ("t.parquet" if form == "parquet" else "t")
    table.to_parquet(str(path)) if form == "parquet" else table.save_to_disk(str(path))
    for columns in (COLUMNS_OF_OBJECTS, {"boxes": "objects.bbox"}, {}):  # said, half said, found
        out = tmp_path / f"out{len(columns)}"
        _, (sample,) = imported("hf", path, out, tmp_path, frame="pixels", columns=columns)
        assert [(t.label, t.box) for t in sample.targets] == [
            ("cup", (0.1, 0.1, 0.5, 0.5)), ("mug", (0.2, 0.1, 0.6, 0.95))
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("boxes", "frame", "found", "why"),
    [
        (TWO, "pixels", "boxes", "as sizes they leave the image"),
        ([[60.0, 40.0, 30.0, 20.0], [10, 10, 20, 20]], "pixels", "boxes_xywh", "x2 would be left of x1"),
        ([[0.5, 0.6, 0.9, 0.8]], "fraction", "boxes", "as sizes they leave 0-1"),
        ([[0.5, 0.6, 0.3, 0.3]], "auto", "boxes_xywh", "x2 would be left of x1"),
        ([[500, 600, 900, 800]], "relative_1000", "boxes", "as sizes they leave 0-1000"),
        ([[10.0, 10.0, 30.0, 20.0]], "pixels", None, "both are possible"),
        ([[60.0, 40.0, 130.0, 20.0]], "pixels", None, "none is possible"),
    ],
)
def test_corners_or_sizes(tmp_path: Path, boxes: list[list[float]], frame: Any, found: str | None, why: str) -> None:
    """Nothing says it, so it follows from the boxes, or the import is refused and names the option."""
    import datasets

    table = objects_table("lists", boxes, ["cup"] * len(boxes), datasets.Value("string"), question="Where?")
    table.save_to_disk(str(tmp_path / "t"))
    options = ImportOptions(root=str(tmp_path), frame=frame, stored=str(tmp_path))
    if found is None:
        with pytest.raises(DataError, match=r"boxes_xywh=objects\.bbox"):
            list(hf.read(tmp_path / "t", options))
        return
    (row,) = hf.read(tmp_path / "t", options)
    assert row.value[found] == [[pytest.approx(v) for v in box] for box in boxes], why


@pytest.mark.parametrize(
    ("boxes", "frame", "first"),
    [
        ([[60.0, 40.0, 30.0, 20.0], [10, 10, 20, 20]], "pixels", (0.6, 0.5, 0.9, 0.75)),
        ([[0.6, 0.5, 0.3, 0.25]], "fraction", (0.6, 0.5, 0.9, 0.75)),
    ],
)
def test_the_frame_of_boxes_with_sizes(tmp_path: Path, boxes: list[list[float]], frame: str, first: Any) -> None:
    """[x, y, width, height] is the form of annotation tools, whose boxes are pixels of the original, or fractions."""
    import datasets

    table = objects_table("lists", boxes, ["cup"] * len(boxes), datasets.Value("string"))
    table.save_to_disk(str(tmp_path / "t"))
    report, (sample,) = imported("hf", tmp_path / "t", tmp_path / "out", tmp_path)
    assert report.frame == frame and sample.targets[0].box == pytest.approx(first)


def test_boxes_of_another_format_than_said_are_refused(tmp_path: Path) -> None:
    """A third of the boxes would be refused row by row, and the others would be wrong."""
    import datasets

    boxes = [[60.0, 40.0, 30.0, 20.0], [50, 50, 20, 20], [10, 10, 20, 20]]
    table = objects_table("list", boxes, ["cup"] * 3, datasets.Value("string"), question="Where?")
    table.save_to_disk(str(tmp_path / "t"))
    options = ImportOptions(root=str(tmp_path), columns=COLUMNS_OF_OBJECTS, stored=str(tmp_path))
    with pytest.raises(DataError, match=r"2 of 3 boxes .*--columns boxes_xywh=objects\.bbox"):
        list(hf.read(tmp_path / "t", options))


def test_a_detection_table_without_questions(tmp_path: Path) -> None:
    """As of COCO: the question is about all objects of one label, and every object is kept as annotation."""
    import datasets

    boxes = [[60.0, 40.0, 30.0, 20.0], [50, 50, 20, 16], [10, 10, 20, 20]]
    table = objects_table("list", boxes, [1, 0, 1], datasets.ClassLabel(names=["mug", "cup"]))
    table.save_to_disk(str(tmp_path / "t"))
    _, (sample,) = imported("hf", tmp_path / "t", tmp_path / "out", tmp_path, frame="pixels")
    asked = sample.meta["subject"]
    assert sample.question == f"Point to every {asked}." and sample.task == "detection"
    assert len(sample.targets) == {"cup": 2, "mug": 1}[str(asked)]
    assert [(note.label, note.box) for note in sample.images[0].objects] == [
        ("cup", (0.6, 0.5, 0.9, 0.75)), ("mug", (0.5, 0.625, 0.7, 0.825)), ("cup", (0.1, 0.125, 0.3, 0.375))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "field", "reason", "why"),
    [
        ({**ROW, "labels": [0, 1]}, "labels.0", "has no name", "numbers without a ClassLabel"),
        ({**ROW, "iscrowd": [0, 1]}, "iscrowd.1", "a crowd", "a region is not one object"),
        ({"images": "a.png", "boxes": [[1, 2, 3, 4]]}, "labels", "no question", "all of what?"),
        ({"images": "a.png", "boxes": []}, "boxes", "no question", "nothing is annotated"),
        ({"images": AB, "prompt": "Find it."}, "messages", "without an answer", "a prompt without an answer"),
        ({"images": AB, "record": "{}"}, "record", "not a sample", "a record of something else"),
    ],
)
def test_refused_detections(value: object, field: str, reason: str, why: str) -> None:
    found = refused("hf", value)
    assert found.field == field and reason in found.reason, f"{why}: {found}"


def test_first_rows_without_objects(tmp_path: Path) -> None:
    """An empty list shows no keys: the first example that has objects does."""
    root = pictures(tmp_path / "data", AB)
    rows = [
        {"question": "Where?", "image": "a.png", "objects": []},
        {"question": "Where?", "image": "b.png", "objects": [{"bbox": [60, 40, 30, 20], "label": "cup"}]},
    ]
    file = write_rows(tmp_path / "rows.jsonl", rows, lines=True)
    _, (first, second) = imported("hf", file, tmp_path / "out", root, frame="pixels")
    assert first.targets == () and second.targets[0].label == "cup"
    assert second.targets[0].box == (0.6, 0.5, 0.9, 0.75)


def test_conversations(tmp_path: Path) -> None:
    """Messages, or a prompt and a completion, as texts or as the parts that TRL takes."""
    prompt = [{"role": "user", "content": [{"type": "image", "text": None}] * 2 + [{"type": "text", "text": "Where?"}]}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "Image-2: (1,2),(3,4)"}]}]
    texts = {"prompt": "<image><image>Where?", "completion": "Image-2: (1,2),(3,4)"}
    for value in ({"messages": prompt + parts}, {"prompt": prompt, "completion": parts}, texts):
        sample = only("hf", {"id": "c", "images": AB, **value})
        assert sample.targets == (RawBox(2, (1, 2, 3, 4)),) and sample.question == ("Where?",)


def test_files_that_are_none(tmp_path: Path) -> None:
    import datasets

    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing more")
    datasets.DatasetDict({"val": table()}).save_to_disk(str(tmp_path / "splits"))
    (tmp_path / "empty").mkdir()
    for name, says in (("broken.parquet", "cannot be read"), ("splits", "no split 'train'"), ("empty", "cannot be")):
        with pytest.raises(DataError, match=says):
            list(hf.read(tmp_path / name, NO_FILES))


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imports = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return imports(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match="needs the package `datasets`"):
        list(hf.read(tmp_path, NO_FILES))


def test_a_picture_that_is_none_is_refused(tmp_path: Path) -> None:
    import datasets

    good, bad = png(1), png(1)[:40]
    rows = {"question": ["A?", "B?"], "boxes": [[0.1, 0.1, 0.5, 0.5]] * 2}
    rows["images"] = [{"bytes": good, "path": None}, {"bytes": bad, "path": None}]  # type: ignore[assignment]
    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "boxes": datasets.List(datasets.Value("float64")),
            "images": datasets.Image(),
        }
    )
    path = tmp_path / "table"
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(path))
    report, samples = imported("hf", path, tmp_path / "out", tmp_path, look="none", frame="fraction")
    assert len(samples) == 1 and report.rows_refused == 1
    assert json.loads((tmp_path / "out" / "rejected.jsonl").read_text())["field"] == "images"


def test_boxes_of_neither_format_do_not_contradict_what_was_said() -> None:
    evidence = FormatEvidence("pixels", total=100, not_corners=40, not_sizes=40)
    evidence.contradict("boxes", "table", "bbox")
    evidence.not_sizes = 0
    with pytest.raises(DataError, match="40 of 100 boxes of the column bbox are not"):
        evidence.contradict("boxes", "table", "bbox")

"""RefCOCO, RefCOCO+ and RefCOCOg: Qwen-VL's JSON lines and lmms-lab's tables, and what may be odd in them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from fakes.box_benchmarks import (
    RED,
    SIZES,
    coco_folder,
    drawn_box,
    objects,
    photograph,
    refcoco_rows,
    refcoco_table,
    write_lines,
)
from fakes.importing import imported, only, refused, spoiled, survives
from mirg.data.importers.raw import ImportOptions, RawBox
from mirg.data.importers.refcoco import split_of
from mirg.data.importers.run import import_dataset
from mirg.errors import DataError
from mirg.samples import DatasetFolder, Sample

ROW = {
    "id": "7", "task": "refcoco_val", "image": "a.jpg", "sent": " left cup ", "bbox": [1, 2, 31, 42],
    "height": 80, "width": 100,
}  # fmt: skip
CELL = {
    "id": "9", "task": "refcocog_test", "image": "a.jpg", "answer": ["cup", "left cup"], "bbox": [1, 2, 30, 40],
    "sizes": True,
}  # fmt: skip


def shows(folder: Path, sample: Sample) -> None:
    """The target is where the picture shows its red rectangle."""
    found = drawn_box(DatasetFolder.open(folder), sample, 1, RED)
    assert sample.targets[0].box == pytest.approx(found, abs=1.1 / min(SIZES[2])), sample.id


@pytest.mark.parametrize("year", [2014, 2017])
def test_json_lines_of_three_sets(tmp_path: Path, year: int) -> None:
    """A folder of files is one dataset, with a task for each split; COCO's files of either year are found."""
    rows = refcoco_rows(coco_folder(tmp_path / "coco", year=year))
    for name, part in (("refcoco_testA", rows), ("refcoco+_val", rows[:2]), ("refcocog_test", rows[2:3])):
        write_lines(tmp_path / "bench" / f"{name}.jsonl", part)
    report, samples = imported("refcoco", tmp_path / "bench", tmp_path / "out", tmp_path / "coco")
    assert report.tasks == {"refcoco_testA": 6, "refcoco+_val": 2, "refcocog_test": 1} and not report.refused
    assert {(s.meta["set"], s.meta["split"]) for s in samples} == {
        ("refcoco", "testA"), ("refcoco+", "val"), ("refcocog", "test"),
    }  # fmt: skip
    red = [sample for sample in samples if sample.meta["subject"] == "red thing"]
    assert len(red) == 5 and len({sample.image_set for sample in samples}) == 3
    for sample in red:
        shows(tmp_path / "out", sample)
    again = imported("refcoco", tmp_path / "bench", tmp_path / "again", tmp_path / "coco")[1]
    assert [sample.id for sample in again] == [sample.id for sample in samples]


@pytest.mark.parametrize("as_file", [True, False])
def test_the_table_of_the_hub(tmp_path: Path, as_file: bool) -> None:
    """Corner and size become corners, every phrase is a sample, and each picture is kept once."""
    path = refcoco_table(tmp_path / "RefCOCOplus", "testB")
    refcoco_table(tmp_path / "RefCOCOplus", "val", [{"answer": ["other split"]}] * 3)
    source = path if as_file else tmp_path / "RefCOCOplus"
    report, samples = imported("refcoco", source, tmp_path / "out", tmp_path, split="testB")
    assert report.tasks == {"refcoco+_testB": 6} and report.rows == 3
    assert [sample.id for sample in samples][:4] == [
        "refcoco+_testB-469306-1", "refcoco+_testB-469306-2", "refcoco+_testB-469306-3", "refcoco+_testB-469307-1",
    ]  # fmt: skip
    assert [sample.meta["subject"] for sample in samples][:3] == ["red thing", "the red rectangle", "upper right"]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3
    for sample in samples:
        shows(tmp_path / "out", sample)


def test_a_split_that_the_table_does_not_have(tmp_path: Path) -> None:
    refcoco_table(tmp_path / "RefCOCO", "testA")
    with pytest.raises(DataError, match="testA") as caught:
        import_dataset("refcoco", tmp_path / "RefCOCO", tmp_path / "out", ImportOptions(root=str(tmp_path)))
    assert caught.value.hint == "--split names one of its splits"


def test_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name and the split reach the library unchanged; the name says which of the three sets it is."""
    import datasets

    file = refcoco_table(tmp_path / "hub", "test")
    asked: list[object] = []

    def load(name: str, config: str | None, *, split: str, streaming: bool) -> datasets.IterableDataset:
        asked.append((name, config, split, streaming))
        return datasets.Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache")).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    report, _ = imported("refcoco", Path("lmms-lab/RefCOCOg"), tmp_path / "out", tmp_path, split="test")
    assert report.tasks == {"refcocog_test": 6} and asked == [("lmms-lab/RefCOCOg", None, "test", True)]


def test_another_table(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list([{"question": "?", "bbox": [1.0, 2.0, 3.0, 4.0]}]).to_parquet(
        str(tmp_path / "x.parquet")
    )
    with pytest.raises(DataError, match="has no column image, answer: it is not a table of RefCOCO"):
        import_dataset("refcoco", tmp_path / "x.parquet", tmp_path / "out", ImportOptions(root=str(tmp_path)))


def test_rows_that_repeat_are_kept(tmp_path: Path) -> None:
    """Published accuracies count every row, so a repeated one is another sample; an empty phrase is refused."""
    rows = refcoco_rows(coco_folder(tmp_path))
    file = write_lines(tmp_path / "refcoco_val.jsonl", [*rows, rows[0], rows[2] | {"sent": " "}])
    report, samples = imported("refcoco", file, tmp_path / "out", tmp_path)
    assert (report.samples, report.renamed, report.refused) == (7, 1, 1)
    assert samples[6].id == f"{samples[0].id}~2" and samples[6].targets == samples[0].targets
    assert report.first[0].reason == "is empty"


@pytest.mark.parametrize(
    ("bbox", "box", "why"),
    [
        ([0, 0, 320, 200], (0.0, 0.0, 1.0, 1.0), "the whole image"),
        ([-0.9, 20, 321, 200.6], (0.0, 0.1, 1.0, 1.0), "rounding by less than a pixel is set onto the edge"),
        ([32, 20, 322, 200], None, "two pixels outside"),
        ([32, 20, 32, 200], None, "no width"),
        ([160, 20, 32, 200], None, "the corners are swapped"),
    ],
)
def test_boxes_at_the_edge(tmp_path: Path, bbox: list[float], box: tuple[float, ...] | None, why: str) -> None:
    rows = refcoco_rows(coco_folder(tmp_path))
    report, samples = imported(
        "refcoco",
        write_lines(tmp_path / "refcoco_val.jsonl", [rows[1], rows[0] | {"bbox": bbox}]),
        tmp_path / "o",
        tmp_path,
    )
    if box is None:
        assert (report.refused, report.first[0].row, report.first[0].field) == (1, 2, "targets.0"), why
    else:
        assert samples[1].targets[0].box == pytest.approx(box), why


def test_corners_and_sizes_are_not_confused(tmp_path: Path) -> None:
    """JSON lines with sizes, and a table with corners, are refused as a whole if their boxes show it."""
    rows = refcoco_rows(coco_folder(tmp_path))
    sized = [row | {"bbox": [x1, y1, x2 - x1, y2 - y1]} for row in rows for x1, y1, x2, y2 in [row["bbox"]]]
    options = ImportOptions(root=str(tmp_path))
    with pytest.raises(DataError, match=r"are not \[x1, y1, x2, y2\]; all fit \[x, y, width, height\]"):
        import_dataset("refcoco", write_lines(tmp_path / "refcoco_val.jsonl", sized), tmp_path / "out", options)
    corners = [{"bbox": [float(v) for v in objects(k)[0]]} for k in range(3)]
    table = refcoco_table(tmp_path / "RefCOCO", "val", corners)
    with pytest.raises(DataError, match=r"are not \[x, y, width, height\]; all fit \[x1, y1, x2, y2\]"):
        import_dataset("refcoco", table, tmp_path / "out", options)


def test_a_resized_copy_and_a_missing_photograph(tmp_path: Path) -> None:
    rows = refcoco_rows(coco_folder(tmp_path))
    half = [rows[0] | {"width": 640, "height": 400, "bbox": [v * 2 for v in rows[0]["bbox"]]}]
    gone = [rows[1] | {"image": "data/coco/train2014/COCO_train2014_000000999999.jpg"}]
    file = write_lines(tmp_path / "refcoco_val.jsonl", [*half, *gone, *rows[2:]])
    report, samples = imported("refcoco", file, tmp_path / "out", tmp_path)
    assert len(samples) == 4 and report.rows_refused == 2
    assert "is 320 x 200 pixels, the row says 640 x 400" in report.first[0].reason
    assert "COCO_train2014_000000999999.jpg does not exist" in report.first[1].reason


def test_a_photograph_that_exif_rotates(tmp_path: Path) -> None:
    """The size of the row is that of the stored pixels: it is not guessed which picture the box was drawn in."""
    red, blue = objects(0)
    name = "train2014/COCO_train2014_000000000077.jpg"
    photograph(tmp_path / name, SIZES[0], red, blue, orientation=6)
    row = refcoco_rows([name])[0]
    file = write_lines(tmp_path / "refcoco_val.jsonl", [row])
    with pytest.raises(DataError, match="by EXIF") as caught:
        import_dataset("refcoco", file, tmp_path / "out", ImportOptions(root=str(tmp_path)))
    assert "--exif ignore" in str(caught.value)
    _, (sample,) = imported("refcoco", file, tmp_path / "out", tmp_path, exif="ignore")
    assert sample.images[0].size == (200, 320)
    shows(tmp_path / "out", sample)


def test_a_name_that_fits_two_files(tmp_path: Path) -> None:
    rows = refcoco_rows(coco_folder(tmp_path / "coco"))
    shutil.copytree(tmp_path / "coco" / "train2014", tmp_path / "coco" / "copy")
    (tmp_path / "coco" / "train2014").rename(tmp_path / "coco" / "other")
    file = write_lines(tmp_path / "refcoco_val.jsonl", rows)
    with pytest.raises(DataError, match="fits more than one file"):
        import_dataset("refcoco", file, tmp_path / "out", ImportOptions(root=str(tmp_path / "coco")))


@pytest.mark.parametrize("given", ["refs(unc).p", "."])
def test_the_pickles_of_refer_are_not_opened(tmp_path: Path, given: str) -> None:
    for name in ("refs(unc).p", "instances.json"):
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(DataError, match=r"refs\(unc\).p is a pickle") as caught:
        import_dataset("refcoco", tmp_path / given, tmp_path / "out", ImportOptions(root=str(tmp_path)))
    assert "refcoco_val.jsonl" in str(caught.value) and "lmms-lab/RefCOCO" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("refcoco_testA.jsonl", "testA"),
        ("refcoco+_testb.json", "testB"),
        ("val-00000-of-00004.parquet", "val"),
        ("refcocog_test.jsonl.gz", "test"),
        ("lisa_train", "train"),
        ("evaluation.json", ""),
        ("testament.json", ""),
    ],
)
def test_split_of(name: str, split: str) -> None:
    assert split_of(name) == split


def test_rows() -> None:
    sample = only("refcoco", ROW)
    assert sample.targets == (RawBox(1, (1, 2, 31, 42)),) and sample.question[0].endswith("describes: left cup")


@pytest.mark.parametrize(
    ("value", "field", "reason", "why"),
    [
        (ROW | {"sent": " \n"}, "sent", "is empty", "nothing is asked"),
        (ROW | {"sent": None}, "sent", "missing", "no phrase"),
        (ROW | {"bbox": [1, 2, 3]}, "bbox", "four numbers", "too short"),
        (ROW | {"bbox": [1, 2, float("nan"), 4]}, "bbox", "four numbers", "not a number"),
        (ROW | {"width": 99.5}, "width", "whole number", "half a pixel"),
        (ROW | {"image": ""}, "image.0", "not a path", "no file"),
        (CELL | {"answer": []}, "answer", "holds no phrase", "an object that nobody described"),
        (CELL | {"answer": ["cup"], "bbox": [1, 2, 0, 4]}, "bbox", "0 x 4 pixels have no area", "a line"),
        ([1], "row", "not an object", "no row"),
    ],
)
def test_refused(value: Any, field: str, reason: str, why: str) -> None:
    found = refused("refcoco", value)
    assert found.field == field and reason in found.reason, f"{why}: {found}"


def test_one_bad_phrase_of_several(tmp_path: Path) -> None:
    outcomes = survives("refcoco", CELL | {"answer": ["cup", "", "left cup"]})
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [None, "is empty", None]


@given(spoiled([ROW, CELL]))
def test_no_row_stops_an_import(value: object) -> None:
    survives("refcoco", value)

"""LISA's ReasonSeg, LLM-Seg40K and ReasonVOS, as UniVG-R1's scripts read them, and ReasonSeg in its published form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from fakes.box_benchmarks import RED, drawn_box, lisa_rows, reasonseg_folder, reasonvos_rows
from fakes.importing import imported, only, refused, spoiled, survives, write_rows
from mirg.data.importers.raw import ImportOptions, RawBox
from mirg.data.importers.run import import_dataset
from mirg.errors import DataError
from mirg.samples import DatasetFolder

ROW = {"id": "1", "split": "val", "image_path": "a.jpg", "instruction": "What stops you?", "boxes": [[1, 2, 30, 40]]}
LLMSEG = {"id": "2", "image_path": "a.jpg", "question": "What stops you?", "bbox": [[1, 2], [30, 40]]}
FILM = {
    "id": "3", "image_list": ["f/0.jpg", "f/3.jpg", "f/6.jpg", "f/9.jpg"], "question": "What moves?",
    "bbox_list": ["[1, 2, 3, 4]", "", "[5, 6, 30, 40]", "[9, 9, 9, 9]"],
}  # fmt: skip


def test_lisa(tmp_path: Path) -> None:
    """Paths of another machine are found by their ends; the first of several boxes is the answer."""
    rows = lisa_rows(tmp_path / "ReasonSeg")
    file = write_rows(tmp_path / "lisa_val.json", rows)
    report, samples = imported("lisa", file, tmp_path / "out", tmp_path)
    assert report.tasks == {"lisa_val": 3} and report.frame == "pixels"
    folder = DatasetFolder.open(tmp_path / "out")
    for sample in samples:
        assert sample.targets[0].box == pytest.approx(drawn_box(folder, sample, 1, RED), abs=0.012)
    assert [sample.meta.get("other_boxes") for sample in samples] == [None, None, 1]


def test_reasonvos(tmp_path: Path) -> None:
    """The box is that of the third frame, written as text; the frames of one film are one image set."""
    file = write_rows(tmp_path / "ReasonVOS_eval.json", reasonvos_rows(tmp_path))
    report, samples = imported("reasonvos", file, tmp_path / "out", tmp_path)
    assert report.tasks == {"reasonvos": 2}
    folder = DatasetFolder.open(tmp_path / "out")
    for sample in samples:
        assert len(sample.images) == 5 and sample.target_images == {3} and "Image-3" in sample.question
        assert sample.targets[0].box == pytest.approx(drawn_box(folder, sample, 3, RED), abs=0.012)
    assert [sample.image_set for sample in samples] == ["bear", "goat"]


def test_reasonseg_as_published(tmp_path: Path) -> None:
    """The box around the polygons of the target, inside the photograph; a file in the encoding of Windows is read."""
    report, samples = imported("lisa", reasonseg_folder(tmp_path), tmp_path / "out", tmp_path)
    assert report.tasks == {"lisa_val": 3} and samples[2].meta["subject"] == "the part that says stop, café 2"
    assert [sample.id for sample in samples] == ["lisa_val-0_a", "lisa_val-1_a", "lisa_val-2_a"]
    folder = DatasetFolder.open(tmp_path / "out")
    for sample in samples:
        assert sample.targets[0].box == pytest.approx(drawn_box(folder, sample, 1, RED), abs=0.012)


def test_a_folder_with_broken_and_foreign_files(tmp_path: Path) -> None:
    root = reasonseg_folder(tmp_path)
    (root / "0_a.json").write_text("{")
    (root / "1_a.json").write_text(json.dumps({"text": ["what?"], "shapes": [{"label": "target", "points": ["x"]}]}))
    (root / "2_a.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        import_dataset("lisa", root, tmp_path / "out", ImportOptions(root=str(root)))
    assert "no row of 3 can be used" in str(caught.value) and "cannot be read" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no JSON file of ReasonSeg"):
        import_dataset("lisa", tmp_path / "empty", tmp_path / "out", ImportOptions(root=str(root)))


@pytest.mark.parametrize(
    ("value", "box", "task"),
    [
        (ROW, RawBox(1, (1, 2, 30, 40)), "lisa_val"),
        (ROW | {"boxes": [1, 2, 30, 40]}, RawBox(1, (1, 2, 30, 40)), "lisa_val"),
        (LLMSEG, RawBox(1, (1, 2, 30, 40)), "llmseg"),
        (FILM, RawBox(3, (5, 6, 30, 40)), "reasonvos"),
        (FILM | {"bbox_list": [[], [], [5, 6, 30, 40], []]}, RawBox(3, (5, 6, 30, 40)), "reasonvos"),
        (FILM | {"bbox_list": ["", "", "(5.5,6),(30,40)", ""]}, RawBox(3, (5.5, 6, 30, 40)), "reasonvos"),
    ],
)
def test_rows(value: dict[str, Any], box: RawBox, task: str) -> None:
    sample = only("lisa", value)
    assert sample.targets == (box,) and sample.task == task


def test_several_texts_about_one_box() -> None:
    outcomes = survives("lisa", ROW | {"instruction": ["stop", "", "halt"]})
    assert [getattr(outcome, "id", "") for outcome in outcomes] == ["lisa_val-1-1", "lisa_val-1-2", "lisa_val-1-3"]
    assert getattr(outcomes[1], "reason", "") == "is empty"


@pytest.mark.parametrize(
    ("value", "field", "reason", "why"),
    [
        (ROW | {"boxes": []}, "boxes", "holds no box", "the scripts count it as wrong"),
        (ROW | {"boxes": None}, "boxes", "holds no box", "no box"),
        (ROW | {"boxes": [[1, 2, "3", 4]]}, "boxes", "four numbers", "a text"),
        (ROW | {"instruction": " "}, "instruction", "is empty", "nothing is asked"),
        (FILM | {"image_list": ["f/0.jpg", "f/3.jpg"]}, "image_list", "2 frames", "no third frame"),
        (FILM | {"bbox_list": ["[1, 2, 3, 4]"]}, "bbox_list", "one box for each frame", "too few boxes"),
        (FILM | {"bbox_list": [""] * 4}, "bbox_list.2", "holds no box", "absent in the third frame"),
        (FILM | {"bbox_list": ["", "", "[1, 2, 3]", ""]}, "bbox_list.2", "four numbers", "too short"),
    ],
)
def test_refused(value: Any, field: str, reason: str, why: str) -> None:
    found = refused("reasonvos", value)
    assert found.field == field and reason in found.reason, f"{why}: {found}"


@given(spoiled([ROW, LLMSEG, FILM]))
def test_no_row_stops_an_import(value: object) -> None:
    survives("lisa", value)

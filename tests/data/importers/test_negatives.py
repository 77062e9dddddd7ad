"""Images without objects: which of them were annotated, what they ask, and what ``--negatives`` changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.importing import pictures
from mirg.data.importers.label_map import LabelMap
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import ImportReport, import_dataset
from mirg.errors import DataError
from mirg.samples import DatasetFolder, Sample
from mirg.trajectories.build import build_dataset

NAMES = ["cat", "dog"]


def run(kind: str, path: Path, root: Path, **settings: Any) -> tuple[ImportReport, dict[str, Sample]]:
    options = ImportOptions(**{"root": str(root), **settings})
    report = import_dataset(kind, path, path.parent / "out", options, overwrite=True, listed=50)
    return report, {s.images[0].path.rpartition("/")[2]: s for s in DatasetFolder.open(path.parent / "out")}


def coco(tmp_path: Path, change: dict[int, dict[str, Any]] | None = None, notes: list[Any] = ()) -> tuple[Path, Path]:  # type: ignore[assignment]
    """Images 1.png to 4.png of 100 x 80 pixels; only the first one has an annotation, a dog."""
    root = pictures(tmp_path / "images", [f"{k}.png" for k in range(1, 5)])
    images = [{"id": k, "file_name": f"{k}.png", "width": 100, "height": 80} for k in range(1, 5)]
    for number, more in (change or {}).items():
        images[number - 1] |= more
    first = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [10, 8, 50, 40]}
    document = {
        "images": images,
        "annotations": [first, *notes],
        "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES, 1)],
    }
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(document))
    return file, root


def is_negative(sample: Sample) -> bool:
    asked = sample.meta["subject"]
    assert sample.question == f"Point to every {asked}." and sample.meta["annotated"] is True
    return not sample.targets and not sample.images[0].objects


def test_a_coco_file_does_not_say_that_an_image_was_annotated(tmp_path: Path) -> None:
    file, root = coco(tmp_path)
    report, samples = run("coco", file, root)
    assert set(samples) == {"1.png"} and report.negatives == 0
    assert all("--negatives keep" in row.hint and "photograph without boxes" in row.hint for row in report.first)
    report, samples = run("coco", file, root, negatives="keep")
    assert len(samples) == 4 and report.negatives == 3 and not report.refused
    assert all(is_negative(samples[f"{k}.png"]) for k in (2, 3, 4)) and "annotated" not in samples["1.png"].meta
    assert {samples[f"{k}.png"].meta["subject"] for k in (2, 3, 4)} <= set(NAMES)
    report, samples = run("coco", file, root, negatives="drop")
    assert set(samples) == {"1.png"} and report.refused == 3


@pytest.mark.parametrize(
    ("why", "change", "notes"),
    [
        ("its annotation is refused", {}, [{"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 0, 5]}]),
        ("its category is not listed", {}, [{"id": 2, "image_id": 2, "category_id": 9, "bbox": [0, 0, 5, 5]}]),
        ("a crowd", {}, [{"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 50, 50], "iscrowd": 1}]),
        ("an ignored region", {}, [{"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 50, 50], "ignore": 1}]),
        ("ids of another type", {2: {"id": "two"}}, [{"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 5, 5]}]),
    ],
)
def test_an_image_with_lost_annotation_is_never_a_negative(tmp_path: Path, why: str, change: dict, notes: list) -> None:
    file, root = coco(tmp_path, change, notes)
    _, samples = run("coco", file, root, negatives="keep")
    assert "2.png" not in samples, why


def test_lvis_says_which_categories_are_absent(tmp_path: Path) -> None:
    said = {k: {"neg_category_ids": ids, "not_exhaustive_category_ids": []} for k, ids in ((1, []), (2, [1]), (3, []))}
    file, root = coco(tmp_path, said)
    report, samples = run("coco", file, root)
    assert set(samples) == {"1.png", "2.png"} and report.negatives == 1
    assert is_negative(samples["2.png"]) and samples["2.png"].meta["subject"] == "cat"
    assert samples["2.png"].meta["categories"] == ["cat"], "nothing is known about dogs"
    _, samples = run("coco", file, root, negatives="keep")
    assert "3.png" not in samples, "the file says that nothing is known about this image"


def test_an_image_whose_objects_are_all_dropped_was_annotated(tmp_path: Path) -> None:
    file, root = coco(tmp_path)
    _, samples = run("coco", file, root, labels=LabelMap(drop=("dog",)))
    assert set(samples) == {"1.png"} and is_negative(samples["1.png"]) and samples["1.png"].meta["subject"] == "cat"
    with pytest.raises(DataError, match="no row of 4 can be used"):
        run("coco", file, root, labels=LabelMap(drop=("dog", "cat")))


def test_a_region_that_nobody_annotated_cannot_be_dropped(tmp_path: Path) -> None:
    """The boxes of such a category say where objects may be missing: without them the image would look complete."""
    region = {"id": 2, "image_id": 1, "category_id": 3, "bbox": [50, 40, 40, 30]}
    file, root = coco(tmp_path, notes=[region])
    document = json.loads(file.read_text())
    document["categories"].append({"id": 3, "name": "ignored region"})
    document["annotations"].append({"id": 3, "image_id": 3, "category_id": 1, "bbox": [1, 1, 9, 9]})
    file.write_text(json.dumps(document))
    _, samples = run("coco", file, root, labels=LabelMap(drop=("ignored region",)))
    assert set(samples) == {"3.png"}


def yolo(tmp_path: Path) -> tuple[Path, Path]:
    """a has a dog, b an empty label file, c no label file."""
    root = pictures(tmp_path / "set" / "images", ["a.png", "b.png", "c.png"]).parent
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text("1 0.5 0.5 0.2 0.4\n")
    (root / "labels" / "b.txt").write_text("")
    (root / "data.yaml").write_text(f"names: {json.dumps(NAMES)}\n")
    return root, root


def test_an_empty_label_file_says_that_the_image_holds_nothing(tmp_path: Path) -> None:
    path, root = yolo(tmp_path)
    report, samples = run("yolo", path, root)
    assert set(samples) == {"a.png", "b.png"} and report.negatives == 1 and is_negative(samples["b.png"])
    report, samples = run("yolo", path, root, negatives="drop")
    assert set(samples) == {"a.png"}
    assert "annotated image without objects is left out by --negatives drop" in [row.reason for row in report.first]


def test_labels_of_a_yolo_set_are_mapped(tmp_path: Path) -> None:
    path, root = yolo(tmp_path)
    _, samples = run("yolo", path, root, labels=LabelMap(merge={"animal": ("cat", "dog")}))
    assert [note.label for note in samples["a.png"].images[0].objects] == ["animal"]
    assert samples["a.png"].question == samples["b.png"].question == "Point to every animal."
    report, samples = run("yolo", path, root, labels=LabelMap(drop=("dog",), rename={"bird": "animal"}))
    assert is_negative(samples["a.png"]) and samples["a.png"].meta["subject"] == "cat"
    assert report.warnings == ["label 'bird' of the label map is not in the source"]


def test_a_cvat_image_without_boxes(tmp_path: Path) -> None:
    root = pictures(tmp_path / "images", ["a.png", "b.png"])
    box = '<box label="dog" xtl="10" ytl="10" xbr="40" ybr="50"/>'
    images = [
        f'<image id="{k}" name="{n}.png" width="100" height="80">{b}</image>'
        for k, (n, b) in enumerate((("a", box), ("b", "")))
    ]
    file = tmp_path / "annotations.xml"
    file.write_text(f"<?xml version='1.0'?><annotations>{''.join(images)}</annotations>")
    report, samples = run("cvat", file, root)
    assert set(samples) == {"a.png"} and "--negatives keep" in report.first[0].hint
    _, samples = run("cvat", file, root, negatives="keep")
    assert is_negative(samples["b.png"])


def test_a_negative_is_trained_on_with_the_answer_none(tmp_path: Path) -> None:
    """It asks a question whose answer follows from the annotation, so trajectories and rewards need no exception."""
    path, root = yolo(tmp_path)
    run("yolo", path, root)
    report = build_dataset(DatasetFolder.open(path.parent / "out"), tmp_path / "reasoned")
    built = {s.id: s for s in DatasetFolder.open(tmp_path / "reasoned")}
    assert report.n_kept == len(built) == 2
    (negative,) = [s for s in built.values() if not s.targets]
    assert negative.trajectory is not None and negative.trajectory.answer == ()

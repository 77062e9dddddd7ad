"""YOLO datasets as Ultralytics, Roboflow, CVAT and LabelImg lay them out: names, lines, pairs of images and labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.annotation_tools import refusal, run, write
from fakes.importing import imported, pictures
from mirg.errors import DataError

SIZE = (100, 80)
NAMES = "names: [dog, cat]\n"
BOX = "0 0.3 0.5 0.4 0.2\n"  # 0.1, 0.4, 0.5, 0.6


def test_ultralytics(tmp_path: Path) -> None:
    """A dataset with splits, boxes and polygons, and an image that was annotated and holds nothing."""
    root = tmp_path / "coco8"
    pictures(root / "images", ["train/a.jpg", "val/b c.png", "val/empty.jpg"], SIZE)
    names = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: dog\n  7: traffic light\n"
    labels = {"train/a.txt": f"{BOX}7 0.9 0.1 0.2 0.2\n", "val/b c.txt": "7 .1 .2 .5 .2 .3 .6\n", "val/empty.txt": "\n"}
    write(root / "labels", dict(labels))
    write(root, {"data.yaml": names, "README.txt": "notes"})
    report, samples = run("yolo", root, root)
    assert report.frame == "fraction" and report.refused == 0
    assert set(samples) == {"yolo-images/train/a", "yolo-images/val/b c", "yolo-images/val/empty"}
    first, second, third = samples.values()
    assert [(o.label, [round(v, 6) for v in o.box]) for o in first.images[0].objects] == [
        ("dog", [0.1, 0.4, 0.5, 0.6]),
        ("traffic light", [0.8, 0.0, 1.0, 0.2]),
    ]
    (polygon,) = second.images[0].objects
    assert polygon.box == (0.1, 0.2, 0.5, 0.6) and polygon.attributes == {"shape": "polygon"}
    assert [sample.meta["split"] for sample in samples.values()] == ["train", "val", "val"]
    assert third.targets == () and third.meta["annotated"] is True
    assert third.question in ("Point to every dog.", "Point to every traffic light.")


@pytest.mark.parametrize(
    ("files", "images", "why"),
    [
        ({"data.yaml": NAMES, "labels/a.txt": BOX}, ["images/a.jpg"], "folders of images and labels"),
        ({"data.yaml": NAMES, "labels/val/a.txt": BOX}, ["images/val/a.jpg"], "split below"),
        ({"data.yaml": NAMES, "valid/labels/a.txt": BOX}, ["valid/images/a.jpg"], "Roboflow: split above"),
        ({"data.yaml": NAMES, "a.txt": BOX, "train.txt": "./a.jpg\n"}, ["a.jpg"], "side by side"),
        ({"classes.txt": "dog\r\ncat\r\n", "a.txt": BOX}, ["a.jpg"], "LabelImg"),
        ({"obj.names": "dog\ncat\n", "obj_train_data/a.txt": BOX}, ["obj_train_data/a.jpg"], "CVAT: YOLO 1.1"),
        (
            {"classes.txt": "\ufeffdog\ncat\n", "labels/a.txt": BOX, "notes.json": "{}"},
            ["images/a.jpg"],
            "Label Studio",
        ),
        ({"data.yaml": NAMES, "labels/a.txt": "\ufeff" + BOX.replace("\n", "\r\n")}, ["images/a.jpg"], "Windows"),
        ({"data.yaml": NAMES, "labels/a.txt": BOX.replace(" ", "\t")}, ["images/a.jpg"], "tabs"),
        ({"data.yaml": NAMES, "labels/a.txt": BOX.replace("0 ", "0.0 ", 1)}, ["images/a.jpg"], "class as a decimal"),
        ({"data.yaml": NAMES, "labels/a.txt": BOX}, ["pictures/deep/a.jpg"], "one image fits"),
        ({"data.yaml": NAMES, "labels/a.txt": BOX + BOX}, ["images/a.jpg"], "the same line twice is one object"),
        ({"dataset.yml": "nc: 2\nnames: {0: dog, 1: cat}", "labels/a.txt": BOX}, ["images/a.jpg"], "a dictionary"),
    ],
)
def test_layouts(tmp_path: Path, files: dict[str, str], images: list[str], why: str) -> None:
    root = pictures(tmp_path / "data", images, SIZE)
    _, (sample,) = imported("yolo", write(root, dict(files)), tmp_path / "out", root)
    assert sample.images[0].path == f"@data/{images[0]}", why
    assert [(t.label, [round(v, 9) for v in t.box]) for t in sample.targets] == [("dog", [0.1, 0.4, 0.5, 0.6])], why


@pytest.mark.parametrize(
    ("line", "box", "why"),
    [
        ("1 0.95 0.5 0.1000004 0.5", [0.9, 0.25, 1, 0.75], "beyond the edge by rounding"),
        ("1 0.5 0.5 1 1", [0, 0, 1, 1], "the whole image"),
        ("1 .2 .3 .6 .3 .6 .5 .2 .5", [0.2, 0.3, 0.6, 0.5], "four corners of an upright box"),
        ("1 .2 .3 .6 .3 .6 .5 .2 .5 .1 .4", [0.1, 0.3, 0.6, 0.5], "five points"),
    ],
)
def test_lines(tmp_path: Path, line: str, box: list[float], why: str) -> None:
    root = pictures(tmp_path / "data", ["images/a.jpg"], SIZE)
    _, samples = run("yolo", write(root, {"data.yaml": NAMES, "labels/a.txt": line}), root)
    assert [round(v, 6) for v in samples["yolo-images/a"].targets[0].box] == box, why


@pytest.mark.parametrize(
    ("line", "reason", "why"),
    [
        ("0 0.3 0.5 0.4 0.2 0.93", "six columns: a confidence", "the output of a model"),
        ("0 .5 .2 .7 .5 .5 .8 .3 .5", "may be a polygon or a rotated box", "a rotated box"),
        ("0 .3 .5 .4 .2 .1 .2 2", "neither a box nor a polygon: line 1 has 8 columns", "a pose"),
        ("0 .3 .5 .4", "line 1 has 4 columns", "a column is missing"),
        ("2 .3 .5 .4 .2", "class is not in the names: 2, data.yaml has 2, counted from 0 (line 1)", "counted from 1"),
        ("0.5 .3 .5 .4 .2", "class is not a whole number: 0.5", "half a class"),
        ("nan .3 .5 .4 .2", "class is not a whole number: nan", "no class"),
        ("dog .3 .5 .4 .2", "'dog', which is not a number", "a name"),
        ("0 .3 .5 0 .2", "box without area", "no width"),
        ("0 .3 .5 nan .2", "non-finite", "no number"),
        ("0 .3 .5 .8 .2", "in fractions (0-1) is outside", "beyond the edge"),
        ("0 30 50 40 20", "boxes are not fractions", "pixels"),
        ("0 .1 .2 .1 .3 .1 .4", "object without area: 'dog'", "a line"),
        ("0 .6 .6 .9 .9", "4 of 4 boxes leave the image as center and size", "corners"),
        ("0 .5 .5 .2 .2 .45 .45 .55 .55 .5 .6", "a polygon, or a box with key points", "a pose without kpt_shape"),
        ("0 .5 .5 .2 .2 .45 .45 1 .55 .55 1", "a polygon, or a box with key points", "a pose, both points visible"),
    ],
)
def test_refused_lines(tmp_path: Path, line: str, reason: str, why: str) -> None:
    root = pictures(tmp_path / "data", [f"images/{k}.jpg" for k in range(4)], SIZE)
    labels = {f"labels/{k}.txt": line for k in range(4)}
    assert reason in refusal("yolo", write(root, {"data.yaml": NAMES, **labels}), root), why


def test_four_points_among_other_polygons(tmp_path: Path) -> None:
    """A dataset with other polygons is one of polygons, whichever file comes first."""
    root = pictures(tmp_path / "data", ["images/a.jpg", "images/b.jpg"], SIZE)
    labels = {"labels/a.txt": "0 .5 .2 .7 .5 .5 .8 .3 .5", "labels/b.txt": "0 .1 .1 .2 .1 .2 .3"}
    _, samples = run("yolo", write(root, {"data.yaml": NAMES, **labels}), root)
    assert samples["yolo-images/a"].targets[0].box == (0.3, 0.2, 0.7, 0.8)


def test_corners_are_refused_though_some_could_be_centers(tmp_path: Path) -> None:
    """As center and size, only the second box leaves its image; the first would be read as another box."""
    root = pictures(tmp_path / "data", ["images/a.jpg", "images/b.jpg"], SIZE)
    labels = {"labels/a.txt": "0 .3 .3 .4 .5", "labels/b.txt": "0 .6 .6 .9 .9"}
    assert "1 of 2 boxes leave the image" in refusal("yolo", write(root, {"data.yaml": NAMES, **labels}), root)


def test_key_points(tmp_path: Path) -> None:
    """Two key points without visibility look like the points of a polygon, and data.yaml says what they are."""
    root = pictures(tmp_path / "data", ["images/a.jpg"], SIZE)
    files = {"data.yaml": f"kpt_shape: [2, 2]\n{NAMES}", "labels/a.txt": "0 .3 .5 .4 .2 .2 .5 .4 .5"}
    assert "line with key points (pose)" in refusal("yolo", write(root, dict(files)), root)


@pytest.mark.parametrize(
    ("files", "reason", "why"),
    [
        ({"labels/a.txt": BOX}, "has no names for the classes", "no names"),
        ({"data.yaml": "nc: 3\nnames: [dog, cat]", "labels/a.txt": BOX}, "nc is 3, and names has 2", "a count"),
        ({"data.yaml": "names: 80", "labels/a.txt": BOX}, "names is not a list of names", "a number"),
        ({"data.yaml": "names: [dog, null, '']", "labels/a.txt": BOX}, "names is not a list of names", "an empty name"),
        ({"data.yaml": "names: {0: dog, 1: ~}", "labels/a.txt": BOX}, "names is not a list of names", "no name"),
        ({"data.yaml": "names: [dog, null]", "labels/a.txt": BOX}, "names is not a list of names", "null is no name"),
        ({"data.yaml": "names: [dog", "labels/a.txt": BOX}, "cannot be read", "no YAML"),
        ({"data.yaml": NAMES, "classes.txt": "cat\ndog\n", "labels/a.txt": BOX}, "name the classes differently", "two"),
        ({"data.yaml": NAMES, "labels/v/classes.txt": "cat", "labels/a.txt": BOX}, "differently", "of LabelImg"),
        ({"data.yaml": NAMES}, "holds no label files", "no labels"),
        ({"data.yaml": NAMES, "labels/b.txt": BOX}, "fits no file below the root: b", "a label file without an image"),
        (
            {"data.yaml": NAMES, "labels/x/a.txt": BOX, "labels/y/a.txt": BOX},
            "fits no file below the root: x/a",
            "other folders",
        ),
    ],
)
def test_refused(tmp_path: Path, files: dict[str, str], reason: str, why: str) -> None:
    root = pictures(tmp_path / "data", ["images/a.jpg"], SIZE)
    assert reason in refusal("yolo", write(root, dict(files)), root), why


def test_an_image_in_the_folders_of_two_splits_is_of_none(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", ["images/a.jpg"], SIZE)
    files = {"data.yaml": f"{NAMES}train: images\nval: images\n", "labels/a.txt": BOX}
    (sample,) = run("yolo", write(root, files), root)[1].values()
    assert "split" not in sample.meta


def test_words_that_yaml_takes_for_something_else(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", ["images/a.jpg"], SIZE)
    names = ["no", "yes", "off", "1", "null_", "2020-01-01"]
    files = {"data.yaml": f"names: [{', '.join(names)}]", "labels/a.txt": "".join(f"{k}{BOX[1:]}" for k in range(6))}
    _, samples = run("yolo", write(root, dict(files)), root)
    assert [thing.label for thing in samples["yolo-images/a"].images[0].objects] == names


def test_an_image_without_a_label_file_was_not_annotated(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", ["images/a.jpg", "images/left.jpg"], SIZE)
    report, samples = run("yolo", write(root, {"data.yaml": NAMES, "labels/a.txt": BOX}), root)
    assert set(samples) == {"yolo-images/a"}
    (row,) = report.first
    assert row.id == "yolo-images/left" and "nothing says that it was annotated" in row.reason
    assert set(run("yolo", root, root, negatives="keep")[1]) == {"yolo-images/a", "yolo-images/left"}


def test_a_line_of_an_unknown_class_leaves_nothing_to_ask_for(tmp_path: Path) -> None:
    """One line is a box, the other of a class without a name: it could be the same label."""
    root = pictures(tmp_path / "data", ["images/a.jpg", "images/b.jpg"], SIZE)
    labels = {"labels/a.txt": f"{BOX}9 .5 .5 .1 .1\n", "labels/b.txt": f"{BOX}1 .5 .5 .1 .1 .9\n"}
    report, samples = run("yolo", write(root, {"data.yaml": NAMES, **labels}), root)
    assert set(samples) == {"yolo-images/b"} and samples["yolo-images/b"].question == "Point to every dog."
    assert samples["yolo-images/b"].meta["incomplete"] == ["refused_box"]
    assert any("object of unknown label" in row.reason for row in report.first)


@pytest.mark.parametrize(
    ("places", "home"),
    [
        ("path: ../data\ntrain: images/train\n", "data"),
        ("path: ABOVE/data\ntrain: images/train\nval: images/val\n", "data"),
        ("train: ../data/images/train\n", "data"),  # YOLOv5, without path
        ("train: ABOVE/data/images/train\nval: ABOVE/data/images/val\n", "data"),
        ("train: ../data/images\n", "data"),
    ],
)
def test_a_data_yaml_in_another_folder_than_its_dataset(tmp_path: Path, places: str, home: str) -> None:
    """Without --root, the error says which one is needed; with it, the labels are found."""
    pictures(tmp_path / "data", ["images/train/a.jpg", "images/val/b.jpg"], SIZE)
    write(tmp_path / "data", {"labels/train/a.txt": BOX})
    yaml = write(tmp_path / "config", {"my.yaml": places.replace("ABOVE", str(tmp_path)) + NAMES}) / "my.yaml"
    with pytest.raises(DataError, match="no image of it is below --root") as caught:
        run("yolo", yaml, tmp_path / "config")
    assert f"--root {(tmp_path / home).resolve()}" in caught.value.hint
    _, samples = run("yolo", yaml, tmp_path / home)
    assert [round(v, 9) for v in samples["yolo-images/train/a"].targets[0].box] == [0.1, 0.4, 0.5, 0.6]


def test_labels_and_images_in_different_places(tmp_path: Path) -> None:
    """data.yaml names the folder of the labels, --root that of the images."""
    write(tmp_path / "labels_of_mine", {"labels/a.txt": BOX})
    yaml = write(tmp_path / "config", {"my.yaml": f"path: ../labels_of_mine\n{NAMES}"}) / "my.yaml"
    _, samples = run("yolo", yaml, pictures(tmp_path / "photos", ["a.jpg"], SIZE))
    assert samples["yolo-a"].images[0].path == "@photos/a.jpg"

"""Label Studio: both exports, which annotation counts, which file a task is about, and results that are no boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from fakes.annotation_tools import refusal, run
from fakes.importing import imported, pictures, spoiled
from mirg.data.importers import label_studio
from mirg.data.importers.raw import ImportOptions, RawSample, Refusal
from mirg.errors import DataError

SIZE = (100, 80)


def box(label: str = "dog", x: float = 10, **value: Any) -> dict[str, Any]:
    """A result as Label Studio exports it: percent of the image, here 0.1, 0.25, 0.4, 0.75 unless ``x`` differs."""
    numbers = {"x": x, "y": 25, "width": 30, "height": 50, "rotation": 0, "rectanglelabels": [label], **value}
    return {
        "id": f"r{x}", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "origin": "manual",
        "original_width": 100, "original_height": 80, "image_rotation": 0, "value": numbers,
    }  # fmt: skip


def task(*results: dict[str, Any], image: str = "/data/upload/1/0a1b2c3d-a.jpg", **more: Any) -> dict[str, Any]:
    annotation = {"id": 7, "completed_by": 1, "was_cancelled": False, "ground_truth": False, "result": list(results)}
    rest = {"drafts": [], "predictions": [], "meta": {}, "project": 1, **more}
    return {"id": 1, "annotations": [annotation], "file_upload": "x", "data": {"image": image}, **rest}


def write(folder: Path, *tasks: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    return folder / "export.json"


def test_export(tmp_path: Path) -> None:
    root = pictures(tmp_path / "media", ["a.jpg"], SIZE)
    second = box("cat", 60, width=40)
    rows = write(tmp_path, task(box(), second, box("dog", 50.5, y=0, height=12.5)))
    _, (sample,) = imported("label-studio", rows, tmp_path / "out", root)
    assert [(o.label, [round(v, 9) for v in o.box]) for o in sample.images[0].objects] == [
        ("dog", [0.1, 0.25, 0.4, 0.75]),
        ("cat", [0.6, 0.25, 1.0, 0.75]),
        ("dog", [0.505, 0.0, 0.805, 0.125]),
    ]
    assert sample.id == "label-studio-1" and sample.images[0].path == "@media/a.jpg"
    dogs = len(sample.targets) == 2
    assert sample.question == ("Point to every dog." if dogs else "Point to every cat.")


def test_json_min(tmp_path: Path) -> None:
    root = pictures(tmp_path / "media", ["a.jpg", "b.jpg"], SIZE)
    flat = {**box()["value"], "original_width": 100, "original_height": 80}
    rows = [
        {"image": "/data/upload/1/0a1b2c3d-a.jpg", "id": 4, "label": [flat], "annotator": 1, "annotation_id": 9},
        {"image": "/data/upload/1/0a1b2c3d-b.jpg", "id": 5, "annotator": 1, "annotation_id": 10, "choice": ["x", "y"]},
    ]
    for tasks in (rows, rows[::-1]):
        _, samples = run("label-studio", write(tmp_path, *tasks), root)
        assert [round(v, 9) for v in samples["label-studio-4"].targets[0].box] == [0.1, 0.25, 0.4, 0.75]
        assert samples["label-studio-5"].targets == () and samples["label-studio-5"].meta["annotated"] is True


@pytest.mark.parametrize(
    ("image", "files", "found", "why"),
    [
        ("/data/upload/1/0a1b2c3d-a.jpg", ["upload/1/0a1b2c3d-a.jpg", "a.jpg"], 0, "the upload folder itself"),
        ("/data/upload/12/0a1b2c3d-a.jpg", ["photos/a.jpg"], 0, "the file as it was before the upload"),
        ("/data/upload/0a1b2c3d-na_me-2.jpg", ["na_me-2.jpg"], 0, "an older version: no project number"),
        ("http://localhost:8080/data/upload/1/0a1b2c3d-a.jpg", ["a.jpg"], 0, "with the host"),
        ("/data/local-files/?d=cam%201/a.jpg", ["cam 1/a.jpg", "cam 2/a.jpg"], 0, "local storage"),
        ("/data/local-files/?d=set/cam1/a+b.jpg", ["cam1/a+b.jpg"], 0, "--root inside of the storage, a plus"),
        ("s3://bucket/set/a.jpg", ["set/a.jpg"], 0, "a bucket"),
        ("https://host/x/set/a%20b.jpg?sig=1#x", ["set/a b.jpg"], 0, "a URL"),
        ("/data/upload/1/0a1b2c3d-Stra%C3%9Fe.jpg", ["Stra\u00dfe.jpg"], 0, "letters of other languages"),
        ("/data/upload/1/deadbeef.jpg", ["deadbeef.jpg"], 0, "a name that looks like a digest"),
    ],
)
def test_which_image(tmp_path: Path, image: str, files: list[str], found: int, why: str) -> None:
    root = pictures(tmp_path / "media", files, SIZE)
    _, samples = run("label-studio", write(tmp_path, task(box(), image=image)), root)
    assert samples["label-studio-1"].images[0].path == f"@media/{files[found]}", why


def test_a_box_beyond_the_edge_by_rounding(tmp_path: Path) -> None:
    """Sums such as 90.00001 + 10.00000001 percent are common in exports."""
    root = pictures(tmp_path / "media", ["a.jpg"], SIZE)
    _, samples = run("label-studio", write(tmp_path, task(box(x=90.00001, width=10.00000001))), root)
    assert samples["label-studio-1"].targets[0].box[2] == 1.0


@pytest.mark.parametrize(
    ("tasks", "files", "reason", "why"),
    [
        ([task(box(), image="/data/upload/1/0a1b2c3d-c.jpg")], ["a.jpg"], "fits no file", "another image"),
        ([task(box())], ["x/a.jpg", "y/a.jpg"], "fits more than one file", "two that fit"),
        (
            [task(box()), task(box(), image="/data/upload/1/99999999-a.jpg", id=2)],
            ["a.jpg"],
            "annotated more than once",
            "two uploads of one name",
        ),
        ([task(box(), image="/data/local-files/?d=cam1/a.jpg")], ["cam2/a.jpg"], "fits no file", "another camera"),
        ([task(box(), data={"image": "a.jpg", "other": "b.jpg"})], ["a.jpg", "b.jpg"], "names 2 images", "a pair"),
        ([task(box(), data={"images": ["a.jpg", "b.jpg"]})], ["a.jpg"], "shows a list of images", "pages"),
        ([task(box(), data={"text": "hello"})], ["a.jpg"], "names 0 images", "a task of texts"),
        ([task(box(rotation=30))], ["a.jpg"], "object is rotated: 'dog', 30 degrees", "a rotated box"),
        ([task({**box(), "image_rotation": 90})], ["a.jpg"], "image was rotated", "a rotated image"),
        ([task({**box(), "original_width": 200})], ["a.jpg"], "the row says 200 x 80", "another size"),
        ([task(box(), {**box("cat", 1), "original_width": 200})], ["a.jpg"], "different sizes", "two sizes"),
        ([task(box(rectanglelabels=["dog", "cat"]))], ["a.jpg"], "2 labels: rectanglelabels, dog, cat", "two labels"),
        ([task(box(rectanglelabels=[]))], ["a.jpg"], "result with 0 labels", "no label"),
        ([task(box(width=0))], ["a.jpg"], "without area", "no width"),
        ([task(box(height=0))], ["a.jpg"], "without area", "no height"),
        ([task(box(x=80))], ["a.jpg"], "is outside", "beyond the edge"),
        ([task(box(x="10"))], ["a.jpg"], "without a box in numbers", "a text"),
        ([task({**box(), "type": "brushlabels", "value": {"brushlabels": ["dog"], "rle": [1]}})], ["a.jpg"],
         "result is not a box of an image: brushlabels", "a brush"),
        ([task({**box(), "type": "videorectangle", "value": {"labels": ["dog"], "sequence": []}})], ["a.jpg"],
         "videorectangle", "a video"),
        ([task(annotations=[], predictions=[{"result": [box()]}])], ["a.jpg"], "predictions do not count", "a model"),
        ([task(annotations=[{"result": [box()], "was_cancelled": True}])], ["a.jpg"], "cancelled", "skipped"),
        ([task(annotations=[{"result": [box()]}, {"result": [box("cat")]}])], ["a.jpg"],
         "has 2 annotations", "two annotators"),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, tasks: list[object], files: list[str], reason: str, why: str) -> None:
    root = pictures(tmp_path / "media", files, SIZE)
    assert reason in refusal("label-studio", write(tmp_path, *tasks), root), why


@pytest.mark.parametrize(
    ("annotations", "labels", "why"),
    [
        ([{"result": [box()], "was_cancelled": True}, {"result": [box("cat")]}], ["cat"], "one was cancelled"),
        ([{"result": [box()]}, {"result": [box("cat")], "ground_truth": True}], ["cat"], "one is the ground truth"),
        ([{"result": [{**box(), "type": "rectangle"}, {**box(), "type": "labels", "value": {"labels": ["cup"]}}]}],
         ["cup"], "a rectangle and the label of its region"),
        ([{"result": [{**box(), "type": "rectangle"}, {**box(), "type": "choices", "value": {"choices": ["cup"]}}]}],
         ["cup"], "a rectangle and the choice of its region"),
        ([{"result": [{**box(), "type": "rectangle"},
                      {**box(), "type": "choices", "value": {**box()["value"], "choices": ["cup"]}}]}],
         ["cup"], "the choice repeats the box of its region"),
        ([{"result": [{**box(), "type": "labels", "value": {**box()["value"], "labels": ["cup"]}}]}],
         ["cup"], "labels that hold the box themselves"),
        ([{"result": [box(), {**box(), "type": "choices", "value": {"choices": ["dirty"]}},
                      {"type": "choices", "value": {"choices": ["outside"]}}, {"type": "relation", "from_id": "a"},
                      {**box(), "type": "textarea", "value": {"text": ["x"]}}]}],
         ["dog"], "what is said about a region or the image beside its box"),
        ([{"result": [{**box(), "type": "polygonlabels", "value":
                       {"points": [[10, 25], [40, 30], [20, 75]], "polygonlabels": ["dog"]}}]}],
         ["dog"], "a polygon"),
        ([{"result": [box(rotation=360)]}], ["dog"], "a whole turn"),
    ],
)  # fmt: skip
def test_what_counts(tmp_path: Path, annotations: list[object], labels: list[str], why: str) -> None:
    root = pictures(tmp_path / "media", ["a.jpg"], SIZE)
    _, samples = run("label-studio", write(tmp_path, task(annotations=annotations)), root)
    (sample,) = samples.values()
    assert [t.label for t in sample.targets] == labels, why
    assert [round(v, 9) for v in sample.targets[0].box] == [0.1, 0.25, 0.4, 0.75], why


def test_submitted_without_objects_and_with_one_that_is_no_box(tmp_path: Path) -> None:
    """The first image holds no dog; the second may hold more cats than are boxes."""
    root = pictures(tmp_path / "media", ["a.jpg", "b.jpg"], SIZE)
    brush = {**box("cat"), "type": "brushlabels", "value": {"brushlabels": ["cat"]}}
    tasks = [task(), task(box(), box("cat", 60), brush, image="/data/upload/1/0a1b2c3d-b.jpg", id=2)]
    _, samples = run("label-studio", write(tmp_path, *tasks), root)
    assert samples["label-studio-1"].meta["annotated"] is True and samples["label-studio-1"].targets == ()
    assert samples["label-studio-2"].question == "Point to every dog."
    assert samples["label-studio-2"].meta["incomplete"] == ["refused_box"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spoiled([task(box(), box("cat", 60)), task(annotations=[{"result": [box()]}, {"result": []}])]))
def test_no_task_stops_an_import(tmp_path: Path, value: object) -> None:
    """Any value in any place: a sample, or a reason that can be written down."""
    root = tmp_path / "media"
    if not root.exists():
        pictures(root, ["a.jpg"], SIZE)
    options = ImportOptions(root=str(root))
    try:
        file = write(tmp_path, task(box("cat"), image="b.jpg"), value)
    except (TypeError, ValueError):
        return  # no JSON: such a value cannot be in a file
    try:
        rows = list(label_studio.read(file, options))
    except DataError:
        return
    for row in rows:
        for outcome in label_studio.convert(row.value, options):
            assert isinstance(outcome, RawSample) or (isinstance(outcome, Refusal) and outcome.reason)
            assert json.dumps(str(outcome)).encode()

"""A label map: its schema, what it does to objects, targets and questions, and what the import says about it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes.commands import invoke
from mirg.data.importers.label_map import LabelMap, load_label_map
from mirg.data.importers.raw import RawBox, RawImage, RawObject, RawSample
from mirg.data.importers.relabel import merged, relabelled
from mirg.data.importers.rows import Refused
from mirg.errors import ConfigError
from mirg.samples import DatasetFolder, Sample

run = partial(invoke, "data")


# Names of categories by id, and per image the objects as (category id, box in pixels).
NAMES = {1: "dog", 2: "puppy", 3: "Traffic Light", 4: "traffic_light", 5: "misc"}
BOX, OTHER, FAR = [10, 20, 50, 30], [12, 20, 50, 30], [120, 10, 60, 80]
IMAGES: list[list[tuple[int, list[int]]]] = [
    [(1, BOX), (2, BOX), (2, FAR)],
    [(1, BOX), (2, OTHER)],
    [(3, BOX), (4, FAR)],
    [(1, FAR), (5, BOX)],
    [(5, BOX)],
]


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    images, notes = [], []
    for number, things in enumerate(IMAGES):
        Image.new("RGB", (200, 100), (40 * number, 9, 9)).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 200, "height": 100})
        for category, box in things:
            note = {"id": len(notes) + 1, "image_id": number, "category_id": category, "bbox": box, "iscrowd": 0}
            notes.append(note)
    categories = [{"id": key, "name": name} for key, name in NAMES.items()]
    file = tmp_path / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": notes, "categories": categories}))
    return file


def imported(kind: str, file: Path, text: str, *more: object) -> tuple[dict[str, Sample], dict[str, Any]]:
    """The samples by id, and the report of an import with the label map ``text``."""
    (file.parent / "map.yaml").write_text(text)
    out = file.parent / "out"
    said = run("import", kind, file, out, "--labels", file.parent / "map.yaml", "--json", "--overwrite", *more)
    assert said.exit_code == 0, said.stderr
    return {sample.id: sample for sample in DatasetFolder.open(out)}, json.loads(said.stdout)


def boxes(sample: Sample) -> list[tuple[str, list[int]]]:
    """(label, box in pixels as x, y, width, height) of the targets; the images are 200 x 100 pixels."""
    found = []
    for target in sample.targets:
        x1, y1, x2, y2 = target.box
        found.append((target.label, [round(v) for v in (200 * x1, 100 * y1, 200 * (x2 - x1), 100 * (y2 - y1))]))
    return found


def test_merged_labels_are_asked_for_as_one(coco: Path) -> None:
    samples, report = imported(
        "coco", coco, "merge: {dog: [puppy]}\nrename: {traffic_light: Traffic Light}\ndrop: [misc]\n"
    )
    first = samples["coco-0"]
    assert first.question == "Point to every dog." and first.meta["subject"] == "dog"
    assert boxes(first) == [("dog", BOX), ("dog", FAR)], "the same box under two labels is one object"
    assert [note.label for note in first.images[0].objects] == ["dog", "dog"]
    assert boxes(samples["coco-1"]) == [("dog", BOX), ("dog", OTHER)]
    assert any("overlap by 90 % or more: 1 pairs" in warning for warning in report["warnings"])
    assert samples["coco-2"].question == "Point to every Traffic Light." and len(samples["coco-2"].targets) == 2
    assert samples["coco-3"].question == "Point to every dog." and len(samples["coco-3"].images[0].objects) == 1
    assert not any("seem to be one label" in warning for warning in report["warnings"])
    assert not any("misc" in sample.question for sample in samples.values())


def test_a_map_is_applied_once(coco: Path) -> None:
    """dog becomes puppy and puppy becomes dog: nothing is renamed twice."""
    samples, _ = imported("coco", coco, "rename: {dog: puppy, puppy: dog}\n")
    assert [note.label for note in samples["coco-0"].images[0].objects] == ["puppy", "dog", "dog"]


def test_labels_that_the_source_does_not_have_are_reported(coco: Path) -> None:
    _, report = imported("coco", coco, "rename: {Misc: other, zebra: horse}\n")
    assert [warning for warning in report["warnings"] if "label map" in warning] == [
        "label 'Misc' of the label map is not in the source; did you mean 'misc'?",
        "label 'zebra' of the label map is not in the source",
    ]


def test_two_spellings_are_reported_without_a_map(coco: Path) -> None:
    said = run("import", "coco", coco, coco.parent / "plain")
    assert said.exit_code == 0
    assert "warning: labels 'Traffic Light' (1), 'traffic_light' (1) seem to be one label" in said.stderr
    assert "--labels" in said.stderr


def test_processes_report_the_same(coco: Path) -> None:
    text = "merge: {dog: [puppy]}\nrename: {zebra: horse}\n"
    here, one = imported("coco", coco, text)
    there, two = imported("coco", coco, text, "--executor", "processes", "--workers", 2)
    assert here == there and one == two


def talk(name: str, answer: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image>\nWhere is the thing?"}, {"from": "gpt", "value": answer}]
    return {"id": name, "conversations": turns, "images": ["0.png"]}


def test_targets_of_written_answers(coco: Path) -> None:
    """The question is a text of the file, so it stays; a target that is dropped would make the answer incomplete."""
    one = '{{"bbox_2d": [100, 200, 300, 400], "label": "{}"}}'
    rows = [
        talk("renamed", f"[{one.format('puppy')}]"),
        talk("twice", f"[{one.format('puppy')}, {one.format('dog')}]"),
        talk("dropped", f"[{one.format('misc')}]"),
        talk("plain", f"[{one.format('cat')}]"),
    ]
    file = coco.parent / "rows.json"
    file.write_text(json.dumps(rows))
    text = "merge: {dog: [puppy]}\ndrop: [misc]\n"
    samples, report = imported("sharegpt", file, text, "--frame", "relative_1000")
    found = {name.rsplit("-", 1)[0]: [target.label for target in sample.targets] for name, sample in samples.items()}
    assert found == {"renamed": ["dog"], "twice": ["dog"], "plain": ["cat"]}
    (refused,) = report["rejections"]
    assert refused["reason"] == "the label of a target is dropped by the label map: 'misc'" and refused["hint"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rename: {a: b, c: b}\ndrop: [d]", ""),
        ("", "is not a mapping"),
        ("[a, b]", "is not a mapping"),
        ("{}", "the map is empty"),
        ("rename: {a: b}\nremove: [c]", "remove: Extra inputs"),
        ("rename: {a: b}\ndrop: [a]", "'a' is listed twice"),
        ("rename: {a: b}\nmerge: {c: [a]}", "'a' is listed twice"),
        ("merge: {b: [a], c: [a]}", "'a' is listed twice"),
        ("merge: {b: []}", "'b' has no labels"),
        ("merge: {b: a}", "merge.b: Input should be a valid tuple"),
        ("rename: {a: b}\ndrop: [b]", "'b' is dropped, and another label becomes 'b'"),
        ("merge: {b: [a]}\ndrop: [b]", "'b' is dropped, and another label becomes 'b'"),
        ("drop: [true]", "put true, false and numbers into quotes"),
        ("rename: {1: one}", "put true, false and numbers into quotes"),
        ("rename: {a: ''}", "a label is empty"),
        ("rename: {a: b, a: c}", "the key 'a' is listed twice"),
        ("drop: [a]\ndrop: [b]", "the key 'drop' is listed twice"),
        ("rename: {a: b", "cannot read label map"),
        ("rename: !!python/object:os.system {}", "cannot read label map"),
    ],
)
def test_the_schema_is_closed(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "map.yaml"
    file.write_text(text)
    if not says:
        assert load_label_map(file).of("a") == "b"
        return
    with pytest.raises(ConfigError) as caught:
        load_label_map(file)
    assert says in caught.value.message, caught.value.message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_other_systems(tmp_path: Path, encoding: str) -> None:
    """The label is composed in the map and decomposed in the source."""
    file = tmp_path / "map.yaml"
    file.write_text("rename: {T\u00fcr: door}\r\n", encoding=encoding)
    labels = load_label_map(file)
    assert labels.of("Tu\u0308r") == "door" and labels.of("T\u00fcr ") == "door" and labels.of("tuer") == "tuer"
    assert labels.of("") == "" and labels.take_met() == {"T\u00fcr"} and not labels.take_met()


def test_a_map_travels_to_other_processes() -> None:
    import pickle  # as executors do it

    labels = pickle.loads(pickle.dumps(LabelMap(rename={"a": "b"}, drop=("c",))))
    assert (labels.of("a"), labels.of("c"), labels.of("d")) == ("b", None, "d")


def generated(*labels: str) -> RawSample:
    """A sample as a table of detections gives it: it asks for every object of its first label."""
    things = tuple(RawObject(label, (10.0 * k, 10, 10.0 * k + 8, 20)) for k, label in enumerate(labels, 1))
    return RawSample(
        id="row", task="detection", images=(RawImage("a.png", 100, 80, objects=things),),
        question=(f"Point to every {labels[0]}.",), meta={"subject": labels[0]},
        targets=tuple(RawBox(1, t.numbers, t.label, "pixels") for t in things if t.label == labels[0]),
    )  # fmt: skip


def test_equal_boxes_in_two_images_are_two_objects() -> None:
    (image,) = generated("dog").images
    assert merged(replace(generated("dog"), images=(image, image)))[1] == 0


@pytest.mark.parametrize(
    ("labels", "asked", "boxes"),
    [
        (LabelMap(merge={"dog": ("puppy",)}), "dog", [10, 20]),
        (LabelMap(rename={"dog": "puppy"}), "puppy", [10, 20]),
        (LabelMap(drop=("dog",)), "puppy", [20]),
        (LabelMap(drop=("puppy",)), "dog", [10]),
        (LabelMap(rename={"cat": "cats"}), "dog", [10]),
    ],
)
def test_a_question_about_every_object_of_a_label_is_asked_again(labels: LabelMap, asked: str, boxes: list) -> None:
    found = relabelled(generated("dog", "puppy"), labels)
    assert found.question == (f"Point to every {asked}.",) and found.meta["subject"] == asked
    assert [(box.numbers[0], box.label, box.frame) for box in found.targets] == [(x, asked, "pixels") for x in boxes]


def test_nothing_is_asked_if_every_object_is_dropped() -> None:
    with pytest.raises(Refused, match="every object is dropped by the label map"):
        relabelled(generated("dog", "puppy"), LabelMap(drop=("dog", "puppy")))


def test_the_label_of_a_film_is_in_its_question(tmp_path: Path) -> None:
    film = tmp_path / "films" / "one"
    for number in range(1, 4):
        (film / "img1").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100), (40 * number, 9, 9)).save(film / "img1" / f"{number:06d}.jpg")
    (film / "gt").mkdir()
    (film / "gt" / "gt.txt").write_text(
        "".join(f"{n},1,{10 * n},10,30,40,1,1,1\n{n},2,99,10,30,40,1,3,1\n" for n in (1, 2, 3))
    )
    more = ("--stride", 1, "--frames", 3)
    samples, report = imported("video-tracks", tmp_path / "films", "rename: {pedestrian: person}\ndrop: [car]\n", *more)
    (sample,) = samples.values()
    assert "Image-1 shows a person at" in sample.question and {t.label for t in sample.targets} == {"person"}
    assert [row["reason"] for row in report["rejections"]] == [
        "the label of an object is dropped by the label map: 'car'"
    ]

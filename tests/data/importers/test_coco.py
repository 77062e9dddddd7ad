"""COCO files as people have them: ids of every type, pictures listed twice, and annotation that is not complete."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.importing import pictures, spoiled
from mirg.data.exporters.build import export_dataset, make_plan
from mirg.data.importers.coco_file import flag, id_key, not_listed
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import ImportReport, import_dataset
from mirg.errors import DataError
from mirg.samples import DatasetFolder, Rejection, Sample

Doc = dict[str, Any]


def doc(images: int = 2) -> Doc:
    """Image k (from 1) of 100 x 80 pixels shows a dog; the second one also a cat."""
    boxes = [(1, 1, 0, [10, 8, 50, 40]), (2, 2, 0, [20, 8, 50, 40]), (3, 2, 1, [0, 40, 100, 40])]
    return {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 100, "height": 80} for k in range(1, images + 1)],
        "annotations": [
            {"id": k, "image_id": image, "category_id": category, "bbox": box} for k, image, category, box in boxes
        ],
        "categories": [{"id": 0, "name": "dog", "supercategory": "animal"}, {"id": 1, "name": "cat"}],
    }


def run(tmp_path: Path, value: Doc, **settings: Any) -> tuple[ImportReport, list[Sample], list[Rejection]]:
    root = pictures(tmp_path / "images", ["1.png", "2.png", "3.png"])
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    options = ImportOptions(**{"root": str(root), **settings})
    report = import_dataset("coco", file, tmp_path / "out", options, overwrite=True, listed=100)
    rejected: list[Rejection] = []
    samples = list(DatasetFolder.open(tmp_path / "out").read(rejected.append, images="header"))
    assert not rejected
    return report, samples, report.first


def labels(sample: Sample) -> list[str]:
    return [note.label for note in sample.images[0].objects]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (7, 7),
        (7.0, 7),
        ("7", "7"),
        (-1, -1),
        *((value, None) for value in (True, None, 7.5, math.nan, math.inf, 2.0**60, [7], {"id": 7}, "")),
    ],
)
def test_ids(value: object, key: object) -> None:
    assert id_key(value) == key and type(id_key(value)) is type(key)


@pytest.mark.parametrize(
    ("value", "known", "words"),
    [
        ("1", {1}, "'1' is a string, the file lists 1"),
        ("1.0", {1}, "'1.0' is a string, the file lists 1"),
        (1, {"1"}, "1 is a number, the file lists '1'"),
        (1.0, {"1.0"}, "1.0 is a number, the file lists '1.0'"),
        ([1], {1}, "[1] is a list, the file lists 1"),
        (True, {1}, "True is a boolean, the file lists 1"),
        (5, {1}, "is not listed in images: 5"),
        ([5, 6], {5}, "is not listed in images: [5, 6]"),
        (None, {1}, "is not listed in images: it is missing"),
    ],
)
def test_an_id_that_is_not_listed_names_a_near_one(value: object, known: set, words: str) -> None:
    assert not_listed(value, "images", known).endswith(words)


@pytest.mark.parametrize(("value", "marks"), [(1, True), ("1", True), (True, True), (1.0, True), ("true", True)])
def test_flags(value: object, marks: bool) -> None:
    assert flag(value) is marks
    assert not any(map(flag, (0, "0", None, False, 0.0, "false", "", "No")))


def with_ids(**kinds: type) -> Doc:
    """The file with ids of other types; ``image`` is the id of an image, ``image_id`` the reference to it."""
    value = doc()
    for row in value["images"]:
        row["id"] = kinds.get("image", int)(row["id"])
    for row in value["categories"]:
        row["id"] = kinds.get("category", int)(row["id"])
    for row in value["annotations"]:
        row["image_id"] = kinds.get("image_id", int)(row["image_id"])
        row["category_id"] = kinds.get("category_id", int)(row["category_id"])
    return value


@pytest.mark.parametrize(
    ("why", "kinds"),
    [
        ("whole numbers", {}),
        ("references became floats", {"image_id": float, "category_id": float}),
        ("ids became floats", {"image": float, "category": float}),
        ("all are texts", {"image": str, "image_id": str, "category": str, "category_id": str}),
    ],
)
def test_ids_of_one_type_are_the_same_ids(tmp_path: Path, why: str, kinds: dict[str, type]) -> None:
    _, samples, refused = run(tmp_path, with_ids(**kinds))
    assert not refused
    assert [labels(sample) for sample in samples] == [["dog"], ["dog", "cat"]]
    assert [sample.id for sample in samples] == ["coco-1", "coco-2"]


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({"image_id": str}, "image_id that is not listed in images: '1' is a string, the file lists 1"),
        ({"category_id": str}, "category_id: is not listed in categories: '0' is a string, the file lists 0"),
        ({"category": str}, "category_id: is not listed in categories: 0 is a number, the file lists '0'"),
        ({"category_id": lambda c: [c]}, "category_id: is not listed in categories: [0] is a list, the file lists 0"),
        ({"image_id": lambda c: [c]}, "image_id that is not listed in images: [1] is a list, the file lists 1"),
    ],
)
def test_ids_of_two_types_are_refused_and_the_first_message_says_so(tmp_path: Path, kinds: dict, words: str) -> None:
    with pytest.raises(DataError) as caught:
        run(tmp_path, with_ids(**kinds))
    assert words in str(caught.value)


@pytest.mark.parametrize("name", [None, "", "  ", "None", "null", "nan", float("nan"), ["dog"], True, "\ud800"])
def test_a_category_without_a_name_is_refused_and_never_asked_for(tmp_path: Path, name: object) -> None:
    """What has no name may be a cat as well, so that nothing is asked about an image that holds it."""
    value = doc()
    value["categories"][0]["name"] = name
    value["annotations"][0]["category_id"] = 1
    _, samples, refused = run(tmp_path, value)
    assert [(sample.question, labels(sample)) for sample in samples] == [("Point to every cat.", ["cat"])]
    assert [row.field for row in refused] == ["category_id", "objects"]
    assert refused[0].reason.startswith("has no name in categories: 0 is named ")


def test_null_supercategories_and_numbers_as_names(tmp_path: Path) -> None:
    value = doc()
    value["categories"] = [{"id": 0, "name": 3, "supercategory": None}, {"id": 1, "name": " big \n cat "}]
    _, samples, _ = run(tmp_path, value)
    assert labels(samples[1]) == ["3", "big cat"]
    assert all(note.attributes == {} for sample in samples for note in sample.images[0].objects)


@pytest.mark.parametrize(
    ("size", "field"), [((100.0, 80.0), None), ((None, None), None), ((100.5, 80), "width"), (("100", 80), "width")]
)
def test_sizes(tmp_path: Path, size: tuple[object, object], field: str | None) -> None:
    value = doc()
    value["images"][0] |= {"width": size[0], "height": size[1]}
    _, samples, refused = run(tmp_path, value)
    assert [row.field for row in refused] == ([field] if field else [])
    assert samples[0].sizes == [(100, 80)]


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ({"coco_url": "http://images.cocodataset.org/train2017/1.png"}, "1.png"),
        ({"file_name": None, "coco_url": "http://example.org/1.png?size=big"}, "1.png"),
        ({"path": "./1.png"}, "1.png"),
        ({"filename": "1.png", "coco_url": "http://example.org/2.png"}, "1.png"),
        ({}, None),
        ({"file_name": ["1.png"]}, None),
    ],
)
def test_where_the_file_of_an_image_is_named(tmp_path: Path, entry: Doc, path: str | None) -> None:
    value = doc()
    value["images"][0] = {"id": 1, "width": 100, "height": 80, **entry}
    _, samples, refused = run(tmp_path, value)
    assert [row.field for row in refused] == ([] if path else ["file_name"])
    assert len(samples) == (2 if path else 1)
    if path:
        assert samples[0].images[0].path.endswith(f"/{path}")


def twice(value: Doc, other: Doc, **annotation: Any) -> Doc:
    """The file with a second entry of its first picture, and one annotation of that entry."""
    value["images"].append({"id": 9, "file_name": "1.png", "width": 100, "height": 80, **other})
    value["annotations"].append({"id": 1, "image_id": 9, "category_id": 1, "bbox": [0, 0, 30, 30], **annotation})
    return value


@pytest.mark.parametrize(
    ("why", "other"),
    [
        ("under another id", {}),
        ("in another spelling", {"file_name": "./1.png"}),
        ("in a spelling of Windows", {"file_name": "..\\images\\1.png"[10:]}),
        ("without a size", {"width": None, "height": None}),
        ("under the same id", {"id": 1}),
    ],
)
def test_a_picture_that_is_listed_twice_is_one_with_all_annotations(tmp_path: Path, why: str, other: Doc) -> None:
    value = twice(doc(), other)
    if other.get("id") == 1:
        value["annotations"][-1] |= {"image_id": 1, "id": 77}
    report, samples, refused = run(tmp_path, value)
    assert not refused and report.rows == 2
    assert sorted(labels(samples[0])) == ["cat", "dog"] and len(samples) == 2


def test_the_same_box_of_both_entries_is_one_object(tmp_path: Path) -> None:
    value = twice(doc(), {}, category_id=0, bbox=[10.0, 8.0, 50.0, 40.0], attributes={"identity": 4})
    _, samples, _ = run(tmp_path, value)
    (note,) = samples[0].images[0].objects
    assert (note.label, note.box) == ("dog", (0.1, 0.1, 0.6, 0.6))
    assert note.attributes == {"supercategory": "animal", "instance_id": "4"}


def test_entries_of_two_sizes_contradict_each_other(tmp_path: Path) -> None:
    _, samples, refused = run(tmp_path, twice(doc(), {"width": 50, "height": 40}))
    assert [sample.id for sample in samples] == ["coco-2"]
    assert "differs between two entries of this picture: 80, 40" in refused[0].reason


def duplicated(value: Doc, member: str, **change: Any) -> Doc:
    value[member].append({**value[member][0], **change})
    return value


@pytest.mark.parametrize(
    ("why", "member", "change", "reason"),
    [
        ("an equal image", "images", {}, None),
        ("an equal annotation", "annotations", {}, None),
        ("an equal category", "categories", {}, None),
        ("a category with and without supercategory", "categories", {"supercategory": None}, None),
        ("a category with two of them, of which the first one counts", "categories", {"supercategory": "pet"}, None),
        ("an id of two images", "images", {"file_name": "3.png"}, "is listed twice in images: 1 is '1.png'"),
        ("an id of two categories", "categories", {"name": "cow"}, "is listed twice in categories: 0 is 'dog' and"),
        ("an id of two boxes", "annotations", {"bbox": [0, 0, 5, 5]}, "is used for different annotations of one im"),
        ("an id of two labels", "annotations", {"category_id": 1}, "is used for different annotations of one im"),
    ],
)  # fmt: skip
def test_duplicate_ids(tmp_path: Path, why: str, member: str, change: dict[str, Any], reason: str | None) -> None:
    value = duplicated(doc(), member, **change)
    if member == "categories" and reason:
        value["annotations"] = value["annotations"][2:] + value["annotations"][:1]
    _, samples, refused = run(tmp_path, value)
    assert refused[0].reason.startswith(reason) if reason else not refused, refused
    assert [labels(sample) for sample in samples] == ([["dog"], ["dog", "cat"]] if not reason else [labels(samples[0])])
    assert reason or samples[0].images[0].objects[0].attributes == {"supercategory": "animal"}


@pytest.mark.parametrize("member", ["images", "annotations", "categories"])
def test_entries_in_an_object_instead_of_a_list(tmp_path: Path, member: str) -> None:
    value = doc()
    value[member] = {str(k): entry for k, entry in enumerate(value[member])}
    _, samples, refused = run(tmp_path, value)
    assert not refused and [labels(sample) for sample in samples] == [["dog"], ["dog", "cat"]]


def test_lists_of_annotations_by_image_are_refused(tmp_path: Path) -> None:
    value = doc()
    value["annotations"] = {"1": [{"category_id": 0, "bbox": [1, 1, 5, 5]}]}
    with pytest.raises(DataError, match="annotations is an object of lists"):
        run(tmp_path, value)


@pytest.mark.parametrize(
    ("annotation", "field", "reason"),
    [
        ({"bbox": None}, "bbox", "is missing"),
        ({"bbox": []}, "bbox", "is missing"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox", "is not [x, y, width, height]: [1, 2, nan, 4]"),
        ({"bbox": [1, 2, -3, 4]}, "bbox", "has no area"),
        ({"bbox": ["1", "2", "3", "4"]}, "bbox", "is not [x, y, width, height]"),
        ({"bbox": {"x": 1}}, "bbox", "is not [x, y, width, height]"),
        ({"bbox": None, "segmentation": {"counts": "a", "size": [80, 100]}}, "bbox", "is missing"),
        ({"category_id": None}, "category_id", "is not listed in categories: it is missing"),
    ],
)
def test_a_refused_annotation_keeps_its_label_from_being_asked_for(
    tmp_path: Path, annotation: Doc, field: str, reason: str
) -> None:
    """The second image also has a cat; the question asks for it if the refused annotation was surely of a dog."""
    value = doc()
    value["annotations"][1] |= annotation
    _, samples, refused = run(tmp_path, value)
    assert [row.field for row in refused][:1] == [field] and reason in refused[0].reason
    assert samples[0].id == "coco-1" and "incomplete" not in samples[0].meta
    if field == "bbox":
        assert samples[1].question == "Point to every cat." and samples[1].meta["incomplete"] == ["refused_box"]
    else:
        assert len(samples) == 1 and "no category is annotated completely" in refused[1].reason


def test_polygons_give_the_box_that_is_missing(tmp_path: Path) -> None:
    value = doc()
    value["annotations"][0] |= {"bbox": None, "segmentation": [[10, 8, 60, 8, 60, 20], [20, 48, 30, 30, 50, 40]]}
    _, samples, refused = run(tmp_path, value)
    assert not refused and samples[0].targets[0].box == (0.1, 0.1, 0.6, 0.6)


def test_regions_are_kept_and_never_asked_for(tmp_path: Path) -> None:
    value = doc()
    value["annotations"][0]["iscrowd"] = 1
    value["annotations"][1]["ignore"] = 1
    _, samples, refused = run(tmp_path, value)
    assert samples[0].question == "Point to every cat." and len(samples) == 1
    assert [note.attributes for note in samples[0].images[0].objects] == [{"supercategory": "animal", "ignore": 1}, {}]
    assert refused[0].reason.startswith("no category is annotated completely")
    value["categories"][0]["name"] = "Ignored Regions"
    with pytest.raises(DataError, match="no category is annotated completely"):
        run(tmp_path, value)


@pytest.mark.parametrize(
    "mark",
    [
        {"isgroupof": True},
        {"attributes": {"is_group_of": 1}},
        {"iscrowd": "1"},
        {"IsGroupOf": True},
        {"attributes": {"IsGroupOf": True}},
        {"attributes": {"is_crowd": True}},
    ],
)
def test_other_spellings_of_crowds(tmp_path: Path, mark: Doc) -> None:
    value = doc()
    value["annotations"][1] |= mark
    _, samples, _ = run(tmp_path, value)
    assert samples[1].question == "Point to every cat."
    assert samples[1].images[0].objects[0].attributes == {"supercategory": "animal", "iscrowd": 1}


def test_labels_of_whole_images_are_not_absent(tmp_path: Path) -> None:
    """The first image has a cat without a box; nothing says which categories the second one was annotated for."""
    value = doc()
    value["images"][0]["pos_category_ids"] = [0, 1]
    _, samples, refused = run(tmp_path, value)
    assert [sample.meta["categories"] for sample in samples] == [["dog"]]
    assert [row.id for row in refused] == ["coco-2"]


def test_lvis_says_image_by_image_which_categories_are_complete(tmp_path: Path) -> None:
    value = doc(3)
    value["images"][0] |= {"neg_category_ids": [1], "not_exhaustive_category_ids": []}
    value["images"][1] |= {"neg_category_ids": [2], "not_exhaustive_category_ids": [1]}
    value["categories"].append({"id": 2, "name": "cow"})
    value["annotations"].append({"id": 8, "image_id": 3, "category_id": 2, "bbox": [0, 0, 9, 9]})
    _, samples, refused = run(tmp_path, value)
    assert [(sample.question, sample.meta["categories"]) for sample in samples] == [
        ("Point to every dog.", ["cat", "dog"]),
        ("Point to every dog.", ["cow", "dog"]),
    ]
    assert [(row.id, row.field) for row in refused] == [("coco-3", "objects")], "its lists are missing"


def test_photographs_without_annotation_are_refused_with_the_true_reason(tmp_path: Path) -> None:
    _, _, refused = run(tmp_path, doc(3))
    assert [(row.id, row.reason) for row in refused] == [("coco-3", "no annotation refers to this image")]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"instance_id": 7}, {"instance_id": "7"}),
        ({"attributes": {"instance_id": "a7", "occluded": True}}, {"instance_id": "a7", "occluded": True}),
        ({"identity": 7.0}, {"instance_id": "7"}),
        ({"person_id": "p7", "track_id": 3}, {"instance_id": "p7"}),
        ({"person_id": -1}, {}),
        ({"identity": None, "attributes": {"note": "x", "shape": [1]}}, {"note": "x"}),
    ],
)
def test_instances_are_kept(tmp_path: Path, given: Doc, kept: Doc) -> None:
    value = doc()
    value["annotations"][2] |= given
    _, samples, _ = run(tmp_path, value)
    assert samples[1].images[0].objects[1].attributes == kept


def test_tracks_identify_an_object_in_their_own_film_only(tmp_path: Path) -> None:
    value = doc()
    value["annotations"] = [{**row, "track_id": 5} for row in value["annotations"]]
    value["images"][1]["video_id"] = 2
    _, samples, _ = run(tmp_path, value)
    first, second = (sample.images[0].objects[0].attributes for sample in samples)
    assert first["instance_id"] == second["instance_id"] == "5"
    assert second["instance_scope"] == f"{first['instance_scope']}-2"


def rich() -> Doc:
    """Every kind of annotation that an export has to keep; the asked label is not the first of the alphabet."""
    value = doc(3)
    value["annotations"][0] |= {"identity": "d1", "attributes": {"occluded": True}}
    value["annotations"][1] |= {"iscrowd": 1}
    value["annotations"] += [
        {"id": 20, "image_id": 3, "category_id": 1, "bbox": [1, 2, 30, 40], "track_id": 8},
        {"id": 21, "image_id": 3, "category_id": 0, "bbox": [60, 2, 30, 40]},
        {"id": 22, "image_id": 3, "category_id": 0, "bbox": [60, 50, 30]},
        {"id": 23, "image_id": 2, "category_id": 0, "bbox": [5, 5, 9, 9], "ignore": 1},
    ]
    return value


def lvis() -> Doc:
    value = rich()
    value["categories"].append({"id": 2, "name": "Cow"})
    for entry in value["images"]:
        entry |= {"neg_category_ids": [2], "not_exhaustive_category_ids": []}
    return value


def empty() -> Doc:
    """Two of three pictures have no objects; with ``negatives="keep"`` they are annotated."""
    return doc(3) | {"annotations": doc()["annotations"][:1]}


@pytest.mark.parametrize("make", [doc, rich, lvis, empty])
def test_an_export_is_imported_as_the_same_dataset(tmp_path: Path, make: Any) -> None:
    _, before, _ = run(tmp_path, make(), negatives="keep")
    assert len(before) >= 2
    source = DatasetFolder.open(tmp_path / "out")
    export_dataset(source, make_plan(source, tmp_path / "exported"), "coco")
    options = ImportOptions(root=str(tmp_path / "images"))
    report = import_dataset("coco", tmp_path / "exported" / "annotations.json", tmp_path / "again", options)
    after = list(DatasetFolder.open(tmp_path / "again").read())
    assert not report.refused
    for old, new in zip(before, after, strict=True):
        assert _rounded(old) == _rounded(new)


def _rounded(sample: Sample) -> Doc:
    """A sample as JSON, with boxes to nine decimals: pixels are not exact fractions."""
    value = sample.model_dump(mode="json")
    for thing in (*value["targets"], *value["images"][0]["objects"]):
        thing["box"] = [round(v, 9) for v in thing["box"]]
    return value


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([doc, rich, lvis]).flatmap(lambda make: spoiled([make()])))
def test_any_damage_is_a_refusal_and_never_an_exception(tmp_path: Path, value: object) -> None:
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(value, default=str), encoding="utf-8")
    options = ImportOptions(root=str(tmp_path), look="none")
    try:
        report = import_dataset("coco", file, tmp_path / "out", options, overwrite=True, listed=100)
    except DataError as error:
        assert error.message and error.hint is not None
        return
    samples = list(DatasetFolder.open(tmp_path / "out").read())
    assert len(samples) == report.samples
    for sample in samples:
        assert "None" not in sample.question and (sample.targets or sample.meta.get("annotated"))
        assert all(target.label == sample.meta["subject"] for target in sample.targets)
    assert all(row.field and row.reason for row in report.first)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([60, 40, 90, 70], "1 of 1 boxes leave the image as [x, y, width, height], and none does as x1, y1, x2, y2"),
        ([0.1, 0.2, 0.3, 0.4], "box (0.1, 0.2, 0.4, 0.6) can only be fractions (0-1), and the boxes are read"),
    ],
)
def test_boxes_that_are_no_pixels_of_widths_and_heights(tmp_path: Path, box: list[float], reason: str) -> None:
    """One box is enough: nothing is accepted beside it if it holds for all."""
    value = doc()
    value["annotations"] = [{**value["annotations"][0], "bbox": box}]
    with pytest.raises(DataError, match=re.escape(reason)):
        run(tmp_path, value)


@pytest.mark.parametrize(("angle", "refused"), [(32.5, True), ("-4", True), (0.0, False), (360, False), ("0.0", False)])
def test_a_rotated_box_of_cvat_is_refused(tmp_path: Path, angle: object, refused: bool) -> None:
    """CVAT writes the box as it was before the rotation."""
    value = doc()
    value["annotations"][0]["attributes"] = {"rotation": angle, "occluded": False}
    _, _, rows = run(tmp_path, value)
    assert [row.field for row in rows if row.field == "rotation"] == (["rotation"] if refused else [])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"score": 0.5}, "an annotation has a score of 0.5: these are predictions"),
        ({"bbox_mode": 0}, "bbox_mode is 0, not [x, y, width, height]"),
        ({"bbox_mode": "BoxMode.XYXY_ABS"}, "bbox_mode is 'BoxMode.XYXY_ABS'"),
        ({"bbox_format": "xyxy"}, "bbox_format is 'xyxy'"),
        ({"score": 1.0, "bbox_mode": 1}, None),  # a person is certain, and 1 is XYWH_ABS
        ({"bbox_mode": "BoxMode.XYWH_ABS", "bbox_format": None}, None),
        ({"area": 30 * 20}, "the area of 3 boxes is theirs as x1, y1, x2, y2"),
        ({"area": 40 * 30}, None),
        ({"area": 555}, None),  # of the mask
        ({"area": 30 * 20, "others": 1}, None),  # another area is that of a corner and a size
    ],
)
def test_what_annotations_say_of_their_boxes(tmp_path: Path, change: Doc, reason: str | None) -> None:
    """[10, 10, 40, 30] lies inside of the image as a corner and a size, and as two corners."""
    value = doc(3)
    note = {**value["annotations"][0], "bbox": [10, 10, 40, 30], **change}
    value["annotations"] = [{**note, "id": k, "image_id": k} for k in (1, 2, 3)]
    other = {**note, "id": 4, "image_id": 2, "bbox": [50, 10, 40, 30], "area": 40 * 30}
    value["annotations"] += [other] * note.get("others", 0)
    if reason is None:
        assert run(tmp_path, value)[1][0].targets[0].box == (0.1, 0.125, 0.5, 0.5)
    else:
        with pytest.raises(DataError, match=re.escape(reason)):
            run(tmp_path, value)


@pytest.mark.parametrize("categories", [["dog"], {"1": "dog"}, [{"name": "dog"}]])
def test_categories_without_ids(tmp_path: Path, categories: Any) -> None:
    with pytest.raises(DataError, match="a category has no id"):
        run(tmp_path, {**doc(), "categories": categories})


def test_a_panoptic_file_is_named(tmp_path: Path) -> None:
    value = doc()
    value["annotations"] = [{"image_id": 1, "file_name": "1.png", "segments_info": [{"id": 5, "bbox": [1, 2, 3, 4]}]}]
    with pytest.raises(DataError, match="is a panoptic file of COCO"):
        run(tmp_path, value)


def test_the_folder_in_a_url_of_lvis(tmp_path: Path) -> None:
    """A file of LVIS lists images of train2017 and of val2017, and both folders are below one root."""
    value = doc()
    value["images"][0] = {"id": 1, "coco_url": "http://images.cocodataset.org/train2017/1.png"}
    pictures(tmp_path / "images", ["train2017/1.png"], (100, 80))
    _, samples, refused = run(tmp_path, value)
    assert not refused and samples[0].images[0].path.endswith("/train2017/1.png")


def test_films_of_tao_say_for_which_categories_they_were_annotated(tmp_path: Path) -> None:
    """Dogs are not annotated exhaustively in the film of the first image; and no cat is in it."""
    value = doc()
    value["videos"] = [
        {"id": 7, "neg_category_ids": [1], "not_exhaustive_category_ids": [0]},
        {"id": 8, "neg_category_ids": [], "not_exhaustive_category_ids": []},
    ]
    value["images"][0]["video_id"], value["images"][1]["video_id"] = 7, 8
    _, samples, refused = run(tmp_path, value)
    assert [row.id for row in refused] == ["coco-1"] and "no category is annotated completely" in refused[0].reason
    assert samples[0].meta["categories"] == ["cat", "dog"]

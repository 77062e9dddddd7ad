"""ms-swift's rows: slots filled in order, boxes in the frame that bbox_type says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from fakes.importing import NO_FILES, imported, only, pictures, refused, spoiled, survives, write_rows
from mirg.data.importers.formats import SOURCES
from mirg.data.importers.raw import RawBox, RawSample

AB = ["a.png", "b.png"]


def row(*turns: tuple[str, str], images: list[str] | None = None, **objects: Any) -> dict[str, Any]:
    said = [{"role": "system", "content": "You are a helpful assistant."}]
    for question, answer in turns:
        said += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": said, "images": AB if images is None else images, "objects": objects}


SHEEP = row(
    ("<image>Find the <ref-object> in the image", "<bbox><bbox>"),
    images=["a.png"],
    ref=["sheep"],
    bbox=[[9, 16, 35, 22], [36, 48, 49.5, 53]],
)
PAIR = row(
    ("<image><image>What is like <bbox>?", '[{"bbox_2d": <bbox>, "label": "<ref-object>"}]'),
    ref=["a cup"], bbox=[[10, 8, 40, 40], [20, 20, 60, 60]], image_id=[0, 1],
    width=[100, 100], height=[80, 80],
)  # fmt: skip
TURNS = row(
    ("<image>Where is <ref-object>?", "<bbox>"),
    ("Describe it.", "<ref-object><bbox> and <ref-object><bbox>"),
    images=["a.png"],
    ref=["it", "a dog", "a woman"],
    bbox=[[0.1, 0.2, 0.3, 0.4], [0.2, 0.2, 0.3, 0.4], [0.3, 0.2, 0.4, 0.4]],
    bbox_type="norm1",
)
GOOD = [SHEEP, PAIR, TURNS]


def test_two_boxes_of_one_name() -> None:
    sample = only("ms-swift", SHEEP)
    assert sample.question == ("Find the sheep in the image",)
    assert [(box.label, box.frame) for box in sample.targets] == [("sheep", "pixels")] * 2
    assert sample.meta == {"subject": "sheep"}


def test_boxes_in_their_images() -> None:
    sample = only("ms-swift", PAIR)
    assert sample.question == ("What is like ", RawBox(1, (10, 8, 40, 40), frame="pixels"), "?")
    assert sample.targets == (RawBox(2, (20, 20, 60, 60), "a cup", "pixels"),)
    assert sample.image_hidden and [(image.width, image.height) for image in sample.images] == [(100, 80)] * 2


def test_slots_are_filled_across_turns() -> None:
    first, second = SOURCES["ms-swift"].convert(TURNS, NO_FILES)
    assert isinstance(first, RawSample) and isinstance(second, RawSample)
    assert [box.numbers[0] for box in first.targets] == [0.1]
    assert [(box.numbers[0], box.label) for box in second.targets] == [(0.2, "a dog"), (0.3, "a woman")]


def test_images_come_first_where_no_place_is_said() -> None:
    value = row(
        ("Find the <ref-object> in the second image.", "<bbox>"), ref=["cup"], bbox=[[1, 2, 3, 4]], image_id=[1]
    )
    sample = only("ms-swift", value)
    assert len(sample.images) == 2 and sample.targets[0].image == 2 and not sample.image_hidden


def changed(value: dict[str, Any], **objects: Any) -> dict[str, Any]:
    return {**value, "objects": {**value["objects"], **objects}}


@pytest.mark.parametrize(
    ("value", "field", "reason", "why"),
    [
        ({**SHEEP, "objects": None}, "objects", "is missing", "no annotation"),
        ({**SHEEP, "objects": "[]"}, "objects", "ms-swift 2", "the older form, JSON inside a text"),
        ({**SHEEP, "objects": [{"caption": "a", "bbox": [1, 2, 3, 4]}]}, "objects", "ms-swift 2", "its list"),
        ({**SHEEP, "objects": 7}, "objects", "not an object", "a number"),
        (changed(SHEEP, bbox_type="norm"), "objects.bbox_type", "is not one of", "an unknown frame"),
        (changed(SHEEP, bbox=[[9, 16, 35, 22]]), "objects.bbox", "1 of them for 2", "fewer boxes than slots"),
        (changed(SHEEP, ref=["a", "b"]), "objects.ref", "2 of them for 1", "more names than slots"),
        (changed(SHEEP, bbox=[[9, 16], [1, 2]]), "objects.bbox.0", "four numbers", "a point is no box"),
        (changed(SHEEP, bbox=7), "objects.bbox", "not a list", "no list"),
        (changed(PAIR, image_id=[0, 2]), "objects.image_id.1", "does not exist", "no third image"),
        (changed(PAIR, image_id=[0]), "objects.image_id", "1 images for 2 boxes", "one too few"),
        (changed(PAIR, width=[100]), "objects.width", "1 widths", "a size is missing"),
        (row(("<image><image>What?", "A dog."), bbox=[]), "answer", "holds no box", "another task"),
        (
            row(("<image>Find it.", "<bbox>"), ("<image>And?", "none"), bbox=[[1, 2, 3, 4]], image_id=[1]),
            "objects.image_id",
            "shown after",
            "the box lies in an image that is not there yet",
        ),
    ],
)
def test_refused(value: object, field: str, reason: str, why: str) -> None:
    found = SOURCES["ms-swift"].convert(value, NO_FILES)[0]
    assert not isinstance(found, RawSample)
    assert found.field == field and reason in found.reason, f"{why}: {found}"


NORM = {"ref": ["mug"], "bbox_type": "norm1000"}
BOX, OTHER = [100, 200, 300, 400], [500, 500, 600, 700]


@pytest.mark.parametrize(
    ("question", "answer", "boxes", "images", "why"),
    [
        ("Find the <ref-object> in Image-2.", "<bbox>", [BOX], [2], "the question names the image"),
        ("Find the <ref-object>.", "It is in the second image: <bbox>", [BOX], [2], "the answer names it"),
        ("Find the <ref-object> in Image-1.", "Image-2: <bbox>", [BOX], [2], "the answer wins"),
        ("Find each <ref-object>.", "Image-2: <bbox>\nImage-1: <bbox>", [BOX, OTHER], [2, 1], "in any order"),
        ("<ref-object>?", '[{"image": 2, "bbox_2d": <bbox>, "label": "m"}]', [BOX], [2], "JSON names it"),
        ("<ref-object>?", '[{"image": 2, "bbox_2d": "<bbox>"}]', [BOX], [2], "a placeholder in quotation marks"),
        ("Image-1 has <bbox>. <ref-object>?", "Image-2: <bbox>", [BOX, OTHER], [2], "a reference of the question"),
    ],
)
@pytest.mark.parametrize("ids", [None, [0, 0], [1, 1], [7]])
def test_the_texts_name_the_image_of_normalised_boxes(
    question: str, answer: str, boxes: list[list[int]], images: list[int], why: str, ids: list[int] | None
) -> None:
    """image_id means nothing to ms-swift here, so it decides nothing."""
    more = {} if ids is None else {"image_id": ids}
    sample = only("ms-swift", row((f"<image><image>{question}", answer), bbox=boxes, **NORM, **more))
    assert [box.image for box in sample.targets] == images, why
    assert [list(box.numbers) for box in sample.targets] == boxes[len(boxes) - len(images) :], why


def test_boxes_of_the_reasoning_are_citations() -> None:
    thinking = "Image-1 shows one at <bbox>; in Image-2 a <ref-object> at <bbox>."
    answer = f"<think>{thinking}</think><answer>Image-2: <bbox></answer>"
    value = row(("<image><image>Which?", answer), ref=["dog"], bbox=[BOX, OTHER, OTHER], bbox_type="norm1000")
    sample = only("ms-swift", value)
    assert sample.targets == (RawBox(2, tuple(OTHER), "", "relative_1000"),)  # type: ignore[arg-type]
    assert sample.thinking == (
        "Image-1 shows one at ", RawBox(1, tuple(BOX), "", "relative_1000"), "; in Image-2 a dog at ",  # type: ignore[arg-type]
        RawBox(2, tuple(OTHER), "", "relative_1000"), ".",  # type: ignore[arg-type]
    )  # fmt: skip


def test_image_id_places_boxes_in_pixels() -> None:
    """Also those of the reasoning, which need no name then."""
    answer = "<think>Like <bbox>.</think><answer>Here: <bbox></answer>"
    value = row(("<image><image>Image-1 has one. Where in the other?", answer), bbox=[BOX, OTHER], image_id=[0, 1])
    sample = only("ms-swift", value)
    assert sample.targets == (RawBox(2, tuple(OTHER), "", "pixels"),)  # type: ignore[arg-type]
    assert sample.thinking == ("Like ", RawBox(1, tuple(BOX), "", "pixels"), ".")  # type: ignore[arg-type]
    assert sample.image_hidden


@pytest.mark.parametrize(
    ("value", "field", "reason", "why"),
    [
        (row(("<image><image>Where?", "<bbox>"), bbox=[BOX], bbox_type="norm1"), "answer", "which of the 2", "no name"),
        (
            row(("<image><image>Find it.", "<bbox>"), bbox=[BOX], bbox_type="norm1", image_id=[1]),
            "answer", "which of the 2", "image_id does not count for norm1",
        ),
        (row(("<image><image>In Image-2?", "<bbox>"), bbox=[BOX]), "objects.image_id", "is missing", "of which?"),
        (
            row(("<image><image>Where?", "Image-1: <bbox>"), bbox=[BOX], image_id=[1]),
            "objects.image_id", "contradicts the answer", "the text says another image",
        ),
        (
            row(("<image><image>Where in Image-1?", "<bbox>"), bbox=[BOX], image_id=[1]),
            "objects.image_id", "contradicts the question", "the question asks about another image",
        ),
        (
            row(("<image><image>Where?", "Image-7: <bbox>"), bbox=[BOX], image_id=[1]),
            "answer", "Image-7 does not exist", "a name that is not understood",
        ),
        (
            row(("<image><image>Where?", "Image-7: <bbox>"), bbox=[BOX], bbox_type="norm1000"),
            "answer", "Image-7 does not exist", "a name that is not understood",
        ),
        (
            row(("<image><image>Where?", "Image-2: <bbox> [1, 2, 3, 4]"), bbox=[BOX], bbox_type="norm1000"),
            "messages", "beside the placeholders", "numbers and placeholders in one text",
        ),
        (
            row(("<image>Where?", "<think>x</think><bbox><answer><bbox></answer>"), images=AB[:1], bbox=[BOX, OTHER]),
            "answer", "outside of its reasoning", "a box that is neither",
        ),
        (
            row(("<image>Where?", "<think><bbox> "), images=["a.png"], bbox=[BOX]),
            "answer", "never ends", "a citation and no answer",
        ),
        ({"messages": PAIR["messages"], "images": AB}, "objects", "is missing", "placeholders without boxes"),
    ],
)  # fmt: skip
def test_refused_images(value: object, field: str, reason: str, why: str) -> None:
    found = refused("ms-swift", value)
    assert found.field == field and reason in found.reason, f"{why}: {found}"


def test_labels() -> None:
    """A name with quotation marks inside JSON, one name for two boxes, and the name that the question asks for."""
    quoted = row(
        ("<image>Find.", '[{"bbox_2d": <bbox>, "label": "<ref-object>"}]'),
        images=["a.png"], ref=['red "ring"'], bbox=[BOX],
    )  # fmt: skip
    assert [box.label for box in only("ms-swift", quoted).targets] == ['red "ring"']
    written = row(("<image>Find.", '[{"bbox_2d": <bbox>, "label": "jug"}]'), images=["a.png"], bbox=[BOX])
    assert [box.label for box in only("ms-swift", written).targets] == ["jug"]
    two = row(("<image>Find.", "<ref-object>: <bbox> <bbox>"), images=["a.png"], ref=["cup"], bbox=[BOX, OTHER])
    assert [box.label for box in only("ms-swift", two).targets] == ["cup", "cup"]
    cited = row(
        ("<image>Find <ref-object>.", "<think>A <ref-object> at <bbox></think><answer><bbox></answer>"),
        images=["a.png"], ref=["mug", "cup"], bbox=[BOX, OTHER],
    )  # fmt: skip
    assert [box.label for box in only("ms-swift", cited).targets] == ["mug"]


@pytest.mark.parametrize("place", ["answer", "solution"])
def test_rows_without_objects_are_read_like_conversations(place: str) -> None:
    """Also a prompt whose answer is the column that rewards read."""
    value = row(("<image><image>Where is it?", "Image-2: (1,2),(3,4)"))
    del value["objects"]
    if place == "solution":
        value["solution"] = value["messages"].pop()["content"]
    sample = only("ms-swift", value)
    assert sample.targets == (RawBox(2, (1, 2, 3, 4)),)


@pytest.mark.parametrize("objects", [{}, {"ref": [], "bbox": []}])
def test_empty_objects_are_no_objects(objects: dict[str, Any]) -> None:
    value = row(("<image><image>Where is it?", "Image-2: (1,2),(3,4)")) | {"objects": objects}
    assert only("ms-swift", value).targets == (RawBox(2, (1, 2, 3, 4)),)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Find it.", '[{"image": 2, "box_2d": <bbox>}]'),
        ("Find it as [ymin, xmin, ymax, xmax].", "Image-2: <bbox>"),
    ],
)
def test_texts_that_tell_another_order_than_objects(question: str, answer: str) -> None:
    found = refused("ms-swift", row((f"<image><image>{question}", answer), bbox=[BOX], **NORM | {"ref": []}))
    assert "[y1, x1, y2, x2]" in found.reason


def test_no_objects_for_any_slot() -> None:
    assert refused("ms-swift", {**SHEEP, "objects": {}}).field == "objects"


@given(spoiled(GOOD))
def test_no_row_stops_an_import(value: object) -> None:
    survives("ms-swift", value)


def test_import(tmp_path: Path) -> None:
    """Three frames in one file: each row says its own."""
    root = pictures(tmp_path / "data", AB)
    file = write_rows(tmp_path / "rows.jsonl", GOOD, lines=True)
    report, samples = imported("ms-swift", file, tmp_path / "out", root)
    assert (report.rows_used, report.samples) == (3, 4)
    assert samples[0].targets[0].box == (0.09, 0.2, 0.35, 0.275)
    assert samples[1].targets[0].box == (0.2, 0.25, 0.6, 0.75)
    assert samples[2].targets[0].box == (0.1, 0.2, 0.3, 0.4)

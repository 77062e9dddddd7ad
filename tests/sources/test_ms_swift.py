"""ms-swift's rows: slots filled in order, boxes in the frame that bbox_type says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from fakes.importing import NO_FILES, imported, only, pictures, refused, spoiled, survives, write_rows
from mirg.sources.kinds import SOURCES
from mirg.sources.raw import RawBox, RawSample

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
    ref=["a cup"], bbox=[[100, 100, 400, 500], [200, 250, 600, 750]], bbox_type="norm1000", image_id=[0, 1],
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
    assert sample.question == ("Find the ", "sheep", " in the image")
    assert [(box.label, box.frame) for box in sample.targets] == [("sheep", "pixels")] * 2
    assert sample.meta == {"subject": "sheep"}


def test_boxes_in_their_images() -> None:
    sample = only("ms-swift", PAIR)
    assert sample.question == ("What is like ", RawBox(1, (100, 100, 400, 500), frame="relative_1000"), "?")
    assert sample.targets == (RawBox(2, (200, 250, 600, 750), "a cup", "relative_1000"),)
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
        ({**SHEEP, "objects": "[]"}, "objects", "not an object", "the older form, JSON inside a text"),
        (changed(SHEEP, bbox_type="norm"), "objects.bbox_type", "none of", "an unknown frame"),
        (changed(SHEEP, bbox=[[9, 16, 35, 22]]), "objects.bbox", "1 of them for 2", "fewer boxes than slots"),
        (changed(SHEEP, ref=["a", "b"]), "objects.ref", "2 of them for 1", "more names than slots"),
        (changed(SHEEP, bbox=[[9, 16], [1, 2]]), "objects.bbox.0", "four numbers", "a point is no box"),
        (changed(SHEEP, bbox=7), "objects.bbox", "no list", "no list"),
        (changed(PAIR, image_id=[0, 2]), "objects.image_id.1", "does not exist", "no third image"),
        (changed(PAIR, image_id=[0]), "objects.image_id", "1 images for 2 boxes", "one too few"),
        (changed(PAIR, width=[100]), "objects.width", "1 widths", "a size is missing"),
        (row(("<image><image>What?", "A dog."), bbox=[]), "messages", "holds no box", "another task"),
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


def test_no_objects_for_any_slot() -> None:
    assert refused("ms-swift", {**SHEEP, "objects": {}}).field in ("objects.ref", "objects.bbox")


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

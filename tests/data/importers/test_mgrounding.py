"""MGrounding-630k: which image every box lies in, for each kind of row, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from fakes.importing import NO_FILES, imported, only, pictures, refused, spoiled, survives, write_rows
from mirg.data.importers.formats import SOURCES
from mirg.data.importers.raw import RawBox, RawSample, Refusal

HUMAN, GPT = "human", "gpt"


def box(*numbers: int) -> str:
    return "<|box_start|>({},{}),({},{})<|box_end|>".format(*numbers)


def row(kind: str, images: list[str], *turns: tuple[str, str], name: str = "r") -> dict[str, Any]:
    said = []
    for k, (question, answer) in enumerate(turns):
        shown = "<image>\n" * len(images) if k == 0 else ""
        said += [{"from": HUMAN, "value": shown + question}, {"from": GPT, "value": answer}]
    return {"id": name, "images": images, "conversations": said, "type": kind}


A, B, C = (100, 100, 400, 500), (200, 250, 600, 750), (10, 20, 999, 1000)
ABC = ["a.png", "b.png", "c.png"]
REF = ["film/0001_ref.png", "film/0011.png", "film/0021.png"]
SHUFFLED = ["film/0021.png", "film/0011.png", "film/0001.png"]
TRACK = f"These are frames of a film. For the object in the first image marked with red bounding box({box(*A)}), "

GROUP = row(
    "gg_train",
    ABC,
    ("The box of: <|object_ref_start|>a statue of a man<|object_ref_end|>.", f"It's in the third image. {box(*A)}"),
    ("Recognize the region: <|object_ref_start|>a woman<|object_ref_end|>.", f"It's in the first image. {box(*B)}"),
)  # fmt: skip
TRACKING = row("ot_train", REF, (f"{TRACK}please locate it in all frames.", f"Image-2: {box(*B)}\nImage-3: {box(*C)}"))
MIXED = row(
    "ot_train", SHUFFLED, (f"{TRACK}please locate it in all frames.", f"Image-1: {box(*C)}\nImage-2: {box(*B)}")
)
REGION = row("region_train", ABC, ("Please locate the 2th region picture in the source image. ", box(*A)))
REFER = row("refer_train", ABC[:2], ("Where does the object in image-1 locate in the image-2?", box(*A)))
COMMON = row(
    "common_train", ABC, ("These images share one object. Recognize and locate this object in the 2th image.", box(*A))
)
STATIC = row("diff_train", ABC[:2], ("Compare the images and give me the coordinates of their difference.", box(*A)))
FREE = row(
    "free_form",
    ABC,
    ("Which item in Image-3 opens the door of Image-1? Find it in the third image.", f"A key {box(*A)}"),
)
SINGLE = row("refcoco", ABC[:1], ("Where is <|object_ref_start|>the left dog<|object_ref_end|>?", box(*A)))
GOOD = [GROUP, TRACKING, MIXED, REGION, REFER, COMMON, STATIC, FREE, SINGLE]


def targets(sample: RawSample) -> list[tuple[int, tuple[int, ...]]]:
    assert all(target.frame == "relative_1000" for target in sample.targets)
    return [(target.image, tuple(int(v) for v in target.numbers)) for target in sample.targets]


@pytest.mark.parametrize(
    ("value", "task", "expected", "hidden", "roles", "why"),
    [
        (TRACKING, "object_tracking", [(2, B), (3, C)], False, "rff", "one target per frame, the anchor ends in _ref"),
        (MIXED, "object_tracking", [(1, C), (2, B)], False, "ffr", "the smallest frame number is the first image"),
        (REGION, "region", [(1, A)], False, "sdr", "the answer lies in the source, the asked crop is image N + 1"),
        (REFER, "refer", [(2, A)], False, "rc", "found in image 2, image 1 is the reference"),
        (COMMON, "common_object", [(2, A)], False, "ccc", '"2th" as the field writes it'),
        (STATIC, "difference", [(2, A)], True, "cc", "an edited pair: either image is right, the second is taken"),
        (FREE, "free_form", [(3, A)], False, "rcc", "several images named: the one to search in"),
        (SINGLE, "refcoco", [(1, A)], False, "c", "a single image needs no name"),
    ],
)
def test_where_the_answer_lies(
    value: dict[str, Any], task: str, expected: list[object], hidden: bool, roles: str, why: str
) -> None:
    sample = only("mgrounding", value)
    assert (sample.task, targets(sample), sample.image_hidden) == (task, expected, hidden), why
    assert "".join(image.role[0] for image in sample.images) == roles, why


def test_turns_become_samples() -> None:
    statue, woman = SOURCES["mgrounding"].convert(GROUP, NO_FILES)
    assert isinstance(statue, RawSample) and isinstance(woman, RawSample)
    assert (statue.id, woman.id) == ("r-1", "r-2")
    assert statue.question == ("The box of: a statue of a man.",)
    assert (targets(statue), statue.image_hidden) == ([(3, A)], True)
    assert statue.meta == {"type": "gg_train", "subject": "a statue of a man"}
    assert woman.targets[0].label == "a woman" and len(woman.images) == 3


@pytest.mark.parametrize(
    ("images", "anchor", "why"),
    [
        (REF, 1, "marked and first"),
        (["f/3.png", "f/9_ref.png", "f/1.png"], 2, "a marked file wins over numbers"),
        (SHUFFLED, 3, "numbers of frames"),
        (["f/img_2.png", "f/img_10.png", "f/img_1.png"], 3, "numbers are compared as numbers"),
        (["f\\3.png", "f\\1.png", "f\\2.png"], 2, "another system's separators"),
    ],
)
def test_the_anchor_and_its_box(images: list[str], anchor: int, why: str) -> None:
    """The words and the box of the question go to where the first frame stands."""
    asked = 1 + anchor % 3
    sample = only("mgrounding", row("ot", images, (f"{TRACK}find it.", f"Image-{asked}: {box(*B)}")))
    (shown,) = [part for part in sample.question if isinstance(part, RawBox)]
    assert (shown.image, shown.numbers) == (anchor, A), why
    words = "".join(part for part in sample.question if isinstance(part, str))
    assert ("the first image" in words) == (anchor == 1) and (f"Image-{anchor}" in words) == (anchor > 1), why
    assert sample.images[anchor - 1].role == "reference" and sample.relation == "same_object"
    assert all(image.frame is not None for image in sample.images)


SAID = f"Image-1: {box(*A)}"


@pytest.mark.parametrize(
    ("value", "field", "reason", "why"),
    [
        ([], "row", "list is not an object", "another kind of row"),
        ({**GROUP, "images": ABC[:2]}, "images", "3 placeholders for 2 images", "fewer images than placeholders"),
        ({**GROUP, "images": []}, "images", "no images", "none at all"),
        ({**GROUP, "images": ["a.png", 3, "c.png"]}, "images.1", "not a text", "a value that is not a path"),
        ({**GROUP, "conversations": None}, "conversations", "missing", "nothing was said"),
        (
            {**SINGLE, "conversations": [{"from": "tool", "value": "x"}]},
            "conversations.0", "neither asks nor answers", "a role of another kind of conversation",
        ),
        (row("gg", ABC, ("What is it?", "A cat.")), "answer", "holds no box", "a description"),
        (row("gg", ABC, ("Find it.", box(*A))), "answer", "which of the 3 images", "nothing names the image"),
        (row("gg", ABC, ("Find it.", f"It's in the ninth image. {box(*A)}")), "answer", "does not exist", "no image 9"),
        (row("gg", ABC, ("Find it in the 7th image.", box(*A))), "question", "does not exist", "asks for no image"),
        (
            row("free", ABC, ("Is the cup of Image-1 like that of Image-2?", box(*A))),
            "answer", "which of the 3 images", "two images named alike",
        ),
        (row("ot", REF, (TRACK, f"Image-2: {box(*A)} Image-3:")), "answer", "without a box", "a frame lacks its box"),
        (
            row("ot", REF, (TRACK, f"{SAID} {SAID.replace('100', '101')}")),
            "answer", "more than one", "two in one frame",
        ),
        (row("ot", REF, (TRACK, f"{box(*A)} {box(*B)}")), "answer", "without the names", "which frame is which?"),
        (row("ot", ABC, (TRACK, SAID)), "images", "which frame is the first", "no numbers, no _ref"),
        (row("ot", ["a_ref.png", "b_ref.png"], (TRACK, SAID)), "images", "all end in _ref", "two anchors"),
        (row("ot", ["f/1.png", "g/1.png"], (TRACK, SAID)), "images", "which frame", "numbers of two films"),
        (row("ot", ["f/a1.png", "f/b1.png"], (TRACK, SAID)), "images", "occurs twice", "two first frames"),
        (
            row("ot", SHUFFLED, (f"{TRACK}find it in the first image.", SAID)),
            "question", "names the first image 2 times", "only one of the two can be the first frame",
        ),
        (
            row("ot", SHUFFLED, (TRACK, f"In the first image {box(*A)}")),
            "answer", "image 1 of the list or the first frame", "the words mean two images",
        ),
        (row("ot", SHUFFLED, (f"{TRACK}find it in Image-3.", box(*A))), "answer", "which of", "asks in the anchor"),
        (row("region", ABC, ("Locate the 3th region picture.", box(*A))), "question", "region 3", "no third crop"),
        (row("region", ABC, ("Locate it.", f"Image-2: {box(*A)}")), "answer", "than the source", "a crop has no box"),
        (row("gg", ABC, ("Find it.", f"{SAID}{SAID}")), "answer", "twice", "one object, one box"),
        (
            row("gg", ABC, (f"Like {box(*A)}: find it in Image-2.", f"Image-2: {box(*B)}")),
            "question", "which of the 3 images", "whose box is that?",
        ),
        (
            {**SINGLE, "conversations": SINGLE["conversations"][:1]},
            "conversations", "without an answer", "the answer was cut off",
        ),
        ({**SINGLE, "id": "\ud800"}, "id", "surrogate", "no file can hold it"),
    ],
)  # fmt: skip
def test_refused(value: object, field: str, reason: str, why: str) -> None:
    found = refused("mgrounding", value)
    assert found.field == field and reason in found.reason, f"{why}: {found}"


def test_a_difference_in_a_named_image_is_in_that_one() -> None:
    assert only("mgrounding", STATIC).meta["either_image"] == [1, 2]
    named = row("diff_train", ABC[:2], ("Find their difference in the first image.", box(*A)))
    sample = only("mgrounding", named)
    assert (targets(sample), sample.image_hidden) == ([(1, A)], False) and "either_image" not in sample.meta


def test_one_bad_turn_leaves_the_others() -> None:
    good, bad = ("Find it.", f"It's in the second image. {box(*A)}"), ("What is it?", "A cat.")
    first, second, third = SOURCES["mgrounding"].convert(row("gg_train", ABC, good, bad, good), NO_FILES)
    assert isinstance(first, RawSample) and isinstance(second, Refusal) and isinstance(third, RawSample)
    assert second.id == "r-2" and third.id == "r-3"


@given(spoiled(GOOD))
def test_no_row_stops_an_import(value: object) -> None:
    survives("mgrounding", value)


def test_import(tmp_path: Path) -> None:
    """The published file: a list, paths below ./MGrounding-630k/."""
    rows = []
    for k, value in enumerate([*GOOD, row("gg_reg", ABC, ("What is it?", "A cat."))]):
        rows.append(value | {"id": f"row{k}", "images": [f"./MGrounding-630k/X/{path}" for path in value["images"]]})
    names = {path for value in rows for path in value["images"]}
    root = pictures(tmp_path / "data", sorted(names))
    file = write_rows(tmp_path / "MGrounding-630k.json", rows)
    report, samples = imported("mgrounding", file, tmp_path / "out", root)
    assert (report.rows, report.rows_used, report.samples, report.frame) == (10, 9, 10, "relative_1000")
    tracking = samples[3]
    assert tracking.id == "row2-1" and tracking.image_hidden is False
    assert tracking.question.startswith("These are frames of a film. For the object in Image-3 marked with")
    assert "<box image=3>0.1,0.1,0.4,0.5</box>" in tracking.question
    assert [target.image for target in tracking.targets] == [1, 2]

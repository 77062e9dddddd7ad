"""UniVG-R1's rows: reasoning apart from the answer, and the image of a box that the answer does not name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from fakes.importing import imported, only, pictures, refused, spoiled, survives, write_rows
from mirg.data.importers.raw import RawBox

AB = ["a.png", "b.png"]
A, B = (100, 100, 400, 500), (200, 250, 600, 750)
FORMAT = (
    " First output the thinking process in <think> </think> tags and then output the bounding box in "
    "<answer> </answer> tags."
)
ASKED = "<image><image>For the area marked in the first image, locate the corresponding area in the second image."
HIDDEN = "Find the region: <|object_ref_start|>a red kite<|object_ref_end|>."
REASON = "The first image shows a cup at (100,100),(400,500). In the second image a glass stands at {}."


def spelled(box: tuple[int, ...]) -> str:
    return "({},{}),({},{})".format(*box)


def row(question: str, answer: object, images: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"images": AB if images is None else images, "question": question, "answer": answer, **more}


def thought(reason: str, box: tuple[int, ...] = B) -> str:
    return f"<think>{reason}</think><answer>{spelled(box)}</answer>"


COT = row(ASKED + FORMAT, thought(REASON.format(spelled(B))), id="c1", type="correspondence")
RL = row(ASKED, list(B), id="r1")
SAID = row(HIDDEN, f"A kite flies over the sea. It's in the second image. {spelled(B)}")
QUOTED = row(HIDDEN, thought(f"A kite is at {spelled(B)} of the second image."))
COCO = row("the left dog", spelled(A), ["dataset/coco/train2014/COCO_train2014_000000000009.jpg"])
SFT = {
    "messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": thought("A glass.")}],
    "images": AB,
}
GOOD = [COT, RL, SAID, QUOTED, COCO, SFT]


@pytest.mark.parametrize(
    ("value", "task", "target", "hidden", "thinks", "why"),
    [
        (COT, "correspondence", (2, B), False, True, "stage 1: the question says where"),
        (RL, "grounding", (2, B), False, False, "stage 2: four numbers and no reasoning"),
        (SAID, "grounding", (2, B), True, True, "the last sentence before the box belongs to the answer"),
        (QUOTED, "grounding", (2, B), True, True, "the sentence that quotes the box names one image"),
        (COCO, "single_image", (1, A), False, False, "a single COCO photograph"),
        (SFT, "grounding", (2, B), False, True, "in LLaMA-Factory's form"),
        (row(ASKED, str(list(B))), "grounding", (2, B), False, False, "a list in a text"),
        (row(ASKED, [list(B)]), "grounding", (2, B), False, False, "a list of one box"),
        (
            row(ASKED, f"<think>A glass at {list(B)}.</think><answer>{list(B)}</answer>"),
            "grounding", (2, B), False, True, "lists, also in the reasoning",
        ),
        (
            {"image": AB, "problem": ASKED, "solution": f"<answer>{spelled(B)}</answer>"},
            "grounding", (2, B), False, False, "the columns of VLM-R1",
        ),
    ],
)  # fmt: skip
def test_rows(value: object, task: str, target: object, hidden: bool, thinks: bool, why: str) -> None:
    sample = only("univg", value)
    (found,) = sample.targets
    assert (sample.task, (found.image, found.numbers), sample.image_hidden) == (task, target, hidden), why
    assert (sample.thinking is not None) == thinks, why


def test_boxes_of_the_reasoning_lie_in_their_images() -> None:
    sample = only("univg", COT)
    boxes = [part for part in sample.thinking or () if isinstance(part, RawBox)]
    assert [(box.image, box.numbers) for box in boxes] == [(1, A), (2, B)]
    assert "First output" not in str(sample.question[0]), "mirg asks for the format in its own words"


@pytest.mark.parametrize(
    ("value", "field", "reason", "why"),
    [
        ("row", "row", "not an object", "no row"),
        (row(HIDDEN, list(A)), "answer", "which of the 2 images", "no word about the image anywhere"),
        (
            row(HIDDEN, thought(f"The first image has {spelled(B)}, the second image too.")),
            "answer", "which of the 2", "the reasoning names two images beside the box",
        ),
        (row(ASKED, "none of them"), "answer", "holds no box", "no place"),
        (row(ASKED, [1, 2, 3]), "answer", "four numbers", "a box too short"),
        (row(ASKED, [1, 2, 3, float("nan")]), "answer", "four numbers", "no number"),
        (row(ASKED, "<think>it continues"), "answer", "never ends", "cut off"),
        (row("<image>" + HIDDEN, list(A)), "images", "1 placeholders for 2", "an image too many"),
        (row(ASKED, None), "answer", "missing", "no answer"),
        (row(ASKED, f"<answer>{spelled(A)} {spelled(B)}</answer>"), "answer", "2 boxes", "one is expected"),
        ({**SFT, "messages": SFT["messages"] * 2}, "images", "4 placeholders", "two questions"),
    ],
)  # fmt: skip
def test_refused(value: object, field: str, reason: str, why: str) -> None:
    found = refused("univg", value)
    assert found.field == field and reason in found.reason, f"{why}: {found}"


@given(spoiled(GOOD))
def test_no_row_stops_an_import(value: object) -> None:
    survives("univg", value)


def test_import(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", [*AB, str(COCO["images"][0])])
    file = write_rows(tmp_path / "stage1_cotsft.json", [*GOOD, row(HIDDEN, list(A))])
    report, samples = imported("univg", file, tmp_path / "out", root)
    assert (report.rows_used, report.rows_refused) == (6, 1)
    trajectory = samples[0].trajectory
    assert trajectory is not None and trajectory.writer == "univg" and trajectory.answer == samples[0].targets
    assert "<box image=1>0.1,0.1,0.4,0.5</box>" in trajectory.thinking

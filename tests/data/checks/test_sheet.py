"""Samples as cards: boxes in their style, texts in words, what may not be opened with its reason."""

from __future__ import annotations

import re
from pathlib import Path

from fakes.datasets import BOX, edit_rows, row, write_rows
from mirg.data.checks.sheet import choose, sheet_data, sheet_sample, show
from mirg.samples import DatasetFolder

OTHER = (0.1, 0.1, 0.2, 0.2)
ASKED = (0.5, 0.5, 0.9, 0.9)


def annotated(tmp_path: Path) -> DatasetFolder:
    notes = [
        {"role": "reference", "caption": "a ring", "objects": [{"label": "ring", "box": ASKED}]},
        {"role": "frame", "frame": 3,
         "objects": [{"label": "ring", "box": BOX}, {"label": "star", "box": OTHER}]},
        {"role": "distractor", "frame": 4},
    ]  # fmt: skip
    fields = {
        "question": "Where is <box image=1>0.5,0.5,0.9,0.9</box> again?",
        "targets": [{"image": 2, "box": BOX, "label": "ring"}],
        "relation": "same_object",
        "image_hidden": True,
        "meta": {"subject": "ring", "level": 2},
        "trajectory": {
            "thinking": "It is <box image=2>0.1,0.1,0.2,0.2</box>.",
            "answer": [{"image": 2, "box": BOX, "label": "ring"}],
            "writer": "rules/1",
            "checks": ["grammar", "iou"],
            "meta": {"tokens": 9},
        },
    }
    return write_rows(tmp_path / "d", [row("s", [1, 2, 3], refs=notes, **fields), row("n", [1], targets=[])])


def test_one_card(tmp_path: Path) -> None:
    folder = annotated(tmp_path)
    sample, none = folder.read()
    card = sheet_sample(folder, sample)
    assert card.question == "Where is [box in Image-1] again?" and card.chain == "It is [box in Image-2]."
    assert card.tags == ("same object", "image hidden") and card.hidden
    assert card.targets == card.answer == ("Image-2 (0.250, 0.250, 0.750, 0.500) ring",)
    assert card.written == "written by rules/1; checks passed: grammar, iou"
    assert [(image.tag, image.note, image.caption) for image in card.images] == [
        ("Image-1", "reference", "a ring"), ("Image-2", "frame 3", ""), ("Image-3", "distractor frame 4", ""),
    ]  # fmt: skip
    assert [[(box.kind, box.box) for box in image.boxes] for image in card.images] == [
        [("given", ASKED)], [("noted", OTHER), ("true", BOX)], [],
    ]  # fmt: skip
    facts = dict(card.facts)
    assert facts["meta.level"] == "2" and facts["meta.subject"] == "ring" and facts["trajectory.meta.tokens"] == "9"
    empty = sheet_sample(folder, none)
    assert empty.targets == ("none",) and empty.answer == () and empty.written == ""


def test_an_unchecked_trajectory_is_said_to_be_that(tmp_path: Path) -> None:
    folder = edit_rows(annotated(tmp_path), lambda rows: rows[0]["trajectory"].pop("checks"))
    assert sheet_sample(folder, next(folder.read())).written.endswith("not checked")


def test_images_that_may_not_be_opened(tmp_path: Path) -> None:
    folder = edit_rows(annotated(tmp_path), lambda rows: rows[0]["images"][2].update(path="../x.png"))
    image = sheet_sample(folder, next(folder.read())).images[2]
    assert image.path is None and "outside" in image.problem


def test_the_page_says_what_it_shows(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "d", [row(f"s{k}", [k], task="ab"[k % 2]) for k in range(5)])
    chosen = choose(folder, 2)
    data = sheet_data(folder, list(folder)[:2], chosen)
    assert data.subtitle == "2 of 5 samples, alternating between the tasks." and data.notes == []
    sheet, _ = show(folder, tmp_path / "p.html", n=5, task="a")
    assert sheet.shown == 3 and "3 samples of the task a." in sheet.html


def test_many_boxes_leave_room_for_the_targets(tmp_path: Path) -> None:
    folder = annotated(tmp_path)
    objects = [{"label": "x", "box": [0.001 * k, 0, 0.5, 0.5]} for k in range(300)]
    crowded = edit_rows(folder, lambda rows: rows[0]["images"][1].update(objects=objects))
    boxes = sheet_sample(crowded, next(crowded.read())).images[1].boxes
    assert len(boxes) <= 60 and boxes[-1].kind == "true"
    html = show(crowded, tmp_path / "p.html")[0].html
    card = html.split('<article class="card" id="s-s"')[1].split("</article>")[0]
    second = card.split("</figure>")[1]
    assert re.findall(r'<rect class="(\w+)"', second)[-1] == "true"

"""Diagnostics against models whose faults are known."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from mirg.evaluation.diagnostics import (
    FEWEST_PAIRS,
    box_quality,
    by_length,
    diagnostics,
    edge_errors,
    frame_error,
    length_edges_of,
    pairs_of,
)
from mirg.evaluation.failures import failures
from mirg.evaluation.records import Record, make_record
from mirg.families import FAMILIES
from mirg.geometry import Box, iou
from mirg.samples import ImageRef, Sample, Target

FAMILY = FAMILIES["qwen3-vl"]
Answer = Callable[[Box, random.Random], Box]


def record(k: int, target: tuple[int, Box], answer: tuple[int, Box], n: int = 3, **made: Any) -> Record:
    """Item k, whose images no other item has, answered by a model of the 0-1000 frame, also beyond the frame."""
    sample = Sample(
        id=f"s{k}",
        task="t",
        images=tuple(ImageRef(path=f"{k}-{j}.png", width=300 + 100 * j, height=200) for j in range(n)),
        question="Where?",
        targets=(Target(image=target[0], box=target[1]),),
        image_hidden=True,
    )
    x1, y1, x2, y2 = (round(1000 * v) for v in answer[1])
    text = f"<think>hm</think><answer>Image-{answer[0]}: ({x1},{y1}),({x2},{y2})</answer>"
    return make_record(sample, text, family=FAMILY, **made)


def model(answer: Answer, n: int = 120, seed: int = 1) -> list[Record]:
    """Records of a model that finds the image and answers with ``answer(true box)``, targets in all places."""
    rng = random.Random(seed)
    rows = []
    for k in range(n):
        w, h = rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.4)
        x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
        box = (x, y, x + w, y + h)
        image = 1 + k % 3
        rows.append(record(k, (image, box), (image, answer(box, rng))))
    return rows


def told(records: Sequence[Record], *, named: bool = False) -> dict[str, Any]:
    """The diagnostics, without what they say about positions unless ``named``, which takes most of the time."""
    found = diagnostics(records, failures(records) if named else {"named": []})
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def noisy(box: Box, rng: random.Random, sd: float = 0.02) -> Box:
    x1, y1, x2, y2 = (v + rng.gauss(0, sd) for v in box)
    return (x1, y1, max(x2, x1 + 0.01), max(y2, y1 + 0.01))


def scaled(x: float, y: float) -> Answer:
    return lambda box, rng: noisy((box[0] * x, box[1] * y, box[2] * x, box[3] * y), rng, 0.005)


def blind(box: Box, rng: random.Random) -> Box:
    x, y = rng.uniform(0, 0.6), rng.uniform(0, 0.6)
    return (x, y, x + 0.3, y + 0.3)


@pytest.mark.parametrize(
    ("answer", "kind", "numbers", "why"),
    [
        (noisy, None, None, "boxes that are right on average"),
        (scaled(0.7, 0.7), "scaled", (0.7, 0.7), "both axes in another frame"),
        (scaled(1.28, 1.0), "scaled", (1.28, 1.0), "one axis, also out of the image"),
        (lambda box, rng: (box[1], box[0], box[3], box[2]), "exchanged", (), "x and y exchanged"),
        (lambda box, rng: noisy((box[0] - 0.1, box[1], box[2] - 0.1, box[3]), rng), "shifted", (-0.1, 0), "padding"),
        (lambda box, rng: (0.0, 0.0, 1.0, 1.0), None, None, "the whole image is no frame"),
        (lambda box, rng: (0.4, 0.4, 0.6, 0.6), None, None, "always the middle"),
        (blind, None, None, "a guess"),
    ],
)
def test_a_wrong_frame_is_told_from_bad_boxes(
    answer: Answer, kind: str | None, numbers: tuple[float, ...] | None, why: str
) -> None:
    found = told(model(answer))
    if kind is None:
        assert found["frame"] is None and not any("frame" in words for words in found["findings"]), why
        return
    assert found["frame"]["kind"] == kind and found["frame"]["numbers"] == pytest.approx(numbers, abs=0.03), why
    assert found["frame"]["after"] > found["frame"]["before"] + 0.05 and found["findings"] == [found["frame"]["words"]]


def test_edges_by_hand() -> None:
    box = (0.2, 0.2, 0.4, 0.6)  # 0.2 wide and 0.4 high
    rows = [record(k, (2, box), (2, (0.22, 0.16, 0.45, 0.6 if k % 2 else 0.68))) for k in range(FEWEST_PAIRS)]
    found = edge_errors(pairs_of(rows))
    assert found is not None and found["n"] == FEWEST_PAIRS
    means = {side: found[side]["mean"] for side in ("left", "top", "right", "bottom")}
    assert means == pytest.approx({"left": 0.1, "top": -0.1, "right": 0.25, "bottom": 0.1})
    assert found["bottom"]["low"] < 0.1 < found["bottom"]["high"] and found["left"]["low"] == pytest.approx(0.1)
    assert edge_errors(pairs_of(rows[:-1])) is None, "too few"
    elsewhere = [record(k, (2, box), (1, box)) for k in range(FEWEST_PAIRS)]
    assert edge_errors(pairs_of(elsewhere)) is None, "boxes in another image are not compared"
    assert frame_error(pairs_of(rows[:1] * FEWEST_PAIRS)) is None, "one image set has no interval"


@pytest.mark.parametrize(
    ("move", "words"),
    [
        ((0.1, 0.0, 0.1, 0.0), ["lie to the right"]),
        ((0.0, -0.1, 0.0, -0.1), ["lie too high"]),
        ((-0.1, 0.0, 0.1, 0.0), ["have too large a width"]),
        ((0.0, 0.1, 0.0, -0.1), ["have too small a height"]),
        ((0.01, 0.01, 0.01, 0.01), []),
    ],
)
def test_a_shift_is_said(move: Box, words: list[str]) -> None:
    def moved(box: Box, rng: random.Random) -> Box:
        w, h = box[2] - box[0], box[3] - box[1]
        x1, y1, x2, y2 = noisy(box, rng, 0.002)
        return (x1 + move[0] * w, y1 + move[1] * h, x2 + move[2] * w, y2 + move[3] * h)

    found = told(model(moved))["findings"]
    assert len(found) == len(words) and all(word in line for word, line in zip(words, found, strict=True))


def test_reliability_and_sizes_against_the_definition() -> None:
    rng = random.Random(3)
    rows = []
    for k in range(60):
        side = (0.05, 0.2, 0.5)[k % 3]  # 0.25 %, 4 % and 25 % of the image
        box = (0.1, 0.1, 0.1 + side, 0.1 + side)
        rows.append(record(k, (2, box), (2 if k % 4 else 1, noisy(box, rng, 0.06 * side))))
    found = box_quality(rows)
    right = [r for r in rows if r.predicted[0].image == 2]
    ious = [(iou(r.predicted[0].box, r.targets[0].box), r) for r in right]
    for row in found["thresholds"]:
        assert row["n"] == len(right) == 45
        assert row["share"]["mean"] == pytest.approx(np.mean([value >= row["iou_from"] for value, _ in ious]))
    assert [(row["area_from"], row["area_to"]) for row in found["iou_by_size"]] == [(0, 0.01), (0.01, 0.1), (0.1, 1)]
    for row, side in zip(found["iou_by_size"], (0.05, 0.2, 0.5), strict=True):
        mine = [v for v, r in ious if r.targets[0].box[2] == 0.1 + side]
        assert row["n"] == len(mine) == 15 and row["mean_iou"]["mean"] == pytest.approx(np.mean(mine))
    assert box_quality([r for r in rows if r.predicted[0].image == 1]) == {"thresholds": [], "iou_by_size": []}


def test_length_against_correctness() -> None:
    box = (0.1, 0.1, 0.5, 0.5)
    rows = [
        record(k, (1, box), (1 if k < 50 else 2, box), tokens=10 + k, finish="length" if k >= 90 else "stop")
        for k in range(100)
    ]
    found = by_length(rows, length_edges_of(rows))
    assert [row["n"] for row in found] == [20] * 5 and found[0]["tokens_from"] == 0 and found[-1]["tokens_to"] is None
    assert [row["joint_accuracy"]["mean"] for row in found] == [1.0, 1.0, 0.5, 0.0, 0.0]
    assert [row["cut_off"]["mean"] for row in found] == [0.0, 0.0, 0.0, 0.0, 0.5]
    same = [record(k, (1, box), (1, box), tokens=7) for k in range(9)]
    assert [row["n"] for row in by_length(same, length_edges_of(same))] == [9], "equal lengths are one group"


@pytest.mark.parametrize(("always", "words"), [(1, ["Image-1 is answered more often"]), (None, [])])
def test_a_preferred_position_is_said(always: int | None, words: list[str]) -> None:
    box = (0.1, 0.1, 0.5, 0.5)
    rng = random.Random(5)
    rows = [record(k, (1 + k % 3, box), (always or rng.randint(1, 3), box)) for k in range(90)]
    found = told(rows, named=True)["findings"]
    assert len(found) == len(words) and all(word in line for word, line in zip(words, found, strict=True))


def test_nothing_to_say_about_one_answer(make_one: Callable[..., Record]) -> None:
    found = told([make_one("no idea")], named=True)
    assert found["findings"] == [] and found["edges"] is None and found["thresholds"] == []

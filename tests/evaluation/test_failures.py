"""Failure analysis: every count against a table or a brute-force oracle, and policies whose bias is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirg.evaluation.failures import (
    IOU_EDGES,
    by_n_images,
    by_position,
    by_size,
    failures,
    image_choice,
    iou_histogram,
    named_and_true,
    named_image,
    size_edges_of,
    true_box_ious,
    true_image,
)
from mirg.evaluation.records import Record, make_record
from mirg.families import FAMILIES
from mirg.geometry import Box, iou
from mirg.samples import ImageRef, Sample, Target

FAMILY = FAMILIES["qwen3-vl"]
BOX: Box = (0.1, 0.2, 0.5, 0.6)


def record(
    name: str, targets: Sequence[tuple[int, Box]], answer: Sequence[tuple[int, Box]] | None, n: int, hidden: bool = True
) -> Record:
    """The record of an answer in text, as a model of the 0-1000 frame writes it; None: nothing that can be read."""
    sample = Sample(
        id=name,
        task="t",
        images=tuple(ImageRef(path=f"images/{name}-{k}.png", width=1000, height=1000) for k in range(n)),
        question="Where?",
        targets=tuple(Target(image=image, box=box) for image, box in targets),
        image_hidden=hidden,
    )
    lines = [
        f"Image-{i}: ({b[0] * 1000:.0f},{b[1] * 1000:.0f}),({b[2] * 1000:.0f},{b[3] * 1000:.0f})"
        for i, b in answer or ()
    ]
    text = "no idea" if answer is None else "\n".join(lines) or "none"
    return make_record(sample, f"<think>hm</think><answer>{text}</answer>", family=FAMILY)


def at(*images: int) -> list[tuple[int, Box]]:
    return [(image, BOX) for image in images]


@pytest.mark.parametrize(
    ("answer", "named", "why"),
    [
        (at(2), "Image-2", "one box"),
        (at(2, 2), "Image-2", "two boxes in one image"),
        (at(1, 2), "several", "two images"),
        (at(9), "no such image", "the sample has three"),
        (at(1, 9), "several", "one of them exists"),
        ([], "none", "the answer none"),
        (None, "unreadable", "nothing to read"),
    ],
)
def test_what_an_answer_names(answer: Sequence[tuple[int, Box]] | None, named: str, why: str) -> None:
    assert named_image(record("a", at(2), answer, 3)) == named, why


@pytest.mark.parametrize(
    ("targets", "true"), [(at(3), "Image-3"), (at(3, 3), "Image-3"), (at(1, 3), "several"), ([], "none")]
)
def test_the_true_image(targets: Sequence[tuple[int, Box]], true: str) -> None:
    assert true_image(record("a", targets, [], 3)) == true


def test_a_matrix_by_hand() -> None:
    found = image_choice(
        [
            record("a", at(1), at(1), 2),
            record("b", at(1), at(2), 3),
            record("c", at(2, 2), None, 2),
            record("d", [], at(7), 2),
            record("e", at(1, 2), at(1, 2), 2),  # in several images
            record("f", at(1), at(1), 5, hidden=False),  # the question tells
        ]
    )
    assert (found["items"], found["n"], found["left_out"]) == ("image_hidden", 4, 1)
    assert found["true"] == ["Image-1", "Image-2", "Image-3", "none"]
    assert found["named"] == ["Image-1", "Image-2", "Image-3", "none", "several", "no such image", "unreadable"]
    assert found["counts"] == [
        [1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
    ]


def test_where_no_question_hides_the_image_all_items_count() -> None:
    found = image_choice([record("a", at(1), at(1), 2, hidden=False)])
    assert (found["items"], found["n"]) == ("all", 1)


coordinates = st.integers(0, 9)
boxes = st.builds(
    lambda x, y, w, h: (x / 20, y / 20, (x + w + 1) / 20, (y + h + 1) / 20),
    coordinates,
    coordinates,
    coordinates,
    coordinates,
)
placed = st.lists(st.tuples(st.integers(1, 3), boxes), max_size=4)
answers = st.none() | st.lists(st.tuples(st.integers(1, 5), boxes), max_size=4)
records = st.lists(
    st.builds(lambda t, a, extra, hidden: (t, a, 3 + extra, hidden), placed, answers, st.integers(0, 2), st.booleans()),
    min_size=1,
    max_size=12,
).map(lambda rows: [record(f"s{k}", *row) for k, row in enumerate(rows)])


def best_sum(predicted: Sequence[Box], true: Sequence[Box]) -> float:
    """The largest sum of IoUs of any one-to-one matching, by trying all."""
    short, long = sorted((predicted, true), key=len)
    return max(
        (sum(iou(a, b) for a, b in zip(short, chosen, strict=True)) for chosen in permutations(long, len(short))),
        default=0.0,
    )


@settings(max_examples=60)
@given(records)
def test_ious_of_true_boxes_are_those_of_the_best_matching_inside_each_image(rows: list[Record]) -> None:
    for row in rows:
        found = true_box_ious(row)
        assert len(found) == len(row.targets) and all(0.0 <= value <= 1.0 for value in found)
        for image in set(row.target_images):
            inside = [v for v, target in zip(found, row.targets, strict=True) if target.image == image]
            predicted = [b.box for b in row.predicted if b.image == image and b.problem is None]
            assert sum(inside) == pytest.approx(best_sum(predicted, [t.box for t in row.targets if t.image == image]))


@settings(max_examples=40)
@given(records)
def test_counts_agree_with_counting_one_by_one(rows: list[Record]) -> None:
    found = failures(rows)
    assert json.loads(json.dumps(found)) == found, "plain data"
    choice, hidden = found["image_choice"], [r for r in rows if r.image_hidden] or rows
    counted = [r for r in hidden if len({t.image for t in r.targets}) <= 1]
    assert sum(map(sum, choice["counts"])) == choice["n"] == len(counted)
    assert choice["left_out"] == len(hidden) - len(counted)
    for i, true in enumerate(choice["true"]):
        for j, named in enumerate(choice["named"]):
            expected = sum(1 for r in counted if (true_image(r), named_image(r)) == (true, named))
            assert choice["counts"][i][j] == expected
    right = sum(row[choice["named"].index(name)] for name, row in zip(choice["true"], choice["counts"], strict=True))
    assert right == sum(r.image_correct for r in counted), "the diagonal is image accuracy"
    assert sum(row["true"] for row in found["named"]) == pytest.approx(1.0 if counted else 0.0)
    for row in found["named"]:
        assert row["difference"]["mean"] == pytest.approx(row["named"]["mean"] - row["true"])
    ious = [value for r in rows if r.image_correct for value in true_box_ious(r)]
    assert found["iou"]["n"] == sum(found["iou"]["counts"]) == len(ious)
    for k, count in enumerate(found["iou"]["counts"]):
        low, high = IOU_EDGES[k], IOU_EDGES[k + 1]
        assert count == sum(1 for v in ious if low <= v < high or (k == 9 and v == 1.0))
    for key, n in (("by_n_images", len(rows)), ("by_position", len(counted))):
        assert sum(block["n"] for block in found[key]) == n
    single = [r for r in rows if len(r.targets) == 1]
    assert sum(block["n"] for block in found["by_size"]) == len(single)


@settings(max_examples=40)
@given(records)
def test_every_object_is_in_the_bin_of_its_area(rows: list[Record]) -> None:
    edges = size_edges_of(rows)
    assert list(edges) == sorted(set(edges)) and len(edges) <= 3
    for (low, high), group in by_size(rows, edges).items():
        for row in group:
            x1, y1, x2, y2 = row.targets[0].box
            area = (x2 - x1) * (y2 - y1)
            assert low <= area < high or high == area == 1.0


def test_sizes_are_about_equal_parts_and_ties_make_fewer() -> None:
    spread = [record(f"s{k}", [(1, (0.0, 0.0, 0.5, 0.1 + k / 50))], at(1), 2) for k in range(40)]
    assert [len(group) for group in by_size(spread, size_edges_of(spread)).values()] == pytest.approx([10] * 4, abs=1)
    same = [record(f"s{k}", at(1), at(1), 2) for k in range(8)]
    assert len(size_edges_of(same)) == 1 and [len(g) for g in by_size(same, size_edges_of(same)).values()] == [8]
    quarter = record("q", [(2, (0.5, 0.0, 1.0, 0.5))], [], 2)
    assert list(by_size([quarter], (0.125, 0.25, 0.5))) == [(0.25, 0.5)], "an edge belongs to the bin above it"
    whole = record("w", [(1, (0.0, 0.0, 1.0, 1.0))], [], 2)
    assert list(by_size([whole], size_edges_of([whole]))) == [(0.0, 1.0)]


POLICIES: list[tuple[str, Callable[[int], int], list[float]]] = [
    ("perfect", lambda true: true, [0.0, 0.0, 0.0]),
    ("always the first", lambda true: 1, [2 / 3, -1 / 3, -1 / 3]),
    ("always wrong, no place preferred", lambda true: true % 3 + 1, [0.0, 0.0, 0.0]),
]


@pytest.mark.parametrize(("name", "policy", "bias"), POLICIES, ids=[row[0] for row in POLICIES])
def test_position_bias_of_known_policies(name: str, policy: Callable[[int], int], bias: list[float]) -> None:
    rows = [record(f"s{k}", at(1 + k % 3), at(policy(1 + k % 3)), 3) for k in range(60)]
    *images, none = named_and_true(rows)
    assert [row["difference"]["mean"] for row in images] == pytest.approx(bias)
    assert none["true"] == none["named"]["mean"] == 0.0
    for row, expected in zip(images, bias, strict=True):
        low, high = row["difference"]["low"], row["difference"]["high"]
        assert (low > 0 or high < 0) == bool(expected), "the interval tells a preference from none"
        assert (
            row["true"] == pytest.approx(1 / 3) and row["named"]["low"] <= row["named"]["mean"] <= row["named"]["high"]
        )


def test_groups_are_in_order() -> None:
    rows = [record(f"s{n}", at(n), at(n), n) for n in (11, 2, 10)] + [record("n", [], [], 2)]
    assert list(by_n_images(rows)) == [2, 10, 11]
    assert list(by_position(rows)) == ["Image-2", "Image-10", "Image-11", "none"]


def test_no_box_in_the_right_image_is_said_as_such(make_one: Callable[..., Any]) -> None:
    found = iou_histogram([make_one("no idea")])
    assert found["n"] == 0 and found["at_50"] is None and sum(found["counts"]) == 0

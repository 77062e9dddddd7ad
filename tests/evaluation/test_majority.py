"""The majority answer: which one it is, and that it depends on nothing but the answers."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.evaluation.agreement import agree
from mirg.evaluation.majority import Answer, compare_answers, majority, spread
from mirg.geometry import Box

A: Box = (0.1, 0.1, 0.5, 0.5)
NEAR_A: Box = (0.12, 0.1, 0.5, 0.5)
FAR: Box = (0.6, 0.6, 0.9, 0.9)
WIDE: Box = (0.1, 0.1, 0.62, 0.5)  # agrees with A and NEAR_A, less with each than they do with each other
INVERTED: Box = (0.5, 0.1, 0.2, 0.9)

CASES: list[tuple[str, list[Answer], int]] = [
    ("one answer", [((2, A),)], 0),
    ("the image that most name, not the box that most draw", [((1, A),), ((2, A),), ((2, FAR),)], 1),
    ("the box in the middle of the largest group", [((2, FAR),), ((2, WIDE),), ((2, NEAR_A),), ((2, A),)], 3),
    ("none is an answer like any other", [(), ((1, A),), ()], 0),
    ("unreadable answers have no vote", [None, None, None, ((3, FAR),)], 3),
    ("nothing can be read", [None, None], 0),
    ("of two equal votes the one with boxes that agree", [((1, A),), ((1, FAR),), ((2, A),), ((2, NEAR_A),)], 2),
    ("an answer with no proper box agrees with none", [((2, INVERTED),), ((2, A),), ((2, NEAR_A),)], 1),
    ("sets of images", [((1, A), (3, A)), ((1, A),), ((3, FAR), (1, A)), ((3, A),)], 0),
    (
        "the answer with which most agree, although another one has the larger sum of IoUs",
        [*([((2, (x, 0.1, x + 0.4, 0.5)),) for x in (0.0, 0.0, 0.0, 0.2, 0.12)])],
        4,
    ),
    ("as many boxes", [((1, A), (1, FAR)), ((1, A),), ((1, FAR), (1, NEAR_A))], 0),
]


@pytest.mark.parametrize(("why", "answers", "index"), CASES, ids=[row[0].replace(" ", "_") for row in CASES])
def test_which_answer_it_is(why: str, answers: list[Answer], index: int) -> None:
    assert majority(answers) == index
    for order in list(permutations(range(len(answers))))[:24]:
        assert answers[order[majority([answers[k] for k in order])]] == answers[index], "in any order"


def boxes() -> st.SearchStrategy[Box]:
    corner, side = st.sampled_from([0.0, 0.1, 0.13, 0.4]), st.sampled_from([0.2, 0.25, 0.5])
    return st.builds(lambda x, y, w, h: (x, y, x + w, y + h), corner, corner, side, side)


def answers_() -> st.SearchStrategy[Answer]:
    placed = st.tuples(st.integers(0, 3), boxes() | st.just(INVERTED))
    return st.none() | st.lists(placed, max_size=3).map(tuple)


@given(st.lists(answers_(), min_size=1, max_size=7), st.randoms())
def test_the_order_of_the_answers_does_not_matter(answers: list[Answer], random: object) -> None:
    mixed = list(answers)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    chosen, again = answers[majority(answers)], mixed[majority(mixed)]
    if all(answer is None for answer in answers):
        assert chosen is again is None
    else:
        assert chosen is not None and again is not None and sorted(chosen) == sorted(again)


@given(answers_(), st.integers(1, 5))
def test_equal_answers_give_that_answer(answer: Answer, k: int) -> None:
    assert majority([answer] * k) == 0
    proper = answer is not None and INVERTED not in [box for _, box in answer]
    if k > 1 and proper:
        assert spread([answer] * k) == (1.0, pytest.approx(1.0))


@given(st.lists(answers_(), min_size=2, max_size=5))
def test_comparison_is_that_of_an_answer_with_the_truth(answers: list[Answer]) -> None:
    """Every pair by the code that compares an answer with the truth; its IoU ignores images, so only from above."""
    pairs = compare_answers(answers)
    for a, b in combinations(range(len(answers)), 2):
        first, second = answers[a], answers[b]
        assert pairs.iou[a, b] == pairs.iou[b, a] and pairs.joint[a, b] == pairs.joint[b, a]
        if first is None or second is None:
            assert not pairs.images[a, b] and not pairs.iou[a, b]
            continue
        if any(box == INVERTED for _, box in second):
            continue  # as a truth it cannot occur
        expected = agree(first, second)
        assert (pairs.images[a, b], pairs.joint[a, b]) == (expected.images, expected.joint)
        assert pairs.iou[a, b] <= expected.iou + 1e-9
        if {image for image, _ in (*first, *second)} <= {1}:
            assert pairs.iou[a, b] == pytest.approx(expected.iou)


def test_spread_is_over_pairs() -> None:
    same, iou = spread([((1, A),), ((1, A),), ((2, A),)])
    assert (same, iou) == (pytest.approx(1 / 3), pytest.approx(1 / 3)), "one of three pairs; a box elsewhere has no IoU"
    assert spread([((1, A),), None]) == (0.0, 0.0)

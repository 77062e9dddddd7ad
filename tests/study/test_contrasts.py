"""Differences over seeds and items: the right size, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from mirg.errors import EvaluationError
from mirg.evaluation.intervals import seeds_interval
from mirg.evaluation.records import Record
from mirg.study.results import contrast, contrasts, subsets_of


def record(name: str, joint: bool, hidden: bool = True, task: str = "refer") -> Record:
    return Record(
        id=name, task=task, image_set=name, n_images=2, target_images=[1], image_hidden=hidden, completion="",
        completion_tokens=1, finish="stop", thinking="", predicted=[], targets=[], failure=None, format=1.0,
        image_reward=1.0, object_reward=1.0, total=1.0, reasons={}, image_correct=joint, iou=float(joint),
        correct_30=joint, correct_50=joint, correct_70=joint, joint=joint, outcome="right" if joint else "wrong_box",
    )  # fmt: skip


def answers(*right: int, n: int = 8) -> list[Record]:
    return [record(f"i{k}", k in right, hidden=k % 2 == 0, task="refer" if k < 4 else "region") for k in range(n)]


def test_mean_over_seeds_and_items() -> None:
    found = {"sft": {0: answers(0), 1: answers(0, 1)}, "dual": {0: answers(0, 1, 2), 1: answers(0, 1)}}
    row = contrast("sft", "dual", found, "joint_accuracy", "all", range(8))
    assert row.delta == pytest.approx((2 + 0) / 16)
    assert (row.n_items, row.seeds) == (8, 2) and row.low <= row.delta <= row.high
    assert contrast("sft", "dual", found, "joint_accuracy", "x", [2]).delta == pytest.approx(0.5)


def test_base_stands_against_every_seed() -> None:
    found = {"base": {0: answers()}, "sft": {0: answers(0), 1: answers(0, 1), 5: answers(0, 1, 2)}}
    row = contrast("base", "sft", found, "joint_accuracy", "all", range(8))
    assert row.delta == pytest.approx(6 / 24) and row.seeds == 3
    only = {(c.a, c.b) for c in contrasts(found, {})}
    assert only == {("base", "sft")}, "no comparison without both arms"


def test_only_common_seeds_count() -> None:
    found = {"sft": {0: answers(0), 1: answers()}, "dual": {1: answers(0, 1)}}
    assert contrast("sft", "dual", found, "joint_accuracy", "all", range(8)).delta == pytest.approx(2 / 8)
    with pytest.raises(EvaluationError, match="no seed in common"):
        contrast("sft", "dual", {"sft": {0: answers()}, "dual": {1: answers()}}, "mean_iou", "all", range(8))
    with pytest.raises(EvaluationError, match="same items"):
        contrast("sft", "dual", {"sft": {1: answers()[::-1]}, "dual": {1: answers()}}, "mean_iou", "all", range(8))


def test_a_right_box_in_a_wrong_image_counts_for_mean_iou_alone() -> None:
    wrong = [row.model_copy(update={"image_correct": False}) for row in answers(*range(8))]
    found = {"object_only": {0: wrong}, "dual": {0: answers(*range(8))}}
    deltas = {m: contrast("object_only", "dual", found, m, "all", range(8)).delta for m in ("mean_iou", "joint_iou")}
    assert deltas == {"mean_iou": 0.0, "joint_iou": 1.0}


def test_subsets() -> None:
    found = subsets_of(answers(), {"i0": "easy", "i1": "hard"})
    assert found["image_hidden"] == [0, 2, 4, 6] and found["image_given"] == [1, 3, 5, 7]
    assert found["easy"] == [0] and found["hard"] == [1] and found["refer"] == [0, 1, 2, 3]
    assert list(found)[:3] == ["all", "image_hidden", "image_given"]


@pytest.mark.parametrize("seed_spread", [0.0, 0.05])
def test_the_interval_covers(seed_spread: float) -> None:
    """Over simulated studies with a known difference, at least about 95 of 100 intervals hold it."""
    rng = np.random.default_rng(7)
    held, studies = 0, 120
    for number in range(studies):
        seeds = rng.normal(0.1, seed_spread, 3)[:, None]
        items = rng.normal(0.0, 0.3, 200)[None, :]
        table = seeds + items + rng.normal(0.0, 0.3, (3, 200))
        low, high = seeds_interval(table, [str(k) for k in range(200)], seed=number, resamples=400)
        held += low <= 0.1 <= high
    # Three seeds drawn with replacement say little about a large spread of seeds: the honest bound is lower there.
    assert held >= (0.92 if seed_spread == 0.0 else 0.80) * studies


def test_same_interval_again() -> None:
    table = np.random.default_rng(0).normal(0.1, 0.5, (3, 50))
    names = [str(k // 2) for k in range(50)]
    assert seeds_interval(table, names) == seeds_interval(table, names)
    low, high = seeds_interval(np.full((2, 10), 0.25), [str(k) for k in range(10)])
    assert low == pytest.approx(0.25) and high == pytest.approx(0.25)


def test_few_seeds_are_spread_further() -> None:
    """One of three seeds is drawn three times in 1 of 27 draws: the ends are the outer seeds, times sqrt(3 / 2)."""
    table = np.array([[-0.1], [0.0], [0.1]]).repeat(5, axis=1)
    assert seeds_interval(table, list("abcde")) == pytest.approx((-0.1 * 1.5**0.5, 0.1 * 1.5**0.5))


def test_another_seed_draws_others_and_image_sets_stay_together() -> None:
    table = np.random.default_rng(0).normal(0.1, 0.5, (1, 50))
    names = [str(k) for k in range(50)]
    assert seeds_interval(table, names, seed=1) != seeds_interval(table, names, seed=2)
    one_set = [[row.model_copy(update={"image_set": "one"}) for row in part] for part in (answers(), answers(0, 1, 2))]
    row = contrast("sft", "dual", {"sft": {0: one_set[0]}, "dual": {0: one_set[1]}}, "joint_accuracy", "all", range(8))
    assert row.low == row.high == row.delta == 3 / 8, "a single image set has no spread"

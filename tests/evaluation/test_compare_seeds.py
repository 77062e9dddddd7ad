"""Several seeds on each side: which is paired with which, and intervals over both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirg.errors import EvaluationError
from mirg.evaluation.compare import Evaluation, difference
from mirg.evaluation.compare_seeds import compare_seeds, expand, paired
from mirg.evaluation.metrics import METRICS
from mirg.evaluation.records import Record

Make = Callable[..., Record]
RIGHT = "<think>hm</think><answer>Image-2: (100,200),(500,600)</answer>"
N = 40


def seed(make_one: Make, name: str, right: int, n: int = N, settings: dict[str, Any] | None = None) -> Evaluation:
    records = [make_one(RIGHT if k < right else "hm", name=f"s{k}", task="xy"[k % 2], images=f"i{k}") for k in range(n)]
    return Evaluation(name, tuple(records), settings or {})


def names(first: list[str], second: list[str]) -> list[tuple[str, str]]:
    sides = [[Evaluation(name, ()) for name in side] for side in (first, second)]
    return [(a.name, b.name) for a, b in paired(*sides)]


def test_who_is_compared_with_whom() -> None:
    by_place = [("x", "p"), ("y", "q")]
    assert names(["x", "y"], ["p", "q"]) == by_place
    assert names(["sft-0", "sft-2"], ["dual-2", "dual-0"]) == [("sft-0", "dual-0"), ("sft-2", "dual-2")]
    assert names(["run-1", "run-2"], ["run-3", "run-4"]) == [("run-1", "run-3"), ("run-2", "run-4")]
    assert names(["base"], ["dual-0", "dual-1"]) == [("base", "dual-0"), ("base", "dual-1")]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (["a-0", "a-1"], ["b-0", "b-2"], "only one side has the seeds 1, 2"),
        (["a", "b"], ["c", "d", "e"], "2 evaluations cannot be paired with 3"),
    ],
)
def test_what_cannot_be_paired(first: list[str], second: list[str], said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        names(first, second)


def test_mean_over_items_and_seeds(make_one: Make) -> None:
    first = [seed(make_one, "sft-0", 10), seed(make_one, "sft-1", 14)]
    second = [seed(make_one, "dual-1", 20), seed(make_one, "dual-0", 24)]
    found = compare_seeds(first, second)
    assert found["pairs"] == [{"a": "sft-0", "b": "dual-0"}, {"a": "sft-1", "b": "dual-1"}]
    cell = found["overall"]["joint_accuracy"]
    assert cell["mean"] == pytest.approx((14 + 6) / (2 * N)) and cell["low"] < cell["mean"] < cell["high"]
    side = found["sides"][1]["joint_accuracy"]
    assert (side["mean"], side["min"], side["max"]) == pytest.approx((22 / N, 20 / N, 24 / N))
    assert {task: block["n"] for task, block in found["tasks"].items()} == {"x": 20, "y": 20}
    assert found["notes"] == [] and json.loads(json.dumps(found, allow_nan=False)) == found


def test_seeds_that_disagree_make_the_interval_wider(make_one: Make) -> None:
    """Although the mean difference is the same."""
    base = [seed(make_one, f"a-{k}", 10) for k in range(3)]
    same = compare_seeds(base, [seed(make_one, f"b-{k}", 20) for k in range(3)])["overall"]["joint_accuracy"]
    apart = [seed(make_one, f"b-{k}", right) for k, right in enumerate((10, 20, 30))]
    wide = compare_seeds(base, apart)["overall"]["joint_accuracy"]
    assert wide["mean"] == pytest.approx(same["mean"])
    assert wide["high"] - wide["low"] > 1.5 * (same["high"] - same["low"])


def test_one_seed_is_the_difference_of_two_evaluations(make_one: Make) -> None:
    a, b = seed(make_one, "a", 10), seed(make_one, "b", 20)
    found, known = compare_seeds([a], [b])["overall"], difference(a, b)["overall"]
    assert all(found[metric]["mean"] == pytest.approx(known[metric]["mean"]) for metric in METRICS)


def test_what_only_some_hold_is_left_out_and_said(make_one: Make) -> None:
    first, second = [seed(make_one, "a", 10, n=30)], [seed(make_one, "b", 10, settings={"family": "x"})]
    second.append(seed(make_one, "c", 10, settings={"family": "y"}))
    found = compare_seeds(first, second)
    assert found["n"] == 30 and found["overall"]["n"] == 30
    assert found["notes"] == [
        "10 samples of b are not in all evaluations and are left out.",
        "10 samples of c are not in all evaluations and are left out.",
        "The evaluations differ in: family.",
    ]
    with pytest.raises(EvaluationError, match="no sample in common"):
        compare_seeds([Evaluation("e", first[0].records[:1])], [Evaluation("f", second[0].records[1:])])


def test_patterns(tmp_path: Path) -> None:
    for name in ("dual-10", "dual-9", "sft-0"):
        (tmp_path / name).mkdir()
    assert expand([tmp_path / "dual-*", "elsewhere"]) == [tmp_path / "dual-9", tmp_path / "dual-10", Path("elsewhere")]
    with pytest.raises(EvaluationError, match="no folder matches"):
        expand([tmp_path / "gated-*"])

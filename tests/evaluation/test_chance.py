from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mirg.evaluation.chance import CHANCE_METRICS, chance, task_chance
from mirg.evaluation.records import Record
from mirg.geometry import Box

Make = Callable[..., Record]
A: Box = (0.0, 0.0, 0.4, 0.4)
B: Box = (0.5, 0.5, 0.9, 0.9)
LARGE: Box = (0.0, 0.0, 0.9, 0.9)


def level(records: list[Record], metric: str) -> tuple[float, str]:
    return tuple(task_chance(records)[metric])  # type: ignore[return-value]


def items(make_one: Make, targets: list[list[tuple[int, Box]]], n_images: int = 3, **more: object) -> list[Record]:
    return [make_one("", name=f"{k}", targets=t, n_images=n_images, **more) for k, t in enumerate(targets)]


def test_the_best_constant_image(make_one: Make) -> None:
    records = items(make_one, [[(1, A)], [(1, B)], [(2, A)], [(3, A)], []])
    assert level(records, "image_accuracy") == (pytest.approx(0.4), "always Image-1")


def test_uniform_choice_beats_a_constant_where_counts_differ(make_one: Make) -> None:
    records = items(make_one, [[(1, A)], [(2, A)]], n_images=2)
    assert level(records, "image_accuracy")[0] == pytest.approx(0.5)
    records = [make_one("", name=str(k), targets=[(k + 1, A)], n_images=n) for k, n in enumerate((4, 4, 4, 4))]
    assert level(records, "image_accuracy")[0] == pytest.approx(0.25)


def test_always_the_last_image(make_one: Make) -> None:
    records = [make_one("", name=str(n), targets=[(n, A)], n_images=n) for n in (2, 3, 4, 5)]
    assert level(records, "image_accuracy") == (1.0, "always the last image")
    assert level(records, "joint_accuracy")[0] == 1.0


def test_the_best_box_is_some_true_box(make_one: Make) -> None:
    records = items(make_one, [[(1, A)], [(2, A)], [(3, B)]])
    value, policy = level(records, "acc_50")
    assert value == pytest.approx(2 / 3) and policy == "the box (0.000, 0.000, 0.400, 0.400)"
    assert level(records, "joint_accuracy")[0] == pytest.approx(1 / 3)
    records = items(make_one, [[(1, A)], [(1, A)], [(3, B)]])
    value, policy = level(records, "joint_accuracy")
    assert value == pytest.approx(2 / 3) and policy.endswith("in Image-1")


def test_the_whole_image_is_tried(make_one: Make) -> None:
    boxes: list[Box] = [(0.0, 0.0, 0.71, 0.75), (0.29, 0.25, 1.0, 1.0), (0.0, 0.25, 0.71, 1.0), (0.29, 0.0, 1.0, 0.75)]
    value, policy = level(items(make_one, [[(1, box)] for box in boxes]), "acc_50")
    assert value == 1.0 and policy in ("the box (0.000, 0.000, 1.000, 1.000)", "the box (0.145, 0.125, 0.855, 0.875)")


def test_none_is_a_policy(make_one: Make) -> None:
    records = items(make_one, [[], [], [(2, A)]])
    for metric in CHANCE_METRICS:
        assert level(records, metric)[0] == pytest.approx(2 / 3)
    assert level(records, "joint_accuracy")[1] == "none"


def test_several_targets(make_one: Make) -> None:
    records = items(make_one, [[(1, A), (3, B)], [(1, A), (3, B)], [(1, B), (2, B)]])
    assert level(records, "joint_accuracy") == (pytest.approx(2 / 3), "the answer of sample 0")
    assert level(records, "image_accuracy") == (pytest.approx(2 / 3), "always Image-1 and Image-3")
    assert level(records, "acc_50")[0] == pytest.approx(2 / 3)


def test_nothing_about_the_completions_matters(make_one: Make) -> None:
    truth = [[(1, A)], [(2, B)], [(3, LARGE)]]
    said = [make_one("<answer>Image-1: (0,0),(9,9)</answer>", name=str(k), targets=t) for k, t in enumerate(truth)]
    assert chance(said) == chance(items(make_one, truth))


def test_overall_takes_the_best_policy_of_each_task(make_one: Make) -> None:
    first = [make_one("", name=f"x{k}", task="x", targets=[(1, A)]) for k in range(3)]
    second = [make_one("", name=f"y{k}", task="y", targets=[(2, B)], hidden=False) for k in range(1)]
    found = chance(first + second)
    assert found["overall"]["joint_accuracy"] == 1.0
    assert found["tasks"]["x"]["image_accuracy"] == 1.0 and found["tasks"]["x"]["policies"]["image_accuracy"]
    assert set(found["subsets"]) == {"image_hidden", "image_given"}


def test_no_blind_policy_beats_the_level(make_one: Make) -> None:
    """Random constant answers never get above the level by more than a box between the true ones could."""
    rng = random.Random(5)

    def box() -> Box:
        x, y, w, h = rng.random() * 0.6, rng.random() * 0.6, 0.1 + rng.random() * 0.3, 0.1 + rng.random() * 0.3
        return (x, y, x + w, y + h)

    truth = [(rng.randint(1, 3), box()) for _ in range(60)]
    records = items(make_one, [[t] for t in truth])
    levels = task_chance(records)
    from mirg.geometry import iou

    for _ in range(300):
        image, guess = rng.randint(1, 3), box()
        joint = sum(t == image and iou(guess, b) >= 0.5 for t, b in truth) / 60
        mean = sum(iou(guess, b) for _, b in truth) / 60
        assert joint <= levels["joint_accuracy"].value + 2 / 60
        assert mean <= levels["mean_iou"].value + 0.02
    assert levels["acc_30"].value >= levels["acc_50"].value >= levels["joint_accuracy"].value


def test_large_benchmarks_are_affordable(make_one: Make) -> None:
    import time

    rng = random.Random(6)
    records = [
        make_one("", name=str(k), targets=[(1 + k % 3, (0.1, 0.1, 0.2 + rng.random() * 0.7, 0.2 + rng.random() * 0.7))])
        for k in range(1500)
    ]
    start = time.perf_counter()
    task_chance(records)
    assert time.perf_counter() - start < 5.0

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from fakes.speed import takes_at_most
from mirg.answers.markup import box_markup
from mirg.evaluation.agreement import agree
from mirg.evaluation.chance import CHANCE_METRICS, LEAST, chance, group_chance
from mirg.evaluation.records import Record
from mirg.geometry import Box

Make = Callable[..., Record]
A: Box = (0.0, 0.0, 0.4, 0.4)
B: Box = (0.5, 0.5, 0.9, 0.9)
LARGE: Box = (0.0, 0.0, 0.9, 0.9)


def level(records: list[Record], metric: str) -> tuple[float, str]:
    return tuple(group_chance(records)[metric])  # type: ignore[return-value]


def items(make_one: Make, targets: list[list[tuple[int, Box]]], n_images: int = 3, **more: object) -> list[Record]:
    return [make_one("", name=f"{k}", targets=t, n_images=n_images, **more) for k, t in enumerate(targets)]


def test_the_best_constant_image(make_one: Make) -> None:
    records = items(make_one, [[(1, A)], [(1, B)], [(2, A)], [(3, A)], []])
    assert level(records, "image_accuracy") == (pytest.approx(0.4), "always Image-1")


def test_uniform_choice_beats_a_constant_where_counts_differ(make_one: Make) -> None:
    """Every constant, the last image among them, is right once in four."""
    records = [
        make_one("", name=str(image), targets=[(image, A)], n_images=of)
        for image, of in ((1, 2), (2, 2), (3, 5), (4, 5))
    ]
    assert level(records, "image_accuracy") == (pytest.approx(0.35), "any image, each as likely")


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


def worded(make_one: Make, question: str, truth: list[list[tuple[int, Box]]], **more: object) -> list[Record]:
    """Items whose name is unique over wordings and tasks."""
    stem = f"{more.get('task', '')}/{question}"
    return [
        make_one("", name=f"{stem}/{k}", targets=t, question=question, **{"n_images": 3, **more})
        for k, t in enumerate(truth)
    ]


def test_tasks_that_share_a_wording_share_a_level(make_one: Make) -> None:
    """A blind policy does not know the task: "always none" is worth as much on ``none`` as on what looks like it."""
    found = [[(1 + k % 3, A)] for k in range(40)]
    here = worded(make_one, "Find the X.", found, task="group_grounding")
    none = worded(make_one, "Find the X.", [[]] * 20, task="none")
    other = worded(make_one, "Which is odd?", found, task="odd_one_out")
    levels = chance(here + none + other)
    for metric in ("image_accuracy", "joint_accuracy"):
        assert levels["tasks"]["none"][metric] == pytest.approx(1 / 3)
        assert levels["tasks"]["group_grounding"][metric] == pytest.approx(1 / 3)
    assert levels["tasks"]["none"]["acc_50"] == pytest.approx(2 / 3), "the box A, whatever the answer is"
    assert levels["tasks"]["odd_one_out"]["acc_50"] == 1.0
    assert levels["overall"]["acc_50"] == pytest.approx((60 * 2 / 3 + 40) / 100)
    assert [(g["questions"], g["tasks"], g["n"], g["used_by"]) for g in levels["groups"]] == [
        ("Find the X. (3 images)", ["group_grounding", "none"], 60, 60),
        ("Which is odd? (3 images)", ["odd_one_out"], 40, 40),
    ]
    assert chance(none)["tasks"]["none"]["joint_accuracy"] == 1.0, "alone, its wording says it all"


@pytest.mark.parametrize("seed", range(4))
def test_levels_of_items_with_several_targets(seed: int, make_one: Make) -> None:
    """Against every constant answer, tried on every item: none, one box in each image, each item's own answer."""
    rng = np.random.default_rng(seed)
    drawn = np.hstack([rng.integers(0, 5, (6, 2)), rng.integers(2, 6, (6, 2))]) / 10
    boxes: list[Box] = [(x, y, x + w, y + h) for x, y, w, h in drawn.tolist()]
    truths = [
        [(int(rng.integers(1, 4)), boxes[int(rng.integers(6))]) for _ in range(count)]
        for count in rng.permutation([0, 1, 1, 1, 2, 2, 2, 3, 3])
    ]
    records = worded(make_one, "Find the X.", truths)
    mean = tuple(np.mean([box for truth in truths for _, box in truth], axis=0))
    answers = [[], *truths, *([(k, box)] for k in (1, 2, 3) for box in (*boxes, mean, (0.0, 0.0, 1.0, 1.0)))]
    used = {box for truth in truths for _, box in truth} | {mean, (0.0, 0.0, 1.0, 1.0)}
    found = [[agree(said, truth) for truth in truths] for said in answers if {box for _, box in said} <= used]
    expected = {f"acc_{t}": max(np.mean([a.at(t / 100) for a in row]) for row in found) for t in (30, 50, 70)}
    expected["mean_iou"] = max(np.mean([a.iou for a in row]) for row in found)
    expected["joint_accuracy"] = max(np.mean([a.joint for a in row]) for row in found)
    by_chance = sum(1 / 3 for truth in truths if len({image for image, _ in truth}) == 1) / len(truths)
    expected["image_accuracy"] = max(by_chance, *(np.mean([a.images for a in row]) for row in found))
    levels = {metric: level.value for metric, level in group_chance(records).items()}
    assert levels == pytest.approx(expected)


def test_an_item_has_the_level_of_its_finest_group(make_one: Make) -> None:
    """Also where a coarser group, of which it is a member, has another."""
    fine = worded(make_one, "Find the X.", [[(1, A)]] * LEAST, task="x")
    rest = [worded(make_one, f"Number {k}?", [[(2, B)]], task="x")[0] for k in range(3)]
    whole = LEAST + len(rest)
    assert chance([*fine, *rest])["overall"]["joint_accuracy"] == (LEAST + 3 * LEAST / whole) / whole


def test_an_answer_with_several_boxes_has_its_own_images(make_one: Make) -> None:
    records = items(make_one, [[(1, A), (2, B)], *[[(2, A), (3, B)]] * 3])
    assert level(records, "joint_accuracy") == (0.75, "the answer of sample 1")


def test_a_given_box_finds_one_of_two_targets(make_one: Make) -> None:
    """It earns half of the mean IoU, whichever target it finds, and no accuracy."""
    rows = []
    for k in range(24):
        given: Box = (k / 30, k / 40, k / 30 + 0.04, k / 40 + 0.05)
        other: Box = (k / 40 + 0.3, k / 30, k / 40 + 0.33, k / 30 + 0.04)
        rows += worded(make_one, f"What is like {box_markup(1, given)} of Image-1?", [[(2, other), (3, given)]])
    found = group_chance(rows)
    assert found["mean_iou"] == (0.5, "box 1 of those the question gives")
    assert found["acc_50"].value < 0.1 and found["joint_accuracy"].value < 0.1


def test_the_number_of_images_is_seen(make_one: Make) -> None:
    two = worded(make_one, "Find the X.", [[(2, A)]] * 30, n_images=2)
    four = worded(make_one, "Find the X.", [[(3, B)]] * 30, n_images=4, task="more")
    levels = chance(two + four)["overall"]
    assert levels["image_accuracy"] == levels["joint_accuracy"] == 1.0


def test_what_the_question_names_may_be_answered(make_one: Make) -> None:
    boxes: list[Box] = [(k / 50, k / 60, k / 50 + 0.2, k / 60 + 0.3) for k in range(36)]
    track = [
        worded(make_one, f"Where is {box_markup(1, box)} of Image-1 in Image-{2 + k % 2}?", [[(2 + k % 2, box)]])[0]
        for k, box in enumerate(boxes)
    ]
    (group,) = chance(track)["groups"]
    assert group["image_accuracy"] == group["joint_accuracy"] == group["mean_iou"] == 1.0
    assert group["policies"]["image_accuracy"] == "always image 2 of those the question names"
    assert group["policies"]["joint_accuracy"].startswith("box 1 of those the question gives in image 2 of")
    without = chance([record.model_copy(update={"form": ""}) for record in track])
    assert without["overall"]["joint_accuracy"] < 0.5 and without["groups"][0]["questions"] == "task group_grounding"


def test_the_subject_is_not_seen(make_one: Make) -> None:
    names = ("red ring", "blue cross", "green star")
    rows = [
        worded(make_one, f"Find the {names[k % 3]}.", [[(1 + k % 3, A)]], subject=names[k % 3], images=f"i{k}")[0]
        for k in range(60)
    ]
    records = [record.model_copy(update={"id": str(k)}) for k, record in enumerate(rows)]
    assert chance(records)["overall"]["image_accuracy"] == pytest.approx(1 / 3)


def test_questions_that_are_all_different_leave_their_tasks_apart(make_one: Make) -> None:
    rows = [worded(make_one, f"Question number {k}?", [[(1, A)]], task="x")[0] for k in range(40)]
    rows += [worded(make_one, f"Another one, {k}?", [[(2, B)]], task="y", hidden=False)[0] for k in range(40)]
    levels = chance(rows)
    assert [g["questions"] for g in levels["groups"]] == ["task x", "task y"]
    assert levels["overall"]["joint_accuracy"] == 1.0 and set(levels["subsets"]) == {"image_hidden", "image_given"}


def test_rare_wordings_join_their_tasks(make_one: Make) -> None:
    """Too few items for a group of each wording: the tasks that share one are taken together."""
    here = worded(make_one, "Find the X.", [[(1 + k % 3, A)] for k in range(6)], task="group_grounding")
    several = worded(make_one, "Find every X.", [[(1, A), (2, A)]] * 6, task="multi_target")
    none = worded(make_one, "Find the X.", [[]] * 3, task="none")
    none += worded(make_one, "Find every X.", [[]] * 3, task="none")
    (group,) = chance(here + several + none)["groups"]
    assert group["questions"] == "task group_grounding, multi_target, none" and group["n"] == group["used_by"] == 18


def test_large_benchmarks_are_affordable(make_one: Make) -> None:
    rng = random.Random(6)
    records = [
        make_one("", name=str(k), targets=[(1 + k % 3, (0.1, 0.1, 0.2 + rng.random() * 0.7, 0.2 + rng.random() * 0.7))])
        for k in range(1500)
    ]
    assert takes_at_most(5.0, lambda: group_chance(records))

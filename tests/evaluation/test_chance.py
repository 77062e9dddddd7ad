"""Chance levels: what they are, which questions look alike, and what they cost in computations rather than seconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mirg.answers.markup import box_markup
from mirg.data.scenes.generate import iter_samples
from mirg.data.scenes.tasks import TASKS
from mirg.evaluation import agreement
from mirg.evaluation import chance as chance_module
from mirg.evaluation.agreement import agree
from mirg.evaluation.chance import (
    CHANCE_METRICS,
    LEAST,
    chance,
    given_boxes,
    group_chance,
    groups,
    named_images,
    wording,
)
from mirg.evaluation.records import Record, load_records, question_form
from mirg.geometry import Box
from mirg.samples import Sample

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
    records = items(make_one, [[(1, A), (3, B)], [(1, B)], [(1, B)]])
    assert level(records, "mean_iou") == (pytest.approx((1 / 2 + 1 + 1) / 3), "the box (0.500, 0.500, 0.900, 0.900)")
    left, up, middle = (0.35, 0.4, 0.55, 0.6), (0.4, 0.45, 0.6, 0.65), (0.4, 0.4, 0.6, 0.6)
    records = items(make_one, [[(1, middle), (1, (0.0, 0.0, 0.1, 0.1))], [(1, left)], [(1, up)]])
    assert level(records, "mean_iou") == (pytest.approx((0.5 + 0.6 + 0.6) / 3), "the box (0.400, 0.400, 0.600, 0.600)")


def worded(make_one: Make, question: str, truth: list[list[tuple[int, Box]]], **more: object) -> list[Record]:
    """Items whose name is unique over wordings and tasks."""
    stem = f"{more.get('task', '')}/{question}"
    return [
        make_one("", name=f"{stem}/{k}", targets=t, question=question, **{"n_images": 3, **more})
        for k, t in enumerate(truth)
    ]


def test_tasks_that_share_a_wording_share_a_level(make_one: Make) -> None:
    """A blind policy does not know the task: "always none" scores the same on ``none`` as on similar tasks."""
    found = [[(1 + k % 3, A)] for k in range(40)]
    here = worded(make_one, "Find the X.", found, task="group_grounding")
    none = worded(make_one, "Find the X.", [[]] * 20, task="none")
    other = worded(make_one, "Which is odd?", found, task="odd_one_out")
    levels = chance(here + none + other)
    for metric in ("image_accuracy", "joint_accuracy"):
        assert levels["tasks"]["none"][metric] == pytest.approx(1 / 3)
        assert levels["tasks"]["group_grounding"][metric] == pytest.approx(1 / 3)
    assert levels["tasks"]["none"]["acc_50"] == pytest.approx(2 / 3), "the box A, regardless of the answer"
    assert levels["tasks"]["odd_one_out"]["acc_50"] == 1.0
    assert levels["overall"]["acc_50"] == pytest.approx((60 * 2 / 3 + 40) / 100)
    assert [(g["questions"], g["tasks"], g["n"], g["used_by"]) for g in levels["groups"]] == [
        ("Find the X. (3 images)", ["group_grounding", "none"], 60, 60),
        ("Which is odd? (3 images)", ["odd_one_out"], 40, 40),
    ]
    assert chance(none)["tasks"]["none"]["joint_accuracy"] == 1.0, (
        "without the other tasks, its wording determines the answer"
    )


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


MARKED = "Track the object at <box image=1>0.1,0.2,0.3,0.4</box> of Image-1. Find it in Image-12."


@pytest.mark.parametrize(
    ("question", "subject", "form", "why"),
    [
        ("Find the red ring.", "red ring", "Find the [...].", "the subject is what has to be found"),
        ("red ring or red ring?", "red ring", "[...] or [...]?", "everywhere"),
        ("Find the object of Image-1.", "red ring", "Find the object of Image-1.", "the question does not say it"),
        ('Find "the man on the left".', None, "Find [...].", "without a subject: what is quoted"),
        (
            "Find “the man”, and his dog's ball.",
            None,
            "Find [...], and his dog's ball.",
            "an apostrophe quotes nothing",
        ),
        (MARKED, None, MARKED, "numbers stay: a policy may repeat them"),
        ("Find the dog.", "", "Find the dog.", "an empty subject masks nothing"),
    ],
)
def test_the_form_of_a_question(
    make_sample: Callable[..., Sample], question: str, subject: str | None, form: str, why: str
) -> None:
    assert question_form(make_sample(question=question, subject=subject)) == form, why


def test_wordings_are_without_numbers(make_one: Make) -> None:
    assert wording(MARKED) == "Track the object at [box] of Image-N. Find it in Image-N."
    record = make_one("", question=MARKED)
    assert named_images(record) == [1, 12]
    assert given_boxes(record) == [(0.1, 0.2, 0.3, 0.4)]
    bad = make_one("", question="<box image=1>0.5,0.2,0.3,0.4</box> and <box image=1>1,2</box>")
    assert given_boxes(bad) == [] and "0.5" not in wording(bad.form)


def test_no_wording_of_the_scenes_tells_its_objects() -> None:
    samples = [sample for sample, _ in iter_samples(n=200, split="validation")]
    wordings = {wording(question_form(sample)) for sample in samples}
    assert len(wordings) <= 2 * (len(TASKS) - 1), "two wordings of each task; none borrows its own"
    named = {str(sample.meta[key]) for sample in samples for key in ("subject", "mark") if key in sample.meta}
    assert not any(name in text for name in named for text in wordings)


def test_every_record_is_in_one_group(make_one: Make) -> None:
    records = [
        make_one("", name=f"{n}-{k}", question="Find it.", n_images=n)
        for n, size in ((3, LEAST), (4, 3))
        for k in range(size)
    ]
    found = groups(records)
    assert [(name, len(members), len(users)) for (name, members), users in found] == [
        ("Find it.", LEAST + 3, 3),
        ("Find it. (3 images)", LEAST, LEAST),
    ]


def test_rows_without_a_form_are_read(make_one: Make, tmp_path) -> None:
    row = make_one("").model_dump_json(exclude={"form"})
    (tmp_path / "records.jsonl").write_text(row + "\n")
    assert load_records(tmp_path)[0].form == ""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the costly steps, one entry per call: IoUs computed, matchings solved."""
    found: list[str] = []

    def counted(name: str) -> None:
        real = getattr(agreement, name)

        def step(*arguments: Any) -> Any:
            found.append(name)
            return real(*arguments)

        monkeypatch.setattr(agreement, name, step)

    counted("iou_matrix")
    counted("match_ious")
    monkeypatch.setattr(chance_module, "_kept", {})
    return found


def several(make_one: Make, n: int, seed: int = 7) -> list[Record]:
    """``n`` items with two to four targets in three images."""
    rng = random.Random(seed)

    def target() -> tuple[int, Box]:
        x, y = rng.random() * 0.5, rng.random() * 0.5
        return (rng.randint(1, 3), (x, y, x + 0.1 + rng.random() * 0.4, y + 0.1 + rng.random() * 0.4))

    return [make_one("", name=str(k), targets=[target() for _ in range(rng.randint(2, 4))]) for k in range(n)]


def test_items_with_several_targets_are_affordable(make_one: Make, calls: list[str]) -> None:
    """Every answer is held against all items at once, and of many items only some give an answer to try."""
    records = several(make_one, 900)
    calls.clear()  # the records were scored, too
    group_chance(records)
    most = chance_module._MOST_MATCHINGS
    assert calls.count("iou_matrix") <= most / len(records) < 50, "one per answer tried, not one per pair"
    assert most / 2 < calls.count("match_ious") < 2 * most, "one per pair, and one per image where the images agree"


def test_the_levels_of_a_dataset_are_computed_once(make_one: Make, calls: list[str]) -> None:
    """For every model that answered it: completions play no part."""
    records = several(make_one, 40)
    first = chance(records)
    said = [record.model_copy(update={"completion": "no idea", "iou": 0.1, "joint": False}) for record in records]
    calls.clear()
    assert chance(said) == first and not calls
    first["overall"].clear()
    assert chance(records)["overall"], "nobody changes what is kept"


@pytest.mark.parametrize(
    "change",
    [
        {"form": "another question"},
        {"task": "another"},
        {"n_images": 9},
        {"image_hidden": False},
        {"targets": []},
        {"id": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_truth_is_another_dataset(make_one: Make, calls: list[str], change: dict[str, Any]) -> None:
    records = several(make_one, 12)
    chance(records)
    chance([records[0].model_copy(update=change), *records[1:]])
    assert len(chance_module._kept) == 2


def test_only_a_few_datasets_are_kept(make_one: Make, calls: list[str]) -> None:
    for seed in range(7):
        chance(several(make_one, 3, seed))
    assert len(chance_module._kept) == chance_module._MOST_KEPT

"""The worked examples: which are chosen, what is said about them, and that the reverse is counted too."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from mirg.evaluation.compare import Evaluation
from mirg.evaluation.page_answers import Gallery, mended, verdict, worked_examples
from mirg.evaluation.records import Record
from mirg.report.data import Examples

Make = Callable[..., Record]
RIGHT = "<think>hm</think><answer>Image-2: (100,200),(500,600)</answer>"
IMAGE = "<think>hm</think><answer>Image-1: (100,200),(500,600)</answer>"
BOX = "<think>hm</think><answer>Image-2: (100,200),(500,300)</answer>"
NO_IMAGE = "<think>hm</think><answer>Image-7: (100,200),(500,600)</answer>"
NONE = "<think>hm</think><answer>none</answer>"
BAD = "no idea"


def evaluated(name: str, records: Sequence[Record]) -> Evaluation:
    return Evaluation(name, tuple(records))


def examples_of(*evaluations: Evaluation) -> Examples | None:
    return worked_examples(evaluations, Gallery(evaluations, None, {}))


@pytest.mark.parametrize(
    ("completion", "sample", "said", "why"),
    [
        (RIGHT, {}, "Image-2, IoU 1.00", "right"),
        (BOX, {}, "Image-2, IoU 0.25", "right image, wrong box"),
        (IMAGE, {}, "Image-1 instead of Image-2", "wrong image"),
        (NO_IMAGE, {}, "Image-7 (there is none) instead of Image-2", "an image that is not there"),
        (NONE, {}, "none instead of Image-2", "a target is overlooked"),
        (IMAGE, {"targets": ()}, "Image-1 instead of none", "a target is made up"),
        (NONE, {"targets": ()}, "none", "none, rightly"),
        (RIGHT, {"targets": ((2, (0.1, 0.2, 0.5, 0.6)),) * 2}, "Image-2, 1 box instead of 2", "a box is missing"),
        (
            RIGHT.replace("</answer>", "\nImage-3: (0,0),(500,600)</answer>"),
            {"targets": ((2, (0.1, 0.2, 0.5, 0.6)), (3, (0.0, 0.0, 1.0, 0.6)))},
            "Image-2, Image-3, mean IoU 0.75",
            "several targets",
        ),
    ],
)
def test_verdicts(completion: str, sample: dict[str, object], said: str, why: str, make_one: Make) -> None:
    assert verdict(make_one(completion, **sample)) == said, why


def test_an_unreadable_answer_says_why(make_one: Make) -> None:
    record = make_one(BAD)
    assert record.failure and verdict(record) == record.failure


# The task decides first, then what is easiest to see: the rows of one task are from the best example to the worst.
ORDER = [
    ("wrong image, 3 images", IMAGE, {"n_images": 3}),
    ("wrong image, 5 images", IMAGE, {"n_images": 5}),
    ("an image that is not there", NO_IMAGE, {"n_images": 3}),
    ("right image, wrong box", BOX, {"n_images": 3}),
    ("unreadable", BAD, {"n_images": 3}),
]


def test_the_order_does_not_depend_on_that_of_the_records(make_one: Make) -> None:
    pairs = [(make_one(text, name=name, **more), make_one(RIGHT, name=name, **more)) for name, text, more in ORDER]
    pairs.append((make_one(RIGHT, name="broken"), make_one(IMAGE, name="broken")))
    pairs.append((make_one(RIGHT, name="right"), make_one(RIGHT, name="right")))
    for seed in range(5):
        random.Random(seed).shuffle(pairs)
        assert [before.id for before, _ in mended(pairs)] == [name for name, _, _ in ORDER]


def test_other_tasks_come_before_a_second_example_of_the_same(make_one: Make) -> None:
    rows = [(f"a{k}", "a", IMAGE) for k in range(5)] + [("b", "b", BOX), ("c", "c", BAD)]
    pairs = [(make_one(text, name=name, task=task), make_one(RIGHT, name=name, task=task)) for name, task, text in rows]
    assert [before.task for before, _ in mended(pairs)] == ["a", "b", "c", "a", "a", "a", "a"]


def test_mended_and_broken_are_counted_on_the_same_comparison(make_one: Make) -> None:
    """5 of 12 fixed, 2 broken, 4 right and 1 wrong both times; the first model plays no part."""
    before = [IMAGE] * 4 + [BAD] + [RIGHT] * 6 + [BOX]
    after = [RIGHT] * 5 + [IMAGE] * 2 + [RIGHT] * 4 + [IMAGE]
    sft, rl = (
        evaluated(name, [make_one(text, name=f"s{k}") for k, text in enumerate(texts)])
        for name, texts in (("SFT", before), ("RL", after))
    )
    found = examples_of(evaluated("base", [make_one(BAD, name="s0")]), sft, rl)
    assert found is not None
    assert found.note.startswith(
        "Of 12 items RL corrects 5 that SFT gets wrong and breaks 2 that it gets right; 4 are right"
    )
    assert "1 wrong both times" in found.note and "because RL corrects SFT's answer" in found.note
    assert len(found.items) == 3
    for example in found.items:
        before_item, after_item = example.answers
        assert (before_item.model, after_item.model) == ("SFT", "RL") and after_item.outcome == "right"
        assert before_item.sample_id == after_item.sample_id
        assert example.title == "wrong image → right; IoU 0.00 → 1.00"
        assert example.verdicts == ("Image-1 instead of Image-2", "Image-2, IoU 1.00")


def test_where_nothing_is_mended_the_counts_stay(make_one: Make) -> None:
    found = examples_of(evaluated("a", [make_one(RIGHT)]), evaluated("b", [make_one(IMAGE)]))
    assert found is not None and found.items == ()
    assert "b corrects 0" in found.note and "breaks 1" in found.note and "chosen" not in found.note


def test_one_model_shows_one_answer_of_each_outcome(make_one: Make) -> None:
    texts = [BAD, BOX, BOX, IMAGE, RIGHT, RIGHT]
    found = examples_of(evaluated("m", [make_one(text, name=f"s{k}") for k, text in enumerate(texts)]))
    assert found is not None and "one of each outcome" in found.note
    assert [e.title for e in found.items] == ["right", "wrong image", "right image, wrong box"]
    assert all(len(e.answers) == len(e.verdicts) == 1 for e in found.items)
    sizes = [make_one(RIGHT, name=f"{n} images", n_images=n) for n in (7, 3, 5)]
    found = examples_of(evaluated("m", sizes))
    assert found and [e.answers[0].sample_id for e in found.items] == ["3 images"], "the best example"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"name": "b"}, "no sample in common"),
        ({"targets": ((1, (0.1, 0.2, 0.5, 0.6)),)}, "the same sample, another truth"),
    ],
)
def test_what_cannot_be_compared_has_no_examples(other: dict[str, object], why: str, make_one: Make) -> None:
    assert examples_of(evaluated("x", [make_one(IMAGE)]), evaluated("y", [make_one(RIGHT, **other)])) is None, why
    assert examples_of() is None

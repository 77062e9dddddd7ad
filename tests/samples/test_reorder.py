"""The same sample with its images in another order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirg.answers.markup import cited
from mirg.answers.prompts import write_completion
from mirg.data.scenes.generate import iter_samples
from mirg.families import MIRG_TINY
from mirg.rewards import score
from mirg.samples.reorder import has_free_order, in_orders, reordered
from mirg.samples.schema import ImageRef, Sample, Target

FREE = ["difference", "region", "multi_view", "reasoning", "multi_target", "none"]
SAMPLES = [sample for sample, _ in iter_samples(FREE, 24, split="validation", seed=5)]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SAMPLES), st.randoms(use_true_random=False))
def test_the_truth_goes_with_its_images(sample: Sample, rng) -> None:
    order = list(range(1, len(sample.images) + 1))
    rng.shuffle(order)
    other = reordered(sample, order)
    assert [image.path for image in other.images] == [sample.images[number - 1].path for number in order]
    shown = {(other.images[t.image - 1].path, t.box) for t in other.targets}
    assert shown == {(sample.images[t.image - 1].path, t.box) for t in sample.targets}
    for (there, box), (here, same) in zip(cited(other.question), cited(sample.question), strict=True):
        assert (other.images[there - 1].path, box) == (sample.images[here - 1].path, same)
    back = [order.index(number) + 1 for number in range(1, len(order) + 1)]
    assert reordered(other, back) == sample.model_copy(update={"trajectory": None, "targets": other_sorted(sample)})
    answer = write_completion("Seen.", other.targets, other.sizes, MIRG_TINY)
    assert score(answer, other, MIRG_TINY).image.value == 1.0


def other_sorted(sample: Sample) -> tuple[Target, ...]:
    return tuple(sorted(sample.targets, key=lambda target: (target.image, target.box)))


def test_question_is_numbered_anew() -> None:
    sample = asked("Where in Image-1 is the thing at <box image=3>0.1,0.1,0.5,0.5</box> of Image-3?", Target(
        image=1, box=(0.1, 0.1, 0.2, 0.2)
    ))  # fmt: skip
    other = reordered(sample, [3, 2, 1])
    assert other.question == "Where in Image-3 is the thing at <box image=1>0.1,0.1,0.5,0.5</box> of Image-1?"
    assert other.targets[0].image == 3


@pytest.mark.parametrize(
    ("question", "frame", "free"),
    [
        ("Find the cup.", None, True),
        ("Find the cup of the second image.", None, False),
        ("Which object of the 1st picture is gone?", None, False),
        ("Find the second cup.", None, True),
        ("Find the cup.", 1, False),
    ],
)
def test_where_order_means_something(question: str, frame: int | None, free: bool) -> None:
    sample = asked(question, frame=frame)
    assert has_free_order(sample) is free
    assert len(in_orders(sample, 4)) == (4 if free else 1)


def test_orders_differ_and_are_always_the_same() -> None:
    sample = asked("Find the cup.")
    found = in_orders(sample, 6)
    assert found == in_orders(sample, 6)
    assert found[0] == sample and in_orders(sample, 1) == [sample]
    assert len({tuple(image.path for image in one.images) for one in found}) == 6 == len({one.id for one in found})
    assert len(in_orders(sample, 50)) == 6, "three images have no more orders"
    renamed = (in_orders(sample.model_copy(update={"id": f"s{k}"}), 2)[1] for k in range(20))
    assert len({tuple(image.path for image in one.images) for one in renamed}) > 1, "samples have different orders"


@pytest.mark.parametrize("order", [[1, 2], [1, 1, 2], [0, 1, 2], [1, 2, 4]])
def test_no_order(order: list[int]) -> None:
    with pytest.raises(ValueError, match="no order of 3 images"):
        reordered(asked("Find the cup."), order)


def asked(question: str, *targets: Target, frame: int | None = None) -> Sample:
    images = tuple(ImageRef(path=f"{k}.png", width=8, height=8, frame=frame) for k in range(3))
    return Sample(id="s", task="t", images=images, question=question, targets=targets)

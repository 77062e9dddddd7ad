"""The laws of the rewards, for every arm and shaping."""

from __future__ import annotations

import math
import random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.completions import random_box, random_sample, right_completion
from fakes.readings import reading_of, truth_of
from mirg.families import FAMILIES, QWEN3_VL, Family
from mirg.geometry import iou
from mirg.rewards import Arm, RewardConfig, Shaping, score, score_reading
from mirg.samples.schema import Sample, Target

CONFIGS = [RewardConfig(arm=arm, shaping=shaping) for arm in get_args(Arm) for shaping in get_args(Shaping)]
every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.arm}-{c.shaping}")
some = settings(max_examples=40, deadline=None)  # of each of the 15 configurations

samples = st.integers(0, 2**32).map(lambda seed: random_sample(random.Random(seed)))
proper = st.integers(0, 2**32).map(lambda seed: random_box(random.Random(seed)))
guesses = st.lists(st.tuples(st.integers(1, 6), proper), max_size=5)
permutations = st.integers(0, 2**32)


@every_config
@some
@given(samples)
def test_truth_against_itself_is_one(config: RewardConfig, sample: Sample) -> None:
    found = score_reading(reading_of(truth_of(sample.targets)), sample, config)
    assert found.values == (1.0, 1.0, 1.0)
    assert found.total == pytest.approx(1.0, abs=1e-12)
    assert found.reasons == {}


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.name)
@some
@given(seed=st.integers(0, 2**32))
def test_truth_written_and_read_is_one_on_the_grid(family: Family, style, seed: int) -> None:
    sample = random_sample(random.Random(seed), family)
    found = score(right_completion(sample, family, style), sample, family)
    assert found.values == (1.0, 1.0, 1.0)


@every_config
@some
@given(samples, guesses, permutations)
def test_order_changes_nothing(config: RewardConfig, sample: Sample, guess, seed: int) -> None:
    rng = random.Random(seed)
    before = score_reading(reading_of(guess), sample, config)
    targets = tuple(rng.sample(sample.targets, len(sample.targets)))
    shuffled = sample.model_copy(update={"targets": targets})
    after = score_reading(reading_of(rng.sample(guess, len(guess))), shuffled, config)
    assert after.values == pytest.approx(before.values, abs=1e-12)


@every_config
@some
@given(samples, guesses, permutations)
def test_permuting_images_with_the_truth_changes_nothing(
    config: RewardConfig, sample: Sample, guess, seed: int
) -> None:
    order = list(range(1, 7))
    random.Random(seed).shuffle(order)
    before = score_reading(reading_of(guess), sample, config)
    moved = [Target(image=order[t.image - 1], box=t.box, label=t.label) for t in sample.targets]
    images = tuple(sample.images[0] for _ in range(6))
    after_sample = sample.model_copy(update={"targets": tuple(moved), "images": images})
    after = score_reading(reading_of([(order[i - 1], b) for i, b in guess]), after_sample, config)
    assert after.values == pytest.approx(before.values, abs=1e-12)


@every_config
@some
@given(samples, guesses, st.tuples(st.integers(0, 7), proper))
def test_an_extra_wrong_box_never_helps(config: RewardConfig, sample: Sample, guess, extra) -> None:
    """Wrong: in an image without a target, and without overlap with any target where images are not looked at."""
    image, box = extra
    anywhere = config.arm in ("object_only", "additive")
    if image in sample.target_images or (anywhere and any(iou(box, t.box) > 0 for t in sample.targets)):
        return
    before = score_reading(reading_of(guess), sample, config)
    after = score_reading(reading_of([*guess, extra]), sample, config)
    for one, two in zip(before.values, after.values, strict=True):
        assert two <= one + 1e-12
    assert after.total <= before.total + 1e-12


@every_config
@some
@given(samples, guesses)
def test_an_extra_box_that_overlaps_nothing_never_helps_the_object_part(config, sample: Sample, guess) -> None:
    """A second box in an image that is named already: the image part cannot change, so the total cannot rise."""
    if not guess:
        return
    extra = (guess[0][0], (0.0, 0.0, 1e-7, 1e-7))
    if any(iou(extra[1], t.box) > 0 for t in sample.targets):
        return
    before = score_reading(reading_of(guess), sample, config)
    assert score_reading(reading_of([*guess, extra]), sample, config).total <= before.total + 1e-12


@every_config
@some
@given(samples, guesses)
def test_every_value_is_in_0_1_with_a_reason_below_1(config: RewardConfig, sample: Sample, guess) -> None:
    found = score_reading(reading_of(guess), sample, config)
    for part in (found.format, found.image, found.object):
        assert math.isfinite(part.value) and 0.0 <= part.value <= 1.0
        assert bool(part.reason) == (part.value < 1.0)
    assert 0.0 <= found.total <= 1.0


@every_config
@some
@given(guesses)
def test_no_target_rewards_none_and_punishes_a_box(config: RewardConfig, guess) -> None:
    sample = random_sample(random.Random(3), n_targets=0)
    found = score_reading(reading_of(guess), sample, config)
    expected = 0.0 if guess else 1.0
    assert found.object.value == expected
    assert found.image.value == expected


@every_config
@some
@given(samples)
def test_none_earns_nothing_where_there_is_a_target(config: RewardConfig, sample: Sample) -> None:
    if sample.targets:
        found = score_reading(reading_of([]), sample, config)
        assert (found.image.value, found.object.value) == (0.0, 0.0)


@every_config
@pytest.mark.parametrize(
    ("corners", "problem"),
    [
        ("(400,200),(100,300)", "inverted"),
        ("(100,200),(100,300)", "empty"),
        ("(100,200),(1200,300)", "outside"),
        ("(100,200),(1e309,300)", "non-finite"),
        ("(100,nan),(200,300)", "non-finite"),
        ("(100,200,300)", "3 numbers instead of 4"),
    ],
)
def test_bad_boxes_score_0_with_a_reason(config: RewardConfig, corners: str, problem: str) -> None:
    sample = random_sample(random.Random(5), n_targets=1)
    image = sample.targets[0].image
    found = score(f"<think></think><answer>Image-{image}: {corners}</answer>", sample, QWEN3_VL, config)
    assert found.object.value == 0.0
    assert found.object.reason == f"box in Image-{image}: {problem}"
    assert found.image.value == 1.0  # the image was named, and rightly


@given(samples, guesses)
def test_gated_is_dual_where_all_images_are_right_else_without_its_object_term(sample: Sample, guess) -> None:
    dual, gated = (score_reading(reading_of(guess), sample, RewardConfig(arm=arm)) for arm in ("dual", "gated"))
    right = {i for i, _ in guess} == sample.target_images
    assert gated.object.value == (dual.object.value if right else 0.0)
    assert gated.image == dual.image


@given(samples, guesses)
def test_looking_at_the_image_never_pays_more(sample: Sample, guess) -> None:
    inside, anywhere = (
        score_reading(reading_of(guess), sample, RewardConfig(arm=arm)) for arm in ("object_in_image", "object_only")
    )
    assert inside.object.value <= anywhere.object.value + 1e-12

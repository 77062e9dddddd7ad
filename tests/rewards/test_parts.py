"""Worked examples of each part, and of the arms: what they pay for, in numbers one can check by hand."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fakes.completions import random_box, right_completion
from fakes.readings import reading_of
from mirg.families import MIRG_TINY, QWEN3_VL, QWEN25_VL, PixelLimits
from mirg.geometry import iou
from mirg.rewards import RewardConfig, score, score_reading
from mirg.rewards.parts import best_sum, dual_threshold, object_part, pair_iou
from mirg.rewards.total import PARTS
from mirg.samples.schema import ImageRef, Sample, Target

WHOLE, LEFT, RIGHT, QUARTER = (0, 0, 1, 1), (0, 0, 0.5, 1), (0.5, 0, 1, 1), (0, 0, 0.5, 0.5)


def sample_of(*targets, n_images: int = 3) -> Sample:
    return Sample(
        id="s",
        task="refer",
        images=tuple(ImageRef(path=f"{i}.png", width=1280, height=720) for i in range(n_images)),
        question="q",
        targets=tuple(Target(image=i, box=b) for i, b in targets),
    )


ONE = sample_of((2, LEFT))
TWO = sample_of((1, LEFT), (2, LEFT))
EIGHT = ", ".join(f"Image-{k}" for k in range(3, 11))


@pytest.mark.parametrize(
    ("sample", "guess", "arm", "image", "obj", "why"),
    [
        (ONE, [(2, LEFT)], "dual", 1.0, 1.0, "right"),
        (ONE, [(2, QUARTER)], "dual", 1.0, 0.5, "half the box"),
        (ONE, [(1, LEFT)], "dual", 0.0, 0.0, "right box, wrong image: nothing"),
        (ONE, [(1, LEFT)], "gated", 0.0, 0.0, "right box, wrong image: nothing"),
        (ONE, [(1, LEFT)], "object_in_image", 0.0, 0.0, "right box, wrong image: nothing"),
        (ONE, [(1, LEFT)], "object_only", 0.0, 1.0, "what UniVG-R1 and VLM-R1 pay for"),
        (ONE, [(1, LEFT)], "additive", 0.0, 1.0, "two independent rewards"),
        (ONE, [(2, LEFT), (1, LEFT)], "dual", 0.5, 0.5, "one right, one too many in another image"),
        (ONE, [(2, LEFT), (1, LEFT)], "gated", 0.5, 0.0, "gated: the set of images is not right"),
        (ONE, [(2, LEFT), (2, RIGHT)], "gated", 1.0, 0.5, "gated: the set is right"),
        (ONE, [(2, LEFT)] * 4, "dual", 1.0, 0.25, "repeating a right box"),
        (TWO, [(1, LEFT)], "dual", 0.5, 0.5, "one of two found"),
        (TWO, [(2, LEFT), (1, QUARTER)], "dual", 1.0, 0.75, "(1 + 1/2) / 2"),
        (TWO, [(2, LEFT), (3, LEFT)], "dual", 1 / 3, 0.5, "Jaccard of {2,3} and {1,2}"),
        (TWO, [(2, LEFT), (3, LEFT)], "object_only", 1 / 3, 1.0, "images are not looked at"),
        (sample_of((2, LEFT), (2, RIGHT)), [(2, RIGHT), (2, LEFT)], "dual", 1.0, 1.0, "matched, not in order"),
        (sample_of((2, LEFT), (2, WHOLE)), [(2, LEFT)], "dual", 1.0, 0.5, "the best match of one box"),
    ],
)
def test_worked_examples(sample: Sample, guess, arm, image: float, obj: float, why: str) -> None:
    found = score_reading(reading_of(guess), sample, RewardConfig(arm=arm))
    assert found.image.value == pytest.approx(image), why
    assert found.object.value == pytest.approx(obj), why


@pytest.mark.parametrize(
    ("config", "expected", "why"),
    [
        (RewardConfig(), 0.1 + 0.4 + 0.5 * 0.5, "the default weights"),
        (RewardConfig(format_weight=1, image_weight=1, object_weight=2), (1 + 1 + 2 * 0.5) / 4, "weights are relative"),
        (RewardConfig(arm="object_only"), (0.1 + 0.5 * 0.5) / 0.6, "the image weight is not used"),
        (RewardConfig(arm="object_in_image", format_weight=0), 0.5, "only one part"),
        (RewardConfig(image_weight=0, object_weight=0), 1.0, "the format only"),
        (RewardConfig(shaping="at"), 1.0, "IoU 0.5 counts"),
        (RewardConfig(shaping="at", threshold=0.51), 0.5, "IoU 0.5 does not"),
        (RewardConfig(shaping="dual_threshold"), 0.1 + 0.4 + 0.5 * 0.5, "between the thresholds: the IoU"),
    ],
)
def test_total(config: RewardConfig, expected: float, why: str) -> None:
    assert score_reading(reading_of([(2, QUARTER)]), ONE, config).total == pytest.approx(expected), why


@pytest.mark.parametrize(("iou", "shaped"), [(0, 0), (0.1, 0), (0.11, 0.11), (0.89, 0.89), (0.9, 1), (1, 1)])
def test_dual_threshold(iou: float, shaped: float) -> None:
    assert dual_threshold(iou) == shaped
    for shaping, value in (("dual_threshold", shaped), ("iou", iou)):
        found = score_reading(reading_of([(2, (0, 0, 0.5, iou))]), ONE, RewardConfig(shaping=shaping))
        assert found.object.value == pytest.approx(value)


def test_limits_of_a_loaded_processor_count() -> None:
    text = "<think>t</think><answer>Image-2: (0,0),(28,28)</answer>"
    assert score(text, ONE, QWEN25_VL, limits=PixelLimits(28 * 28, 56 * 56)).object.value == 1.0


@pytest.mark.parametrize(
    ("text", "strict", "partial", "reason"),
    [
        ("<think>a</think><answer>none</answer>", 1.0, 1.0, None),
        ("<think>a</think> b <answer>none</answer>", 0.0, 0.5, "text between </think> and <answer>"),
        ("<think>a</think><answer>hm</answer>", 0.0, 0.5, "the answer does not parse: no box"),
        ("<answer>none</answer>", 0.0, 0.25, "<think> is missing"),
        ("<think>a</think><answer>none", 0.0, 0.25, "</answer> is missing"),
        ("</think>a<think>", 0.0, 0.0, "<answer> is missing"),
        ("none", 0.0, 0.0, "<think> is missing"),
    ],
)
def test_format(text: str, strict: float, partial: float, reason: str | None) -> None:
    a, b = (score(text, ONE, QWEN3_VL, RewardConfig(partial_format=p)).format for p in (False, True))
    assert (a.value, b.value) == (strict, partial)
    assert a.reason == b.reason and (reason is None) == (a.reason is None) and (a.reason or "").startswith(reason or "")


@pytest.mark.parametrize(
    ("guess", "image_reason", "object_reason"),
    [
        ([(1, LEFT)], "named Image-1, true is Image-2", "no box in the right image"),
        ([], "named none, true is Image-2", "answered none for 1 target"),
        ([(2, RIGHT)], None, "overlap (IoU) scores 0.00"),
        ([(2, LEFT), (2, RIGHT)], None, "2 boxes for 1 target, score 0.50"),
        ([(0, LEFT)], "named no image, true is Image-2", "no box in the right image"),
        ([(k, LEFT) for k in range(3, 11)], f"named {EIGHT}, true is Image-2", "8 boxes for 1 target, score 0.00"),
        ([(k, LEFT) for k in range(3, 12)], f"named {EIGHT}, …, true is Image-2", "9 boxes for 1 target, score 0.00"),
    ],
)
def test_reasons(guess, image_reason: str | None, object_reason: str) -> None:
    found = score_reading(reading_of(guess), ONE)
    assert found == score_reading(reading_of(guess), ONE, RewardConfig())
    assert found.object == object_part(reading_of(guess), ONE.targets)
    assert (found.image.reason, found.object.reason) == (image_reason, object_reason)


def test_an_unreadable_answer_earns_nothing_and_says_so() -> None:
    found = score("<think>a</think><answer>hm</answer>", sample_of(), QWEN3_VL)
    assert found.total == 0.0 and set(found.reasons) == {"format", "image", "object"}


def test_a_box_without_its_image_counts_only_where_images_are_not_looked_at() -> None:
    text = "<think>a</think><answer>(0,0),(500,1000)</answer>"
    assert score(text, ONE, QWEN3_VL, RewardConfig(arm="object_only")).object.value == 1.0
    found = score(text, ONE, QWEN3_VL)
    assert (found.object.value, found.object.reason) == (0.0, "a box: no image named")


@pytest.mark.parametrize(
    "wrong",
    [
        {"arm": "both"},
        *({f"{part}_weight": wrong} for part in PARTS for wrong in (-0.1, math.inf)),
        {"weight": 1},
        {"threshold": 0},
        {"threshold": 1.01},
        {"shaping": "giou"},
        {"format_weight": 0, "image_weight": 0, "object_weight": 0},
        {"arm": "object_only", "format_weight": 0, "object_weight": 0},
    ],
)
def test_a_wrong_config_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RewardConfig.model_validate(wrong)


def test_a_config_stays_what_it_is() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RewardConfig().arm = "dual"


# --- the fast paths against slow references --------------------------------------------------------------------------

boxes = st.integers(0, 2**32).map(lambda seed: random_box(random.Random(seed)))


@given(boxes, boxes)
def test_pair_iou_is_geometrys(a, b) -> None:
    assert pair_iou(a, b) == pytest.approx(iou(a, b), abs=1e-12)
    assert pair_iou(a, a) == 1.0


@given(st.lists(boxes, max_size=4), st.lists(boxes, max_size=4), st.sampled_from([0.0, 0.3]))
def test_best_sum_is_the_best_of_all_assignments(predicted, true, threshold: float) -> None:
    def shape(v: float) -> float:
        return v if v >= threshold else 0.0

    few, many = sorted((predicted, true), key=len)
    best = max(
        (sum(shape(iou(a, b)) for a, b in zip(few, order, strict=False)) for order in permutations(many, len(few))),
        default=0.0,
    )
    assert best_sum(predicted, true, shape) == pytest.approx(best, abs=1e-9)


def test_importing_the_rewards_is_light() -> None:
    heavy = "{'scipy', 'torch', 'transformers', 'trl', 'datasets', 'PIL'}"
    code = (
        f"import sys, mirg.rewards, mirg.rewards.trl, mirg.answers; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_score_takes_well_under_a_millisecond() -> None:
    text = right_completion(ONE, MIRG_TINY)
    best = min(_seconds(lambda: [score(text, ONE, MIRG_TINY) for _ in range(200)]) / 200 for _ in range(5))
    assert best < 300e-6  # 40 microseconds on an idle core


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

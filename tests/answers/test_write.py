"""read(write(x)) == x on the family's grid, for every family and style (promise 8)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fakes.completions import LABELS, random_sample, right_completion
from mirg.answers import instruction_text, read, write_answer, write_completion
from mirg.answers.read import NO_BOX, NO_ORDER
from mirg.errors import AnswerError
from mirg.families import (
    FAMILIES,
    GEMMA_4,
    INTERNVL,
    LFM2_VL,
    MIRG_TINY,
    QWEN2_VL,
    QWEN3_VL,
    QWEN25_VL,
    Family,
    PixelLimits,
)
from mirg.frames import to_frame
from mirg.samples.schema import Target

SIZES = [(100, 100), (1280, 720)]
CUP = Target(image=1, box=(0.0, 0.0, 0.5, 1.0), label="杯子")
ONE = Target(image=2, box=(0.1, 0.2, 0.3, 0.4), label="red ring")
TWO = Target(image=1, box=(0.0, 0.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("family", "style", "targets", "expected"),
    [
        (MIRG_TINY, None, [ONE], "Image-2: (120,200),(320,400)"),
        (MIRG_TINY, None, [ONE, TWO], "Image-2: (120,200),(320,400)\nImage-1: (0,0),(1000,1000)"),
        (MIRG_TINY, None, [], "none"),
        (QWEN2_VL, None, [ONE], "Image-2: <|box_start|>(100,200),(300,400)<|box_end|>"),
        (INTERNVL, None, [ONE], "Image-2: <box>[[100,200,300,400]]</box>"),
        (QWEN3_VL, None, [ONE], '[{"image": 2, "bbox_2d": [100, 200, 300, 400], "label": "red ring"}]'),
        (QWEN3_VL, None, [TWO], '[{"image": 1, "bbox_2d": [0, 0, 1000, 1000]}]'),
        (QWEN3_VL, None, [], "[]"),
        (QWEN3_VL, "text", [ONE], "Image-2: (100,200),(300,400)"),
        (QWEN3_VL, None, [CUP], '[{"image": 1, "bbox_2d": [0, 0, 500, 1000], "label": "杯子"}]'),
        (QWEN25_VL, None, [ONE], '[{"image": 2, "bbox_2d": [129, 146, 386, 291], "label": "red ring"}]'),
    ],
)
def test_write_answer(family: Family, style, targets: list[Target], expected: str) -> None:
    assert write_answer(targets, SIZES, family, style) == expected


def test_write_completion_renders_the_thinking() -> None:
    text = write_completion("At <box image=2>0.1,0.2,0.3,0.4</box>.", [ONE], SIZES, MIRG_TINY)
    assert text == "<think>At (120,200),(320,400).</think><answer>Image-2: (120,200),(320,400)</answer>"


@pytest.mark.parametrize(
    ("thinking", "message"),
    [
        ("a</think>b", "the thinking holds '</think>'"),
        ("a<answer>b", "the thinking holds '<answer>'"),
        ("a<|image_pad|>b", "the thinking holds '<|image_pad|>'"),
        ("<box image=7>0,0,1,1</box>", "Image-7 does not exist"),
    ],
)
def test_a_thinking_that_could_not_be_read_back_is_refused(thinking: str, message: str) -> None:
    with pytest.raises(AnswerError) as caught:
        write_completion(thinking, [ONE], SIZES, QWEN3_VL)
    assert message in str(caught.value)


def test_a_target_in_a_missing_image_is_refused() -> None:
    with pytest.raises(AnswerError, match="Image-3, but there are 2"):
        write_answer([Target(image=3, box=(0, 0, 1, 1))], SIZES, QWEN3_VL)


def test_a_vision_token_in_a_label_is_refused() -> None:
    with pytest.raises(AnswerError, match="a label holds"):
        write_answer([Target(image=1, box=(0, 0, 1, 1), label="<|image_pad|>")], SIZES, QWEN3_VL)


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.name)
def test_read_gives_back_what_was_written(family: Family, style, count: int) -> None:
    """Generated answers: images, boxes (on the grid), order and the explicit none all come back."""
    rng = random.Random(8)
    limits = PixelLimits(64 * 64, 512 * 512) if family.resize == "image" else None
    seen_none = seen_several = 0
    for i in range(count):
        sample = random_sample(rng)
        used = limits if i % 2 else None
        sizes = sample.sizes
        text = write_completion("Image-1: no.", sample.targets, sizes, family, style, used)
        found = read(text, sizes, family, used)
        assert found.failure is None and found.format_score == 1.0, (text, found)
        assert found.thinking == "Image-1: no."
        assert found.none == (not sample.targets)
        assert len(found.boxes) == len(sample.targets)
        for box, target in zip(found.boxes, sample.targets, strict=True):
            size = sizes[target.image - 1]
            assert (box.image, box.problem) == (target.image, None), text
            assert to_frame(box.box, size, family, used) == to_frame(target.box, size, family, used)
        seen_none += found.none
        seen_several += len(found.boxes) > 1
    assert seen_none > count / 20 and seen_several > count / 5


def test_hostile_labels_come_back_as_one_answer() -> None:
    for label in LABELS:
        sample = random_sample(random.Random(1), n_targets=1)
        target = sample.targets[0].model_copy(update={"label": label})
        text = right_completion(sample.model_copy(update={"targets": (target,)}), QWEN3_VL)
        assert read(text, sample.sizes, QWEN3_VL).format_score == 1.0, label


def test_a_family_that_writes_y_first_is_read_back() -> None:
    """Text, JSON and running text carry [y1, x1, y2, x2], JSON under the key that says so."""
    family = replace(QWEN3_VL, name="y-first", axes="yx")
    assert write_answer([ONE], SIZES, family, "text") == "Image-2: (200,100),(400,300)"
    assert write_answer([ONE], SIZES, family, "json").startswith('[{"image": 2, "box_2d": [200, 100, 400, 300]')
    assert write_completion("At <box image=2>0.1,0.2,0.3,0.4</box>.", [ONE], SIZES, family).startswith(
        "<think>At [200,100,400,300]."
    )
    assert '"box_2d": [y1, x1, y2, x2]' in instruction_text(family)
    for style in ("text", "json"):
        found = read(write_completion("t", [ONE, TWO], SIZES, family, style), SIZES, family)
        assert [(box.image, box.box, box.problem) for box in found.boxes] == [(2, ONE.box, None), (1, TWO.box, None)]


@pytest.mark.parametrize(
    ("answer", "expected", "why"),
    [
        ('{"image": 2, "box_2d": [200, 100, 400, 300]}', ((0.1, 0.2, 0.3, 0.4), None, 1.0), "its own key"),
        ('{"image": 2, "bbox_xyxy": [100, 200, 300, 400]}', ((0.1, 0.2, 0.3, 0.4), None, 0.0), "the key says x first"),
        ('{"image": 2, "xmin": 100, "ymin": 200, "xmax": 300, "ymax": 400}', ((0.1, 0.2, 0.3, 0.4), None, 0.0),
         "the corners have names"),
        ("Image-2: (200,100),(400,300)", ((0.1, 0.2, 0.3, 0.4), None, 1.0), "its own order in the text style"),
        ('{"image": 2, "bbox_2d": [100, 200, 300, 400]}', (NO_BOX, NO_ORDER, 0.0), "the key of others: which order?"),
        ('{"image": 2, "box": [100, 200, 300, 400]}', (NO_BOX, NO_ORDER, 0.0), "a key that says nothing"),
    ],
)  # fmt: skip
def test_the_order_of_a_family_that_writes_y_first_is_never_guessed(answer: str, expected, why: str) -> None:
    found = read(f"<think>t</think><answer>{answer}</answer>", SIZES, GEMMA_4)
    assert [(box.box, box.problem, found.format_score) for box in found.boxes] == [expected], why
    assert read(f"<think>t</think><answer>{answer}</answer>", SIZES, QWEN3_VL).boxes[0].problem is None


def test_fractions_are_written_with_three_decimals() -> None:
    sharp = Target(image=2, box=(0, 0.12345, 0.5, 1), label="red ring")
    written = '[{"image": 2, "bbox": [0.0, 0.123, 0.5, 1.0], "label": "red ring"}]'
    assert write_answer([sharp], SIZES, LFM2_VL) == written
    assert write_answer([sharp], SIZES, LFM2_VL, "text") == "Image-2: (0.0,0.123),(0.5,1.0)"
    (box,) = read(f"<answer>{written}</answer>", SIZES, LFM2_VL).boxes
    assert (box.box, box.problem) == ((0.0, 0.123, 0.5, 1.0), None)
    (box,) = read('<answer>[{"image": 2, "bbox_2d": [0, 123, 500, 1000]}]</answer>', SIZES, LFM2_VL).boxes
    assert box.problem == "outside", "a box of the 0-1000 frame counts for nothing"


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.name)
def test_any_number_of_boxes_is_read_back(family: Family, style) -> None:
    targets = [Target(image=1 + k % 2, box=(0.04, 0.04, 0.2 + k % 19 / 25, 0.96), label="ring") for k in range(3000)]
    found = read(write_completion("t", targets, SIZES, family, style), SIZES, family)
    assert (found.failure, found.format_score, len(found.boxes)) == (None, 1.0, len(targets))
    assert [box.image for box in found.boxes] == [target.image for target in targets]

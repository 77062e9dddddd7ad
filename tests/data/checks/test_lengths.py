"""The tokens of a sample and their distribution; tests/samples/test_tokens.py tests the counts of images and texts."""

from __future__ import annotations

from pathlib import Path

import pytest

import mirg
from mirg.answers.markup import look_markup
from mirg.answers.prompts import messages, prompt_text, write_completion
from mirg.data.checks.lengths import Lengths, SampleCounter, limits_for
from mirg.errors import ConfigError, ImageError
from mirg.families import FAMILIES, MIRG_TINY, QWEN3_VL, PixelLimits
from mirg.samples import ImageRef, Sample, Target, Trajectory
from mirg.samples.tokens import image_tokens, template_tokens, text_tokens, tokenizer

TINY_TOKENIZER = Path(mirg.__file__).parent / "models" / "mirg-tiny" / "tokenizer.json"


def sample(name: str = "s", sizes: tuple[tuple[int, int], ...] = ((640, 480), (300, 200)), **fields: object) -> Sample:
    refs = tuple(ImageRef(path=f"{k}.png", width=w, height=h) for k, (w, h) in enumerate(sizes))
    made = {"id": name, "task": "refer", "images": refs, "question": "Where is the red ring?", **fields}
    return Sample.model_validate(made)


def test_a_tokenizer_counts_the_text_exactly() -> None:
    count = tokenizer(TINY_TOKENIZER)
    target = Target(image=2, box=(0.1, 0.2, 0.5, 0.6), label="red ring")
    one = sample(targets=[target], trajectory=Trajectory(thinking="Target: red ring.", answer=(target,), writer="t"))
    lengths = Lengths(QWEN3_VL, None, count, "by x")
    prompt = count(prompt_text(messages(one, QWEN3_VL), image=""))
    completion = count(write_completion("Target: red ring.", one.targets, one.sizes, QWEN3_VL))
    visual = sum(image_tokens(size, QWEN3_VL) for size in one.sizes)
    assert lengths.add(one) == prompt + completion + visual + template_tokens(QWEN3_VL, 2)


def test_a_look_counts_with_the_turn_that_shows_its_crop() -> None:
    target = Target(image=2, box=(0.1, 0.2, 0.5, 0.6), label="red ring")
    thoughts = ["Target: red ring. ", f"Target: red ring. {look_markup(2, (0.0, 0.0, 0.5, 0.5))}"]
    plain, looking = (
        sample(targets=[target], sizes=((800, 600), (1200, 800)),
               trajectory=Trajectory(thinking=thought, answer=(target,), writer="t"))
        for thought in thoughts
    )  # fmt: skip
    counts = [SampleCounter(QWEN3_VL, count=len)(one) for one in (plain, looking)]
    said = [
        len(write_completion(one.trajectory.thinking, one.targets, one.sizes, QWEN3_VL))
        for one in (plain, looking)
        if one.trajectory
    ]
    crop = 20 * 13  # 640 x 416: the 600 x 400 pixels with the area of 262,144 that a budget allows, in cells of 32
    assert counts[1].images - counts[0].images == crop
    more = said[1] - said[0] + len("Image-2a: ") + template_tokens(QWEN3_VL, 1)
    assert counts[1].total - counts[0].total == crop + more


def test_every_family_has_a_template_and_the_tiny_model_is_refused() -> None:
    for name, family in FAMILIES.items():
        if name != MIRG_TINY.name:
            more = template_tokens(family, 3) - template_tokens(family, 2)
            assert more + sum(family.marks) >= 2 and limits_for(family, None) == family.limits
    with pytest.raises(ConfigError, match="its recipe sets them"):
        Lengths(MIRG_TINY, None, text_tokens, "estimated")


def test_max_pixels_are_those_of_a_recipe() -> None:
    large = sample(sizes=((4000, 3000),))
    free, bound = (Lengths(QWEN3_VL, most, len, "x") for most in (None, 512 * 512))
    assert (free.add(large) or 0) - (bound.add(large) or 0) == image_tokens((4000, 3000), QWEN3_VL) - image_tokens(
        (4000, 3000), QWEN3_VL, PixelLimits(QWEN3_VL.limits.min_pixels, 512 * 512)
    )
    with pytest.raises(ConfigError, match="--max-pixels 100 is less"):
        limits_for(QWEN3_VL, 100)


def test_the_distribution_and_its_longest() -> None:
    lengths = Lengths(QWEN3_VL, None, len, "by characters", max_tokens=1400)
    base = lengths.add(sample("s0", sizes=((320, 320),), question="a")) or 0
    totals = [base] + [lengths.add(sample(f"s{k}", sizes=((320, 320),), question="a" * (k + 1))) for k in range(1, 41)]
    assert totals == [base + k for k in range(41)]
    found = lengths.summary()
    assert (found["p50"], found["p95"], found["max"], found["samples"]) == (base + 20, base + 38, base + 40, 41)
    assert found["longest"] == [{"tokens": base + k, "id": f"s{k}"} for k in (40, 39, 38, 37, 36)]
    edges, counts = found["histogram"]["edges"], found["histogram"]["counts"]
    assert sum(counts) == 41 and edges[0] == base and edges[-1] == base + 40
    assert found["too_long"] == sum((total or 0) > 1400 for total in totals)
    assert 0 < found["image_share"] < 1


def test_of_equally_long_samples_the_first_are_named() -> None:
    lengths = Lengths(QWEN3_VL, None, len, "x")
    for k in range(9):
        lengths.add(sample(f"s{k}"))
    assert [one["id"] for one in lengths.summary()["longest"]] == ["s0", "s1", "s2", "s3", "s4"]


def test_what_cannot_be_counted_is_counted_as_that() -> None:
    lengths = Lengths(QWEN3_VL, None, text_tokens, "x")
    unmeasured = sample().model_copy(update={"images": (ImageRef(path="a.png"),)})
    assert lengths.add(unmeasured) is None
    with pytest.raises(ImageError):
        lengths.add(sample(sizes=((3000, 10),)))
    found = lengths.summary()
    expected = {"samples": 0, "unmeasured": 1, "refused": 1, "max": 0, "longest": []}
    assert {name: found[name] for name in expected} == expected

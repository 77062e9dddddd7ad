"""Tokens without a model: images exactly, text by estimate or by a tokenizer; and their distribution."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path

import pytest

import mirg
from mirg.answers.prompts import messages, prompt_text
from mirg.answers.write import write_completion
from mirg.data.checks.counting import estimated, image_tokens, limits_for, template_tokens, tokenizer
from mirg.data.checks.lengths import Lengths
from mirg.errors import ConfigError, ImageError
from mirg.frames import FAMILIES, GLM_V, INTERNVL, MIRG_TINY, QWEN3_VL, QWEN25_VL, PixelLimits
from mirg.samples import ImageRef, Sample, Target, Trajectory

TINY_TOKENIZER = Path(mirg.__file__).parent / "models" / "mirg-tiny" / "tokenizer.json"


def sample(name: str = "s", sizes: tuple[tuple[int, int], ...] = ((640, 480), (300, 200)), **fields: object) -> Sample:
    refs = tuple(ImageRef(path=f"{k}.png", width=w, height=h) for k, (w, h) in enumerate(sizes))
    made = {"id": name, "task": "refer", "images": refs, "question": "Where is the red ring?", **fields}
    return Sample.model_validate(made)


# Counted once with the vocabulary of Qwen's tokenizer.
TEXTS = [
    (15, "Which object is in every image? Point to it in Image-2."),
    (53, "Image-1: green arrow, red heart. Image-2: red heart, red square, cyan heart, red ring. Common: red heart. "
         "Box: Image-2 [250,656,448,854]."),
    (43, '<answer>[{"image": 2, "bbox_2d": [40, 80, 400, 520], "label": "red ring"}]</answer>'),
    (36, "The photograph was taken from the other side of the street, so the bicycle that leans against the lamp post "
         "in the first picture is hidden behind the delivery van in the second one."),
    (20, "请在第二张图片中找到与第一张图片相同的红色圆环，并给出它的位置。"),
]  # fmt: skip


@pytest.mark.parametrize(("tokens", "text"), TEXTS)
def test_the_estimate_is_within_a_tenth(tokens: int, text: str) -> None:
    assert abs(estimated(text) - tokens) <= 0.1 * tokens


@pytest.mark.parametrize(
    ("size", "family", "tokens", "why"),
    [
        ((1024, 1024), QWEN3_VL, 32 * 32, "sides are multiples of 32"),
        ((640, 480), QWEN25_VL, 23 * 17, "rounded to multiples of 28"),
        ((96, 96), QWEN3_VL, 8 * 8, "enlarged to the family's least area"),
        ((448, 448), INTERNVL, 256, "one tile"),
        ((896, 448), INTERNVL, 3 * 256, "two tiles and the small copy of the whole"),
        ((112, 112), GLM_V, 16, "two frames of it are counted in the limits, one in the tokens"),
    ],
)
def test_image_tokens(size: tuple[int, int], family: object, tokens: int, why: str) -> None:
    assert image_tokens(size, family) == tokens, why  # type: ignore[arg-type]


PROCESSORS = [
    ("qwen2_vl.image_processing_pil_qwen2_vl", "Qwen2VLImageProcessorPil", QWEN25_VL, 4),
    ("glm4v.image_processing_pil_glm4v", "Glm4vImageProcessorPil", GLM_V, 4),
    ("got_ocr2.image_processing_pil_got_ocr2", "GotOcr2ImageProcessorPil", INTERNVL, 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name", "family", "patches"), PROCESSORS)
def test_image_tokens_are_those_of_the_real_processors(module: str, name: str, family: object, patches: int) -> None:
    """``patches`` of a token; InternVL has 256 tokens of a tile instead."""
    pytest.importorskip("transformers")
    make = getattr(import_module(f"transformers.models.{module}"), name)
    tiles = {"crop_to_patches": True, "min_patches": 1, "max_patches": 12}
    edges = {"shortest_edge": family.limits.min_pixels, "longest_edge": family.limits.max_pixels}  # type: ignore[attr-defined]
    processor = make(size=edges) if patches else make(size={"height": 448, "width": 448}, **tiles)
    rng = random.Random(1)
    for _ in range(300):
        width, height = rng.randint(28, 3000), rng.randint(28, 3000)
        found = processor.get_number_of_image_patches(height, width, {} if patches else tiles)
        assert image_tokens((width, height), family) == (found // patches if patches else found * 256)  # type: ignore[arg-type]


def test_a_tokenizer_counts_the_text_exactly() -> None:
    count = tokenizer(TINY_TOKENIZER)
    target = Target(image=2, box=(0.1, 0.2, 0.5, 0.6), label="red ring")
    one = sample(targets=[target], trajectory=Trajectory(thinking="Target: red ring.", answer=(target,), writer="t"))
    lengths = Lengths(QWEN3_VL, None, count, "by x")
    prompt = count(prompt_text(messages(one, QWEN3_VL), image=""))
    completion = count(write_completion("Target: red ring.", one.targets, one.sizes, QWEN3_VL))
    visual = sum(image_tokens(size, QWEN3_VL) for size in one.sizes)
    assert lengths.add(one) == prompt + completion + visual + template_tokens(QWEN3_VL, 2)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no tokenizer"), ("{}", "is no tokenizer.json"), ("x", "is no tokenizer.json")]
)
def test_files_that_are_no_tokenizer(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        tokenizer(path)


def test_every_family_has_a_template_and_the_tiny_model_is_refused() -> None:
    for name, family in FAMILIES.items():
        if name != MIRG_TINY.name:
            assert template_tokens(family, 3) > template_tokens(family, 2) and limits_for(family, None) == family.limits
    with pytest.raises(ConfigError, match="its recipe sets them"):
        Lengths(MIRG_TINY, None, estimated, "estimated")


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
    assert (found.p50, found.p95, found.most, found.samples) == (base + 20, base + 38, base + 40, 41)
    assert found.longest == tuple((base + k, f"s{k}") for k in (40, 39, 38, 37, 36))
    assert sum(found.counts) == 41 and found.edges[0] == base and found.edges[-1] == base + 40
    assert found.too_long == sum((total or 0) > 1400 for total in totals)
    assert 0 < found.image_share < 1


def test_of_equally_long_samples_the_first_are_named() -> None:
    lengths = Lengths(QWEN3_VL, None, len, "x")
    for k in range(9):
        lengths.add(sample(f"s{k}"))
    assert [name for _, name in lengths.summary().longest] == ["s0", "s1", "s2", "s3", "s4"]


def test_what_cannot_be_counted_is_counted_as_that() -> None:
    lengths = Lengths(QWEN3_VL, None, estimated, "x")
    unmeasured = sample().model_copy(update={"images": (ImageRef(path="a.png"),)})
    assert lengths.add(unmeasured) is None
    with pytest.raises(ImageError):
        lengths.add(sample(sizes=((3000, 10),)))
    found = lengths.summary()
    assert (found.samples, found.unmeasured, found.refused, found.most, found.longest) == (0, 1, 1, 0, ())

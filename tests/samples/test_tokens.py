"""The tokens of images are those of the real processors; the tokens of texts are estimated or counted."""

from __future__ import annotations

import random
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fakes.tiny import tiny_pair
from mirg.errors import ConfigError
from mirg.families import GLM_V, INTERNVL, QWEN2_VL, QWEN3_VL, QWEN25_VL, Family, PixelLimits, family
from mirg.samples.tokens import image_tokens, text_tokens, tokenizer

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
    assert abs(text_tokens(text) - tokens) <= 0.1 * tokens


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


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [
        ("qwen2.5-vl", (280, 560), 10 * 20),
        ("qwen2-vl", (10, 10), 4),  # enlarged to 56 x 56
        ("qwen3-vl", (320, 640), 10 * 20),
        ("internvl", (448, 448), 256),  # one tile has no thumbnail
        ("internvl", (896, 448), 3 * 256),
        ("glm-v", (280, 560), 10 * 20),
    ],
)
def test_image_tokens_by_family(name: str, size: tuple[int, int], tokens: int) -> None:
    assert image_tokens(size, family(name)) == tokens


def test_limits_bound_the_tokens() -> None:
    assert image_tokens((4000, 3000), family("qwen2.5-vl"), PixelLimits(3136, 784 * 100)) <= 100


@given(text=st.text(max_size=300))
def test_text_tokens_are_bounded(text: str) -> None:
    """Never more than the characters, never zero for a text that is not empty."""
    assert bool(text.split()) <= text_tokens(text) <= len(text)
    assert text_tokens(text + " 1234") == text_tokens(text) + 4, "a digit is a token"


# --- the real processors ---------------------------------------------------------------------------------------------

KINDS = {"qwen2_vl": QWEN2_VL, "qwen2_5_vl": QWEN25_VL, "qwen3_vl": QWEN3_VL}


@cache
def real_processor(kind: str) -> Any:
    """The processor class of the family, with transformers' image processor and a tiny tokenizer."""
    return tiny_pair(kind)[1]


def limited(kind: str, limits: PixelLimits) -> Any:
    processor = real_processor(kind)
    processor.image_processor.size = {"shortest_edge": limits.min_pixels, "longest_edge": limits.max_pixels}
    return processor


def random_limits(rng: random.Random, family: Family) -> PixelLimits:
    """The limits of the family, or others that a recipe may set."""
    if rng.random() < 0.5:
        return family.limits
    least = rng.choice([1, 4, 16, 64]) * family.factor**2
    return PixelLimits(least, least * rng.choice([1, 2, 16, 100]))


@pytest.mark.parametrize("kind", KINDS)
def test_five_thousand_samples_have_the_tokens_of_the_real_processor(kind: str) -> None:
    """Random sizes, numbers of images and pixel limits, with the code by which transformers expands placeholders."""
    family, rng = KINDS[kind], random.Random(5)
    for _ in range(5000):
        limits = random_limits(rng, family)
        longest = rng.choice([60, 400, 3000])
        sizes = [(rng.randint(10, longest), rng.randint(10, longest)) for _ in range(rng.randint(1, 8))]
        sizes = [(w, h) for w, h in sizes if max(w, h) <= 200 * min(w, h)]
        processor = limited(kind, limits)
        found = processor._get_num_multimodal_tokens(image_sizes=[(h, w) for w, h in sizes])
        assert [image_tokens(size, family, limits) for size in sizes] == list(found["num_image_tokens"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_prompt_of_the_real_processor_holds_as_many_image_tokens(kind: str) -> None:
    """With pixels: the placeholders in the token ids, and the features that the vision tower will make."""
    family, rng = KINDS[kind], random.Random(7)
    for _ in range(15):
        limits = random_limits(rng, family)
        limits = PixelLimits(min(limits.min_pixels, 40_000), min(limits.max_pixels, 80_000))
        sizes = [(rng.randint(10, 500), rng.randint(10, 500)) for _ in range(rng.randint(1, 4))]
        processor = limited(kind, limits)
        content = [*({"type": "image"} for _ in sizes), {"type": "text", "text": "Where is it?"}]
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        batch = processor(text=[prompt], images=[Image.new("RGB", size) for size in sizes], return_tensors="pt")
        expected = [image_tokens(size, family, limits) for size in sizes]
        assert int((batch["input_ids"] == processor.image_token_id).sum()) == sum(expected)
        assert [int(grid.prod()) // 4 for grid in batch["image_grid_thw"]] == expected


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


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no tokenizer"), ("{}", "is no tokenizer.json"), ("x", "is no tokenizer.json")]
)
def test_files_that_are_no_tokenizer(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        tokenizer(path)

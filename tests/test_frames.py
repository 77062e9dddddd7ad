"""Frames: conversions lose at most half a step, and predicted input sizes are the real processors'."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.errors import ConfigError, DataError, ImageError
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
    family,
    family_of_model_type,
)
from mirg.frames import from_frame, input_size, to_frame

ALL = list(FAMILIES.values())
ids = [f.name for f in ALL]


# --- the table of families -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "frame", "factor", "style", "why"),
    [
        ("qwen2-vl", "relative_1000", 28, "text", "box tokens around (x1,y1),(x2,y2)"),
        ("qwen2.5-vl", "resized_pixels", 28, "json", "the one that counts resized pixels"),
        ("qwen3-vl", "relative_1000", 32, "json", "back to relative, patch 16"),
        ("internvl", "relative_1000", 448, "text", "tiles of 448"),
        ("smolvlm2", "relative_1000", 512, "json", "no frame of its own: that of Qwen3-VL"),
        ("glm-v", "relative_1000", 28, "json", "GLM-4.1V and later"),
        ("gemma-4", "relative_1000", 48, "json", "y first, under box_2d"),
        ("lfm2-vl", "fraction", 32, "json", "LFM2.5-VL-450M and the published grounding recipe"),
        ("lfm2.5-vl-3b", "relative_1000", 32, "json", "the documentation of LFM2.5-VL-3B"),
        ("mimo-vl", "resized_pixels", 28, "json", "built like Qwen2.5-VL"),
        ("mirg-tiny", "relative_1000", 32, "text", "the embedded model"),
    ],
)
def test_facts(name: str, frame: str, factor: int, style: str, why: str) -> None:
    found = family(name)
    assert (found.box_frame, found.factor, found.style) == (frame, factor, style), why
    assert found.image_token in found.vision_tokens


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("qwen2-vl", 3_136, 12_845_056), ("qwen2.5-vl", 3_136, 12_845_056), ("qwen3-vl", 65_536, 16_777_216),
        ("internvl", 200_704, 2_408_448), ("glm-v", 12_544, 9_633_792), ("smolvlm2", 262_144, 4_194_304),
        ("gemma-4", 2_304, 645_120), ("lfm2-vl", 65_536, 262_144),
    ],
)  # fmt: skip
def test_pixel_limits_are_those_of_the_published_processors(name: str, least: int, most: int) -> None:
    assert family(name).limits == PixelLimits(least, most)


def test_unknown_family_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'qwen3-vl'"):
        family("QWEN3-V")
    with pytest.raises(ConfigError, match=r"did you mean 'qwen2\.5-vl'"):
        family("Qwen2.5VL")


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("qwen2_vl", "qwen2-vl"),
        ("qwen2_5_vl", "qwen2.5-vl"),
        ("qwen3_vl_moe", "qwen3-vl"),
        ("glm46v", "glm-v"),
        ("gemma4", "gemma-4"),
        ("lfm2_vl", "lfm2-vl"),
    ],
)
def test_family_of_model_type(model_type: str, name: str) -> None:
    assert family_of_model_type(model_type).name == name


def test_no_model_type_belongs_to_two_families() -> None:
    types = [t for f in ALL for t in f.model_types]
    assert len(types) == len(set(types))
    with pytest.raises(ConfigError, match="no family of models of the type 'llama'"):
        family_of_model_type("llama")


def test_a_step_must_divide_its_frame() -> None:
    with pytest.raises(ConfigError, match="does not fit"):
        Family(**{**vars(MIRG_TINY), "step": 30})
    with pytest.raises(ConfigError, match="does not fit"):
        Family(**{**vars(QWEN25_VL), "step": 4})


# --- promise 11: px -> frame -> px -----------------------------------------------------------------------------------

# Sides up to 8000 whose ratio every family takes.
sizes = st.tuples(st.integers(1, 8000), st.integers(1, 8000)).filter(lambda s: max(s) <= 200 * min(s))


@st.composite
def pixel_boxes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """An image size and a box in whole pixels of it, any side from one pixel to the image."""
    width, height = draw(sizes)
    x1, y1 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return (width, height), (x1, y1, draw(st.integers(x1 + 1, width)), draw(st.integers(y1 + 1, height)))


@pytest.mark.parametrize("fam", ALL, ids=ids)
@given(pixel_boxes())
def test_px_to_frame_to_px_is_half_a_step_off_at_most(fam: Family, case) -> None:
    size, px = case
    scale = (size[0], size[1], size[0], size[1])
    box = tuple(p / s for p, s in zip(px, scale, strict=True))
    numbers = to_frame(box, size, fam)
    back = from_frame(numbers, size, fam)
    edges = {"relative_1000": (1000, 1000), "fraction": (1, 1)}.get(fam.box_frame) or input_size(size, fam)
    step = 0.001 if fam.box_frame == "fraction" else fam.step
    for axis in (0, 1):
        step_px = step / edges[axis] * size[axis]
        low, high = (abs(back[i] * scale[i] - px[i]) / step_px for i in (axis, axis + 2))
        collapsed = px[axis + 2] - px[axis] < step_px  # only such a box may have been widened
        assert max(low, high) <= (1.0 if collapsed else 0.5) + 1e-9
        assert 0 <= numbers[axis] < numbers[axis + 2] <= edges[axis]
    assert all(n == round(n / step) / round(1 / step) if step < 1 else n % step == 0 for n in numbers)


@pytest.mark.parametrize("fam", ALL, ids=ids)
@given(pixel_boxes())
def test_the_frame_is_a_fixed_point(fam: Family, case) -> None:
    size, px = case
    numbers = to_frame((px[0] / size[0], px[1] / size[1], px[2] / size[0], px[3] / size[1]), size, fam)
    assert to_frame(from_frame(numbers, size, fam), size, fam) == numbers


@pytest.mark.parametrize(
    ("box", "fam", "expected", "why"),
    [
        ((0, 0, 1, 1), QWEN3_VL, (0, 0, 1000, 1000), "the whole image ends at 1000, not 999"),
        ((0.0005, 0.5, 0.5, 1.0), QWEN3_VL, (1, 500, 500, 1000), "a half goes up, never to even"),
        ((0.0015, 0.5, 0.5, 1.0), QWEN3_VL, (2, 500, 500, 1000), "a half goes up, never to even"),
        (
            (0.3001, 0.2, 0.3003, 0.4),
            QWEN3_VL,
            (300, 200, 301, 400),
            "collapsed, centre right of the line: widen right",
        ),
        ((0.2997, 0.2, 0.2999, 0.4), QWEN3_VL, (299, 200, 300, 400), "collapsed, centre left of the line: widen left"),
        ((0.0, 0.2, 0.0001, 0.4), QWEN3_VL, (0, 200, 1, 400), "collapsed at the left edge: widen into the image"),
        ((0.9999, 0.2, 1.0, 0.4), QWEN3_VL, (999, 200, 1000, 400), "collapsed at the right edge: widen into the image"),
        ((0.5, 0.2, 0.5, 0.4), QWEN3_VL, (500, 200, 500, 400), "an empty box stays empty"),
        ((0.6, 0.2, 0.5, 0.4), QWEN3_VL, (600, 200, 500, 400), "an inverted box stays inverted"),
        ((-0.1, 0.2, 1.2, 0.4), QWEN3_VL, (0, 200, 1000, 400), "outside goes to the edge"),
        ((-0.5, 0.2, -0.1, 0.4), QWEN3_VL, (0, 200, 1, 400), "all of it outside: the first step of the image"),
        ((0.2, 1.1, 0.4, 1.5), QWEN3_VL, (200, 999, 400, 1000), "below the image: its last step"),
        ((0.1, 0.2, 0.3, 0.4), MIRG_TINY, (120, 200, 320, 400), "multiples of 40"),
        ((0.0, 0.0, 0.01, 0.01), MIRG_TINY, (0, 0, 40, 40), "a grid of 25 steps collapses often"),
        ((0.25, 0.25, 0.75, 0.75), QWEN25_VL, (322, 182, 966, 546), "pixels of 1288 x 728, not of 1280 x 720"),
        ((0.1234, 0.2, 1.2, 1 / 3), LFM2_VL, (0.123, 0.2, 1.0, 0.333), "fractions have three decimals"),
        ((0.3001, 0.2, 0.3003, 0.4), LFM2_VL, (0.3, 0.2, 0.301, 0.4), "collapsed: widened by a thousandth"),
        ((0.1, 0.2, 0.3, 0.4), GEMMA_4, (100, 200, 300, 400), "the frame has x first; only the writing has y first"),
    ],
)
def test_to_frame(box, fam: Family, expected: tuple[int, ...], why: str) -> None:
    assert to_frame(box, (1280, 720), fam) == expected, why


def test_from_frame_neither_clips_nor_checks() -> None:
    assert from_frame((1100, -20, 0, math.inf), (10, 10), QWEN3_VL) == (1.1, -0.02, 0.0, math.inf)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_box_without_numbers_has_no_frame(bad: float) -> None:
    with pytest.raises(DataError, match="finite"):
        to_frame((0.1, 0.1, bad, 0.2), (10, 10), QWEN3_VL)


@pytest.mark.parametrize(
    ("name", "limits", "seen"),
    [
        ("qwen2.5-vl", PixelLimits(28 * 28, 56 * 56), (56, 28)),
        ("glm-v", PixelLimits(28 * 28, 2 * 56 * 56), (56, 28)),
        ("internvl", PixelLimits(448 * 448, 2 * 448 * 448), (2 * 448, 448)),
        ("smolvlm2", PixelLimits(512 * 512, 1024 * 1024), (1024, 1024)),
        ("gemma-4", PixelLimits(48 * 48, 70 * 48 * 48), (528, 288)),
        ("lfm2-vl", PixelLimits(256 * 256, 1024 * 1024), (1280, 704)),  # with its own limits, the image is split
    ],
)
def test_limits_of_a_loaded_processor_win(name: str, limits: PixelLimits, seen: tuple[int, int]) -> None:
    fam = FAMILIES[name]
    assert input_size((1280, 720), fam, limits) == seen != input_size((1280, 720), fam)
    if fam.box_frame == "resized_pixels":
        assert to_frame((0, 0, 1, 1), (1280, 720), fam, limits) == (0, 0, *seen)
        assert from_frame((0, 0, *seen), (1280, 720), fam, limits) == (0, 0, 1, 1)


# --- promise 11: the real processors' sizes --------------------------------------------------------------------------


@cache
def five_thousand_sizes() -> list[tuple[int, int]]:
    """1x1 to 8000x8000, ratios to 200:1 and beyond, log-uniform, plus the borders of every rule."""
    rng = random.Random(11)
    found = {(1, 1), (8000, 8000), (8000, 40), (40, 8000), (8000, 39), (1, 200), (1, 201), (27, 5400), (28, 5600)}
    found |= {(896, 1008), (1008, 896)}  # exactly half of 3 x 3 tiles
    found |= {
        (w, h) for f in (14, 16, 28, 32, 448) for k in (1, 2, 3) for w in (f * k - 1, f * k) for h in (f, 8000 // k)
    }
    while len(found) < 5000:
        width = round(math.exp(rng.uniform(0, math.log(8000))))
        ratio = math.exp(rng.uniform(-math.log(210), math.log(210)))
        found.add((width, min(max(round(width * ratio), 1), 8000)))
    return sorted(found)


def _real(fam: Family, limits: PixelLimits):
    """The processor's own arithmetic: (width, height) -> (width, height), ValueError if it refuses."""
    if fam.resize == "tiles":
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

        tile = fam.factor

        def tiles(width: int, height: int) -> tuple[int, int]:
            fewest, most = limits.min_pixels // tile**2, limits.max_pixels // tile**2
            columns, rows = get_optimal_tiled_canvas((height, width), (tile, tile), fewest, most)
            return columns * tile, rows * tile

        return tiles
    if fam.resize == "longest":
        return partial(_smolvlm, fam.factor, math.isqrt(limits.max_pixels))
    if fam.resize == "budget":
        from transformers.models.gemma4.image_processing_pil_gemma4 import get_aspect_ratio_preserving_size

        def budget(width: int, height: int) -> tuple[int, int]:
            patches = limits.max_pixels // 16**2 // 9 * 9
            new_height, new_width = get_aspect_ratio_preserving_size(height, width, 16, patches, 3)
            return new_width, new_height

        return budget
    if fam.resize == "split":
        return _lfm2_vl(limits)
    if fam.resize == "frames":
        from transformers.models.glm4v.image_processing_pil_glm4v import smart_resize as glm

        resize = partial(glm, 2)
    else:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as resize

    def smart(width: int, height: int) -> tuple[int, int]:
        edges = {"factor": fam.factor, "min_pixels": limits.min_pixels, "max_pixels": limits.max_pixels}
        new_height, new_width = resize(height=height, width=width, **edges)
        return new_width, new_height

    return smart


def _smolvlm(tile: int, side: int, width: int, height: int) -> tuple[int, int]:
    """Both steps of the processor, on an image that has a shape and no pixels."""
    import numpy as np

    # Asked for by its package, transformers withholds it without torchvision.
    module: Any = import_module("transformers.models.smolvlm.image_processing_pil_smolvlm")

    def shaped(high: int, wide: int) -> Any:
        return np.broadcast_to(np.uint8(0), (3, high, wide))

    class Shapes(module.SmolVLMImageProcessorPil):
        def __init__(self) -> None:
            """Its settings are not read here."""

        def resize(self, image: Any, size: Any, **_: Any) -> Any:
            return shaped(size.height, size.width)

    first = module.get_resize_output_image_size(shaped(height, width), side)
    _, rows, columns = Shapes().resize_for_vision_encoder(shaped(*first), tile).shape
    return columns, rows


def _lfm2_vl(limits: PixelLimits):
    pytest.importorskip("torchvision", reason="the image processor of LFM2-VL needs torchvision", exc_type=Exception)
    from transformers.models.lfm2_vl.image_processing_lfm2_vl import Lfm2VlImageProcessor

    images = Lfm2VlImageProcessor()
    cells = {"min_image_tokens": limits.min_pixels // 1024, "max_image_tokens": limits.max_pixels // 1024}
    patches = {"encoder_patch_size": 16, "downsample_factor": 2}

    def split(width: int, height: int) -> tuple[int, int]:
        most = {"max_image_tokens": cells["max_image_tokens"], "max_pixels_tolerance": 2.0}
        if images._is_image_too_large(height, width, **patches, **most):
            return images._get_grid_layout(height, width, 2, 10, 512)[2:4]
        return images.smart_resize(height, width, **cells, **patches)

    return split


@pytest.mark.parametrize("fam", ALL, ids=ids)
@pytest.mark.parametrize("limits", [None, PixelLimits(4 * 448 * 448, 6 * 448 * 448)], ids=["default", "narrow"])
def test_input_size_is_the_processors_for_5000_sizes(fam: Family, limits: PixelLimits | None) -> None:
    pytest.importorskip("transformers")
    real = _real(fam, limits or fam.limits)
    refused = 0
    for size in five_thousand_sizes():
        try:
            expected = real(*size)
        except ValueError:
            refused += 1
            with pytest.raises(ImageError, match="too long"):
                input_size(size, fam, limits)
        else:
            assert input_size(size, fam, limits) == expected, size
    assert bool(refused) == (fam.resize in ("image", "frames"))


@pytest.mark.parametrize("size", [(8000, 40), (40, 8000), (4000, 30), (30, 4000)])
def test_a_long_image_with_few_pixels_keeps_one_patch_a_side(size: tuple[int, int]) -> None:
    pytest.importorskip("transformers")
    limits = PixelLimits(56 * 56, 50_000)
    for fam in ALL:
        if fam.resize in ("image", "frames"):
            assert input_size(size, fam, limits) == _real(fam, limits)(*size), fam.name


@pytest.mark.parametrize(
    ("module", "name", "fam"),
    [
        ("qwen2_vl.image_processing_pil_qwen2_vl", "Qwen2VLImageProcessorPil", QWEN2_VL),
        ("qwen2_vl.image_processing_pil_qwen2_vl", "Qwen2VLImageProcessorPil", QWEN3_VL),
        ("glm4v.image_processing_pil_glm4v", "Glm4vImageProcessorPil", FAMILIES["glm-v"]),
    ],
)
def test_input_size_is_what_the_processor_makes(module: str, name: str, fam: Family) -> None:
    """The whole processor on real pixels: its grid times its patch is the predicted size."""
    transformers = pytest.importorskip("transformers")
    from PIL import Image

    del transformers
    limits = PixelLimits(fam.limits.min_pixels, 200_000)  # small, so that real pixels stay cheap
    patch = fam.factor // 2
    edges = {"shortest_edge": limits.min_pixels, "longest_edge": limits.max_pixels}
    processor = getattr(import_module(f"transformers.models.{module}"), name)(size=edges, patch_size=patch)
    for size in [(1, 1), (3, 500), (72, 72), (640, 480), (333, 777), (1500, 20)]:
        out = processor(images=[Image.new("RGB", size)], return_tensors="np")
        _, rows, columns = out["image_grid_thw"][0].tolist()
        assert input_size(size, fam, limits) == (columns * patch, rows * patch), size


def test_internvl_tiles_are_what_the_processor_cuts() -> None:
    pytest.importorskip("transformers")
    from PIL import Image
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    processor = GotOcr2ImageProcessorPil(size={"height": 448, "width": 448}, crop_to_patches=True)
    for size in [(448, 448), (1280, 720), (300, 900), (2000, 100)]:
        width, height = input_size(size, INTERNVL)
        tiles = width * height // 448**2
        out = processor(images=[Image.new("RGB", size)], return_tensors="np")
        assert len(out["pixel_values"]) == tiles + (tiles > 1), size  # a thumbnail follows if there are several tiles


@pytest.mark.parametrize(("tile", "side"), [(32, 128), (24, 72), (32, 32), (32, 100)])
def test_smolvlm_tiles_are_what_the_processor_cuts(tile: int, side: int) -> None:
    pytest.importorskip("transformers")
    from PIL import Image
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    processor = SmolVLMImageProcessorPil(size={"longest_edge": side}, max_image_size={"longest_edge": tile})
    small, limits = replace(FAMILIES["smolvlm2"], factor=tile), PixelLimits(tile**2, side**2)
    for size in [(1, 1), (640, 480), (300, 900), (2000, 100), (97, 96), (96, 97), (5, 400), (129, 127)]:
        width, height = input_size(size, small, limits)
        tiles = width * height // tile**2
        out = processor(images=[Image.new("RGB", size)], return_tensors="np", return_row_col_info=True)
        assert out["pixel_values"].shape[1] == tiles + (tiles > 1), size
        rows, columns = (0, 0) if tiles == 1 else (height // tile, width // tile)
        assert (out["rows"], out["cols"]) == ([[rows]], [[columns]]), size


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_an_image_without_area_is_an_error(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="no area"):
        input_size(size, QWEN3_VL)

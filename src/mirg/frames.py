"""Coordinate frames, and the only conversions between them (``docs/concepts/coordinates.md``).

A box of a sample is in FRACTIONS of the original image. A model family writes integers in its own frame: 0-1000 per
axis, or pixels of the image as its processor RESIZED it. The second needs the processor's resize arithmetic and
its pixel limits, so both live here, as data; wherever a loaded processor has other limits, pass them as ``limits``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeVar

from mirg.errors import ConfigError, DataError, ImageError, did_you_mean
from mirg.geometry import Box

Size = tuple[int, int]  # (width, height) in pixels
Numbers = tuple[int, int, int, int]
_Number = TypeVar("_Number")

RELATIVE_MAX = 1000  # the right and lower edge of the 0-1000 frame; some documents say 999, the models write 1000
MAX_ASPECT_RATIO = 200  # the Qwen and GLM processors refuse longer images


@dataclass(frozen=True)
class PixelLimits:
    """Fewest and most pixels of a resized image, as the processor counts them (``shortest_edge``, ``longest_edge``).

    GLM counts every image as two frames, so its limits are twice the pixels. InternVL resizes to whole tiles; its
    limits are the fewest and most tiles times the area of a tile.
    """

    min_pixels: int
    max_pixels: int


@dataclass(frozen=True)
class Family:
    """What one model family does to images and boxes: facts, no code.

    ``limits`` are those of the published checkpoints (their ``preprocessor_config.json``), which the classes'
    own defaults need not equal. ``vision_tokens`` are the special tokens that may never be sampled into a completion.
    """

    name: str
    model_types: tuple[str, ...]  # transformers' config.model_type
    box_frame: Literal["relative_1000", "resized_pixels"]
    style: Literal["text", "json"]  # how this family spells an answer unless told otherwise
    limits: PixelLimits
    factor: int  # sides of a resized image are multiples of it
    image_token: str  # what one visual token looks like in the tokenised prompt
    vision_tokens: tuple[str, ...]
    step: int = 1  # coordinates are multiples of it
    resize: Literal["image", "frames", "tiles"] = "image"  # which arithmetic, see ``input_size``
    box_open: str = ""  # around a box in the text style
    box_close: str = ""
    brackets: Literal["pairs", "nested"] = "pairs"  # text style: (x1,y1),(x2,y2) or [[x1,y1,x2,y2]]
    axes: Literal["xy", "yx"] = "xy"  # "yx": boxes are written [y1, x1, y2, x2], in JSON under the key box_2d

    def __post_init__(self) -> None:
        """Refuse a step that does not divide the frame."""
        if self.step != 1 and (self.box_frame != "relative_1000" or RELATIVE_MAX % self.step):
            raise ConfigError(
                f"family {self.name}: coordinate step {self.step} does not fit its frame",
                hint=f"a step other than 1 needs the 0-{RELATIVE_MAX} frame and must divide {RELATIVE_MAX}",
            )


QWEN2_VL = Family(
    name="qwen2-vl",
    model_types=("qwen2_vl",),
    box_frame="relative_1000",
    style="text",
    limits=PixelLimits(56 * 56, 28 * 28 * 16384),
    factor=28,
    image_token="<|image_pad|>",
    vision_tokens=(
        *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
        "<|im_start|>",
    ),
    box_open="<|box_start|>",
    box_close="<|box_end|>",
)
QWEN25_VL = replace(
    QWEN2_VL,
    name="qwen2.5-vl",
    model_types=("qwen2_5_vl",),
    box_frame="resized_pixels",
    style="json",
    box_open="",
    box_close="",
)
QWEN3_VL = replace(
    QWEN25_VL,
    name="qwen3-vl",
    model_types=("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"),
    box_frame="relative_1000",
    limits=PixelLimits(256 * 256, 4096 * 4096),
    factor=32,
)
INTERNVL = Family(
    name="internvl",
    model_types=("internvl", "internvl_chat"),
    box_frame="relative_1000",
    style="text",
    limits=PixelLimits(448 * 448, 12 * 448 * 448),
    factor=448,
    resize="tiles",
    image_token="<IMG_CONTEXT>",
    vision_tokens=("<img>", "</img>", "<IMG_CONTEXT>", "<video>", "<|im_start|>"),
    box_open="<box>",
    box_close="</box>",
    brackets="nested",
)
GLM_V = Family(
    name="glm-v",
    model_types=("glm4v", "glm4v_moe", "glm46v"),
    box_frame="relative_1000",
    style="json",
    limits=PixelLimits(112 * 112, 28 * 28 * 12288),
    factor=28,
    resize="frames",
    image_token="<|image|>",
    vision_tokens=(
        *("<|begin_of_image|>", "<|end_of_image|>", "<|image|>", "<|begin_of_video|>", "<|end_of_video|>", "<|video|>"),
        *("<|system|>", "<|user|>", "<|assistant|>"),
    ),
)
# MiMo-VL checkpoints call themselves "qwen2_5_vl" and are built like it; only a name can tell them apart.
MIMO_VL = replace(QWEN25_VL, name="mimo-vl", model_types=("mimo_vl",))
# The embedded tiny model: Qwen3-VL arithmetic, 25 steps per axis, one token per coordinate value. Chosen by name.
MIRG_TINY = replace(QWEN3_VL, name="mirg-tiny", model_types=(), style="text", step=40)

FAMILIES: dict[str, Family] = {f.name: f for f in (QWEN2_VL, QWEN25_VL, QWEN3_VL, INTERNVL, GLM_V, MIMO_VL, MIRG_TINY)}


def family(name: str) -> Family:
    """The family called ``name``; :class:`ConfigError` with the nearest name if it is unknown."""
    if name in FAMILIES:
        return FAMILIES[name]
    raise ConfigError(
        f"unknown model family {name!r}",
        hint=f"{did_you_mean(name.lower(), FAMILIES, cutoff=0.4)}known: {', '.join(FAMILIES)}",
    )


def family_of_model_type(model_type: str) -> Family:
    """The family of a transformers ``config.model_type`` (``qwen2_5_vl``); :class:`ConfigError` if there is none."""
    for candidate in FAMILIES.values():
        if model_type in candidate.model_types:
            return candidate
    known = ", ".join(t for f in FAMILIES.values() for t in f.model_types)
    raise ConfigError(f"no model family for model_type {model_type!r}", hint=f"name the family; known types: {known}")


def limits_of(family: Family, min_pixels: int | None, max_pixels: int | None) -> PixelLimits:
    """The family's limits with another minimum or maximum. ConfigError if the minimum is larger than the maximum."""
    limits = PixelLimits(min_pixels or family.limits.min_pixels, max_pixels or family.limits.max_pixels)
    if limits.min_pixels > limits.max_pixels:
        raise ConfigError(
            f"min_pixels ({limits.min_pixels}) is larger than max_pixels ({limits.max_pixels})",
            hint=f"the limits of {family.name} are {family.limits.min_pixels} and {family.limits.max_pixels}",
        )
    return limits


def input_size(size: Size, family: Family, limits: PixelLimits | None = None) -> Size:
    """(width, height) to which the family's image processor resizes an image of ``size``.

    Raises :class:`ImageError` where the processor would refuse the image. The arithmetic is transformers'
    (``smart_resize`` of Qwen2-VL and GLM-4V, ``get_optimal_tiled_canvas`` of GOT-OCR2, which InternVL uses).
    """
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"an image of {width} x {height} pixels has no area", hint="both sides must be at least 1")
    limits = limits or family.limits
    if family.resize == "tiles":
        columns, rows = _tiling(width, height, family.factor, limits)
        return (columns * family.factor, rows * family.factor)
    factor, frames = family.factor, 2 if family.resize == "frames" else 1
    if frames == 2 and min(width, height) < factor:  # GLM first enlarges an image that is smaller than one patch
        scale = max(factor / height, factor / width)
        width, height = int(width * scale), int(height * scale)
    if max(width, height) / min(width, height) > MAX_ASPECT_RATIO:
        raise ImageError(
            f"an image of {size[0]} x {size[1]} pixels is too long for {family.name}",
            hint=f"its processor refuses sides that differ more than {MAX_ASPECT_RATIO} times; crop or pad the image",
        )
    # The sides are rounded to multiples of the factor with an area within the limits, close to the aspect ratio.
    new_width, new_height = round(width / factor) * factor, round(height / factor) * factor
    if frames * new_width * new_height > limits.max_pixels:
        beta = math.sqrt((frames * height * width) / limits.max_pixels)
        return (
            max(factor, math.floor(width / beta / factor) * factor),
            max(factor, math.floor(height / beta / factor) * factor),
        )
    if frames * new_width * new_height < limits.min_pixels:
        beta = math.sqrt(limits.min_pixels / (frames * height * width))
        return (math.ceil(width * beta / factor) * factor, math.ceil(height * beta / factor) * factor)
    return (new_width, new_height)


def _tiling(width: int, height: int, tile: int, limits: PixelLimits) -> Size:
    """(columns, rows) of nearest aspect ratio; on a tie the larger one, while the image fills over half of it."""
    best, best_difference = (1, 1), math.inf
    for columns, rows in _tilings(limits.min_pixels // tile**2, limits.max_pixels // tile**2):
        difference = abs(width / height - columns / rows)
        fills = width * height > 0.5 * tile * tile * columns * rows
        if difference < best_difference or (difference == best_difference and fills):
            best, best_difference = (columns, rows), difference
    return best


@lru_cache(maxsize=16)
def _tilings(fewest: int, most: int) -> tuple[Size, ...]:
    pairs = [(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if fewest <= c * r <= most]
    return tuple(sorted(pairs, key=lambda pair: pair[0] * pair[1]))


def extent(size: Size, family: Family, limits: PixelLimits | None) -> Size:
    """The numbers of the right and lower edge of an image in the family's frame."""
    if family.box_frame == "relative_1000":
        return (RELATIVE_MAX, RELATIVE_MAX)
    return input_size(size, family, limits)


def to_frame(box: Box, size: Size, family: Family, limits: PixelLimits | None = None) -> Numbers:
    """A box in fractions of an image of ``size`` (pixels) as the integers that the family writes.

    Each coordinate goes to the nearest multiple of ``family.step`` (a half goes up) and into the frame, so it is at
    most half a step off. If both sides of a box would meet on one multiple, the box is widened by one step
    there, on the side of its centre: ``x1 < x2`` is kept, and a coordinate is then at most one step off.
    Raises :class:`DataError` on NaN or infinity, :class:`ImageError` as :func:`input_size`.
    """
    if not all(math.isfinite(v) for v in box):
        raise DataError(f"box {tuple(box)} has no place in a frame", hint="all four coordinates must be finite")
    width, height = extent(size, family, limits)
    x1, x2 = _to_grid(box[0], box[2], width, family.step)
    y1, y2 = _to_grid(box[1], box[3], height, family.step)
    return (x1, y1, x2, y2)


def _to_grid(low: float, high: float, extent: int, step: int) -> tuple[int, int]:
    cells = extent // step
    a, b = (min(max(math.floor(v * cells + 0.5), 0), cells) for v in (low, high))
    if a == b and low < high:
        upward = (low + high) / 2 * cells >= a
        if b < cells and (upward or a == 0):
            b += 1
        else:
            a -= 1
    return (a * step, b * step)


def swapped(numbers: Sequence[_Number]) -> tuple[_Number, _Number, _Number, _Number]:
    """[y1, x1, y2, x2] as [x1, y1, x2, y2], and the other way round.

    >>> swapped((2, 1, 4, 3))
    (1, 2, 3, 4)
    """
    a, b, c, d = numbers
    return (b, a, d, c)


def from_frame(numbers: Sequence[float], size: Size, family: Family, limits: PixelLimits | None = None) -> Box:
    """Numbers in the family's frame as fractions of an image of ``size`` (pixels): no clipping, no validation.

    Raises :class:`ImageError` as :func:`input_size`, for a family that counts in resized pixels.
    """
    x1, y1, x2, y2 = (float(v) for v in numbers)
    width, height = extent(size, family, limits)
    return (x1 / width, y1 / height, x2 / width, y2 / height)

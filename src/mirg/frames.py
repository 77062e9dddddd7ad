"""Coordinate frames, and the only conversions between them (``docs/concepts/coordinates.md``).

A box of a sample is in FRACTIONS of the original image. A model family (:mod:`mirg.families`) writes integers in its
own frame: 0-1000 per axis, or pixels of the image as its processor RESIZED it. The second needs the processor's resize
arithmetic, which is here, and its pixel limits; wherever a loaded processor has other limits, pass them as ``limits``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

from mirg.errors import DataError, ImageError
from mirg.families import FAMILIES as FAMILIES  # code outside of the package imports families from here, too
from mirg.families import RELATIVE_MAX, Family, PixelLimits
from mirg.families import family as family
from mirg.geometry import Box

Size = tuple[int, int]  # (width, height) in pixels
Numbers = tuple[int, int, int, int]
_Number = TypeVar("_Number")

MAX_ASPECT_RATIO = 200  # the Qwen and GLM processors refuse longer images


def input_size(size: Size, family: Family, limits: PixelLimits | None = None) -> Size:
    """(width, height) to which the family's image processor resizes an image of ``size``.

    Raises :class:`ImageError` where the processor would refuse the image. The arithmetic is transformers'
    (``smart_resize`` of Qwen2-VL and GLM-4V, ``get_optimal_tiled_canvas`` of GOT-OCR2, which InternVL uses, and
    ``resize`` and ``resize_for_vision_encoder`` of SmolVLM).
    """
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"an image of {width} x {height} pixels has no area", hint="both sides must be at least 1")
    limits = limits or family.limits
    if family.resize == "tiles":
        columns, rows = _tiling(width, height, family.factor, limits)
        return (columns * family.factor, rows * family.factor)
    if family.resize == "longest":
        return _longest(width, height, family.factor, math.isqrt(limits.max_pixels))
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


def _longest(width: int, height: int, tile: int, side: int) -> Size:
    """(width, height) in whole tiles after the longer side of the image was made ``side`` pixels long.

    The order of the divisions is the processor's and decides how a side is rounded.
    """
    aspect = width / height
    if width >= height:
        made = int(side / aspect)
        width, height = side, max(made + made % 2, 1)
        aspect, width = width / height, -(-width // tile) * tile
        return width, -(-int(width / aspect) // tile) * tile
    made = int(side * aspect)
    width, height = max(made + made % 2, 1), side
    aspect, height = width / height, -(-height // tile) * tile
    return -(-int(height * aspect) // tile) * tile, height


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

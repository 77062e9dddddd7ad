"""What a trainer does to an image before the model's own processor sees it, in sizes.

A family that counts in pixels of the resized image means the image that its processor made, out of what it was given.
Trainers that shrink images first change that size without touching the boxes of the answers: 1280 x 720 pixels under
0.4 megapixels become 840 x 448 if only the processor resizes, and 840 x 476 after such a first step. So each export
computes its boxes for the images of its trainer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from mirg.errors import ImageError
from mirg.families import Family, PixelLimits
from mirg.frames import Size, input_size

_LONGEST_RATIO = 200
_RATIO_MADE = 180


@dataclass(frozen=True)
class Resize:
    """``first`` gives the size that the processor is given, for (size, family, bounds); None: the original size.

    ``bounds`` are the fewest and most pixels that the trainer keeps to unless told otherwise; None: the family's. Where
    it takes them ``in_cells``, they are rounded down to whole visual tokens.
    """

    first: Callable[[Size, Family, PixelLimits], Size] | None = None
    bounds: PixelLimits | None = None
    in_cells: bool = False

    def limits(self, family: Family, min_pixels: int | None, max_pixels: int | None) -> PixelLimits:
        """Fewest and most pixels that the trainer is set to; None: its own, or the family's."""
        own = self.bounds or family.limits
        least = min_pixels or min(own.min_pixels, max_pixels or own.max_pixels)
        most = max_pixels or max(own.max_pixels, least)
        cell = family.factor**2
        if self.in_cells and family.resize == "image":
            return PixelLimits(max(1, least // cell) * cell, max(1, most // cell) * cell)
        return PixelLimits(least, most)

    def given(self, size: Size, family: Family, bounds: PixelLimits) -> Size:
        """The size of the image that the trainer gives the processor, for an original of ``size``."""
        return self.first(size, family, bounds) if self.first else size

    def processor_limits(self, family: Family, bounds: PixelLimits) -> PixelLimits:
        """Those of the model's processor: the trainer's bounds if it leaves all resizing to the processor."""
        return family.limits if self.first else bounds


def shrunk(size: Size, family: Family, bounds: PixelLimits) -> Size:
    """Area into ``bounds`` with sides cut to whole pixels, as EasyR1 and LLaMA-Factory do (``process_image``)."""
    width, height = size
    if width * height > bounds.max_pixels:
        width, height = _scaled(width, height, bounds.max_pixels)
    if width * height < bounds.min_pixels:
        width, height = _scaled(width, height, bounds.min_pixels)
    if width < 1 or height < 1:
        raise ImageError(f"an image of {size[0]} x {size[1]} pixels would be shrunk to nothing", hint="crop or pad it")
    return (width, height)


def llamafactory(size: Size, family: Family, bounds: PixelLimits) -> Size:
    """:func:`shrunk`; for the Qwen families also no side under 28 pixels and no side ratio over 200."""
    width, height = shrunk(size, family, bounds)
    if family.box_frame != "resized_pixels":
        return (width, height)
    width, height = max(width, family.factor), max(height, family.factor)
    if width / height > _LONGEST_RATIO:
        return (height * _RATIO_MADE, height)
    if height / width > _LONGEST_RATIO:
        return (width, width * _RATIO_MADE)
    return (width, height)


def qwen_vl_utils(size: Size, family: Family, bounds: PixelLimits) -> Size:
    """What ``qwen_vl_utils.fetch_image`` makes, which verl and ms-swift call: the processor's own arithmetic.

    ImageError for sides under half a cell, where the two disagree.
    """
    if family.box_frame != "resized_pixels":
        return size
    if 2 * min(size) < family.factor:
        raise ImageError(
            f"an image of {size[0]} x {size[1]} pixels is too small for its boxes to be known",
            hint=f"both sides need at least {family.factor // 2} pixels",
        )
    return input_size(size, family, bounds)


def _scaled(width: int, height: int, pixels: int) -> Size:
    factor = math.sqrt(pixels / (width * height))
    return (int(width * factor), int(height * factor))

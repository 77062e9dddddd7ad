"""The coordinate frames of boxes in files: which of them a box may be in, and the conversion to fractions.

A box read in the wrong frame is the most common silent mistake of the field (docs/concepts/coordinates.md). One box
rarely shows its frame; ``mirg.data.importers.evidence`` looks at all boxes of a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from mirg.errors import DataError
from mirg.frames import RELATIVE_MAX
from mirg.geometry import Box
from mirg.images import Size

# fraction: 0-1; relative_1000: 0-1000 per axis; pixels: of the original; resized_pixels: of what a model family sees.
FrameName = Literal["auto", "fraction", "relative_1000", "pixels", "resized_pixels"]
NAMED: tuple[FrameName, ...] = ("fraction", "relative_1000", "pixels")
WORDS: dict[str, str] = {
    "fraction": "fractions (0-1)",
    "relative_1000": f"0-{RELATIVE_MAX}",
    "pixels": "pixels",
    "resized_pixels": "pixels of the resized image",
}

_EDGE = 1.0  # pixels, or units of 0-1000, by which a box may leave the image: rounding


_NONE: frozenset[str] = frozenset()
_ANY: frozenset[str] = frozenset(NAMED)
_FRACTION: frozenset[str] = frozenset({"fraction"})
_RELATIVE: frozenset[str] = frozenset({"relative_1000"})
_PIXELS: frozenset[str] = frozenset({"pixels"})
_BOTH = _RELATIVE | _PIXELS


def possible(
    numbers: Sequence[float], size: Size | None, others: Iterable[tuple[str, Size | None]] = ()
) -> frozenset[str]:
    """The frames that a box may be in: ``size`` is (width, height) in pixels of its image, None if it is not known.

    ``others`` are names of frames in pixels of a resized image, with its (width, height). Anything of 0-1 with a
    decimal can only be fractions: nobody writes 0-1000 or pixels to less than one.
    """
    x1, y1, x2, y2 = numbers
    top, low = max(numbers), min(numbers)
    if not (low >= -_EDGE and math.isfinite(x1 + y1 + x2 + y2)):  # the sum of anything with NaN is NaN
        return _NONE
    right, lower = max(x1, x2) - _EDGE, max(y1, y2) - _EDGE
    more = {name for name, sides in others if sides and right <= sides[0] and lower <= sides[1]}
    if top <= 1.0:
        return _FRACTION if only_fractions(numbers) else _ANY | more
    fits = top <= RELATIVE_MAX + _EDGE
    inside = size is None or (right <= size[0] and lower <= size[1])
    found = (_BOTH if inside else _RELATIVE) if fits else _PIXELS if inside else _NONE
    return found | more if more else found


def only_fractions(numbers: Sequence[float]) -> bool:
    """Whether finite numbers of a box are all at most 1, and have decimals: they are not pixels, and not 0-1000."""
    return max(numbers) <= 1.0 and any(value != int(value) for value in numbers)


def to_fractions(numbers: Sequence[float], size: Size | None, frame: FrameName, resized: Size | None = None) -> Box:
    """``numbers`` in ``frame`` as fractions of the original image, edges within one unit clipped.

    ``size`` is (width, height) of the original image, ``resized`` of the resized one, in pixels. DataError if boxes in
    pixels are to be converted and that size is not known.
    """
    if frame == "fraction":
        width, height = 1.0, 1.0
    elif frame == "relative_1000":
        width, height = float(RELATIVE_MAX), float(RELATIVE_MAX)
    else:
        sides = size if frame == "pixels" else resized
        if sides is None:
            raise DataError("boxes in pixels need the size of the image", hint="import with --look header")
        width, height = float(sides[0]), float(sides[1])
    x1, y1, x2, y2 = numbers
    edge = 0.0 if frame == "fraction" else _EDGE
    return _clipped((x1 / width, y1 / height, x2 / width, y2 / height), (edge / width, edge / height))


def _clipped(box: Box, edge: tuple[float, float]) -> Box:
    """Coordinates that leave 0-1 by no more than ``edge`` (of width, of height) set onto the edge."""
    if min(box) >= 0.0 and max(box) <= 1.0:
        return box
    return (_snap(box[0], edge[0]), _snap(box[1], edge[1]), _snap(box[2], edge[0]), _snap(box[3], edge[1]))


def _snap(value: float, edge: float) -> float:
    if -edge <= value < 0.0:
        return 0.0
    return 1.0 if 1.0 < value <= 1.0 + edge else value

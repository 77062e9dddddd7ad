"""Boxes of a format with widths and heights that hold corners instead, x1, y1, x2, y2: a frequent mistake of scripts.

A single box rarely shows it, all boxes of a file together do. Nobody can tell the right reading of each box.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mirg.errors import DataError

_Case = tuple[Sequence[float], float, float]  # four numbers, and the width and height of the image in the same unit


def refuse_corners(where: str, cases: Iterable[_Case], expected: str, *, centered: bool = False) -> None:
    """DataError if at least one box leaves its image as ``expected``, and all of them lie inside of it as corners.

    ``centered``: the first two numbers are the center of the box. The first box that cannot be corners ends the search.
    """
    count = outside = 0
    for (x, y, right, lower), width, height in cases:
        if not (0 <= x < right <= width * 1.001 and 0 <= y < lower <= height * 1.001):
            return
        count += 1
        part = 0.5 if centered else 1.0
        outside += x + part * right > 1.01 * width or y + part * lower > 1.01 * height
    if outside:
        raise DataError(
            f"{where}: {outside} of {count} boxes leave the image as {expected}, and none does as x1, y1, x2, y2",
            hint=f"write every box as {expected}",
        )

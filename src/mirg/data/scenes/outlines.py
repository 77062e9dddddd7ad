"""The outlines of the shapes, drawn large once; :mod:`mirg.data.scenes.render` scales them into their boxes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

Point = tuple[float, float]


def draw_shape(shape: str, side: int) -> Image.Image:
    """The shape in white on black, mode L, ``side`` pixels square, without tilt; it may leave a margin."""
    from PIL import Image, ImageDraw

    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    whole = (0, 0, side - 1, side - 1)
    if shape in ("circle", "ring", "moon"):
        draw.ellipse(whole, fill=255)
    if shape == "ring":
        draw.ellipse((0.27 * side, 0.27 * side, 0.73 * side, 0.73 * side), fill=0)
    if shape == "moon":
        draw.ellipse((0.36 * side, 0.04 * side, 1.28 * side, 0.96 * side), fill=0)
    if shape == "square":
        draw.rectangle(whole, fill=255)
    if shape == "frame":
        draw.rectangle(whole, fill=255)
        draw.rectangle((0.27 * side, 0.27 * side, 0.73 * side, 0.73 * side), fill=0)
    if shape == "arch":
        draw.ellipse(whole, fill=255)
        draw.rectangle((0, 0.5 * side, side - 1, side - 1), fill=255)
        draw.ellipse((0.3 * side, 0.3 * side, 0.7 * side, 0.7 * side), fill=0)
        draw.rectangle((0.3 * side, 0.5 * side, 0.7 * side, side - 1), fill=0)
    if shape in _POLYGONS:
        draw.polygon([(x * (side - 1), y * (side - 1)) for x, y in _POLYGONS[shape]], fill=255)
    return mask


def _star() -> list[Point]:
    angles = [(math.pi * (k / 5 - 0.5), 0.5 if k % 2 == 0 else 0.215) for k in range(10)]
    return [(0.5 + radius * math.cos(angle), 0.5 + radius * math.sin(angle)) for angle, radius in angles]


def _heart() -> list[Point]:
    # The classical parametric heart, 16 sin^3 t against a cosine series, scaled into the unit square.
    points = []
    for k in range(120):
        t = 2 * math.pi * k / 120
        up = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append(((16 * math.sin(t) ** 3 + 16) / 32, (12 - up) / 29))
    return points


_POLYGONS: dict[str, list[Point]] = {
    "triangle": [(0.5, 0.0), (1.0, 1.0), (0.0, 1.0)],
    "diamond": [(0.5, 0.0), (1.0, 0.5), (0.5, 1.0), (0.0, 0.5)],
    "cross": [
        (0.33, 0.0), (0.67, 0.0), (0.67, 0.33), (1.0, 0.33), (1.0, 0.67), (0.67, 0.67),
        (0.67, 1.0), (0.33, 1.0), (0.33, 0.67), (0.0, 0.67), (0.0, 0.33), (0.33, 0.33),
    ],
    "arrow": [(0.0, 0.32), (0.5, 0.32), (0.5, 0.0), (1.0, 0.5), (0.5, 1.0), (0.5, 0.68), (0.0, 0.68)],
    "star": _star(),
    "heart": _heart(),
    "hourglass": [(0.0, 0.0), (1.0, 0.0), (0.56, 0.5), (1.0, 1.0), (0.0, 1.0), (0.44, 0.5)],
    "bolt": [(0.55, 0.0), (0.95, 0.0), (0.68, 0.36), (1.0, 0.36), (0.3, 1.0), (0.45, 0.55), (0.0, 0.55)],
    "tee": [(0.0, 0.0), (1.0, 0.0), (1.0, 0.32), (0.66, 0.32), (0.66, 1.0), (0.34, 1.0), (0.34, 0.32), (0.0, 0.32)],
    "ell": [(0.0, 0.0), (0.38, 0.0), (0.38, 0.7), (1.0, 0.7), (1.0, 1.0), (0.0, 1.0)],
}  # fmt: skip

"""Scenes to pixels: anti-aliased sprites over a muted background.

Every shape is drawn once, large, cropped to its tight extent and kept as a mask; an object is that mask scaled down to
its box. So a box is exact by construction, edges are smooth, and an image costs a fraction of a millisecond.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mirg.data.scenes.backgrounds import draw_background
from mirg.data.scenes.objects import COLOURS, SceneObject

if TYPE_CHECKING:
    from PIL import Image

    from mirg.data.scenes.world import Scene

_MASTER_SIDE = 1024
# Masks kept ready: an object is drawn from the smallest one that is at least twice its size.
_MASK_SIDES = (48, 96, 192, 384)


def render(scene: Scene, size: tuple[int, int] = (96, 96)) -> Image.Image:
    """Draw ``scene`` as an RGB image of ``size`` (width, height) pixels; a pure function of its arguments."""
    image = draw_background(scene.background, scene.view, size)
    for thing in (*scene.fragments, *scene.objects):
        _draw_object(image, thing)
    return image


def _draw_object(image: Image.Image, thing: SceneObject) -> None:
    width, height = image.size
    left, top = round(thing.box[0] * width), round(thing.box[1] * height)
    right, bottom = max(round(thing.box[2] * width), left + 2), max(round(thing.box[3] * height), top + 2)
    mask, accent = _scaled(thing, (right - left, bottom - top))
    colour = COLOURS[thing.colour]
    image.paste(colour, (left, top, right, bottom), mask)
    if accent is not None:
        # Stripes darken and dots lighten, both along the hue: the colour's name stays the same.
        goal, share = (0, 0.45) if thing.texture == "striped" else (255, 0.6)
        red, green, blue = (round(value + (goal - value) * share) for value in colour)
        image.paste((red, green, blue), (left, top, right, bottom), accent)


def _scaled(thing: SceneObject, size: tuple[int, int]) -> tuple[Image.Image, Image.Image | None]:
    from PIL import Image

    longest = max(size)
    side = next((side for side in _MASK_SIDES if side >= 2 * longest), _MASK_SIDES[-1])
    how = Image.Resampling.BOX if side >= 2 * longest else Image.Resampling.BICUBIC
    mask, accent = _sprite(thing.shape, thing.tilt, thing.texture, side)
    return mask.resize(size, how), None if accent is None else accent.resize(size, how)


@cache
def _sprite(shape: str, tilt: int, texture: str, side: int) -> tuple[Image.Image, Image.Image | None]:
    """Mask and texture mask of a shape, both ``side`` x ``side`` and tight (the box gives the aspect)."""
    from PIL import Image, ImageChops

    mask = _master(shape, tilt).resize((side, side), Image.Resampling.BOX)
    if texture == "plain":
        return mask, None
    y, x = np.mgrid[0:side, 0:side] / side
    if texture == "striped":
        on = ((x + y) * 5.0) % 1.0 < 0.42
    else:
        on = np.hypot((x * 5.0) % 1.0 - 0.5, (y * 5.0) % 1.0 - 0.5) < 0.27
    return mask, ImageChops.multiply(mask, Image.fromarray((on * 255).astype(np.uint8)))


@cache
def _master(shape: str, tilt: int) -> Image.Image:
    """A shape turned by ``tilt`` degrees, about ``_MASTER_SIDE`` pixels, cropped to its extent."""
    from PIL import Image

    mask = _draw_shape(shape, _MASTER_SIDE)
    if tilt:
        mask = mask.rotate(tilt, Image.Resampling.BILINEAR, expand=True)
    return mask.crop(mask.getbbox())


def _draw_shape(shape: str, side: int) -> Image.Image:
    """The shape in white on black, mode L, ``side`` pixels square, without tilt; it may leave a margin."""
    from PIL import Image, ImageDraw

    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    whole = (0, 0, side - 1, side - 1)
    hole = (0.27 * side, 0.27 * side, 0.73 * side, 0.73 * side)
    if shape in ("circle", "ring", "moon", "arch"):
        draw.ellipse(whole, fill=255)
    if shape in ("square", "frame"):
        draw.rectangle(whole, fill=255)
    if shape == "ring":
        draw.ellipse(hole, fill=0)
    if shape == "frame":
        draw.rectangle(hole, fill=0)
    if shape == "moon":
        draw.ellipse((0.36 * side, 0.04 * side, 1.28 * side, 0.96 * side), fill=0)
    if shape == "arch":
        draw.rectangle((0, 0.5 * side, side - 1, side - 1), fill=255)
        draw.ellipse((0.3 * side, 0.3 * side, 0.7 * side, 0.7 * side), fill=0)
        draw.rectangle((0.3 * side, 0.5 * side, 0.7 * side, side - 1), fill=0)
    if shape in _POLYGONS:
        draw.polygon([(x * (side - 1), y * (side - 1)) for x, y in _POLYGONS[shape]], fill=255)
    return mask


def _star() -> list[tuple[float, float]]:
    angles = [(math.pi * (k / 5 - 0.5), 0.5 if k % 2 == 0 else 0.215) for k in range(10)]
    return [(0.5 + radius * math.cos(angle), 0.5 + radius * math.sin(angle)) for angle, radius in angles]


def _heart() -> list[tuple[float, float]]:
    # The classical parametric heart, 16 sin^3 t against a cosine series, scaled into the unit square.
    points = []
    for k in range(120):
        t = 2 * math.pi * k / 120
        up = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append(((16 * math.sin(t) ** 3 + 16) / 32, (12 - up) / 29))
    return points


_POLYGONS: dict[str, list[tuple[float, float]]] = {
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

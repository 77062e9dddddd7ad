"""Scenes to pixels: anti-aliased sprites over a muted background.

Every shape is drawn once, large, cropped to its tight extent and kept as a mask; an object is that mask scaled down to
its box. So a box is exact by construction, edges are smooth, and an image costs a fraction of a millisecond.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mirg.geometry import Box
from mirg.scenes.objects import COLOURS, RGB, SceneObject

if TYPE_CHECKING:
    from PIL import Image

    from mirg.scenes.world import Background, Scene

_MASTER_SIDE = 1024
# Masks kept ready: an object is drawn from the smallest one that is at least twice its size.
_MASK_SIDES = (48, 96, 192, 384)

Point = tuple[float, float]


def render(scene: Scene, size: tuple[int, int] = (96, 96)) -> Image.Image:
    """Draw ``scene`` as an RGB image of ``size`` (width, height) pixels; a pure function of its arguments."""
    image = _background(scene.background, scene.view, size)
    for thing in (*scene.fragments, *scene.objects):
        _draw_object(image, thing)
    return image


def pixel_box(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The whole pixels that an object with this box (fractions) is drawn into: left, top, right, bottom (exclusive)."""
    width, height = size
    left, top = round(box[0] * width), round(box[1] * height)
    return left, top, max(round(box[2] * width), left + 2), max(round(box[3] * height), top + 2)


def object_mask(thing: SceneObject, size: tuple[int, int]) -> Image.Image:
    """The object's coverage alone on an image of ``size``: mode L, 255 where it is fully drawn."""
    from PIL import Image

    left, top, right, bottom = pixel_box(thing.box, size)
    canvas = Image.new("L", size)
    canvas.paste(_scaled(thing, (right - left, bottom - top))[0], (left, top))
    return canvas


def _draw_object(image: Image.Image, thing: SceneObject) -> None:
    left, top, right, bottom = pixel_box(thing.box, image.size)
    mask, accent = _scaled(thing, (right - left, bottom - top))
    colour = COLOURS[thing.colour]
    image.paste(colour, (left, top, right, bottom), mask)
    if accent is not None:
        image.paste(_accent_colour(colour, thing.texture), (left, top, right, bottom), accent)


def _accent_colour(colour: RGB, texture: str) -> RGB:
    # Stripes darken and dots lighten, both along the hue: the colour's name stays the same.
    goal, share = (0, 0.45) if texture == "striped" else (255, 0.6)
    red, green, blue = (round(value + (goal - value) * share) for value in colour)
    return red, green, blue


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
    return mask, ImageChops.multiply(mask, _pattern(texture, side))


@cache
def _master(shape: str, tilt: int) -> Image.Image:
    """A shape turned by ``tilt`` degrees, about ``_MASTER_SIDE`` pixels, cropped to its extent."""
    from PIL import Image

    mask = _draw_shape(shape, _MASTER_SIDE)
    if tilt:
        mask = mask.rotate(tilt, Image.Resampling.BILINEAR, expand=True)
    return mask.crop(mask.getbbox())


def _pattern(texture: str, side: int) -> Image.Image:
    from PIL import Image

    y, x = np.mgrid[0:side, 0:side] / side
    if texture == "striped":
        on = ((x + y) * 5.0) % 1.0 < 0.42
    else:
        on = np.hypot((x * 5.0) % 1.0 - 0.5, (y * 5.0) % 1.0 - 0.5) < 0.27
    return Image.fromarray((on * 255).astype(np.uint8))


def _draw_shape(shape: str, side: int) -> Image.Image:
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
}  # fmt: skip


def _background(spec: Background, view: Box, size: tuple[int, int]) -> Image.Image:
    """The part ``view`` (fractions) of the background, without objects."""
    from PIL import Image

    if spec.kind == "plain" and not spec.clutter:
        return Image.new("RGB", size, spec.colours[0])
    rng = np.random.default_rng(spec.seed)
    if spec.kind == "plain":
        image = Image.new("RGB", size, spec.colours[0])
    else:
        # A handful of coarse cells stretched to the image: independent of the output size, and cheap.
        cells = Image.fromarray(_cells(spec, rng))
        smooth = Image.Resampling.NEAREST if spec.kind == "checks" else Image.Resampling.BILINEAR
        area = (view[0] * cells.width, view[1] * cells.height, view[2] * cells.width, view[3] * cells.height)
        image = cells.resize(size, smooth, box=area)
    if spec.clutter:
        _draw_clutter(image, spec, view, rng)
    return image


def _cells(spec: Background, rng: np.random.Generator) -> np.ndarray:
    """Coarse background colours, uint8 of shape (rows, columns, 3)."""
    first, second = (np.asarray(colour, dtype=np.int16) for colour in spec.colours)
    if spec.kind == "gradient":
        corners = rng.permutation(np.array([0.0, 0.5, 0.5, 1.0])).reshape(2, 2, 1)
        return (first + (second - first) * corners).astype(np.uint8)
    if spec.kind == "checks":
        count = int(rng.integers(3, 8))
        odd = np.indices((count, count)).sum(axis=0)[..., None] % 2
        return np.where(odd, second, first).astype(np.uint8)
    shift = rng.integers(-22, 23, (28, 28, 1), dtype=np.int16)
    return np.clip(first + shift, 0, 255).astype(np.uint8)


def _draw_clutter(image: Image.Image, spec: Background, view: Box, rng: np.random.Generator) -> None:
    """Thin grey strokes and specks: things to look past, drawn under every object."""
    from PIL import Image, ImageDraw

    width, height = image.width * 2, image.height * 2
    zoom = 1.0 / (view[2] - view[0])
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    places = rng.random((spec.clutter, 5)).tolist()
    grey = int(rng.choice([70, 200]))
    unit = max(width / 192 * zoom, 1.0)
    for k, (x, y, dx, dy, shade) in enumerate(places):
        left = (x - view[0]) / (view[2] - view[0]) * width
        top = (y - view[1]) / (view[3] - view[1]) * height
        fill = 110 + int(120 * shade)
        if k % 2:
            reach = 0.35 * zoom
            end = (left + (dx - 0.5) * 2 * reach * width, top + (dy - 0.5) * 2 * reach * height)
            draw.line((left, top, *end), fill=fill, width=round(2 * unit))
        else:
            draw.ellipse((left, top, left + (2 + 4 * dx) * unit, top + (2 + 4 * dy) * unit), fill=fill)
    image.paste((grey, grey, grey), (0, 0), mask.reduce(2))

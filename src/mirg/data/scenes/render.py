"""Scenes to pixels: anti-aliased sprites over a muted background.

Every shape is drawn once, large, cropped to its tight extent and kept as a mask; an object is that mask scaled down to
its box. So a box is exact by construction, edges are smooth, and an image costs a fraction of a millisecond.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mirg.data.scenes.backdrops import draw_background
from mirg.data.scenes.objects import COLOURS, RGB, SceneObject
from mirg.data.scenes.outlines import draw_shape
from mirg.geometry import Box

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


def pixel_box(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The whole pixels that an object with this box (fractions) is drawn into: left, top, right, bottom (exclusive)."""
    width, height = size
    left, top = round(box[0] * width), round(box[1] * height)
    return left, top, max(round(box[2] * width), left + 2), max(round(box[3] * height), top + 2)


def object_mask(thing: SceneObject, size: tuple[int, int]) -> Image.Image:
    """The coverage of one object on an image of ``size`` pixels: mode L, 255 for a pixel that it covers fully."""
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

    mask = draw_shape(shape, _MASTER_SIDE)
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

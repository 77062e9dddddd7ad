"""Altering photographs: cutting out, pasting, changing a colour or the light. All are pure functions."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np

from mirg.data.compose.matte import matte
from mirg.data.compose.pixels import as_pixels, corners
from mirg.data.compose.texture import Pixels, Place
from mirg.geometry import Box, clip

if TYPE_CHECKING:
    from PIL import Image

_DYE = 0.85  # how much of the old colour a new one covers
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def place_of(box: Box, size: tuple[int, int], margin: float = 0.0) -> Place:
    """``box`` in whole pixels of an image of ``size``, wider by ``margin`` of its sides, cut at the image's edge."""
    wide, high = margin * (box[2] - box[0]), margin * (box[3] - box[1])
    x1, y1, x2, y2 = clip((box[0] - wide, box[1] - high, box[2] + wide, box[3] + high))
    left, top = min(round(x1 * size[0]), size[0] - 1), min(round(y1 * size[1]), size[1] - 1)
    right, bottom = max(round(x2 * size[0]), left + 1), max(round(y2 * size[1]), top + 1)
    return (left, top, right - left, bottom - top)


def cut(image: Image.Image, place: Place) -> Image.Image:
    """The object at ``place`` as RGBA, what is estimated to be background transparent."""
    piece = image.crop(corners(place))
    piece.putalpha(_plane(matte(image, place)))
    return piece


def pasted(image: Image.Image, piece: Image.Image, place: Place) -> Image.Image:
    """``image`` with ``piece`` (RGBA), scaled to ``place``, laid over it."""
    from PIL import Image

    fitted = piece.resize(place[2:], Image.Resampling.LANCZOS)
    result = image.copy()
    result.paste(fitted.convert("RGB"), place[:2], fitted.getchannel("A"))
    return result


def recoloured(image: Image.Image, place: Place, hue: float) -> Image.Image:
    """``image`` with the colours of the object at ``place`` turned to ``hue`` (0 to 1); light and dark stay."""
    piece = image.crop(corners(place))
    grey = (as_pixels(piece) @ _LUMA)[..., None]
    tone = np.array(colorsys.hsv_to_rgb(hue, 0.85, 1.0))
    # Black stays black and white takes a light tint; between them the tone has the brightness that was there.
    tint = tone / max(float(tone @ _LUMA), 1e-6)
    dyed = _picture(np.clip(grey * tint, 0, 1))
    result = image.copy()
    result.paste(dyed, place[:2], _plane(_DYE * matte(image, place)))
    return result


def lit(image: Image.Image, gain: float, gamma: float) -> Image.Image:
    """``image`` under other light: every value ``v`` in [0, 1] becomes ``gain * v ** gamma``, at most 1."""
    table = [round(255 * min(gain * (value / 255) ** gamma, 1.0)) for value in range(256)]
    return image.point(table * 3)


def _picture(pixels: Pixels) -> Image.Image:
    from PIL import Image

    return Image.fromarray(np.round(255 * pixels).clip(0, 255).astype(np.uint8))


def _plane(mask: Pixels) -> Image.Image:
    """A mask of shape (H, W, 1) as a grey picture."""
    return _picture(mask[..., 0])

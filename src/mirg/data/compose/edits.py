"""Altering photographs: cutting out, pasting, changing a colour or the light; and other views of a photograph.

Annotation has boxes and no outlines, so the pixels of an object are estimated: its box is filled in from its border,
and what differs from that filling counts as the object. If almost nothing differs, or the filling explains nothing, the
whole box is taken, with a soft rim. All functions are pure.
"""

from __future__ import annotations

import colorsys
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mirg.data.compose.pixels import (
    LUMA,
    Pixels,
    Place,
    as_image,
    as_pixels,
    corners,
    fraction_box,
    remove,
    share_inside,
    widened,
    within,
)
from mirg.geometry import Box, clip
from mirg.samples import ObjectNote

if TYPE_CHECKING:
    from PIL import Image


RIM = 0.05  # width of the soft rim, as a share of the shorter side
CORE = 0.55  # of each half axis: this ellipse in the middle always counts as the object
_LEAST_SHARE = 0.25  # of the box: an estimate with a smaller object is discarded
_NEAR, _FAR = (0.04, 0.12), 0.08  # colour distances: the least counts as background, how much more as object
_MARGIN = 0.08  # the border is read this far outside of the box: annotated boxes are tight


def matte(image: Image.Image, place: Place) -> Pixels:
    """Opacity of the object at ``place``, shape (H, W, 1), in [0, 1]."""
    rim = soft_rim(place[2:])
    if min(place[2:]) < 8:
        return rim[..., None]
    distance = _distance(image, place)
    edge = np.concatenate([distance[0], distance[-1], distance[:, 0], distance[:, -1]])
    near = float(np.clip(np.median(edge), *_NEAR))
    found = np.maximum(_closed(_smooth((distance - near) / _FAR)), _core(place[2:]))
    if not float((found > 0.5).mean()) > _LEAST_SHARE:
        return rim[..., None]
    return (found * rim)[..., None]


def soft_rim(size: tuple[int, int], share: float = RIM) -> Pixels:
    """1 inside of a piece of ``size`` (width, height), falling to 0 at its rim; shape (H, W).

    The rim is ``share`` of the shorter side wide, and one pixel at least.
    """
    width, height = size
    rim = max(share * min(size), 1.0)
    across = np.minimum(np.arange(width) + 0.5, width - np.arange(width) - 0.5)
    down = np.minimum(np.arange(height) + 0.5, height - np.arange(height) - 0.5)
    return _smooth(across / rim)[None, :] * _smooth(down / rim)[:, None]


def _distance(image: Image.Image, place: Place) -> Pixels:
    """Root-mean-square colour difference of each pixel of ``place`` to a filling from around it, shape (H, W)."""
    x, y, width, height = place
    wide, high = max(2, round(_MARGIN * width)), max(2, round(_MARGIN * height))
    left, top = max(0, x - wide), max(0, y - high)
    right, below = min(image.width, x + width + wide), min(image.height, y + height + high)
    if right - left == image.width and below - top == image.height:
        return np.zeros((height, width))  # nothing is left around it
    filled = remove(image, (left, top, right - left, below - top))
    box = corners(place)
    gap = as_pixels(image.crop(box)) - as_pixels(filled.crop(box))
    return np.sqrt((gap * gap).mean(axis=2))


def _closed(mask: Pixels) -> Pixels:
    """``mask`` without small holes, its edge a pixel or two soft."""
    from PIL import ImageFilter

    size = 2 * max(1, round(0.04 * min(mask.shape))) + 1
    plane = as_image(mask).filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.MaxFilter(size))
    plane = plane.filter(ImageFilter.MinFilter(size)).filter(ImageFilter.GaussianBlur(0.7))
    return as_pixels(plane)


def _core(size: tuple[int, int]) -> Pixels:
    """A soft ellipse in the middle of a piece of ``size``; shape (H, W)."""
    across = (2 * np.arange(size[0]) + 1) / size[0] - 1
    down = (2 * np.arange(size[1]) + 1) / size[1] - 1
    radius = np.sqrt(across[None, :] ** 2 + down[:, None] ** 2) / CORE
    return _smooth(2 * (1.25 - radius))


def _smooth(values: Pixels) -> Pixels:
    """0 below 0, 1 above 1, a smooth step between."""
    ramp = np.clip(values, 0.0, 1.0)
    return ramp * ramp * (3 - 2 * ramp)


_DYE = 0.85  # how much of the old colour a new one covers


def place_of(box: Box, size: tuple[int, int], margin: float = 0.0) -> Place:
    """``box`` in whole pixels of an image of ``size``, wider by ``margin`` of its sides, cut at the image's edge."""
    x1, y1, x2, y2 = widened(box, margin)
    left, top = min(round(x1 * size[0]), size[0] - 1), min(round(y1 * size[1]), size[1] - 1)
    right, bottom = max(round(x2 * size[0]), left + 1), max(round(y2 * size[1]), top + 1)
    return (left, top, right - left, bottom - top)


def cut(image: Image.Image, place: Place) -> Image.Image:
    """The object at ``place`` as RGBA, what is estimated to be background transparent."""
    piece = image.crop(corners(place))
    piece.putalpha(as_image(matte(image, place)[..., 0]))
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
    grey = (as_pixels(piece) @ LUMA)[..., None]
    tone = np.array(colorsys.hsv_to_rgb(hue, 0.85, 1.0))
    # Black stays black and white takes a light tint; between them the tone has the brightness that was there.
    tint = tone / max(float(tone @ LUMA), 1e-6)
    dyed = as_image(np.clip(grey * tint, 0, 1))
    result = image.copy()
    result.paste(dyed, place[:2], as_image(_DYE * matte(image, place)[..., 0]))
    return result


def lit(image: Image.Image, gain: float, gamma: float) -> Image.Image:
    """``image`` under other light: every value ``v`` in [0, 1] becomes ``gain * v ** gamma``, at most 1."""
    table = [round(255 * min(gain * (value / 255) ** gamma, 1.0)) for value in range(256)]
    return image.point(table * 3)


MIN_VISIBLE = 0.4  # share of an object that a view must show for the object to be noted in it
DIGITS = 6  # of stored fractions


@dataclass(frozen=True)
class View:
    """A photograph seen again: ``window`` in its fractions, ``scale`` of its pixels, and light as in :func:`lit`."""

    window: Box
    scale: float = 1.0
    gain: float = 1.0
    gamma: float = 1.0

    def render(self, image: Image.Image) -> Image.Image:
        """The pixels of the view."""
        from PIL import Image

        cut = image.crop(corners(place_of(self.window, image.size)))
        size = (max(1, round(cut.width * self.scale)), max(1, round(cut.height * self.scale)))
        return lit(cut.resize(size, Image.Resampling.LANCZOS) if size != cut.size else cut, self.gain, self.gamma)

    def snapped(self, size: tuple[int, int]) -> View:
        """The same view with its window on whole pixels of an image of ``size``: boxes in it are then exact."""
        return replace(self, window=fraction_box(place_of(self.window, size), size))

    def visible(self, box: Box) -> float:
        """The share of ``box`` that lies in the window."""
        return share_inside(box, self.window)

    def covered(self, box: Box) -> float:
        """The share of the window that ``box`` takes."""
        x1, y1, x2, y2 = self.window
        return self.visible(box) * (box[2] - box[0]) * (box[3] - box[1]) / ((x2 - x1) * (y2 - y1))

    def box(self, box: Box) -> Box:
        """``box`` in fractions of the view, cut at its edge."""
        return rounded(clip(within(box, self.window)))

    def notes(self, notes: Iterable[ObjectNote]) -> tuple[ObjectNote, ...]:
        """The notes of the objects that the view shows, in it."""
        seen = (note for note in notes if self.visible(note.box) >= MIN_VISIBLE)
        return tuple(note.model_copy(update={"box": self.box(note.box)}) for note in seen)


def rounded(box: Box) -> Box:
    """``box`` with six decimals: a hundredth of a pixel of the largest image, and short to store."""
    x1, y1, x2, y2 = (round(value, DIGITS) for value in box)
    return (x1, y1, x2, y2)


def around(rng: random.Random, box: Box) -> View:
    """A close-up of ``box``, with some room around it."""
    return View(widened(box, rng.uniform(0.05, 0.3)), 1.0, *_light(rng))


def wandered(rng: random.Random, trim: float) -> View:
    """A view that leaves up to ``trim`` of the photograph out on each side, smaller, and under another light."""
    left, top, right, bottom = (rng.uniform(0.0, trim) for _ in range(4))
    return View((left, top, 1.0 - right, 1.0 - bottom), rng.uniform(0.7, 0.95), *_light(rng))


def _light(rng: random.Random) -> tuple[float, float]:
    return rng.uniform(0.85, 1.15), rng.uniform(0.8, 1.25)

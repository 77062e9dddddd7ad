"""Pasting and filling without a seam: the pixels near the border of an altered place look like those of any other."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from mirg.data.compose.edits import soft_rim
from mirg.data.compose.pixels import LUMA, Pixels, Place, as_image, as_pixels, corners, remove, share_inside

if TYPE_CHECKING:
    from PIL import Image

_WIDE, _NARROW = 0.3, 0.1  # rims in which colours and details fade in, as shares of the shorter side
_COARSE = 0.08  # standard deviation of the blur that parts colours from details, as a share of the shorter side
_MATCH = 0.5  # how far the mean colour of a piece moves towards that of the border that it is pasted on
_WINDOWS = 16  # windows that are compared for the details of a filling


def blended(photo: Image.Image, piece: Image.Image, place: Place) -> Image.Image:
    """``photo`` with ``piece`` (RGB, of the size of ``place``) at ``place``; the pixels outside of it stay as they are.

    Colours fade in over a wide rim and details over a narrow one, so there is neither an edge nor a ghost image
    (Burt and Adelson 1983, "A multiresolution spline with application to image mosaics", with two bands).
    """
    result = photo.copy()
    mixed = _mixed(as_pixels(photo.crop(corners(place))), as_pixels(piece))
    result.paste(as_image(mixed), place[:2])
    return result


def _mixed(base: Pixels, layer: Pixels) -> Pixels:
    """``layer`` over ``base``, both of shape (H, W, 3)."""
    size = (base.shape[1], base.shape[0])
    wide, narrow = (soft_rim(size, rim)[..., None] for rim in (_WIDE, _NARROW))
    border = 1 - wide
    offset = ((base - layer) * border).sum(axis=(0, 1)) / border.sum()
    layer = layer + _MATCH * offset
    gap, coarse = layer - base, _blurred(layer - base, _COARSE * min(size))
    return base + wide * coarse + narrow * (gap - coarse)


def filled(rng: random.Random, photo: Image.Image, place: Place) -> Image.Image:
    """``photo`` with ``place`` filled: the colours run in from around it, the details are those of a similar surface.

    The details come from a window of the same photograph, away from ``place`` if there is room, whose details are about
    as strong as those around ``place``.
    """
    width, height = place[2:]
    sigma = _COARSE * min(width, height)
    layer = as_pixels(remove(photo, place).crop(corners(place)))
    details = _similar_details(rng, as_pixels(photo), place, sigma)
    return blended(photo, as_image(_blurred(layer, sigma) + details), place)


def _similar_details(rng: random.Random, pixels: Pixels, place: Place, sigma: float) -> Pixels:
    x, y, width, height = place
    rows, columns = pixels.shape[:2]
    wanted = _roughness(_around(pixels, place), sigma)
    best, least = pixels[y : y + height, x : x + width], np.inf
    for _ in range(_WINDOWS):
        left, top = rng.randint(0, columns - width), rng.randint(0, rows - height)
        window = pixels[top : top + height, left : left + width]
        shared = share_inside(corners(place), corners((left, top, width, height)))
        cost = shared + abs(np.log((_roughness(window, sigma) + 1e-3) / (wanted + 1e-3)))
        if cost < least:
            best, least = window, cost
    return best - _blurred(best, sigma)


def _around(pixels: Pixels, place: Place) -> Pixels:
    """A strip along each side of ``place``, stacked; the place itself if it fills the image."""
    x, y, width, height = place
    deep = max(2, min(width, height) // 4)
    right, below = x + width, y + height
    strips = [
        pixels[max(0, y - deep) : y, x:right], pixels[below : below + deep, x:right],
        pixels[y:below, max(0, x - deep) : x].swapaxes(0, 1), pixels[y:below, right : right + deep].swapaxes(0, 1),
    ]  # fmt: skip
    widest = max(strips, key=lambda strip: strip.shape[0] * strip.shape[1])
    return widest if widest.size else pixels[y:below, x:right]


def _roughness(pixels: Pixels, sigma: float) -> float:
    """Standard deviation of the details."""
    return float(((pixels - _blurred(pixels, sigma)) @ LUMA).std())


def _blurred(pixels: Pixels, sigma: float) -> Pixels:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest")

"""Pasting and filling without a seam: the pixels near the border of an altered place look like those of any other."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mirg.data.compose.edits import soft_rim
from mirg.data.compose.photos.places import free_place
from mirg.data.compose.pixels import LUMA, Pixels, Place, as_image, as_pixels, corners, smooth_fill

if TYPE_CHECKING:
    from PIL import Image

_WIDE = 0.2  # rim in which colours fade in, as a share of the shorter side
_CURVE = (0.04, 0.22)  # depths below the border between which details change over, as shares of the shorter side
_BANDS = (0.008, 0.025, 0.08)  # standard deviations of the blurs that part the bands, as shares of the shorter side
_MATCH = 0.8  # how far the colours in the middle of a piece move towards those around it; at the border they are equal
_NOISE = 0.02  # scale of the bends of that curve, as a share of the shorter side
_POWER = 0.9  # of the weights of details: above 0.5 (equal energy) and below 1 (a mean, which is smoother than either)
_PLACES = 16  # places that are compared


def blended(
    rng: random.Random, photo: Image.Image, piece: Image.Image, place: Place, match: float = _MATCH
) -> Image.Image:
    """``photo`` with ``piece`` (RGB, of the size of ``place``) at ``place``; the pixels outside of it do not change.

    Colours fade in over a wide rim, details change over along a curve, so there is neither an edge nor a ghost image
    (after Burt and Adelson 1983, "A multiresolution spline with application to image mosaics", with four bands). Before
    that, the colours of the piece move to those along the border, at the border completely, in the middle by ``match``.
    """
    result = photo.copy()
    mixed = _mixed(rng, as_pixels(photo.crop(corners(place))), as_pixels(piece), match)
    result.paste(as_image(mixed), place[:2])
    return result


def _mixed(rng: random.Random, base: Pixels, layer: Pixels, match: float) -> Pixels:
    """``layer`` over ``base``, both of shape (H, W, 3)."""
    size = (base.shape[1], base.shape[0])
    rim, inside = soft_rim(size, _CURVE[0])[..., None], _inside(rng, size)[..., None]
    mixed = np.zeros_like(base)
    for band in _BANDS:
        sigma = band * min(size)
        low, layer_low = _blurred(base, sigma), _blurred(layer, sigma)
        weight = np.clip(rim * _blurred(inside, sigma), 0.0, 1.0)
        mixed += (1 - weight) ** _POWER * (base - low) + weight**_POWER * (layer - layer_low)
        base, layer = low, layer_low
    wide = soft_rim(size, _WIDE)[..., None]
    shift = (1 - (1 - match) * soft_rim(size, 0.5)[..., None]) * _membrane(base - layer)
    return mixed + base + wide * (layer + shift - base)


def _inside(rng: random.Random, size: tuple[int, int]) -> Pixels:
    """1 inside of a curve that runs irregularly along the border of a piece of ``size``, 0 outside; shape (H, W)."""
    width, height = size
    noise = np.random.default_rng(rng.getrandbits(32)).normal(size=(height, width))
    noise = _blurred(noise, _NOISE * min(size))
    depth = _CURVE[0] + (_CURVE[1] - _CURVE[0]) * (noise - noise.min()) / (np.ptp(noise) + 1e-9)
    across = np.minimum(np.arange(width) + 0.5, width - np.arange(width) - 0.5)
    down = np.minimum(np.arange(height) + 0.5, height - np.arange(height) - 0.5)
    return (np.minimum(across[None, :], down[:, None]) > min(size) * depth).astype(float)


def _membrane(gap: Pixels) -> Pixels:
    """``gap`` at its border, smoothly continued through the middle."""
    height, width = gap.shape[:2]
    return gap if min(height, width) < 3 else smooth_fill(gap, (1, 1, width - 2, height - 2))


def filled(rng: random.Random, photo: Image.Image, place: Place) -> Image.Image:
    """``photo`` with ``place`` covered by another of its surfaces, in the colours around ``place``.

    The surface is a window away from ``place``, if there is room, that is about as rough as what is covered.
    """
    covered = photo.crop(corners(place))
    window = similar_place(rng, photo, covered, [place]) or similar_place(rng, photo, covered, ())
    return photo if window is None else blended(rng, photo, photo.crop(corners(window)), place, match=1.0)


def similar_place(rng: random.Random, photo: Image.Image, piece: Image.Image, taken: Sequence[Place]) -> Place | None:
    """A place for ``piece`` in ``photo`` outside of those ``taken``, about as rough and of like colours; or None."""
    wanted = _look(piece)

    def cost(place: Place) -> float:
        return float(np.abs(_look(photo.crop(corners(place))) - wanted).sum())

    drawn = (free_place(rng, photo.size, piece.size, taken) for _ in range(_PLACES))
    return min((place for place in drawn if place is not None), key=cost, default=None)


def _look(image: Image.Image) -> Pixels:
    """Roughness and contrast, as logarithms, and the mean colour."""
    pixels = as_pixels(image)
    grey = pixels @ LUMA
    spreads = np.array([np.abs(np.diff(grey, axis=axis)).mean() if grey.shape[axis] > 1 else 0.0 for axis in (0, 1)])
    return np.array([*np.log(spreads + 1e-2), np.log(grey.std() + 1e-2), *pixels.mean(axis=(0, 1))])


def _blurred(pixels: Pixels, sigma: float) -> Pixels:
    """Blurred along the first two axes."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(pixels, (sigma, sigma) + (0,) * (pixels.ndim - 2), mode="nearest")

"""Pixels and places that all builders share: shrinking, cutting, filling, and how much an alteration shows.

A place is ``(x, y, width, height)`` in whole pixels; pixel arrays are float64 in [0, 1], shape (H, W, 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mirg.data.compose.texture import Pixels, Place
from mirg.geometry import Box

if TYPE_CHECKING:
    from PIL import Image


def shrink(image: Image.Image, side: int) -> Image.Image:
    """``image`` with its long edge at most ``side`` pixels, aspect ratio kept; never enlarged."""
    from PIL import Image

    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def as_pixels(image: Image.Image) -> Pixels:
    """RGB as float64 in [0, 1], shape (H, W, 3)."""
    return np.asarray(image, dtype=np.float64) / 255.0


def fraction_box(place: Place, size: tuple[int, int]) -> Box:
    """``place`` as a box in fractions of an image of ``size`` pixels."""
    x, y, width, height = place
    return (x / size[0], y / size[1], (x + width) / size[0], (y + height) / size[1])


def share_inside(box: Box, window: Box) -> float:
    """The share of ``box`` that lies in ``window``, 0 to 1; both in one frame."""
    wide = min(box[2], window[2]) - max(box[0], window[0])
    high = min(box[3], window[3]) - max(box[1], window[1])
    return max(wide, 0.0) * max(high, 0.0) / ((box[2] - box[0]) * (box[3] - box[1]))


def corners(place: Place) -> tuple[int, int, int, int]:
    """(x1, y1, x2, y2) of a place, pixels."""
    x, y, width, height = place
    return (x, y, x + width, y + height)


def remove(photo: Image.Image, place: Place) -> Image.Image:
    """``photo`` with ``place`` filled smoothly from the pixels around it: what was there is gone.

    Every pixel becomes the mean of the four border pixels in its row and column, weighted by nearness (a transfinite
    fill). A place at the edge of the photograph uses the borders that exist.
    """
    from PIL import Image

    pixels = as_pixels(photo).copy()
    x, y, width, height = place
    right, below = x + width, y + height
    across, down = np.arange(width)[None, :, None], np.arange(height)[:, None, None]
    borders: list[tuple[np.ndarray, np.ndarray]] = []  # (colours, distance to them)
    if x > 0:
        borders.append((pixels[y:below, x - 1][:, None, :], across + 1))
    if right < photo.width:
        borders.append((pixels[y:below, right][:, None, :], width - across))
    if y > 0:
        borders.append((pixels[y - 1, x:right][None, :, :], down + 1))
    if below < photo.height:
        borders.append((pixels[below, x:right][None, :, :], height - down))
    total = sum(colours / distance for colours, distance in borders)
    pixels[y:below, x:right] = total / sum(1.0 / distance for _, distance in borders)
    return Image.fromarray(np.round(pixels * 255).astype(np.uint8))


def change(before: Image.Image, after: Image.Image, place: Place) -> float:
    """Root-mean-square colour difference of two images inside ``place``, 0 to 1."""
    box = corners(place)
    gap = as_pixels(before.crop(box)) - as_pixels(after.crop(box))
    return float(np.sqrt((gap * gap).mean()))

"""Pixels and places: shrinking, cutting and filling, and whether a piece of a photograph can be found again.

A place is ``(x, y, width, height)`` in whole pixels; pixel arrays are float64 in [0, 1], shape (H, W, 3). A piece can
be found again if it has texture and no other place looks like it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mirg.geometry import Box, clip
from mirg.geometry import share_inside as share_inside

if TYPE_CHECKING:
    from PIL import Image


Pixels = NDArray[np.float64]
Place = tuple[int, int, int, int]

_MAX_OVERLAP = 0.3
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def contrast(piece: Pixels) -> float:
    """Standard deviation of the brightness, 0 (one tone) to 0.5 (half black, half white)."""
    return float((piece @ LUMA).std())


def edge_share(piece: Pixels) -> float:
    """Share of pixels whose brightness differs from the next one, right or below, by more than 0.04."""
    grey = piece @ LUMA
    if min(grey.shape) < 2:
        return 0.0
    right = np.abs(np.diff(grey, axis=1))[:-1]
    below = np.abs(np.diff(grey, axis=0))[:, :-1]
    return float((np.maximum(right, below) > 0.04).mean())


def correlations(pixels: Pixels, piece: Pixels) -> Pixels:
    """Normalised cross-correlation of ``piece`` with every window of its size, shape (H-h+1, W-w+1), in [-1, 1].

    Zero-mean over the brightness of each window (as OpenCV's TM_CCOEFF_NORMED). A window of one tone scores 0.
    """
    grey, small = pixels @ LUMA, piece @ LUMA
    small = small - small.mean()
    count = small.size
    total, squares = _window_sums(grey, small.shape), _window_sums(grey * grey, small.shape)
    spread = np.sqrt(np.clip(squares - total * total / count, 0.0, None))
    norm = spread * np.sqrt(float((small * small).sum()))
    cross = _cross(grey, small)
    return np.where(norm > 1e-6 * count, np.clip(cross / np.maximum(norm, 1e-12), -1.0, 1.0), 0.0)


def distances(pixels: Pixels, piece: Pixels) -> Pixels:
    """Root-mean-square colour difference of ``piece`` to every window of its size, shape (H-h+1, W-w+1)."""
    height, width = piece.shape[:2]
    squares = sum(_window_sums(pixels[..., c] ** 2, (height, width)) for c in range(3))
    cross = sum(_cross(pixels[..., c], piece[..., c]) for c in range(3))
    mean_square = (squares - 2.0 * cross + float((piece * piece).sum())) / (height * width * 3)
    return np.sqrt(np.clip(mean_square, 0.0, None))


def look_alike(pixels: Pixels, piece: Pixels, own: Place | None) -> tuple[float, float]:
    """(highest correlation, lowest colour distance) of ``piece`` to the windows away from its own place.

    Windows that share at least 0.3 (IoU) with ``own`` do not count; ``own=None`` counts all, for another photograph.
    (-1, inf) without a window to compare with, or if the piece is larger than ``pixels``.
    """
    height, width = piece.shape[:2]
    if height > pixels.shape[0] or width > pixels.shape[1]:
        return (-1.0, float("inf"))
    away = np.ones((pixels.shape[0] - height + 1, pixels.shape[1] - width + 1), dtype=bool)
    if own is not None:
        # IoU of the own place with the equally large window at every (row, column).
        rows, columns = np.ogrid[: away.shape[0], : away.shape[1]]
        inter = np.clip(width - np.abs(columns - own[0]), 0, None) * np.clip(height - np.abs(rows - own[1]), 0, None)
        away = inter / (2.0 * width * height - inter) < _MAX_OVERLAP
    if not away.any():
        return (-1.0, float("inf"))
    return (float(correlations(pixels, piece)[away].max()), float(distances(pixels, piece)[away].min()))


def _window_sums(plane: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Sums over all windows of ``shape`` by an integral image: O(H*W)."""
    height, width = shape
    table = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1))
    table[1:, 1:] = plane.cumsum(axis=0).cumsum(axis=1)
    return table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]


def _cross(plane: Pixels, small: Pixels) -> Pixels:
    """Sums of products of ``small`` with all windows of its size, by FFT: O(H*W log(H*W))."""
    shape = plane.shape
    product = np.fft.rfft2(plane, shape) * np.conj(np.fft.rfft2(small, shape))
    full = np.fft.irfft2(product, shape)
    return full[: shape[0] - small.shape[0] + 1, : shape[1] - small.shape[1] + 1]


def shrink(image: Image.Image, side: int) -> Image.Image:
    """``image`` with its long edge at most ``side`` pixels, aspect ratio kept; never enlarged."""
    from PIL import Image

    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def as_pixels(image: Image.Image) -> Pixels:
    """RGB as float64 in [0, 1], shape (H, W, 3); grey as shape (H, W)."""
    return np.asarray(image, dtype=np.float64) / 255.0


def as_image(pixels: Pixels) -> Image.Image:
    """The picture of :func:`as_pixels`."""
    from PIL import Image

    return Image.fromarray(np.round(255 * pixels).clip(0, 255).astype(np.uint8))


def fraction_box(place: Place, size: tuple[int, int]) -> Box:
    """``place`` as a box in fractions of an image of ``size`` pixels."""
    x, y, width, height = place
    return (x / size[0], y / size[1], (x + width) / size[0], (y + height) / size[1])


def within(box: Box, window: Box) -> Box:
    """``box`` in fractions of ``window``; both are given in one frame. Its edges may lie outside of 0 to 1."""
    left, top, wide, high = window[0], window[1], window[2] - window[0], window[3] - window[1]
    return ((box[0] - left) / wide, (box[1] - top) / high, (box[2] - left) / wide, (box[3] - top) / high)


def widened(box: Box, margin: float) -> Box:
    """``box`` (fractions) with ``margin`` of its sides more on each side, cut at the edge of the image."""
    wide, high = margin * (box[2] - box[0]), margin * (box[3] - box[1])
    return clip((box[0] - wide, box[1] - high, box[2] + wide, box[3] + high))


def corners(place: Place) -> tuple[int, int, int, int]:
    """(x1, y1, x2, y2) of a place, pixels."""
    x, y, width, height = place
    return (x, y, x + width, y + height)


def remove(photo: Image.Image, place: Place) -> Image.Image:
    """``photo`` with ``place`` filled smoothly from the pixels around it (:func:`smooth_fill`)."""
    return as_image(smooth_fill(as_pixels(photo), place))


def smooth_fill(pixels: Pixels, place: Place) -> Pixels:
    """``pixels`` with ``place`` filled smoothly from the pixels around it: what was there is gone.

    Every pixel becomes the mean of the four border pixels in its row and column, weighted by nearness (a transfinite
    fill). A place at the edge of the photograph uses the borders that exist.
    """
    x, y, width, height = place
    right, below = x + width, y + height
    across, down = np.arange(width)[None, :, None], np.arange(height)[:, None, None]
    borders: list[tuple[np.ndarray, np.ndarray]] = []  # (colours, distance to them)
    if x > 0:
        borders.append((pixels[y:below, x - 1][:, None, :], across + 1))
    if right < pixels.shape[1]:
        borders.append((pixels[y:below, right][:, None, :], width - across))
    if y > 0:
        borders.append((pixels[y - 1, x:right][None, :, :], down + 1))
    if below < pixels.shape[0]:
        borders.append((pixels[below, x:right][None, :, :], height - down))
    total = sum(colours / distance for colours, distance in borders)
    result = pixels.copy()
    result[y:below, x:right] = total / sum(1.0 / distance for _, distance in borders)
    return result


def change(before: Image.Image, after: Image.Image, place: Place) -> float:
    """Root-mean-square colour difference of two images inside ``place``, 0 to 1."""
    box = corners(place)
    gap = as_pixels(before.crop(box)) - as_pixels(after.crop(box))
    return float(np.sqrt((gap * gap).mean()))

"""Whether a piece of a photograph can be found again: it has texture, and no other place looks like it.

Pixels are float64 arrays of shape (H, W, 3) in [0, 1]; a place is ``(x, y, width, height)`` in whole pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]
Place = tuple[int, int, int, int]

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def contrast(piece: Pixels) -> float:
    """Standard deviation of the brightness, 0 (one tone) to 0.5 (half black, half white)."""
    return float((piece @ _LUMA).std())


def edge_share(piece: Pixels, *, step: float = 0.04) -> float:
    """Share of pixels whose brightness differs from the next one, right or below, by more than ``step``."""
    grey = piece @ _LUMA
    if min(grey.shape) < 2:
        return 0.0
    right = np.abs(np.diff(grey, axis=1))[:-1]
    below = np.abs(np.diff(grey, axis=0))[:, :-1]
    return float((np.maximum(right, below) > step).mean())


def correlations(pixels: Pixels, piece: Pixels) -> Pixels:
    """Normalised cross-correlation of ``piece`` with every window of its size, shape (H-h+1, W-w+1), in [-1, 1].

    Zero-mean over the brightness of each window (as OpenCV's TM_CCOEFF_NORMED). A window of one tone scores 0.
    """
    grey, small = pixels @ _LUMA, piece @ _LUMA
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


def look_alike(pixels: Pixels, piece: Pixels, own: Place | None, *, max_overlap: float = 0.3) -> tuple[float, float]:
    """(highest correlation, lowest colour distance) of ``piece`` to the windows away from its own place.

    Windows that share at least ``max_overlap`` (IoU) with ``own`` do not count; ``own=None`` counts all, for another
    photograph. (-1, inf) where nothing is left to compare with, or the piece is larger than ``pixels``.
    """
    height, width = piece.shape[:2]
    if height > pixels.shape[0] or width > pixels.shape[1]:
        return (-1.0, float("inf"))
    away = np.ones((pixels.shape[0] - height + 1, pixels.shape[1] - width + 1), dtype=bool)
    if own is not None:
        away = _overlaps(away.shape, own) < max_overlap
    if not away.any():
        return (-1.0, float("inf"))
    return (float(correlations(pixels, piece)[away].max()), float(distances(pixels, piece)[away].min()))


def _overlaps(shape: tuple[int, int], own: Place) -> Pixels:
    """IoU of ``own`` with the equally large window at every (row, column)."""
    x, y, width, height = own
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inter = np.clip(width - np.abs(columns - x), 0, None) * np.clip(height - np.abs(rows - y), 0, None)
    return inter / (2.0 * width * height - inter)


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

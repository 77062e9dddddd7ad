"""Pictures composed of windows of photographs, and where a point of one picture is shown in another one.

Everything is known by construction: a picture is a stack of layers, each a window of a photograph, so the photograph
and the place in it are known for every point, and with them every correspondence between two pictures.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mirg.data.compose.photos.blend import blended
from mirg.geometry import Box
from mirg.images import SUFFIXES, open_image

Points = NDArray[np.float64]
FACTOR = 28  # pixels of one visual token, each side
MAX_TOKENS = 64  # of one picture: 224 x 224 pixels
LONG_SIDE = 1024  # of a photograph in memory, pixels
_MIN_CONTRAST = 22.0  # standard deviation of the brightness (0-255) from which on a photograph is used
NOWHERE = -1  # in place of the number of a photograph: a filled area


@dataclass(frozen=True)
class Layer:
    """The window ``source`` (x1, y1, x2, y2; pixels of photograph ``photo``) shown at ``place`` (fractions)."""

    photo: int
    source: tuple[float, float, float, float]
    place: Box = (0.0, 0.0, 1.0, 1.0)
    flipped: bool = False
    colour: tuple[float, float, float] | None = None  # of a filled area


@dataclass(frozen=True)
class Picture:
    """Layers from back to front, of which the first one covers all of it; ``size`` is in pixels."""

    layers: tuple[Layer, ...]
    size: tuple[int, int]
    tone: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 0.0, 1.0)  # gains, offset, contrast
    softness: float = 0.0  # deviation of the blur of the borders of layers, pixels
    blended: bool = False  # layers fade into those behind them, as in the tasks of mirg.data.compose.photos

    @property
    def grid(self) -> tuple[int, int]:
        """Visual tokens (rows, columns)."""
        return (self.size[1] // FACTOR, self.size[0] // FACTOR)


def read_photos(folders: Sequence[Path]) -> list[Image.Image]:
    """Every photograph of ``folders`` with some contrast, RGB, the long side at most :data:`LONG_SIDE`."""
    found = []
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
            image = open_image(path)
            image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
            if np.asarray(image.convert("L").resize((64, 64)), np.float64).std() > _MIN_CONTRAST:
                found.append(image)
    return found


def model_size(width: float, height: float) -> tuple[int, int]:
    """What the processor makes of an image of this size: multiples of 28, at most 64 visual tokens."""
    scale = min(1.0, (MAX_TOKENS * FACTOR**2 / (width * height)) ** 0.5)
    across, down = (max(1, round(scale * side / FACTOR)) for side in (width, height))
    while across * down > MAX_TOKENS:
        across, down = (across - 1, down) if across >= down else (across, down - 1)
    return (across * FACTOR, down * FACTOR)


def render(picture: Picture, photos: Sequence[Image.Image]) -> NDArray[np.uint8]:
    """The pixels, shape (height, width, 3)."""
    whole: Image.Image | None = None
    for layer in picture.layers:
        box = pixel_box(layer.place, picture.size)
        size = (box[2] - box[0], box[3] - box[1])
        if layer.photo == NOWHERE:
            shown = Image.new("RGB", size, tuple(int(255 * c) for c in layer.colour or (0.5, 0.5, 0.5)))
        else:
            photo = photos[layer.photo]
            shown = photo.resize(size, Image.Resampling.BICUBIC, box=layer.source, reducing_gap=2.0)
            if layer.flipped:
                shown = shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if whole is None:
            whole = shown
        elif picture.blended:
            whole = blended(random.Random(repr(layer)), whole, shown, (*box[:2], *size))
        elif picture.softness:
            mask = Image.new("L", whole.size, 0)
            mask.paste(255, box)
            cover = Image.new("RGB", whole.size)
            cover.paste(shown, box)
            soft = np.minimum(np.asarray(mask), np.asarray(mask.filter(ImageFilter.GaussianBlur(picture.softness))))
            whole = Image.composite(cover, whole, Image.fromarray(soft))
        else:
            whole.paste(shown, box)
    assert whole is not None
    pixels = np.asarray(whole, np.float32) / 255.0
    *gains, offset, contrast = picture.tone
    if picture.tone != (1.0, 1.0, 1.0, 0.0, 1.0):
        pixels = ((pixels * np.array(gains, np.float32) + offset) - 0.5) * contrast + 0.5
    return np.round(255 * pixels.clip(0, 1)).astype(np.uint8)


def pixel_box(place: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """``place`` in whole pixels of a picture of ``size``, at least one pixel a side."""
    x1, y1 = (min(side - 1, round(c * side)) for c, side in zip(place[:2], size, strict=True))
    x2, y2 = (round(c * side) for c, side in zip(place[2:], size, strict=True))
    return (x1, y1, max(x1 + 1, x2), max(y1 + 1, y2))


def centres(picture: Picture) -> Points:
    """The centres of the visual tokens, row by row, (tokens, 2) in fractions."""
    rows, columns = picture.grid
    x, y = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
    return np.stack([np.tile(x, rows), np.repeat(y, columns)], axis=1)


def front(picture: Picture, points: Points) -> NDArray[np.int64]:
    """The number of the layer that shows each of the points (N, 2)."""
    shown = np.zeros(len(points), np.int64)
    for number, layer in enumerate(picture.layers[1:], 1):
        shown[_inside(points, layer.place)] = number
    return shown


def sources(picture: Picture, points: Points) -> tuple[NDArray[np.int64], Points]:
    """What ``points`` (N, 2; fractions) show: the photograph (N,), and the place in its pixels (N, 2)."""
    shown = front(picture, points)
    photo, where = np.full(len(points), NOWHERE), np.zeros((len(points), 2))
    for number, layer in enumerate(picture.layers):
        mine = shown == number
        photo[mine] = layer.photo
        inside = (points[mine] - layer.place[:2]) / np.subtract(layer.place[2:], layer.place[:2])
        if layer.flipped:
            inside[:, 0] = 1 - inside[:, 0]
        where[mine] = inside * np.subtract(layer.source[2:], layer.source[:2]) + layer.source[:2]
    return photo, where


def find(picture: Picture, photo: NDArray[np.int64], where: Points) -> Points:
    """Where ``picture`` shows those places of photographs, (N, 2) in fractions; NaN where it does not."""
    found = np.full((len(photo), 2), np.nan)
    for number, layer in enumerate(picture.layers):
        if layer.photo == NOWHERE:
            continue
        inside = (where - layer.source[:2]) / np.subtract(layer.source[2:], layer.source[:2])
        here = (photo == layer.photo) & ((inside >= 0) & (inside < 1)).all(1) & np.isnan(found[:, 0])
        if layer.flipped:
            inside = np.stack([1 - inside[:, 0], inside[:, 1]], axis=1)
        points = inside * np.subtract(layer.place[2:], layer.place[:2]) + layer.place[:2]
        here &= front(picture, points) == number
        found[here] = points[here]
    return found


def matches(picture: Picture, other: Picture) -> tuple[Points, NDArray[np.float64]]:
    """Where ``other`` shows what each visual token of ``picture`` shows, (tokens, 2); NaN where it does not.

    And the boxes of all that both show of that photograph, in ``other`` and in ``picture``, (tokens, 8) in fractions.
    """
    points = centres(picture)
    photo, where = sources(picture, points)
    own = front(picture, points)
    found = find(other, photo, where)
    boxes = np.zeros((len(points), 8))
    seen = ~np.isnan(found[:, 0])
    there = front(other, np.nan_to_num(found))
    for a, layer in enumerate(picture.layers):
        for b, its in enumerate(other.layers):
            mine = seen & (own == a) & (there == b)
            if mine.any():
                window = shared(layer, its)
                boxes[mine] = (*shown_at(its, window), *shown_at(layer, window))
    return found, boxes


def shared(layer: Layer, other: Layer) -> tuple[float, float, float, float]:
    """The window of the photograph that both layers show."""
    left, top = (max(layer.source[k], other.source[k]) for k in (0, 1))
    right, bottom = (min(layer.source[k], other.source[k]) for k in (2, 3))
    return (left, top, right, bottom)


def shown_at(layer: Layer, window: tuple[float, float, float, float]) -> Box:
    """Where a window of the layer's photograph lies in the layer's picture, in fractions."""
    left, top, right, bottom = layer.source
    x1, x2 = ((x - left) / (right - left) for x in (window[0], window[2]))
    y1, y2 = ((y - top) / (bottom - top) for y in (window[1], window[3]))
    if layer.flipped:
        x1, x2 = 1 - x2, 1 - x1
    px, py, wide, high = *layer.place[:2], layer.place[2] - layer.place[0], layer.place[3] - layer.place[1]
    return (px + x1 * wide, py + y1 * high, px + x2 * wide, py + y2 * high)


def _inside(points: Points, box: Box) -> NDArray[np.bool_]:
    return np.all((points >= box[:2]) & (points < box[2:]), axis=1)

"""The backgrounds under the objects, and the strokes and specks on them that are not objects.

Backgrounds of kind ``patch`` look like pieces of photographs, made ones or the user's own. They are muted (half the
saturation, no mid-grey), so that the colour of an object stays the one that its name says.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mirg.geometry import Box

if TYPE_CHECKING:
    from PIL import Image

    from mirg.data.compose.photos.pool import PhotoPool
    from mirg.data.scenes.world import Background

Plane = NDArray[np.float64]

# Cells of the made patches; they are stretched to the image.
_CELLS = 64
# The long edge in pixels at which photographs are kept, and the sides of a piece, as shares of the shorter edge.
_PHOTO_SIDE = 448
_PIECE = (0.3, 0.9)
# (dark, light) tones of each kind of place, from which the two of a patch lie one quarter in either direction.
_PALETTES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "sky": ((128, 158, 196), (226, 232, 236)),
    "foliage": ((52, 72, 40), (150, 168, 112)),
    "stone": ((84, 80, 76), (196, 190, 180)),
    "wood": ((92, 66, 46), (190, 158, 122)),
    "sand": ((170, 150, 118), (228, 214, 186)),
    "water": ((44, 74, 88), (134, 164, 172)),
}
_STILL = 0.32  # of the contrast of a patch that is kept: objects stand out
_SATURATION = 0.5


def draw_background(spec: Background, view: Box, size: tuple[int, int]) -> Image.Image:
    """The part ``view`` (fractions) of the background, without objects."""
    from PIL import Image

    rng = np.random.default_rng(spec.seed)
    if spec.kind == "plain":
        image = Image.new("RGB", size, spec.colours[0])
    else:
        # A few coarse cells are stretched to the image, so the background does not depend on the output size.
        cells = _patch(spec) if spec.kind == "patch" else Image.fromarray(_cells(spec, rng))
        smooth = {"checks": Image.Resampling.NEAREST, "patch": Image.Resampling.BICUBIC}
        area = (view[0] * cells.width, view[1] * cells.height, view[2] * cells.width, view[3] * cells.height)
        image = cells.resize(size, smooth.get(spec.kind, Image.Resampling.BILINEAR), box=area)
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
    """Draw thin grey strokes and specks, which distract from the objects and lie under them."""
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


def _patch(spec: Background) -> Image.Image:
    """A pure function of ``spec`` and of the photographs that it names: less colour and contrast around its tone.

    DataError if the folder contains no readable photograph.
    """
    from PIL import Image

    rng = np.random.default_rng(spec.seed)
    pixels = np.asarray(_photograph(rng, spec.photos) if spec.photos else _made(rng), dtype=np.float64)
    grey = pixels.mean(axis=2, keepdims=True)
    shade = (grey - grey.mean()) * min(1.0, _STILL * 128 / max(float(grey.std()), 1.0) / 1.6)
    muted = np.mean(spec.colours[0]) + shade + _SATURATION * (pixels - grey)
    return Image.fromarray(np.clip(muted, 0, 255).astype(np.uint8))


def _made(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A made patch, uint8 of shape (cells, cells, 3): one of the places, sometimes two with an edge between them."""
    places = list(_PALETTES)
    first = _place(rng, places[int(rng.integers(len(places)))])
    if rng.random() < 0.5:
        return first.astype(np.uint8)
    second = _place(rng, places[int(rng.integers(len(places)))])
    # The edge is a slightly uneven straight line through the middle part.
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.25, 0.25)
    y, x = np.mgrid[0:_CELLS, 0:_CELLS] / _CELLS - 0.5
    uneven = 0.08 * (_octaves(rng, (6,), (1.0,)) - 0.5)
    above = x * np.cos(angle) + y * np.sin(angle) + uneven > offset
    return np.where(above[..., None], first, second).astype(np.uint8)


def _place(rng: np.random.Generator, kind: str) -> Plane:
    """Tones of one kind of place, float of shape (cells, cells, 3)."""
    dark, light = (np.asarray(colour, dtype=np.float64) for colour in _PALETTES[kind])
    fine = _octaves(rng, (16, 32, 64), (1.0, 0.8, 0.6))
    coarse = _octaves(rng, (3, 6, 12), (1.0, 0.6, 0.35))
    down = np.linspace(0.0, 1.0, _CELLS)[:, None] + np.zeros((1, _CELLS))
    if kind == "sky":
        level = 0.6 * down + 0.5 * np.clip(coarse - 0.45, 0, None) * 2
    elif kind == "foliage":
        level = 0.35 * coarse + 0.65 * (fine > 0.5) * fine  # leaves: bright where noise passes a threshold
    elif kind == "stone":
        level = 0.5 * coarse + 0.3 * fine + 0.35 * np.minimum(np.abs(coarse - 0.5) * 8, 1.0) - 0.2  # dark cracks
    elif kind == "wood":
        turned = down if rng.random() < 0.5 else down.T
        level = 0.5 + 0.35 * np.sin(2 * np.pi * (turned * rng.uniform(3, 8) + 1.5 * coarse)) + 0.25 * (fine - 0.5)
    elif kind == "sand":
        level = 0.4 * coarse + 0.6 * fine
    else:
        level = 0.45 + 0.4 * np.sin(2 * np.pi * (down * rng.uniform(4, 10) + 0.7 * coarse)) * (0.4 + 0.6 * down)
    return np.clip(dark + (light - dark) * level[..., None], 0, 255)


def _octaves(rng: np.random.Generator, cells: tuple[int, ...], weights: tuple[float, ...]) -> Plane:
    """Smooth noise of several scales, spread over [0, 1], shape (cells, cells)."""
    from PIL import Image

    total = np.zeros((_CELLS, _CELLS))
    for count, weight in zip(cells, weights, strict=True):
        coarse = Image.fromarray(rng.random((count, count), dtype=np.float32))
        total += weight * np.asarray(coarse.resize((_CELLS, _CELLS), Image.Resampling.BICUBIC))
    return (total - total.min()) / (total.max() - total.min())


def _photograph(rng: np.random.Generator, folder: str) -> Image.Image:
    """A square piece of one of the folder's photographs."""
    pool = _pool(folder)
    image = pool.image(int(rng.integers(len(pool))))
    length = round(min(image.size) * rng.uniform(*_PIECE))
    left, top = (int(rng.integers(edge - length + 1)) for edge in image.size)
    return image.crop((left, top, left + length, top + length))


@cache
def _pool(folder: str) -> PhotoPool:
    """The photographs of ``folder`` that `mirg data photos` would train on: those of its test split stay unseen."""
    from mirg.data.compose.photos.pool import PhotoConfig, PhotoPool, find_photos

    config = PhotoConfig(side=_PHOTO_SIDE)
    return PhotoPool(find_photos(folder, config).photos, config)

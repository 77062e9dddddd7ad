"""The backgrounds under the objects, and the strokes and specks on them that are not objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mirg.data.scenes.patches import draw_patch
from mirg.geometry import Box

if TYPE_CHECKING:
    from PIL import Image

    from mirg.data.scenes.world import Background


def draw_background(spec: Background, view: Box, size: tuple[int, int]) -> Image.Image:
    """The part ``view`` (fractions) of the background, without objects."""
    from PIL import Image

    if spec.kind == "plain" and not spec.clutter:
        return Image.new("RGB", size, spec.colours[0])
    rng = np.random.default_rng(spec.seed)
    if spec.kind == "plain":
        image = Image.new("RGB", size, spec.colours[0])
    elif spec.kind == "patch":
        image = draw_patch(spec, view, size)
    else:
        # A few coarse cells are stretched to the image, so the background does not depend on the output size.
        cells = Image.fromarray(_cells(spec, rng))
        smooth = Image.Resampling.NEAREST if spec.kind == "checks" else Image.Resampling.BILINEAR
        area = (view[0] * cells.width, view[1] * cells.height, view[2] * cells.width, view[3] * cells.height)
        image = cells.resize(size, smooth, box=area)
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

"""Random photographs, windows, crops and pasted patches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from mirg.geometry import Box
from research.photo.pictures import FACTOR, NOWHERE, Layer, Picture, model_size

Window = tuple[float, float, float, float]
LONG = 256.0  # pixels, the long side of a photograph in a dataset
_MIN_PART = 0.12  # sides of a pasted patch, fractions of the picture's
_CROP = (0.2, 0.55)  # sides of a crop, fractions of the window's


def window_of(rng: np.random.Generator, photo: Image.Image, area: tuple[float, float]) -> Window:
    """A window of an area between the two shares of the photograph's, of about its shape."""
    share, shape = rng.uniform(*area), np.exp(rng.uniform(-0.25, 0.25))
    width = min(photo.width, photo.width * (share * shape) ** 0.5)
    height = min(photo.height, photo.height * (share / shape) ** 0.5)
    x, y = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    return (x, y, x + width, y + height)


def tone(rng: np.random.Generator, strength: float) -> tuple[float, float, float, float, float]:
    """Gains of the three colours, an offset and a contrast, near the identity."""
    common, own = rng.uniform(-1, 1), rng.uniform(-1, 1, 3)
    r, g, b = np.exp(strength * (0.25 * common + 0.12 * own))
    return (float(r), float(g), float(b), float(0.08 * strength * rng.uniform(-1, 1)),
            float(np.exp(0.3 * strength * rng.uniform(-1, 1))))  # fmt: skip


def scene(
    rng: np.random.Generator, photos: Sequence[Image.Image], photo: int, area: tuple[float, float] = (0.45, 1.0)
) -> Picture:
    """A window of ``photo`` with 256 pixels on its long side, as the model sees it; half of them mirrored."""
    window = window_of(rng, photos[photo], area)
    return view(photo, window, LONG / max(window[2] - window[0], window[3] - window[1]), flipped=rng.random() < 0.5)


def view(photo: int, window: Window, scale: float, *, flipped: bool = False) -> Picture:
    """A window enlarged by ``scale`` and then as the processor resizes it."""
    size = model_size(scale * (window[2] - window[0]), scale * (window[3] - window[1]))
    return Picture((Layer(photo, window, flipped=flipped),), size)


def inside(layer: Layer, box: Box) -> Window:
    """``box`` (fractions of the picture that ``layer`` covers) as a window of the layer's photograph."""
    x1, y1, x2, y2 = box
    if layer.flipped:
        x1, x2 = 1 - x2, 1 - x1
    left, top, right, bottom = layer.source
    wide, high = right - left, bottom - top
    return (left + x1 * wide, top + y1 * high, left + x2 * wide, top + y2 * high)


def place(rng: np.random.Generator, sides: tuple[float, float] = _CROP) -> Box:
    """A box with sides of those fractions."""
    wide, high = rng.uniform(*sides), rng.uniform(*sides)
    x, y = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
    return (x, y, x + wide, y + high)


def spot(rng: np.random.Generator, picture: Picture, shape: Sequence[float], scale: float) -> Box:
    """A random place in ``picture`` for something of ``shape`` (width, height) pixels, scaled."""
    wide, high = (float(np.clip(scale * shape[k] / picture.size[k], _MIN_PART, 0.7)) for k in (0, 1))
    x, y = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
    return (x, y, x + wide, y + high)


def crop(rng: np.random.Generator, picture: Picture, box: Box, zoom: tuple[float, float]) -> Picture:
    """The part of the picture's first layer at ``box``, enlarged by a factor between the two of ``zoom``."""
    base = picture.layers[0]
    scale = np.exp(rng.uniform(*np.log(zoom)))
    wide, high = ((box[k + 2] - box[k]) * picture.size[k] * scale for k in (0, 1))
    return Picture((replace(base, source=inside(base, box)),), model_size(wide, high))


def paste(rng: np.random.Generator, picture: Picture, layer: Layer, box: Box) -> Picture:
    """``picture`` with one layer more: blended in, or with a border that is a little soft."""
    layers = (*picture.layers, replace(layer, place=box))
    return replace(picture, layers=layers, softness=float(rng.uniform(0, 3)), blended=rng.random() < 0.6)


def contrast_at(picture: Picture, box: Box, photos: Sequence[Image.Image]) -> float:
    """The deviation of the brightness (0 to 255) at ``box`` of the picture's first layer."""
    base = picture.layers[0]
    if base.photo == NOWHERE:
        return 0.0
    part = photos[base.photo].resize((16, 16), Image.Resampling.BOX, box=inside(base, box))
    return float(np.asarray(part.convert("L"), np.float64).std())


def textured(
    rng: np.random.Generator,
    picture: Picture,
    photos: Sequence[Image.Image],
    taken: Sequence[Box] = (),
    sides: tuple[float, float] = _CROP,
) -> Box:
    """A place with some contrast apart from those ``taken``: the best of a few draws."""
    best, value = place(rng, sides), -1.0
    for _ in range(6):
        box = place(rng, sides)
        apart = all(min(box[2], t[2]) <= max(box[0], t[0]) or min(box[3], t[3]) <= max(box[1], t[1]) for t in taken)
        spread = contrast_at(picture, box, photos) + (1000 if apart else 0)
        if spread > value:
            best, value = box, spread
        if spread > 1025:
            break
    return best


def tokens_wide(box: Box, picture: Picture) -> float:
    """The smaller side of ``box`` in visual tokens of ``picture``."""
    return min((box[k + 2] - box[k]) * picture.size[k] / FACTOR for k in (0, 1))

"""Which pixels of a box are the object: an estimate for annotation that has boxes and no outlines.

The box is filled in from its border; what differs from that filling is taken for the object. Where almost nothing does,
or the filling explains nothing, the whole box is taken, with a soft rim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mirg.data.compose.pixels import as_pixels, corners, remove
from mirg.data.compose.texture import Pixels, Place

if TYPE_CHECKING:
    from PIL import Image

RIM = 0.05  # width of the soft rim, as a share of the shorter side
CORE = 0.55  # of each half axis: this ellipse in the middle belongs to the object whatever it looks like
_LEAST_SHARE = 0.25  # of the box outside of which the estimate is not believed
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


def soft_rim(size: tuple[int, int]) -> Pixels:
    """1 inside of a piece of ``size`` (width, height), falling to 0 at its rim; shape (H, W)."""
    width, height = size
    rim = max(RIM * min(size), 1.0)
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
    from PIL import Image, ImageFilter

    size = 2 * max(1, round(0.04 * min(mask.shape))) + 1
    plane = Image.fromarray(np.round(255 * mask).astype(np.uint8))
    plane = plane.filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.MaxFilter(size))
    plane = plane.filter(ImageFilter.MinFilter(size)).filter(ImageFilter.GaussianBlur(0.7))
    return np.asarray(plane, dtype=np.float64) / 255.0


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

"""Another view of a photograph: a window of it, at another scale, under another light, and its objects there."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mirg.data.compose.edits import lit, place_of
from mirg.data.compose.pixels import corners, fraction_box, share_inside, widened, within
from mirg.geometry import Box, clip
from mirg.samples import ObjectNote

if TYPE_CHECKING:
    from PIL import Image

MIN_VISIBLE = 0.4  # share of an object that a view must show for the object to be noted in it
DIGITS = 6  # of stored fractions


@dataclass(frozen=True)
class View:
    """``window`` in fractions of the photograph; ``scale`` of its pixels; light as in :func:`edits.lit`."""

    window: Box
    scale: float = 1.0
    gain: float = 1.0
    gamma: float = 1.0

    def render(self, image: Image.Image) -> Image.Image:
        """The pixels of the view."""
        from PIL import Image

        cut = image.crop(corners(place_of(self.window, image.size)))
        size = (max(1, round(cut.width * self.scale)), max(1, round(cut.height * self.scale)))
        return lit(cut.resize(size, Image.Resampling.LANCZOS) if size != cut.size else cut, self.gain, self.gamma)

    def snapped(self, size: tuple[int, int]) -> View:
        """The same view with its window on whole pixels of an image of ``size``: boxes in it are then exact."""
        return replace(self, window=fraction_box(place_of(self.window, size), size))

    def visible(self, box: Box) -> float:
        """The share of ``box`` that lies in the window."""
        return share_inside(box, self.window)

    def covered(self, box: Box) -> float:
        """The share of the window that ``box`` takes."""
        x1, y1, x2, y2 = self.window
        return self.visible(box) * (box[2] - box[0]) * (box[3] - box[1]) / ((x2 - x1) * (y2 - y1))

    def box(self, box: Box) -> Box:
        """``box`` in fractions of the view, cut at its edge."""
        return rounded(clip(within(box, self.window)))

    def notes(self, notes: Iterable[ObjectNote]) -> tuple[ObjectNote, ...]:
        """The notes of the objects that the view shows, in it."""
        seen = (note for note in notes if self.visible(note.box) >= MIN_VISIBLE)
        return tuple(note.model_copy(update={"box": self.box(note.box)}) for note in seen)


def rounded(box: Box) -> Box:
    """``box`` with six decimals: a hundredth of a pixel of the largest image, and short to store."""
    x1, y1, x2, y2 = (round(value, DIGITS) for value in box)
    return (x1, y1, x2, y2)


def around(rng: random.Random, box: Box) -> View:
    """A close-up of ``box``, with some room around it."""
    return View(widened(box, rng.uniform(0.05, 0.3)), 1.0, *_light(rng))


def wandered(rng: random.Random, trim: float) -> View:
    """A view that leaves up to ``trim`` of the photograph out on each side, smaller, and under another light."""
    left, top, right, bottom = (rng.uniform(0.0, trim) for _ in range(4))
    return View((left, top, 1.0 - right, 1.0 - bottom), rng.uniform(0.7, 0.95), *_light(rng))


def _light(rng: random.Random) -> tuple[float, float]:
    return rng.uniform(0.85, 1.15), rng.uniform(0.8, 1.25)

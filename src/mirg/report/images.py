"""Images inside a page as data URIs, each distinct file once and all of them within a budget of bytes.

:class:`ImageBudget` is for pages with some cards, :class:`Thumbs` for pages with thousands of images.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mirg.errors import ImageError
from mirg.images import DEFAULT_LIMITS, ImageLimits, open_image
from mirg.report.data import Picture

if TYPE_CHECKING:
    from PIL import Image


class ThumbnailPreset(NamedTuple):
    """One size of thumbnails: the longer side in pixels, and the quality of WebP."""

    side: int
    quality: int


# From large to small; the first one that lets all images fit is used for the whole page.
THUMBNAIL_PRESETS = tuple(starmap(ThumbnailPreset, ((448, 78), (336, 72), (256, 66), (192, 62), (144, 56))))
MAX_SIDE = THUMBNAIL_PRESETS[0].side
# Up to this many pixels a side, an image is kept exactly, so that an enlarged 96-pixel scene stays sharp.
LOSSLESS_SIDE = 256
LOSSLESS_THUMBNAIL = 128
_PROBES = 24  # images that are encoded to see which preset fits


@dataclass(frozen=True)
class Embedded:
    """One image of the page: ``key`` is its element id, ``width`` and ``height`` are pixels of the original."""

    key: str
    uri: str
    width: int
    height: int
    crisp: bool


class ImageBudget:
    """The images of one page. ``take`` adds all pictures of a card or none of them."""

    def __init__(self, budget: int) -> None:
        """``budget``: bytes of data URIs that the page may hold."""
        self.left = budget
        self.problems: dict[Path, str] = {}
        self._by_path: dict[Path, Embedded] = {}

    @property
    def images(self) -> list[Embedded]:
        """The embedded images, in the order in which they were added."""
        return list(self._by_path.values())

    def get(self, path: Path) -> Embedded | None:
        """The embedded image of ``path``, or None if it could not be opened."""
        return self._by_path.get(path)

    def take(self, pictures: tuple[Picture, ...]) -> bool:
        """Embed the pictures that are not embedded yet. False, and none is added, if they exceed the budget.

        An image that cannot be opened needs no bytes; ``problems`` has the reason.
        """
        fresh: dict[Path, Embedded] = {}
        for picture in pictures:
            if picture.path in self._by_path or picture.path in fresh or picture.path in self.problems:
                continue
            try:
                fresh[picture.path] = _embed(picture, f"im{len(self._by_path) + len(fresh)}")
            except ImageError as error:
                self.problems[picture.path] = error.message
        cost = sum(len(image.uri) for image in fresh.values())
        if cost > self.left:
            return False
        self.left -= cost
        self._by_path.update(fresh)
        return True


def _embed(picture: Picture, key: str) -> Embedded:
    image = open_image(picture.path)
    return Embedded(key, data_uri(image), picture.width, picture.height, crisp=max(image.size) <= LOSSLESS_SIDE)


class Thumbs:
    """The thumbnails of one page."""

    def __init__(self, preset: ThumbnailPreset = THUMBNAIL_PRESETS[0], limits: ImageLimits = DEFAULT_LIMITS) -> None:
        self.preset, self.limits = preset, limits
        self.problems: dict[Path, str] = {}
        self._by_path: dict[Path, Embedded] = {}

    @classmethod
    def fitting(cls, paths: Sequence[Path], budget: int, limits: ImageLimits = DEFAULT_LIMITS) -> Thumbs:
        """Thumbnails of the largest preset with which the different ``paths`` should fit into ``budget`` bytes."""
        step = max(1, len(paths) // _PROBES)
        images = [image for path in paths[::step] if (image := _opened(path, limits)) is not None]
        for preset in THUMBNAIL_PRESETS:
            mean = sum(len(data_uri(image, preset, LOSSLESS_THUMBNAIL)) for image in images) / max(len(images), 1)
            if mean * len(paths) <= 0.95 * budget:
                return cls(preset, limits)
        return cls(THUMBNAIL_PRESETS[-1], limits)

    def get(self, path: Path) -> Embedded | None:
        """The thumbnail of ``path``, or None if it has not been kept."""
        return self._by_path.get(path)

    def make(self, paths: Iterable[Path]) -> dict[Path, Embedded]:
        """Thumbnails of the ``paths`` that are not kept yet. Files that cannot be opened go to ``problems``."""
        fresh: dict[Path, Embedded] = {}
        for path in paths:
            if path in self._by_path or path in fresh or path in self.problems:
                continue
            try:
                image = open_image(path, limits=self.limits)
            except ImageError as error:
                self.problems[path] = error.message
                continue
            key = f"im{len(self._by_path) + len(fresh)}"
            crisp = max(image.size) <= LOSSLESS_THUMBNAIL
            fresh[path] = Embedded(
                key, data_uri(image, self.preset, LOSSLESS_THUMBNAIL), image.width, image.height, crisp
            )
        return fresh

    def keep(self, fresh: dict[Path, Embedded]) -> None:
        """Add thumbnails that :meth:`make` returned to the page."""
        self._by_path.update(fresh)


def _opened(path: Path, limits: ImageLimits) -> Image.Image | None:
    try:
        return open_image(path, limits=limits)
    except ImageError:
        return None  # the card states the reason


def data_uri(image: Image.Image, preset: ThumbnailPreset = THUMBNAIL_PRESETS[0], lossless: int = LOSSLESS_SIDE) -> str:
    """The image as a WebP data URI.

    Up to ``lossless`` pixels a side it is kept exactly; a larger image is shrunk to ``preset`` and compressed.
    """
    from PIL import Image

    rgb = image.convert("RGB")
    buffer = io.BytesIO()
    if max(rgb.size) <= lossless:
        rgb.save(buffer, "WEBP", lossless=True, quality=60, method=3)
    else:
        rgb.thumbnail((preset.side, preset.side), Image.Resampling.LANCZOS)
        rgb.save(buffer, "WEBP", quality=preset.quality, method=3)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

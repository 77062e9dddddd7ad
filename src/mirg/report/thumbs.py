"""Small pictures for a page with thousands of images: every file once, all of them within a budget of bytes."""

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

if TYPE_CHECKING:
    from PIL import Image


class ThumbnailPreset(NamedTuple):
    """One size of thumbnails: the longer side in pixels, and the quality of WebP."""

    side: int
    quality: int


# From large to small; the first one that lets all images fit is used for the whole page.
THUMBNAIL_PRESETS = tuple(starmap(ThumbnailPreset, ((448, 78), (336, 72), (256, 66), (192, 62), (144, 56))))
LOSSLESS_SIDE = 128  # pixels; up to here an image is kept exactly
_PROBES = 24  # images that are encoded to see which preset fits


@dataclass(frozen=True)
class Thumb:
    """One picture: ``uri`` is its data URI, ``width`` and ``height`` are pixels of the original."""

    key: str
    uri: str
    width: int
    height: int
    crisp: bool


class Thumbs:
    """The thumbnails of one page."""

    def __init__(self, preset: ThumbnailPreset = THUMBNAIL_PRESETS[0], limits: ImageLimits = DEFAULT_LIMITS) -> None:
        self.preset, self.limits = preset, limits
        self.problems: dict[Path, str] = {}
        self._by_path: dict[Path, Thumb] = {}

    @classmethod
    def fitting(cls, paths: Sequence[Path], budget: int, limits: ImageLimits = DEFAULT_LIMITS) -> Thumbs:
        """Of the largest preset at which ``paths`` (all different) are likely to need no more than ``budget`` bytes."""
        step = max(1, len(paths) // _PROBES)
        images = [image for path in paths[::step] if (image := _opened(path, limits)) is not None]
        for preset in THUMBNAIL_PRESETS:
            mean = sum(len(data_uri(image, preset)) for image in images) / max(len(images), 1)
            if mean * len(paths) <= 0.95 * budget:
                return cls(preset, limits)
        return cls(THUMBNAIL_PRESETS[-1], limits)

    def get(self, path: Path) -> Thumb | None:
        """The thumbnail of ``path``, where it has been kept."""
        return self._by_path.get(path)

    def make(self, paths: Iterable[Path]) -> dict[Path, Thumb]:
        """Thumbnails of those of ``paths`` that are not kept yet; what cannot be opened goes to ``problems``."""
        fresh: dict[Path, Thumb] = {}
        for path in paths:
            if path in self._by_path or path in fresh or path in self.problems:
                continue
            try:
                image = open_image(path, limits=self.limits)
            except ImageError as error:
                self.problems[path] = error.message
                continue
            key = f"im{len(self._by_path) + len(fresh)}"
            crisp = max(image.size) <= LOSSLESS_SIDE
            fresh[path] = Thumb(key, data_uri(image, self.preset), image.width, image.height, crisp)
        return fresh

    def keep(self, fresh: dict[Path, Thumb]) -> None:
        """Put what :meth:`make` gave onto the page."""
        self._by_path.update(fresh)


def data_uri(image: Image.Image, preset: ThumbnailPreset) -> str:
    """The image as a WebP data URI: lossless where it is tiny, else shrunk to the preset and lossy."""
    from PIL import Image

    buffer = io.BytesIO()
    if max(image.size) <= LOSSLESS_SIDE:
        image.save(buffer, "WEBP", lossless=True, quality=60, method=3)
    else:
        small = image.copy()
        small.thumbnail((preset.side, preset.side), Image.Resampling.LANCZOS)
        small.save(buffer, "WEBP", quality=preset.quality, method=3)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _opened(path: Path, limits: ImageLimits) -> Image.Image | None:
    try:
        return open_image(path, limits=limits)
    except ImageError:
        return None  # said where the card is built

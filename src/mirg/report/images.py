"""Images inside a page as data URIs, each distinct file once and all of them within a budget of bytes.

:class:`ImageBudget` is for pages with some cards, :class:`Thumbs` for pages with thousands of images.
"""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
_LOSSLESS_BYTES = 0.8  # per pixel, for images above the side of a thumbnail: a photograph takes more
_PROBES = 24  # images that are encoded to see which preset fits


class Embedded(NamedTuple):
    """One image of the page: ``key`` is its element id, ``width`` and ``height`` are pixels of the original."""

    key: str
    uri: str
    width: int
    height: int
    crisp: bool


class Thumbs:
    """The images of one page: :meth:`make` them, and :meth:`keep` those that are shown.

    Images of up to ``lossless`` pixels a side are kept exactly.
    """

    def __init__(
        self,
        preset: ThumbnailPreset = THUMBNAIL_PRESETS[0],
        limits: ImageLimits = DEFAULT_LIMITS,
        lossless: int = LOSSLESS_THUMBNAIL,
    ) -> None:
        self.preset, self.limits, self.lossless = preset, limits, lossless
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

    @property
    def images(self) -> list[Embedded]:
        """The images that are kept, in the order in which they were added."""
        return list(self._by_path.values())

    def get(self, path: Path) -> Embedded | None:
        """The image of ``path``, or None if it is not kept."""
        return self._by_path.get(path)

    def make(self, paths: Iterable[Path]) -> dict[Path, Embedded]:
        """Images of the ``paths`` that are not kept yet. Files that cannot be opened go to ``problems``."""
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
            exact = _exact(image, self.lossless)
            uri = _uri(exact or _compressed(image, self.preset))
            fresh[path] = Embedded(key, uri, image.width, image.height, exact is not None)
        return fresh

    def keep(self, fresh: dict[Path, Embedded]) -> None:
        """Add images that :meth:`make` returned to the page."""
        self._by_path.update(fresh)


class ImageBudget(Thumbs):
    """The images of a page with cards, in ``budget`` bytes of data URIs, and the names of the cards for links."""

    def __init__(self, budget: int, preset: ThumbnailPreset = THUMBNAIL_PRESETS[0]) -> None:
        small = preset != THUMBNAIL_PRESETS[0]
        super().__init__(preset, lossless=LOSSLESS_THUMBNAIL if small else LOSSLESS_SIDE)
        self.left = budget
        self._drawn: set[Path] = set()
        self._anchors: Counter[str] = Counter()

    def first(self, path: Path) -> bool:
        """True for the first drawing of an image, which holds it; the others refer to it."""
        fresh = path not in self._drawn
        self._drawn.add(path)
        return fresh

    def anchor(self, *names: str) -> str:
        """A name for a card out of untrusted ``names``, different from the others of the page.

        >>> ImageBudget(0).anchor("scenes/7 <b>", "base")
        's-scenes-7-b-base'
        """
        name = "s-" + re.sub(r"[^A-Za-z0-9_]+", "-", "-".join(filter(None, names))).strip("-")[:120]
        self._anchors[name] += 1
        return name if self._anchors[name] == 1 else f"{name}--{self._anchors[name]}"

    def take(self, pictures: Sequence[Picture]) -> bool:
        """Add the pictures of a card that are not kept yet. False, and none is added, if they exceed the budget.

        An image that cannot be opened needs no bytes; ``problems`` has the reason.
        """
        sizes = {picture.path: (picture.width, picture.height) for picture in pictures}
        made = self.make(sizes)
        cost = sum(len(image.uri) for image in made.values())
        if cost > self.left:
            return False
        self.left -= cost
        self.keep({path: i._replace(width=sizes[path][0], height=sizes[path][1]) for path, i in made.items()})
        return True


def _opened(path: Path, limits: ImageLimits) -> Image.Image | None:
    try:
        return open_image(path, limits=limits)
    except ImageError:
        return None  # the card states the reason


def data_uri(image: Image.Image, preset: ThumbnailPreset = THUMBNAIL_PRESETS[0], lossless: int = LOSSLESS_SIDE) -> str:
    """The image as a WebP data URI.

    Up to ``lossless`` pixels a side it is kept exactly, unless it is a photograph; a larger image is shrunk to
    ``preset``, and both are compressed.
    """
    return _uri(_exact(image, lossless) or _compressed(image, preset))


def _uri(data: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


def _exact(image: Image.Image, lossless: int) -> bytes | None:
    """The unchanged pixels, or None if the image is too large, or compresses as badly as a photograph does."""
    if max(image.size) > lossless:
        return None
    data = _webp(image, lossless=True, quality=60)
    roomy = max(image.size) <= LOSSLESS_THUMBNAIL
    return data if roomy or len(data) <= _LOSSLESS_BYTES * image.width * image.height else None


def _compressed(image: Image.Image, preset: ThumbnailPreset) -> bytes:
    from PIL import Image

    small = image.convert("RGB")
    small.thumbnail((preset.side, preset.side), Image.Resampling.LANCZOS)
    return _webp(small, quality=preset.quality)


def _webp(image: Image.Image, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", method=3, **settings)
    return buffer.getvalue()

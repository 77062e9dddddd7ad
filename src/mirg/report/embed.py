"""Images inside the page, as data URIs within a byte budget; every distinct image is stored once."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mirg.errors import ImageError
from mirg.report.data import Picture

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE = 448  # pixels; larger images are shrunk
LOSSLESS_SIDE = 256  # pixels; up to here the image is kept exactly, so that a blown-up 96-pixel scene stays crisp
QUALITY = 78


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
        """What has been taken, in order."""
        return list(self._by_path.values())

    def get(self, path: Path) -> Embedded | None:
        """The embedded image of ``path``, or None where it could not be opened."""
        return self._by_path.get(path)

    def take(self, pictures: tuple[Picture, ...]) -> bool:
        """Embed what is not there yet; False, and nothing is added, where it would exceed the budget.

        An image that cannot be opened costs nothing: its reason is kept in ``problems``.
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


def data_uri(image: Image.Image) -> str:
    """The image as a WebP data URI: lossless up to ``LOSSLESS_SIDE`` pixels a side, else shrunk and lossy."""
    from PIL import Image

    rgb = image.convert("RGB")
    buffer = io.BytesIO()
    if max(rgb.size) <= LOSSLESS_SIDE:
        rgb.save(buffer, "WEBP", lossless=True, quality=60, method=3)
    else:
        rgb.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        rgb.save(buffer, "WEBP", quality=QUALITY, method=3)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _embed(picture: Picture, key: str) -> Embedded:
    from mirg.images import open_image

    image = open_image(picture.path)
    return Embedded(key, data_uri(image), picture.width, picture.height, crisp=max(image.size) <= LOSSLESS_SIDE)

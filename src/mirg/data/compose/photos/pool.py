"""A folder of photographs as a pool: what can be read, which split it belongs to, and its pixels on demand."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mirg.data.compose.photos.config import PhotoConfig
from mirg.data.compose.pixels import Pixels, as_pixels, shrink
from mirg.errors import DataError, ImageError
from mirg.images import SUFFIXES, ImageLimits, open_image
from mirg.samples import Rejection

if TYPE_CHECKING:
    from PIL import Image

THUMB = 64  # long edge of the copy on which places are compared, pixels
_KINDS = 6  # of other files that are named
_CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Photo:
    """One readable photograph. ``digest`` is the SHA-256 of its decoded pixels: a copy of the file has it too."""

    path: Path
    name: str  # relative to the folder
    digest: str

    @property
    def place_in_split(self) -> float:
        """A number in [0, 1) that depends on the pixels only; below the test share means the test split."""
        return int(self.digest[:13], 16) / 16**13


@dataclass(frozen=True)
class Found:
    """What a folder holds: ``photos`` of the wanted split, and the counts behind them."""

    photos: list[Photo]
    n_files: int  # with the name of an image
    other: Counter[str]  # files without, by the end of their name
    n_unused: int  # images beyond ``max_photos``
    n_copies: int  # same pixels as another file
    n_readable: int  # distinct photographs, both splits
    rejected: list[Rejection]

    @property
    def n_other(self) -> int:
        """The number of files whose names are not those of images; they are not read."""
        return self.other.total()

    def other_words(self) -> str:
        """The kinds of files that are not read, the most frequent first: ".heic 12, .mov 3"."""
        return other_words(self.other)


def other_words(other: Counter[str]) -> str:
    """Files by the end of their name, the most frequent kinds first."""
    parts = [f"{suffix or 'without a suffix'} {count:,}" for suffix, count in other.most_common(_KINDS)]
    rest = other.total() - sum(count for _, count in other.most_common(_KINDS))
    return ", ".join([*parts, *([f"others {rest:,}"] if rest else [])])


def find_photos(
    folder: str | Path, config: PhotoConfig, on_progress: Callable[[int, int], None] | None = None
) -> Found:
    """Decode every image below ``folder`` once, drop copies, and keep the photographs of ``config.split``.

    Hidden files are ignored and links to folders are not followed. A file that cannot be read is rejected with its
    name and the reason. DataError if ``folder`` is not a folder or no file in it can be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder", hint="pass a folder of photographs (JPEG, PNG, WebP, TIFF, ...)")
    named, other = _list_images(root)
    chosen = named
    if len(named) > config.max_photos:
        chosen = sorted(random.Random(f"photos:{config.seed}").sample(named, config.max_photos))
    photos: dict[str, Photo] = {}
    rejected: list[Rejection] = []
    for position, path in enumerate(chosen, 1):
        try:
            digest = _digest(open_image(path, limits=_limits(config)))
            photos.setdefault(digest, Photo(path, path.relative_to(root).as_posix(), digest))
        except ImageError as error:
            rejected.append(_rejection(root, path, position, error))
        if on_progress:
            on_progress(position, len(chosen))
    if not photos:
        raise DataError(
            f"no photograph in {root} can be read: {len(chosen)} tried, {other.total()} other files"
            + (f" ({other_words(other)})" if other else "")
            + _first(rejected),
            hint=f"known names end in {', '.join(sorted(SUFFIXES))}; convert others (HEIC, AVIF, RAW) to JPEG first",
        )
    return Found(
        photos=of_split(list(photos.values()), config.split, config.test_share),
        n_files=len(named),
        other=other,
        n_unused=len(named) - len(chosen),
        n_copies=len(chosen) - len(rejected) - len(photos),
        n_readable=len(photos),
        rejected=rejected,
    )


def of_split(photos: list[Photo], split: str, test_share: float) -> list[Photo]:
    """The photographs of one split, ordered by digest: names and dates of files change nothing.

    A photograph whose digest falls below ``test_share`` is for testing, so adding photographs moves none. Where a
    small folder leaves a split empty, the photograph nearest the border goes there: every folder of two has both,
    unless the share is 0 or 1.
    """
    ordered = sorted(photos, key=lambda photo: photo.digest)
    border = sum(photo.place_in_split < test_share for photo in ordered)
    if len(ordered) > 1 and 0.0 < test_share < 1.0:
        border = min(max(border, 1), len(ordered) - 1)
    return ordered[:border] if split == "test" else ordered[border:]


class PhotoPool:
    """Photographs by index with their pixels: resized to what a sample stores, and small for comparing places."""

    def __init__(self, photos: list[Photo], config: PhotoConfig) -> None:
        self.photos = photos
        self.config = config
        kept = max(8, _CACHE_BYTES // (3 * config.side**2))
        self.image = lru_cache(maxsize=kept)(self._image)
        self.thumb = lru_cache(maxsize=4 * kept)(self._thumb)

    def __len__(self) -> int:
        return len(self.photos)

    def _image(self, index: int) -> Image.Image:
        """RGB, the long edge at most ``side`` pixels, or ``side`` x ``side``. ImageError as opening."""
        from PIL import Image

        image = open_image(self.photos[index].path, limits=_limits(self.config))
        if self.config.square:
            return image.resize((self.config.side, self.config.side), Image.Resampling.LANCZOS)
        return shrink(image, self.config.side)

    def _thumb(self, index: int) -> Pixels:
        """The same at :data:`THUMB` pixels, float64 in [0, 1], shape (H, W, 3)."""
        return as_pixels(shrink(self.image(index), THUMB))


def _list_images(root: Path) -> tuple[list[Path], Counter[str]]:
    """Sorted files with an image's name, and the other files by suffix. rglob follows no link to a folder."""
    named, other = [], Counter[str]()
    for path in sorted(root.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(root).parts) or path.is_dir():
            continue
        if path.suffix.lower() in SUFFIXES:
            named.append(path)
        else:
            other[path.suffix.lower()[:20]] += 1
    return named, other


def _limits(config: PhotoConfig) -> ImageLimits:
    return ImageLimits(max_pixels=int(config.max_megapixels * 1e6), max_bytes=256 * 2**20)


def _digest(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()


def _rejection(root: Path, path: Path, position: int, error: ImageError) -> Rejection:
    name = path.relative_to(root).as_posix()
    large = "too large" in error.message
    cure = "make it smaller, or allow more megapixels" if large else "open it in a viewer and save it again, or drop it"
    return Rejection(
        file=name,
        row=position,
        id=None,
        field="image",
        reason=error.message.replace(str(path), name),
        hint=cure,
    )


def _first(rejected: list[Rejection]) -> str:
    return f"; first: {rejected[0].reason}" if rejected else ""

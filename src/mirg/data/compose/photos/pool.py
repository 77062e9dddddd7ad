"""A folder of photographs as a pool: the settings, what can be read, its split, and its pixels on demand."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import Field, model_validator

import mirg
from mirg.config import Section
from mirg.data.compose.pixels import as_pixels, shrink
from mirg.data.compose.recipe import refuse_empty_split
from mirg.errors import DataError, ImageError
from mirg.images import SUFFIXES, ImageLimits, open_image
from mirg.samples import Rejection

if TYPE_CHECKING:
    from PIL import Image

THUMB = 64  # long edge of the copy on which places are compared, pixels
_KINDS = 6  # of other files that are named
_CACHE_BYTES = 256 * 2**20
PhotoTask = Literal[
    "region",
    "difference",
    "refer",
    "view_difference",
    "object_tracking",
    "multi_target",
    "none_of_them",
    "odd_one_out",
]
NamedTask = Literal["group_grounding", "common_object", "correspondence"]
PHOTO_TASKS: tuple[PhotoTask, ...] = get_args(PhotoTask)
NAMED_TASKS: tuple[NamedTask, ...] = get_args(NamedTask)  # need cut-outs or boxes
PHOTOGRAPHS = Path(mirg.__file__).parent / "data" / "photographs"  # those that ship with mirg


class PhotoConfig(Section):
    """Settings of one run over a folder of photographs; lengths of crops are fractions of a side of the photograph."""

    n: int = Field(default=300, ge=1, description="samples to make")
    seed: int = 0
    split: Literal["train", "test"] = "train"
    test_share: float = Field(
        default=0.2, ge=0, le=1, description="share of the photographs kept for the test split; 1: all of them"
    )
    tasks: tuple[PhotoTask | NamedTask, ...] = Field(default=PHOTO_TASKS, min_length=1)
    cutouts: str = Field(default="", description="folder of PNG cut-outs with names, which are pasted")
    boxes: str = Field(default="", description="COCO file with boxes of things in the photographs")
    side: int = Field(default=448, ge=32, le=4096, description="long edge of the stored photographs, pixels")
    square: bool = Field(default=False, description="resize photographs and crops to side x side, without borders")
    max_images: int = Field(default=4, ge=2, le=16, description="most images of one sample")
    max_photos: int = Field(default=2000, ge=1, description="most photographs to use; a larger folder is sampled")
    max_megapixels: float = Field(default=32.0, gt=0, description="larger photographs are rejected")

    # Where a crop may lie. Measured on a copy of at most 64 pixels a side, see texture.py.
    smallest: float = Field(default=0.22, gt=0, lt=1)
    largest: float = Field(default=0.45, gt=0, lt=1)
    min_contrast: float = Field(default=0.06, ge=0, description="standard deviation of the brightness inside a crop")
    min_edges: float = Field(default=0.15, ge=0, description="share of edge pixels inside a crop")
    max_correlation: float = Field(default=0.9, description="a place as alike as this elsewhere rules a crop out")
    min_distance: float = Field(default=0.05, ge=0, description="root-mean-square colour difference to anywhere else")
    min_change: float = Field(default=0.1, ge=0, description="root-mean-square change that an altered patch must make")
    tries: int = Field(default=24, ge=1, description="places to try in one photograph")

    @model_validator(mode="after")
    def _some_split(self) -> PhotoConfig:
        refuse_empty_split(self.split, self.test_share, "photograph")
        if self.named_tasks and not self.cutouts and not self.boxes:
            raise ValueError(f"task {self.named_tasks[0]!r} needs things with a name: give cut-outs or boxes")
        return self

    @property
    def named_tasks(self) -> list[str]:
        """The tasks that ask for things by name."""
        return [task for task in self.tasks if task in NAMED_TASKS]


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
        name = path.relative_to(root).as_posix()
        try:
            image = open_image(path, limits=_limits(config))
        except ImageError as error:
            reason = error.message.replace(str(path), name)
            hint = "open it in a viewer and save it again, or drop it"
            if "too large" in error.message:
                hint = "make it smaller, or allow more megapixels"
            rejected.append(Rejection(file=name, row=position, id=None, field="image", reason=reason, hint=hint))
        else:
            digest = hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()
            photos.setdefault(digest, Photo(path, name, digest))
        if on_progress:
            on_progress(position, len(chosen))
    if not photos:
        raise DataError(
            f"no photograph in {root} can be read: {len(chosen)} tried, {other.total()} other files"
            + (f" ({other_words(other)})" if other else "")
            + (f"; first: {rejected[0].reason}" if rejected else ""),
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
    """Photographs by index with their pixels.

    ``image`` is resized to what a sample stores, ``thumb`` has :data:`THUMB` pixels for comparing places: float64 in
    [0, 1], shape (H, W, 3).
    """

    def __init__(self, photos: list[Photo], config: PhotoConfig) -> None:
        self.photos = photos
        self.config = config
        kept = max(8, _CACHE_BYTES // (3 * config.side**2))
        self.image = lru_cache(maxsize=kept)(self._image)
        self.thumb = lru_cache(maxsize=4 * kept)(lambda index: as_pixels(shrink(self.image(index), THUMB)))

    def __len__(self) -> int:
        return len(self.photos)

    def _image(self, index: int) -> Image.Image:
        """RGB, the long edge at most ``side`` pixels, or ``side`` x ``side``. ImageError as opening."""
        from PIL import Image

        image = open_image(self.photos[index].path, limits=_limits(self.config))
        if self.config.square:
            return image.resize((self.config.side, self.config.side), Image.Resampling.LANCZOS)
        return shrink(image, self.config.side)


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

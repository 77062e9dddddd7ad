"""The image files of an export: referred to where they are, or copied; always as their readers will see them."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from pathlib import Path

from mirg.errors import ImageError
from mirg.images import DEFAULT_LIMITS, ImageLimits, image_header, open_image
from mirg.samples import DatasetFolder, ImageRef

FOLDER = "images"
_PLAIN = frozenset({".bmp", ".gif", ".ppm"})  # these formats carry no rotation


class ImageFiles:
    """Paths of images for the rows of an export, each file looked at once.

    Boxes are fractions of the upright image. Where ``upright``, a file that is stored turned is therefore written
    again, upright, into the export: most readers of these formats do not turn it. ``work`` is the folder being
    written, ``out`` what it will be called.
    """

    def __init__(
        self, source: DatasetFolder, work: Path, out: Path, *, copy: bool, relative: bool, upright: bool
    ) -> None:
        self.source = source
        self.n_referred = 0
        self.n_copied = 0
        self.n_turned = 0
        self._work = work
        self._out = out.absolute()
        self._copy = copy
        self._relative = relative
        self._upright = upright
        self._known: dict[str, str] = {}
        self._stems: Counter[str] = Counter()

    def path(self, ref: ImageRef, sample_id: str) -> str:
        """How rows write the file of ``ref``; ImageError, naming the sample, where it cannot be used."""
        if ref.path not in self._known:
            self._known[ref.path] = self._placed(self.source.image_path(ref, sample_id), sample_id)
        return self._known[ref.path]

    def _placed(self, file: Path, sample_id: str) -> str:
        if self._upright and is_turned(file, sample_id, self.source.limits):
            name = self._free_name(file.stem, ".png")
            open_image(file, limits=self.source.limits, sample_id=sample_id).save(self._work / name)
            self.n_turned += 1
        elif self._copy:
            name = self._free_name(file.stem, file.suffix.lower())
            try:
                shutil.copyfile(file, self._work / name)
            except OSError as error:
                raise ImageError(f"sample {sample_id}: image {file} cannot be copied: {error.strerror}") from error
            self.n_copied += 1
        else:
            self.n_referred += 1
            return self._spelled(file)
        return self._spelled(self._out / name)

    def _spelled(self, file: Path) -> str:
        return _relative_to(file, self._out) if self._relative else str(file)

    def _free_name(self, stem: str, suffix: str) -> str:
        (self._work / FOLDER).mkdir(exist_ok=True)
        clean = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:80] or "image"
        count = self._stems[clean.lower()]
        self._stems[clean.lower()] += 1
        return f"{FOLDER}/{clean}{f'~{count}' if count else ''}{suffix}"


def is_turned(file: Path, sample_id: str, limits: ImageLimits = DEFAULT_LIMITS) -> bool:
    """Whether an image file is stored turned or mirrored, by its EXIF data; ImageError where it cannot be read."""
    if file.suffix.lower() in _PLAIN:
        return False
    return image_header(file, limits=limits, sample_id=sample_id).orientation != 1


def _relative_to(file: Path, folder: Path) -> str:
    return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()

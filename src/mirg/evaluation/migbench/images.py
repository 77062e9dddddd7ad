"""The images of MIG-Bench on this machine: as the published archive unpacks them, or still in that archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from mirg.data.importers.archives import unpack
from mirg.data.importers.migbench import Item
from mirg.errors import DataError
from mirg.frames import Size
from mirg.images import image_size

_FOLDERS = ("", "images", "MIG-Bench", "MIG-Bench/images")
_TRIED = 50  # names that decide which layout a folder has
_HINT = "download the images of the dataset Michael4933/MIG-Bench (their zip archive, or MIG-Bench/images) into it"


class ImageFolder:
    """Where the images of the ``names`` in an annotation file are below ``root``.

    A name is ``./MIG-Bench/images/FOLDER/FILE``. ``root`` may be the folder above ``MIG-Bench/``, this one, or its
    ``images/``; the path of a name relative to :attr:`base` is :meth:`inside`.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        """Find the layout in which most of the names are files."""
        some = names[:: max(1, len(names) // _TRIED)]
        bases = [*(root / folder for folder in _FOLDERS), *(file.with_suffix("") for file in _zip_files(root))]
        places = list(product(dict.fromkeys(bases), range(3)))
        found = [sum((base / _inside(name, skip)).is_file() for name in some) for base, skip in places]
        self.base, self._skip = places[found.index(max(found))]
        self.missing = [name for name in names if not self.path(name).is_file()]

    def inside(self, name: str) -> str:
        """The path of an image relative to the base."""
        return _inside(name, self._skip)

    def path(self, name: str) -> Path:
        """The file of an image."""
        return self.base / self.inside(name)


def _inside(name: str, skip: int) -> str:
    parts = Path(name).parts
    return "/".join(parts[min(skip, len(parts) - 1) :])


def image_folder(items: Iterable[Item], root: Path, say: Callable[[str], None] | None = None) -> ImageFolder:
    """The folder with the images of all items; with ``say``, their archive in ``root`` is unpacked beside itself.

    DataError with the number of missing images if there are any, or if the archive cannot be unpacked.
    """
    names = list(dict.fromkeys(name for item in items for name in item.images))
    folder = ImageFolder(root, names)
    archive = _archive(root, names) if folder.missing else None
    if archive and say is not None and not archive.with_suffix("").exists():
        say(f"unpacking {archive} into {archive.with_suffix('')}")
        unpack([archive], archive.with_suffix(""))
        folder = ImageFolder(root, names)
    if folder.missing:
        count = f"{len(folder.missing)} of {len(names)} images of MIG-Bench"
        hint = f"mirg data unpack {archive} FOLDER unpacks the archive, and --root FOLDER uses it" if archive else _HINT
        raise DataError(f"{root} lacks {count}, the first is {folder.missing[0]}", hint=hint)
    return folder


def _zip_files(root: Path) -> list[Path]:
    return [file for place in (root, root / "MIG-Bench") for file in sorted(place.glob("*.zip"))]


def _archive(root: Path, names: Sequence[str]) -> Path | None:
    """The archive in ``root`` that holds the first image, or None. DataError for a file that cannot be read."""
    ending = _inside(names[0], 2)
    for file in _zip_files(root):
        try:
            with ZipFile(file) as archive:
                if any(member.endswith(ending) for member in archive.namelist()):
                    return file
        except (BadZipFile, OSError) as error:
            hint = "download it again; a text of three lines is a pointer, which git lfs pull replaces by the file"
            raise DataError(f"{file} cannot be read as a zip archive: {error}", hint=hint) from error
    return None


def image_sizes(items: Iterable[Item], root: Path) -> list[list[Size]]:
    """(width, height) in pixels of the images of every item.

    DataError if the folder lacks images, ImageError if one cannot be read.
    """
    items = list(items)
    folder = image_folder(items, root)
    known = {name: image_size(folder.path(name)) for name in {name for item in items for name in item.images}}
    return [[known[name] for name in item.images] for item in items]

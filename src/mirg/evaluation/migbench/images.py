"""The images of MIG-Bench on this machine, as the published archive unpacks them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mirg.data.importers.migbench import Item
from mirg.errors import DataError
from mirg.frames import Size
from mirg.images import image_size


def image_path(root: Path, name: str) -> Path:
    """The file of an image: ``name`` is relative to the folder above ``MIG-Bench/``, and ``root`` may be either."""
    path = root / name
    if not path.is_file() and len(parts := Path(name).parts) > 1:
        inside = root.joinpath(*parts[1:])
        path = inside if inside.is_file() else path
    return path


def image_sizes(items: Iterable[Item], root: Path) -> list[list[Size]]:
    """(width, height) in pixels of the images of every item.

    DataError if the folder lacks images, ImageError if one cannot be read.
    """
    known: dict[str, Size] = {}
    items = list(items)
    paths = {name: image_path(root, name) for item in items for name in item.images}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        raise DataError(
            f"{root} lacks {len(missing)} of {len(paths)} images of MIG-Bench, the first is {missing[0]}",
            hint="unpack images.zip of the benchmark, and pass the folder that holds MIG-Bench/images",
        )
    known = {name: image_size(path) for name, path in paths.items()}
    return [[known[name] for name in item.images] for item in items]

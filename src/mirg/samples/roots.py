"""Where the images of a dataset lie: in its own folder, or below folders that its card declares (``@NAME/file.jpg``).

Nothing outside of them is opened: links are followed first, then the place is compared.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mirg.errors import DataError, ImageError

MARK = "@"


class Roots:
    """The folders that images of one dataset may lie in; ``declared`` is absolute, or relative to ``dataset``.

    DataError where a declared folder is the whole file system.
    """

    def __init__(self, dataset: Path, declared: Mapping[str, str]) -> None:
        self.own = dataset.resolve()
        self.declared = {name: (self.own / folder).resolve() for name, folder in declared.items()}
        for name, folder in self.declared.items():
            if folder == Path(folder.anchor):
                raise DataError(
                    f"{dataset}: root {name!r} is {folder}, which is every file of this machine",
                    hint="name the folder of the images as the root in card.json",
                )

    def resolve(self, path: str, sample_id: str | None = None) -> Path:
        """The file of a row's ``path``; ImageError, naming ``sample_id``, where it is a URL or leaves its root."""
        owner = f"sample {sample_id}: " if sample_id else ""
        if "://" in path:
            raise ImageError(f"{owner}image {path} is a URL", hint="download it first; rows name files")
        root, inside = self.own, path
        if path.startswith(MARK):
            name, _, inside = path[1:].partition("/")
            if name not in self.declared:
                known = ", ".join(sorted(self.declared)) or "none"
                raise ImageError(
                    f"{owner}image {path} names the root {name!r}, declared: {known}", hint='see "roots" in card.json'
                )
            root = self.declared[name]
        return resolve_inside(root, inside, owner)


def resolve_inside(root: Path, path: str, owner: str = "") -> Path:
    """``path`` below the resolved folder ``root``, links followed; ImageError where it leads elsewhere.

    ``owner`` opens the message (``"sample 7: "``).
    """
    try:
        # realpath takes half the time of Path.resolve: rows name millions of images.
        real = os.path.realpath(os.path.join(root, path))  # noqa: PTH118
    except (OSError, ValueError) as error:
        raise ImageError(f"{owner}image {path!r} is not a usable path: {error}") from error
    if not real.startswith(f"{root}{os.sep}"):
        raise ImageError(f"{owner}image {path} lies outside {root}", hint=f"paths are relative to {root}")
    return Path(real)


def rooted(name: str, path: str) -> str:
    """How a row writes a file below the root ``name``; ``path`` is relative to it."""
    return f"{MARK}{name}/{path}"


def spelled(folder: Path, dataset: Path) -> str:
    """How the card of ``dataset`` writes a root: relative where both lie close together, so that they can be moved."""
    folder, dataset = folder.resolve(), dataset.resolve()
    near = folder.is_relative_to(dataset.parent)
    return Path(os.path.relpath(folder, dataset)).as_posix() if near else str(folder)

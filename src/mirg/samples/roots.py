"""Where the images of a dataset lie: in its own folder, or below folders that its card declares (``@NAME/file.jpg``).

Nothing outside of them is opened: links are followed first, then the place is compared. A root inside of a snapshot of
the Hugging Face hub's cache includes the blobs of the same repository, to which all files of a snapshot are links.
"""

from __future__ import annotations

import contextlib
import os
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from mirg.errors import DataError, ImageError

MARK = "@"
WHOLE_DISK = "every file of this machine"
CLOSEST = "give the closest folder that holds the images"


class Roots:
    """The folders that images of one dataset may lie in; ``declared`` is absolute, or relative to ``dataset``.

    DataError if a declared folder is the whole file system.
    """

    def __init__(self, dataset: Path, declared: Mapping[str, str]) -> None:
        self.own = dataset.resolve()
        self.declared = {name: (self.own / folder).resolve() for name, folder in declared.items()}
        for name, folder in self.declared.items():
            if folder == Path(folder.anchor):
                words = f"{dataset}: root {name!r} is {folder}, which is {WHOLE_DISK}"
                raise DataError(words, hint=f"{CLOSEST} in card.json")

    def resolve(self, path: str, sample_id: str | None = None) -> Path:
        """The file of a row's ``path``; ImageError, naming ``sample_id``, if it is a URL or leaves its root."""
        owner = f"sample {sample_id}: " if sample_id else ""
        if "://" in path:
            raise ImageError(f"{owner}image {path} is a URL", hint="download it first; rows name files")
        root, inside = self.own, path
        if path.startswith(MARK):
            name, _, inside = path[1:].partition("/")
            if name not in self.declared:
                known = ", ".join(sorted(self.declared)) or "none"
                words = f"{owner}image {path} names the root {name!r}, declared: {known}"
                raise ImageError(words, hint='see "roots" in card.json')
            root = self.declared[name]
        return find_inside(root, inside, owner)


def find_inside(root: Path, path: str, owner: str = "") -> Path:
    """:func:`resolve_inside` for a file that should be there, which may spell its name in another way.

    If there is no file of exactly this name, the same name in composed or decomposed Unicode is taken, if exactly one
    file has it, then the name with its percent signs decoded. ImageError if the name is ambiguous; a file that does
    not exist is returned as the path was given.
    """
    literal = resolve_inside(root, path, owner)
    try:
        if literal.exists():
            return literal
    except OSError as error:
        raise ImageError(f"{owner}image {path[:200]!r} is not a usable path: {error.strerror}") from error
    for spelling in dict.fromkeys((path, unquote(path))):
        found = _as_on_disk(root, spelling, owner)
        if found is not None:
            return resolve_inside(root, found, owner)
    return literal


def _as_on_disk(root: Path, path: str, owner: str) -> str | None:
    """``path`` with every part spelled as the file system has it, or None if there is no such file."""
    place = str(root)
    for part in path.split("/"):
        if part in {"", "."}:
            continue
        if not os.path.lexists(os.path.join(place, part)):  # noqa: PTH118
            same: list[str] = []
            with contextlib.suppress(OSError):
                if not part.isascii():
                    changed = os.stat(place).st_mtime_ns  # noqa: PTH116
                    same = _composed(place, changed).get(unicodedata.normalize("NFC", part), [])
            if len(same) > 1:
                raise ImageError(
                    f"{owner}image {path} may be several files, whose names differ in their Unicode normalisation only",
                    hint=f"rename one of {', '.join(map(ascii, same))} in {place}",
                )
            if not same:
                return None
            part = same[0]
        place = os.path.join(place, part)  # noqa: PTH118
    return place


@lru_cache(maxsize=64)
def _composed(folder: str, changed: int) -> dict[str, list[str]]:
    """The entries of a folder that are not plain ASCII, by their composed name. ``changed`` renews it."""
    found: dict[str, list[str]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.isascii():
                found.setdefault(unicodedata.normalize("NFC", entry.name), []).append(entry.name)
    return found


def resolve_inside(root: Path, path: str, owner: str = "") -> Path:
    """``path`` below the resolved folder ``root``, links followed; ImageError if it leads elsewhere.

    ``owner`` opens the message (``"sample 7: "``).
    """
    try:
        # realpath takes half the time of Path.resolve: rows name millions of images.
        real = os.path.realpath(os.path.join(root, path))  # noqa: PTH118
    except (OSError, ValueError) as error:
        raise ImageError(f"{owner}image {path!r} is not a usable path: {error}") from error
    if real.startswith(f"{root}{os.sep}"):
        return Path(real)
    blobs = _hub_blobs(str(root))
    if blobs and real.startswith(f"{blobs}{os.sep}"):
        return Path(real)
    asked = os.path.normpath(os.path.join(root, path))  # noqa: PTH118
    if asked.startswith(f"{root}{os.sep}"):
        raise ImageError(
            f"{owner}image {path} is a link to {real}, which lies outside {root}",
            hint=f"links are followed: give a folder that holds both as --root ({os.path.commonpath([real, asked])})",
        )
    raise ImageError(f"{owner}image {path} lies outside {root}", hint=f"paths are relative to {root}")


@lru_cache(maxsize=64)
def _hub_blobs(root: str) -> str | None:
    """The folder to which the files of a snapshot in the hub's cache are links, if ``root`` is in one.

    The layout is ``models--NAME/snapshots/REVISION/…`` next to ``models--NAME/blobs``.
    """
    parts = Path(root).parts
    for k in range(len(parts) - 2, 0, -1):
        if parts[k] == "snapshots" and (blobs := Path(*parts[:k], "blobs")).is_dir():
            return str(blobs)
    return None


def rooted(name: str, path: str) -> str:
    """How a row writes a file below the root ``name``; ``path`` is relative to it."""
    return f"{MARK}{name}/{path}"


def spelled(folder: Path, dataset: Path) -> str:
    """How the card of ``dataset`` writes a root: relative if both lie close together, so that they can be moved."""
    folder, dataset = folder.resolve(), dataset.resolve()
    near = folder.is_relative_to(dataset.parent)
    return Path(os.path.relpath(folder, dataset)).as_posix() if near else str(folder)

"""Which file below ``--root`` an annotation means by the name that it gives, and what to do if images are not found.

Annotation tools write the path of another machine, an upload name, or a name without a suffix. A file fits if its path
and the given one end in the same way, down to the whole of one of them: ``/disk/train/a.jpg`` fits ``train/a.jpg``
and ``a.jpg``, and never ``test/a.jpg``.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice, takewhile
from pathlib import Path, PurePosixPath

from mirg.data.importers.rows import Refused
from mirg.errors import DataError
from mirg.images import SUFFIXES
from mirg.samples import Rejection

_Parts = tuple[str, ...]


class Pictures:
    """The image files below ``root``, found by the names that annotations give; ``folder`` names a part of it.

    DataError if the root is the whole file system, since it would have to be searched.
    """

    def __init__(self, root: str | Path, field: str = "images") -> None:
        self.root, self.field = Path(root).resolve(), field
        self._claims: dict[str, list[str]] = defaultdict(list)

    def claim(self, names: Iterable[str]) -> None:
        """Say beforehand which names an annotation file holds: a file that two of them fit belongs to neither."""
        for name in names:
            for path in self._fitting(name):
                self._claims[path].append(name)

    def fits(self, name: str) -> bool:
        """Whether any image below the root can be meant by ``name``."""
        return bool(self._fitting(name))

    def placed(self, paths: Iterable[Path]) -> str | None:
        """The first of ``paths``, with or without the suffix of the file, that is an image below the root."""
        for path in paths:
            if path.is_relative_to(self.root):
                name = path.relative_to(self.root).as_posix()
                if any(_parts(found)[:-1] == _parts(name)[:-1] for found in self._fitting(name)):
                    return name
        return None

    def find(self, name: str) -> str:
        """The path below the root that ``name`` means. Refused, with the reason, unless there is exactly one."""
        found = self._fitting(name)
        if not found:
            where = "" if self._by_stem else f"; there are no image files below {self.root}"
            hint = "--root is a folder that holds the images, at any depth"
            raise Refused(self.field, f"image fits no file below the root: {_short(name)}{where}", hint)
        if len(found) > 1:
            names = ", ".join(found[:3])
            hint = "give --root the folder that holds only these images, or rename files"
            raise Refused(self.field, f"image fits more than one file: {_short(name)} fits {names}", hint)
        others = [other for other in self._claims[found[0]] if other != name]
        if len(self._claims[found[0]]) > 1 + len(others):
            raise Refused(self.field, f"image is annotated more than once: {_short(name)}", "keep one of the entries")
        if others:
            both = f"{_short(name)} and {_short(others[0])} fit {found[0]}"
            hint = "keep the folders that the names tell, and set --root above them"
            raise Refused(self.field, f"image is not the only one that fits a file: {both}", hint)
        return found[0]

    def first(self, names: Sequence[str]) -> str:
        """The path that the first fitting one of ``names`` means, else the first name. Refused as :meth:`find`."""
        return next((self.find(name) for name in names if self.fits(name)), names[0])

    def all(self) -> list[str]:
        """Every image file below the root, in the order of paths."""
        return sorted(path for group in self._by_stem.values() for path in group)

    def _fitting(self, name: str) -> list[str]:
        """The paths that fit best: the whole path before a part of it, the same spelling before another case."""
        wanted = _parts(name)
        if not wanted:
            return []
        stem = PurePosixPath(wanted[-1])
        named = stem.suffix.casefold() in SUFFIXES
        key = stem.stem if named else wanted[-1]
        group = self._by_stem.get(key.casefold(), [])
        fitting: list[tuple[str, _Parts]] = []
        for path in group:
            parts = _parts(path, suffix=named)
            count = min(len(parts), len(wanted))
            if list(map(str.casefold, parts[-count:])) == list(map(str.casefold, wanted[-count:])):
                fitting.append((path, parts))
        exact = [path for path, parts in fitting if parts == wanted]
        same_case = [path for path, parts in fitting if parts[-1] == wanted[-1]]
        return exact or same_case or [path for path, _ in fitting]

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """Paths below the root by the folded name of the file without its suffix."""
        if self.root == Path(self.root.anchor):
            raise DataError(f"--root {self.root} is every file of this machine", hint="name the folder of the images")
        found: dict[str, list[str]] = defaultdict(list)
        for folder, below, files in os.walk(self.root):
            below.sort()
            place = os.path.relpath(folder, self.root)
            for file in sorted(files):
                stem, suffix = os.path.splitext(file)  # noqa: PTH122
                if suffix.lower() in SUFFIXES and not file.startswith("."):
                    path = file if place == "." else f"{place.replace(os.sep, '/')}/{file}"
                    found[unicodedata.normalize("NFC", stem).casefold()].append(path)
        return found


def _parts(path: str, *, suffix: bool = True) -> _Parts:
    """The folders and the name of a path, composed (NFC), without ``.``; the suffix of the file if ``suffix``."""
    text = unicodedata.normalize("NFC", path).replace("\\", "/")
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    if suffix or not parts:
        return parts
    return (*parts[:-1], PurePosixPath(parts[-1]).stem)


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"...{name[-77:]}"


_MOST_FILES = 200_000  # that are looked through
_REASON = re.compile(r"image (.+) (?:does not exist|lies outside .+)", re.DOTALL)


def advice(root: Path, refused: Iterable[Rejection]) -> str:
    """What to do if no row can be used because its images are missing, or are not what the row says; else empty.

    If an image was not found, these are the options with which it would be found, or what else is there. The search for
    files of the same name covers ``root`` first, then its parent.
    """
    rows = list(refused)
    missing = next((found[1] for row in rows if (found := _REASON.fullmatch(row.reason))), "")
    if not missing:
        return next((row.hint for row in rows if row.field.startswith("images.")), "")
    wanted = PurePosixPath(missing.replace("\\", "/"))
    looked = f"{root / str(wanted).lstrip('/')} does not exist"
    for place in (root, root.parent):
        if place == Path(place.anchor):
            continue
        key = unicodedata.normalize("NFC", wanted.name).casefold()
        below = islice(_files(place), _MOST_FILES)
        files = [file for file in below if unicodedata.normalize("NFC", file.name).casefold() == key]
        if files:
            if wanted in files:  # an absolute path, which needs no --strip
                return f"{wanted} is not below {root}: try --root {place}"
            return f"{looked}; {_options(root, wanted, max(files, key=lambda file: len(_common(file, wanted))))}"
    return f"{looked}, and no file {wanted.name} is below {root} or next to it: --root is the folder of the images"


def _files(place: Path) -> Iterator[PurePosixPath]:
    for folder, inside, names in os.walk(place):
        inside.sort()
        yield from (PurePosixPath(Path(folder, name).as_posix()) for name in sorted(names))


def _common(file: PurePosixPath, wanted: PurePosixPath) -> list[str]:
    """The parts in which the ends of two paths are equal, the last one first."""
    pairs = zip(reversed(file.parts), reversed(wanted.parts), strict=False)
    return [one for one, _ in takewhile(lambda pair: pair[0] == pair[1] != "/", pairs)]


def _options(root: Path, wanted: PurePosixPath, file: PurePosixPath) -> str:
    same = _common(file, wanted)
    if not same:
        return f"{file} differs from it in upper and lower case, or in the spelling of its letters"
    folder = PurePosixPath(*file.parts[: -len(same)])
    prefix = str(PurePosixPath(*wanted.parts[: -len(same)])) if len(same) < len(wanted.parts) else ""
    options = [f"--root {folder}"] if str(folder) != root.as_posix() else []
    options += [f"--strip {prefix.rstrip('/')}/"] if prefix not in {"", "."} else []
    return f"there is {file}: try {' '.join(options)}" if options else f"there is {file}"

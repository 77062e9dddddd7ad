"""Where the images are that were not found: nearly always ``--root`` is another folder, or paths have a prefix."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

_MOST_FILES = 200_000  # that are looked through
_REASON = re.compile(r"image (.+) (?:does not exist|lies outside .+)", re.DOTALL)


def missing_path(reason: str) -> str | None:
    """The path of the image that a refusal did not find, or None if it says something else."""
    found = _REASON.fullmatch(reason)
    return found[1] if found else None


def advice(root: Path, path: str) -> str:
    """The options with which the image ``path`` of a row would be found, or what else is there.

    The search for files of the same name covers ``root`` first, then its parent.
    """
    wanted = PurePosixPath(path.replace("\\", "/"))
    looked = f"{root / str(wanted).lstrip('/')} does not exist"
    for place in (root, root.parent):
        if place == Path(place.anchor):
            continue
        files = [file for file in islice(_files(place), _MOST_FILES) if _key(file) == _key(wanted)]
        if files:
            if wanted in files:  # an absolute path, which needs no --strip
                return f"{wanted} is not below {root}: try --root {place}"
            return f"{looked}; {_options(root, wanted, max(files, key=lambda file: len(_common(file, wanted))))}"
    return f"{looked}, and no file {wanted.name} is below {root} or next to it: --root is the folder of the images"


def _files(place: Path) -> Iterator[PurePosixPath]:
    for folder, inside, names in os.walk(place):
        inside.sort()
        yield from (PurePosixPath(Path(folder, name).as_posix()) for name in sorted(names))


def _key(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", path.name).casefold()


def _common(file: PurePosixPath, wanted: PurePosixPath) -> list[str]:
    """The parts at the end that both paths have, the last one first."""
    pairs = zip(reversed(file.parts), reversed(wanted.parts), strict=False)
    same: list[str] = []
    for one, other in pairs:
        if one != other or one == "/":
            break
        same.append(one)
    return same


def _options(root: Path, wanted: PurePosixPath, file: PurePosixPath) -> str:
    same = _common(file, wanted)
    if not same:
        return f"{file} differs from it in upper and lower case, or in the spelling of its letters"
    folder = PurePosixPath(*file.parts[: -len(same)])
    prefix = str(PurePosixPath(*wanted.parts[: -len(same)])) if len(same) < len(wanted.parts) else ""
    options = [f"--root {folder}"] if str(folder) != root.as_posix() else []
    options += [f"--strip {prefix.rstrip('/')}/"] if prefix not in {"", "."} else []
    return f"there is {file}: try {' '.join(options)}" if options else f"there is {file}"

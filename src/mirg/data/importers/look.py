"""Facts of image files: each file is opened once, and not again if a stopped import is started again.

What was found goes to a journal beside the output; a restarted import reads it and looks only at files that it has not
seen, or that have changed since.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mirg.data.importers.raw import Look
from mirg.errors import ImageError
from mirg.images import image_digest, image_header, open_image
from mirg.samples.roots import find_inside, resolve_inside
from mirg.storage import Journal, read_jsonl

Stamp = tuple[int, int]  # bytes and time of change: a file with the same stamp is not opened again


class Facts(NamedTuple):
    """What is known of one file: (width, height) in pixels after EXIF rotation, 0 if it was not opened; its SHA-256.

    ``orientation`` is that of EXIF, 1 for a picture that is stored upright. ``path`` is relative to the root, as the
    file system spells it.
    """

    path: str = ""
    width: int = 0
    height: int = 0
    sha256: str | None = None
    stamp: Stamp = (0, 0)
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height), None if the file was not opened."""
        return (self.width, self.height) if self.width else None


class Looker:
    """Opens the files below ``root``; ``fresh`` collects what was found since it was last emptied."""

    def __init__(self, root: str, look: Look, journal: str = "") -> None:
        self.root = Path(root).resolve()
        self.look = look
        self.fresh: list[tuple[str, Facts]] = []
        self._facts: dict[str, Facts | ImageError] = dict(read_facts(journal)) if journal else {}
        self._checked: set[str] = set()

    def at(self, path: str) -> Facts:
        """Facts of the file ``path`` (relative to the root, clean). ImageError if it cannot be used."""
        if self.look == "none":
            return Facts(path)
        found = self._facts.get(path)
        if found is None or (path not in self._checked and not self._same(found)):
            found = self._facts[path] = self._look(path)
            if isinstance(found, Facts):
                self.fresh.append((path, found))
        self._checked.add(path)
        if isinstance(found, ImageError):
            raise ImageError(found.message, hint=found.hint)
        return found

    def _look(self, path: str) -> Facts | ImageError:
        try:
            file = find_inside(self.root, path)
            header = image_header(file)
            if self.look == "decode":
                open_image(file)
            digest = image_digest(file) if self.look in {"hash", "decode"} else None
            # The file system may spell the path differently; the target of a link has another name.
            there = os.path.lexists(self.root / path) or not file.is_relative_to(self.root)
            spelled = path if there else file.relative_to(self.root).as_posix()
            return Facts(spelled, *header.size, digest, _stamp(file), header.orientation)
        except ImageError as error:
            link = self.root / path
            if link.is_symlink() and not link.exists():
                hint = "restore the file that the link names, or download the images again"
                return ImageError(f"image {path} is a link to {link.readlink()}, which is not there", hint=hint)
            hint = error.hint or f"restore the file, or correct --root (now {self.root}) or --strip"
            return ImageError(error.message.replace(f"{self.root}{os.sep}", ""), hint=hint)
        except OSError as error:
            return ImageError(f"image {path} cannot be read: {error.strerror or error}")

    def _same(self, found: Facts | ImageError) -> bool:
        """Whether what an earlier run found still holds, and is enough for this one."""
        if isinstance(found, ImageError) or (found.sha256 is None and self.look in {"hash", "decode"}):
            return False
        try:
            return _stamp(resolve_inside(self.root, found.path)) == found.stamp
        except (ImageError, OSError):
            return False


def read_facts(journal: str | Path) -> Iterable[tuple[str, Facts]]:
    """What earlier runs wrote with :func:`note_facts`; nothing if there is no journal, broken lines left out."""
    if not Path(journal).is_file():
        return
    for _, value in read_jsonl(journal):
        match value:
            case [str(path), str(file), int(width), int(height), sha, [int(size), int(changed)], int(turn)] if (
                sha is None or isinstance(sha, str)
            ):
                yield path, Facts(file, width, height, sha, (size, changed), turn)


def note_facts(journal: Journal, found: Iterable[tuple[str, Facts]]) -> None:
    """Keep what was found out about images, for other processes and for an import that has to start again."""
    for path, facts in found:
        row = [path, facts.path, facts.width, facts.height, facts.sha256, list(facts.stamp), facts.orientation]
        journal.append(row)


def clean_path(path: str, root: str, strip: str = "") -> str:
    """A row's path relative to ``root``, without ``.`` and ``..``; ``strip`` is left out at its beginning.

    ImageError for a URL, and for a path that leads out of the root. The file need not exist; links are followed when
    it is opened.
    """
    if "://" in path[:16] or path.startswith("data:"):
        raise ImageError(f"image {path[:80]} is a URL", hint="download it first; rows name files")
    text = path.replace("\\", "/")
    strip = strip.replace("\\", "/")
    if strip and text.startswith(strip):
        text = text.removeprefix(strip).lstrip("/")
    if text.startswith("/"):
        text = text.removeprefix(f"{root.rstrip('/')}/")
    clean = posixpath.normpath(text)
    if clean.startswith(("/", "../")) or clean in {"..", "."} or "\0" in clean:
        hint = "--root is the folder that paths are relative to; --strip TEXT leaves out their beginning"
        raise ImageError(f"image {path} lies outside {root}", hint=hint)
    return clean


def _stamp(file: Path) -> Stamp:
    status = file.stat()
    return (status.st_size, status.st_mtime_ns)

"""Names of images in the texts of a source, made into ``Image-1 …``: what they count from, file names, or a refusal.

A source counts its images from 0 or from 1, never both. The importer finds out which for the whole file (a single 0
settles it); here the answer is applied, and a name that was not understood refuses the row.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from mirg.answers.image_names import LAST, UNKNOWN, Name, names_in
from mirg.answers.places import beside
from mirg.data.importers.rows import Refused

ZERO = "names image 0, which does not exist if images are counted from 1"
FROM_ZERO_HINT = "--image-index-from 0 if the file counts its images from 0, --image-index-from 1 to refuse such rows"
_ZERO = re.compile(r"(?<![0-9０-９])[0０]{1,20}(?![0-9０-９])")
_CORNER = re.compile(r"\([0-9]{1,4},[0-9]{1,4}\)")
LONGEST_KEPT = 1000  # characters of a text of which the result is remembered
_HINT = "name images as Image-1, Image-2 and so on"


class Images(NamedTuple):
    """The images of a row: their paths in order, and the number of the first one; None: it was not yet settled."""

    paths: tuple[str, ...]
    first: int | None = None

    def number(self, name: Name, field: str) -> int:
        """The number, from 1, of the image that ``name`` means. Refused if it is not understood or not there."""
        if name.file:
            number = self._of_file(name, field)
            if name.number != UNKNOWN and self.number(name._replace(file=""), field) != number:
                raise Refused(field, f"names image {name.number} and the file of another: {name.file[-40:]!r}", _HINT)
            return number
        if name.number == UNKNOWN:
            raise Refused(field, "names an image in a way that is not understood", _HINT)
        count = len(self.paths)
        if name.number == LAST:
            return count
        if name.ordinal:
            number = name.number
        elif self.first is None and name.number == 0:
            raise Refused(field, ZERO, FROM_ZERO_HINT, "0")
        else:
            number = name.number + (self.first == 0)
        if not 1 <= number <= count:
            shifted = self.first == 0 and not name.ordinal
            reason = f"Image-{number} does not exist, there are {count} images"
            if shifted:
                reason = f"image {name.number} does not exist, counted from 0, there are {count} images"
            raise Refused(field, reason, counts="1" if shifted and number > count else "")
        return number

    def _of_file(self, name: Name, field: str) -> int:
        wanted = _file_name(name.file)
        found = [k for k, path in enumerate(self.paths, 1) if _file_name(path) == wanted]
        if len(found) != 1:
            why = "is not an image of the row" if not found else "is the name of several images of the row"
            raise Refused(field, f"names a file that {why}: {name.file[-40:]!r}", _HINT)
        return found[0]


def _file_name(path: str) -> str:
    return PurePosixPath(path.replace("\\", "/")).name


def told(text: str, images: Images, field: str, *, strict: bool = True) -> str:
    """``text`` with the names of images as they count from 1; ordinals stay. Refused if one is not understood.

    ``strict`` False leaves what is not understood unchanged, if the row has one image.
    """
    # Most texts stay what they are, and many differ only in the numbers of their boxes, which are no names of images.
    # Without a full stop there is no file name, so that the paths of the images do not matter.
    if images.first != 0 and "." not in text and len(text) <= LONGEST_KEPT:
        count = len(images.paths)
        if _stays(_CORNER.sub("(0,0)", text), count, images.first, strict):
            return text
    return _told(text, images, field, strict=strict)


@lru_cache(maxsize=4096)
def _stays(text: str, count: int, first: int | None, strict: bool) -> bool:
    try:
        return _told(text, Images(("",) * count, first), "", strict=strict) == text
    except Refused:
        return False


def _told(text: str, images: Images, field: str, *, strict: bool) -> str:
    parts: list[str] = []
    end = 0
    before: tuple[Name, int] | None = None
    for name in names_in(text):
        lenient = not strict and len(images.paths) == 1
        if lenient and name.number == UNKNOWN:
            continue
        number = images.number(name, field)
        if before is not None and before[1] != number and beside(text, before[0], name):
            raise Refused(field, f"gives one image two numbers: {text[before[0].start : name.end][:60]!r}", _HINT)
        before = (name, number)
        if name.file:
            parts += [text[end : name.start], f"Image-{number}"]
            end = name.end
        elif not name.ordinal and number != name.number:
            parts += [text[end : name.digits[0]], str(number)]
            end = name.digits[1]
    return "".join([*parts, text[end:]]) if parts else text


def counts_from_zero(text: str) -> bool:
    """Whether ``text`` names image 0."""
    if not _ZERO.search(text):
        return False
    return any(name.number == 0 and not name.ordinal for name in names_in(text))

"""Texts of conversation datasets: image placeholders, names of images, object references and boxes inside them.

A source counts its images from 0 or from 1, never both. The importer finds out which for the whole file (a single 0
settles it). :func:`told` writes every name as ``Image-1 ...``, and refuses a row with a name that is not understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from mirg.answers.image_names import LAST, UNKNOWN, Name, ascii_forms, names_in
from mirg.answers.places import ANY_BOX, NUMBER, PAIRS, beside
from mirg.data.importers.raw import Numbers, RawBox, Text
from mirg.data.importers.rows import Refused

__all__ = ["ANY_BOX"]

PLACEHOLDER = "<image>"
BOX = PAIRS
VALUE = re.compile(NUMBER, re.ASCII)
REFERRED = re.compile(
    r"<\|object_ref_start\|>(.{0,999}?)<\|object_ref_end\|>|<ref>(.{0,999}?)</ref>|<\|ref\|>(.{0,999}?)<\|/ref\|>",
    re.DOTALL,
)
_REFERENCE = re.compile(r"<\|object_ref_(?:start|end)\|>|</?ref>|<\|/?ref\|>")
_SPACES = re.compile(r"[ \t]{2,}")
# What may stand between the label of an image and its placeholder: "Image-1: <image>", "[Picture 2] - <image>".
_LABEL_END = re.compile(r"[>\])]?[ \t]{0,4}[:\-]?[ \t]{0,4}")


@lru_cache(maxsize=64)  # a reader looks at one question in several ways
def plain(text: str) -> str:
    """``text`` without placeholders and the tokens around object names; line breaks at its ends go."""
    return _SPACES.sub(" ", _REFERENCE.sub("", text.replace(PLACEHOLDER, ""))).strip()


def with_boxes(text: str, box: Callable[[re.Match[str]], RawBox], pattern: re.Pattern[str] = BOX) -> Text:
    """:func:`plain` with ``box(match)`` in the place of every match of ``pattern``."""
    text = plain(text)
    parts: list[str | RawBox] = []
    end = 0
    for found in pattern.finditer(ascii_forms(text)):
        parts += [text[end : found.start()], box(found)]
        end = found.end()
    return (*parts, text[end:])


def numbers_of(found: re.Match[str]) -> Numbers:
    """The four numbers of a match of :data:`BOX` or :data:`ANY_BOX`."""
    x1, y1, x2, y2 = VALUE.findall(found[0])
    return (float(x1), float(y1), float(x2), float(y2))


class Shown(NamedTuple):
    """A message without placeholders: ``images`` of them were in it; ``problem`` says that one has another number."""

    text: str
    images: int
    problem: str = ""


def shown(text: str, before: int = 0) -> Shown:
    """Take the placeholders out of a message; ``before`` images were shown earlier.

    Those at its beginning and end go, with their labels (``Image-1: <image>``); one inside a sentence becomes the name
    of its image, since the sentence speaks of it there.
    """
    if PLACEHOLDER not in text:
        return Shown(text.strip(), 0)
    found = _labelled(text)
    gaps = [
        text[end:start]
        for end, start in zip([0, *(f[1] for f in found)], [*(f[0] for f in found), len(text)], strict=True)
    ]
    said = [k for k, gap in enumerate(gaps) if gap.strip()] or [len(gaps)]
    parts: list[str] = []
    problem = ""
    for k, (_, stop, name) in enumerate(found):
        number = before + k + 1
        if name is not None and name.number not in (number, LAST):
            label = text[name.start : stop].removesuffix(PLACEHOLDER).strip()
            problem = problem or f"image {number} is introduced as {label!r}"
        parts += [gaps[k], f"Image-{number}" if said[0] <= k < said[-1] else ""]
    return Shown("".join([*parts, gaps[-1]]).strip(), len(found), problem)


def _labelled(text: str) -> list[tuple[int, int, Name | None]]:
    """(start, end, name) of every placeholder with its label; a label in words ("the first image: ") stays a text."""
    found: list[tuple[int, int, Name | None]] = []
    names = names_in(text)
    for place in re.finditer(PLACEHOLDER, text):
        begin, end = place.span()
        name = next((name for name in reversed(names) if name.end <= begin), None)
        if name and not _LABEL_END.fullmatch(ascii_forms(text[name.end : begin])):
            name = None
        if name and not name.ordinal:
            begin = name.start - (name.start > 0 and text[name.start - 1] in "<[(" and text[name.end] in ">])")
        found.append((begin, end, name))
    return found


@lru_cache(maxsize=64)  # a question is read in several ways
def image_names(text: str, images: int) -> tuple[Name, ...]:
    """Every image that ``text`` names, in order; the numbers may be larger than ``images``, the count of images.

    Names that are not understood are left out: :func:`told` refuses them before.
    """
    found = [name for name in names_in(text) if name.number != UNKNOWN]
    return tuple(name._replace(number=images) if name.number == LAST else name for name in found)


def referred(text: str) -> list[tuple[int, str]]:
    """(end, phrase) of every object reference, in order."""
    if "ref" not in text:
        return []
    return [(found.end(), " ".join("".join(filter(None, found.groups())).split())) for found in REFERRED.finditer(text)]


ZERO = "names image 0, which does not exist if images are counted from 1"
FROM_ZERO_HINT = "--image-index-from 0 if the file counts its images from 0, --image-index-from 1 to refuse such rows"
_ZERO = re.compile(r"(?<![0-9０-９])[0０]{1,20}(?![0-9０-９])")
_CORNER = re.compile(r"\([0-9]{1,4},[0-9]{1,4}\)")
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
        count, shifted = len(self.paths), self.first == 0 and not name.ordinal
        if name.number == LAST:
            return count
        if self.first is None and name.number == 0 and not name.ordinal:
            raise Refused(field, ZERO, FROM_ZERO_HINT, "0")
        number = name.number + shifted
        if not 1 <= number <= count:
            reason = f"Image-{number} does not exist, there are {count} images"
            if shifted:
                reason = f"image {name.number} does not exist, counted from 0, there are {count} images"
            raise Refused(field, reason, counts="1" if shifted else "")
        return number

    def _of_file(self, name: Name, field: str) -> int:
        wanted, *names = (PurePosixPath(path.replace("\\", "/")).name for path in (name.file, *self.paths))
        found = [k for k, known in enumerate(names, 1) if known == wanted]
        if len(found) != 1:
            why = "is not an image of the row" if not found else "is the name of several images of the row"
            raise Refused(field, f"names a file that {why}: {name.file[-40:]!r}", _HINT)
        return found[0]


def told(text: str, images: Images, field: str, *, strict: bool = True) -> str:
    """``text`` with the names of images as they count from 1; ordinals stay. Refused if one is not understood.

    ``strict`` False leaves what is not understood unchanged, if the row has one image.
    """
    # Most texts stay unchanged, and many differ only in the numbers of their boxes, which are not names of images.
    # Without a full stop there is no file name, so that the paths of the images do not matter.
    nameless = images._replace(paths=("",) * len(images.paths))
    if "." not in text and _stays(_CORNER.sub("(0,0)", text), nameless, strict):
        return text
    return _told(text, images, field, strict)


@lru_cache(maxsize=1024)
def _stays(text: str, images: Images, strict: bool) -> bool:
    try:
        return _told(text, images, "", strict) == text
    except Refused:
        return False


def _told(text: str, images: Images, field: str, strict: bool) -> str:
    parts: list[str] = []
    end = 0
    before: tuple[Name, int] | None = None
    lenient = not strict and len(images.paths) == 1
    for name in names_in(text):
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

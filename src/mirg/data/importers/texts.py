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
from mirg.answers.places import ANY_BOX, PAIRS, beside
from mirg.data.importers.frames import FrameName
from mirg.data.importers.raw import Numbers, RawBox, Text
from mirg.data.importers.rows import Refused

__all__ = ["ANY_BOX", "BOX", "PLACEHOLDER", "Name", "image_names", "plain", "referred", "shown", "with_boxes"]

PLACEHOLDER = "<image>"
BOX = PAIRS
VALUE = re.compile(r"-?\d{1,6}(?:\.\d{1,16})?", re.ASCII)
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


def with_boxes(
    text: str, image: Callable[[int], int], frame: FrameName | None = "relative_1000", pattern: re.Pattern[str] = BOX
) -> Text:
    """:func:`plain` with its boxes in ``frame`` (None: that of the source).

    ``image(position)`` says in which image the box at a character of the plain text lies.
    """
    text = plain(text)
    parts: list[str | RawBox] = []
    end = 0
    for found in pattern.finditer(ascii_forms(text)):
        parts += [text[end : found.start()], RawBox(image(found.start()), numbers_of(found), frame=frame)]
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
    edges = _at_edges(text, found)
    parts: list[str] = []
    problem, end = "", 0
    for k, (start, stop, name) in enumerate(found):
        number = before + k + 1
        if name is not None and name.number not in (number, LAST):
            label = text[name.start : stop].removesuffix(PLACEHOLDER).strip()
            problem = problem or f"image {number} is introduced as {label!r}"
        parts += [text[end:start], "" if k in edges else f"Image-{number}"]
        end = stop
    return Shown("".join([*parts, text[end:]]).strip(), len(found), problem)


def _labelled(text: str) -> list[tuple[int, int, Name | None]]:
    """(start, end, name) of every placeholder with its label; a label in words ("the first image: ") stays a text."""
    found: list[tuple[int, int, Name | None]] = []
    names = names_in(text)
    start = text.find(PLACEHOLDER)
    while start >= 0:
        end = start + len(PLACEHOLDER)
        name = next((name for name in reversed(names) if name.end <= start), None)
        if name is not None and ((found and name.start < found[-1][1]) or not _labels(text, name, start)):
            name = None
        begin = start
        if name is not None and not name.ordinal:
            begin = name.start - (name.start > 0 and text[name.start - 1] in "<[(" and text[name.end] in ">])")
        found.append((begin, end, name))
        start = text.find(PLACEHOLDER, end)
    return found


def _labels(text: str, name: Name, start: int) -> bool:
    return bool(_LABEL_END.fullmatch(ascii_forms(text[name.end : start])))


def _at_edges(text: str, found: list[tuple[int, int, Name | None]]) -> set[int]:
    """Which placeholders have nothing but other placeholders before them, or behind them."""
    edges: set[int] = set()
    end = 0
    for k, (begin, stop, _) in enumerate(found):
        if text[end:begin].strip():
            break
        edges.add(k)
        end = stop
    start = len(text)
    for k in range(len(found) - 1, -1, -1):
        if text[found[k][1] : start].strip():
            break
        edges.add(k)
        start = found[k][0]
    return edges


@lru_cache(maxsize=64)  # a question is read in several ways
def image_names(text: str, images: int) -> tuple[Name, ...]:
    """Every image that ``text`` names, in order; the numbers may be larger than ``images``, the count of images.

    Names that are not understood are left out: ``mirg.data.importers.texts`` refuses them before.
    """
    found = [name for name in names_in(text) if name.number != UNKNOWN]
    return tuple(name._replace(number=images) if name.number == LAST else name for name in found)


def referred(text: str) -> list[tuple[int, str]]:
    """(end, phrase) of every object reference, in order."""
    if "ref" not in text:
        return []
    return [
        (found.end(), " ".join((found[1] or found[2] or found[3] or "").split())) for found in REFERRED.finditer(text)
    ]


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
    # Most texts are not changed, and many differ only in the numbers of their boxes, which are not names of images.
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

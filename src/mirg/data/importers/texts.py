"""Texts of conversation datasets: image placeholders, names of images, object references and boxes inside them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from mirg.answers.image_names import LAST, UNKNOWN, Name, ascii_forms, names_in
from mirg.answers.places import ANY_BOX, PAIRS
from mirg.data.importers.frames import FrameName
from mirg.data.importers.raw import Numbers, RawBox, Text

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
    """A message without placeholders: ``images`` of them were in it; ``problem`` where one has another number."""

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

    Names that are not understood are left out: ``mirg.data.importers.naming`` refuses them before.
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

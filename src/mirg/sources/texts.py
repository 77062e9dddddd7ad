"""Texts of conversation datasets: image placeholders, names of images, object references and boxes inside them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from mirg.answers import ordinals
from mirg.sources.frames import FrameName
from mirg.sources.raw import Numbers, RawBox, Text

PLACEHOLDER = "<image>"
_NUMBER = r"-?\d{1,6}(?:\.\d{1,12})?"
_COMMA = r" {0,3}, {0,3}"
_PAIRS = rf"\({_NUMBER}{_COMMA}{_NUMBER}\){_COMMA}\({_NUMBER}{_COMMA}{_NUMBER}\)"
_FLAT = rf"\[{{1,2}} ?{_NUMBER}{_COMMA}{_NUMBER}{_COMMA}{_NUMBER}{_COMMA}{_NUMBER} ?\]{{1,2}}"
_OPEN, _CLOSE = r"(?:<\|box_start\|>|<box>)?", r"(?:<\|box_end\|>|</box>)?"
_VALUE = re.compile(_NUMBER)
# The Qwen2-VL spelling, and the same without its tokens.
BOX = re.compile(f"{_OPEN}{_PAIRS}{_CLOSE}")
# That, and [x1, y1, x2, y2] as the JSON families and InternVL write it.
ANY_BOX = re.compile(f"{_OPEN}(?:{_PAIRS}|{_FLAT}){_CLOSE}")
REFERRED = re.compile(r"<\|object_ref_start\|>(.{0,999}?)<\|object_ref_end\|>|<ref>(.{0,999}?)</ref>", re.DOTALL)
_REFERENCE = re.compile(r"<\|object_ref_(?:start|end)\|>|</?ref>")
_SPACES = re.compile(r"[ \t]{2,}")
_LABELLED = re.compile(rf"(?:\b(?:image|picture)[-_ #]?(\d{{1,4}})[ \t]*:?[ \t]*)?{PLACEHOLDER}", re.IGNORECASE)
_NAME = re.compile(
    # The letters that a name begins with come first: most words are passed over at once.
    rf"\b(?=[ifstenlIFSTENL\u017f\d])(?:(?i:image)[-_#](\d{{1,6}})|Image ?(\d{{1,6}})"
    rf"|(?i:({ordinals.ANY}|last) (?:image|picture|photo|frame)))\b"
)
# What may stand between a box and the name of its image behind it: "(box) in the second image".
_BEHIND = re.compile(r"[\s)\]]*(?:in|of|from|on)\s+(?:the\s+)?")


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
    for found in pattern.finditer(text):
        parts += [text[end : found.start()], RawBox(image(found.start()), numbers_of(found), frame=frame)]
        end = found.end()
    return (*parts, text[end:])


def numbers_of(found: re.Match[str]) -> Numbers:
    """The four numbers of a match of :data:`BOX` or :data:`ANY_BOX`."""
    x1, y1, x2, y2 = (float(v) for v in _VALUE.findall(found.group()))
    return (x1, y1, x2, y2)


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
    found = list(_LABELLED.finditer(text))
    edges = _at_edges(text, found)
    parts: list[str] = []
    problem, end = "", 0
    for k, match in enumerate(found):
        number = before + k + 1
        if match[1] and int(match[1]) != number:
            problem = problem or f"image {number} is introduced as {match[0].removesuffix(PLACEHOLDER).strip()!r}"
        parts += [text[end : match.start()], "" if k in edges else f"Image-{number}"]
        end = match.end()
    return Shown("".join([*parts, text[end:]]).strip(), len(found), problem)


def _at_edges(text: str, found: list[re.Match[str]]) -> set[int]:
    """Which placeholders have nothing but other placeholders before them, or behind them."""
    edges: set[int] = set()
    end = 0
    for k, match in enumerate(found):
        if text[end : match.start()].strip():
            break
        edges.add(k)
        end = match.end()
    start = len(text)
    for k in range(len(found) - 1, -1, -1):
        if text[found[k].end() : start].strip():
            break
        edges.add(k)
        start = found[k].start()
    return edges


class Name(NamedTuple):
    """A name of an image in a text; ``ordinal``: in words ("the third image"), not as ``Image-3``."""

    start: int
    end: int
    number: int
    ordinal: bool


def image_names(text: str, images: int) -> list[Name]:
    """Every image that ``text`` names, in order; the numbers may be larger than ``images``, the count of images."""
    return list(_names(text, images))


@lru_cache(maxsize=64)
def _names(text: str, images: int) -> tuple[Name, ...]:
    names = []
    for found in _NAME.finditer(text):
        digits, word = found[1] or found[2], found[3]
        number = int(digits) if digits else images if word.lower() == "last" else ordinals.number(word)
        names.append(Name(found.start(), found.end(), number, not digits))
    return tuple(names)


def name_of_box(text: str, start: int, end: int, names: list[Name]) -> Name | None:
    """The name that the box at ``text[start:end]`` goes with: directly behind it, else the nearest before it."""
    for name in names:
        if name.start >= end:
            if _BEHIND.fullmatch(text, end, name.start):
                return name
            break
    return next((name for name in reversed(names) if name.end <= start), None)


def referred(text: str) -> list[tuple[int, str]]:
    """(end, phrase) of every object reference, in order."""
    if "ref" not in text:
        return []
    return [(found.end(), " ".join((found[1] or found[2] or "").split())) for found in REFERRED.finditer(text)]

"""Texts of conversation datasets: image placeholders, object references and boxes inside them."""

from __future__ import annotations

import re
from collections.abc import Callable

from mirg.sources.raw import RawBox, Text

PLACEHOLDER = "<image>"
_NUMBER = r"-?\d{1,6}(?:\.\d{1,12})?"
# The Qwen2-VL spelling, and the same without its tokens.
BOX = re.compile(
    rf"(?:<\|box_start\|>|<box>)?\(({_NUMBER}), ?({_NUMBER})\), ?\(({_NUMBER}), ?({_NUMBER})\)(?:<\|box_end\|>|</box>)?"
)
_REFERENCE = re.compile(r"<\|object_ref_(?:start|end)\|>|</?ref>")
_SPACES = re.compile(r"[ \t]{2,}")


def plain(text: str) -> str:
    """``text`` without placeholders and the tokens around object names; line breaks at its ends go."""
    return _SPACES.sub(" ", _REFERENCE.sub("", text.replace(PLACEHOLDER, ""))).strip()


def with_boxes(text: str, image: Callable[[int], int]) -> Text:
    """:func:`plain` with its boxes, 0-1000; ``image(position)`` says in which image the box at a character lies."""
    text = plain(text)
    parts: list[str | RawBox] = []
    end = 0
    for found in BOX.finditer(text):
        parts += [text[end : found.start()], RawBox(image(found.start()), numbers_of(found), frame="relative_1000")]
        end = found.end()
    return (*parts, text[end:])


def numbers_of(found: re.Match[str]) -> tuple[float, float, float, float]:
    """The four numbers of a match of :data:`BOX`."""
    x1, y1, x2, y2 = (float(v) for v in found.groups())
    return (x1, y1, x2, y2)
